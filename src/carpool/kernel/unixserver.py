"""A control socket: JSON lines from programs of this machine, answered now, later or as a stream.

Room: kernel. Owns the socket file and its clients; refuses to know any command: each request goes
to the `handler` it was given. Protocol: the section "Files and sockets" of ARCHITECTURE.md.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from carpool.errors import KernelError
from carpool.kernel.lines import Lines, parse_object, refusal
from carpool.kernel.poller import Poller

CLIENTS_MAX = 16
_PROBE_S = 0.2  # how long another process's full backlog may keep us waiting at start


class Client:
    """One connected program. Requests of one client are handed over in order; answers may be sent
    at any later time, and any number of them (a stream). Sending to a client that left is harmless.
    """

    def __init__(self, on_close: Callable[[Client], None]) -> None:
        self._lines: Lines | None = None
        self._on_close = on_close
        self.on_gone: Callable[[], None] | None = None  # for streams: called once when it leaves

    @property
    def closed(self) -> bool:
        return self._lines is None or self._lines.closed

    def answer(self, fields: Mapping[str, object] | None = None) -> bool:
        """`{"ok": true, ...fields}`; False when the client is gone."""
        return self.send({"ok": True, **(fields or {})})

    def refuse(self, error: str, hint: str = "") -> bool:
        """`{"ok": false, "error": ..., "hint": ...}`; False when the client is gone."""
        return self.send(refusal(error, hint))

    def send(self, value: Mapping[str, object]) -> bool:
        """One line as it is; False when the client is gone."""
        return self._lines is not None and self._lines.send(value)

    def finish(self) -> None:
        """Close it as soon as everything queued has been read."""
        if self._lines is not None:
            self._lines.finish()

    def _left(self, _reason: str) -> None:
        self._on_close(self)
        if self.on_gone is not None:
            self.on_gone()


Handler = Callable[[Client, dict[str, object]], None]


class UnixServer:
    """Listens on `path` (mode 0600) and calls `handler(client, request)` from the poller's loop.

    `request` is a JSON object whose "command" is a string; anything else is refused here. Raises
    KernelError when another process answers on `path`, or when the path cannot be bound.
    """

    def __init__(self, path: str | os.PathLike[str], poller: Poller, handler: Handler) -> None:
        self._path = Path(path)
        self._poller = poller
        self._handler = handler
        self._clients: dict[Client, Lines] = {}
        self._socket = listen(self._path)
        self._inode = self._path.stat().st_ino
        poller.add(self._socket, self._accept)

    @property
    def clients(self) -> int:
        return len(self._clients)

    def close(self) -> None:
        """Stop listening, drop every client, remove the socket file (if it is still ours)."""
        self._poller.remove(self._socket)
        self._socket.close()
        for lines in list(self._clients.values()):
            lines.close()
        self._clients.clear()
        forget(self._path, self._inode)

    def _accept(self) -> None:
        try:
            sock, _address = self._socket.accept()
        except OSError:  # gone again, or out of descriptors: nothing to tell it
            return
        client = Client(self._forget)
        lines = Lines(sock, self._poller, lambda line: self._request(client, line), client._left)
        client._lines = lines
        self._clients[client] = lines
        if len(self._clients) > CLIENTS_MAX:
            client.refuse(
                f"{CLIENTS_MAX} programs are connected to {self._path} already",
                "close one of them and try again",
            )
            client.finish()

    def _forget(self, client: Client) -> None:
        self._clients.pop(client, None)

    def _request(self, client: Client, line: bytes) -> None:
        request = parse_object(line)
        if request is None or not isinstance(request.get("command"), str):
            shown = line[:80].decode(errors="backslashreplace")
            client.refuse(f"not a request: {shown!r}", 'send one line: {"command": "status"}')
            return
        self._handler(client, request)


def make_run_dir(run_dir: Path) -> None:
    """Where sockets are: others pass through to one that is for them (`listen_for`), and see
    nothing on the way. Raises KernelError."""
    try:
        run_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise KernelError(
            f"make the run directory {run_dir}: {error.strerror}",
            hint="name another one with --run-dir, or CARPOOL_RUN_DIR",
        ) from error


def forget(path: Path, inode: int) -> None:
    """Remove our socket file; a newer process's stays."""
    try:
        if path.stat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        pass


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0600; the file of a process that is gone is replaced.

    Raises KernelError when another process answers there, or the path cannot be bound.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        _remove_stale(path)
        os.fchmod(sock.fileno(), stat.S_IRUSR | stat.S_IWUSR)  # unix(7): bind takes the mode over
        sock.bind(str(path))
        sock.listen(CLIENTS_MAX)
    except OSError as error:
        sock.close()
        raise KernelError(
            f"cannot listen on {path}: {error.strerror or error}",
            hint="the run directory must exist and be writable (--run-dir)",
        ) from error
    except KernelError:
        sock.close()
        raise
    return sock


def listen_for(gid: int, path: Path) -> socket.socket:
    """The same for a group, too (mode 0660), in a directory of that socket's own (0750): nothing
    but this directory is ever given to the group. Raises KernelError."""
    directory = path.parent
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        os.chown(directory, -1, gid)
        directory.chmod(0o750)
        sock = listen(path)
        try:
            os.chown(path, -1, gid)
            path.chmod(0o660)  # after its birth: a umask takes bits from what bind makes
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise KernelError(f"{path}: {error.strerror}", hint="this needs root") from error
    return sock


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a process that is gone; KernelError when one answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except (BlockingIOError, TimeoutError):
            pass  # its backlog is full: somebody is there
    raise KernelError(
        f"another process listens on {path}",
        hint="stop it first (systemctl status 'carpool*'), or give another --run-dir",
    )
