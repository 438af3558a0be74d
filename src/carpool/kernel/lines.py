"""One connection of JSON lines on a unix stream socket, never blocking, bounded both ways.

Room: kernel. Moves lines; refuses to know what a command or an answer means. The server's side is
`kernel/unixserver.py`, the side that follows another process of this node `kernel/unixclient.py`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping

from carpool.kernel.poller import Poller

LINE_MAX_BYTES = 64 * 1024  # of what we read, newline included
OUT_MAX_BYTES = 4 * 1024 * 1024  # unsent answers of one connection; beyond it the reader is lost
_READ_BYTES = 64 * 1024


class Lines:
    """A connected socket: `on_line(bytes)` is called per line, `on_close(reason)` once at the end.

    `on_line` gets the line without its newline. Whoever calls `close` is not called back.
    """

    def __init__(
        self,
        sock: socket.socket,
        poller: Poller,
        on_line: Callable[[bytes], None],
        on_close: Callable[[str], None],
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._poller = poller
        self._on_line = on_line
        self._on_close = on_close
        self._in = bytearray()
        self._out = bytearray()
        self._draining = False
        self._wants = (True, False)  # what the poller watches: reading, writing
        self.closed = False
        poller.add(sock, self._ready)

    def send(self, value: Mapping[str, object]) -> bool:
        """Queue one line; False when the connection is (or is hereby) gone."""
        if self.closed:
            return False
        self._out += json.dumps(value, separators=(",", ":")).encode() + b"\n"
        self._flush()
        return not self.closed

    def finish(self) -> None:
        """Send what is queued, read nothing more, then close."""
        if not self.closed:
            self._draining = True
            self._flush()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._poller.remove(self._socket)
            self._socket.close()

    def _lose(self, reason: str) -> None:
        if not self.closed:
            self.close()
            self._on_close(reason)

    def _ready(self) -> None:
        # Every step is harmless out of turn, so it does not matter what woke us.
        if self._out:
            self._flush()
        if not self.closed and not self._draining:
            self._read()

    def _flush(self) -> None:
        try:
            while self._out:
                del self._out[: self._socket.send(self._out)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(f"send: {error.strerror}")
            return
        if len(self._out) > OUT_MAX_BYTES:
            self._lose(f"does not read: {len(self._out)} bytes wait for it")
        elif self._draining and not self._out:
            self._lose("done")
        else:
            self._watch(read=not self._draining, write=bool(self._out))

    def _watch(self, *, read: bool, write: bool) -> None:
        if self._wants != (read, write):
            self._wants = (read, write)
            self._poller.modify(self._socket, read=read, write=write)

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(f"receive: {error.strerror}")
            return
        if not data:
            self._lose("closed by the other side")
            return
        self._in += data
        *lines, rest = self._in.split(b"\n")
        self._in = rest
        for line in lines:
            if self.closed or self._draining:
                return
            if len(line) >= LINE_MAX_BYTES:
                break
            self._on_line(bytes(line))
        else:
            if len(rest) < LINE_MAX_BYTES:
                return
        self.send(refusal(f"a line of more than {LINE_MAX_BYTES} bytes", "send one request a line"))
        self.finish()


def refusal(error: str, hint: str = "") -> dict[str, object]:
    """The answer to a request that is not done: what is wrong, and what to do."""
    return {"ok": False, "error": error, "hint": hint}


def parse_object(line: bytes) -> dict[str, object] | None:
    """The JSON object of a line; None for anything else, however deep or broken."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
