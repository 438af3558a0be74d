"""TCP between the states processes: listening, connecting, and a stream with a bounded queue.

Room: kernel. Never blocks; refuses to know what is sent and when to try again. Both ends use the
addresses of node.toml, so that either can tell who the other one is.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from ipaddress import ip_address

from carpool.errors import KernelError
from carpool.kernel.poller import Poller
from carpool.model.config import Address

QUEUE_MAX_BYTES = 32 * 1024 * 1024  # a peer so far behind is better served by a fresh table
READ_BYTES = 256 * 1024  # in one round: what takes some 30 ms at worst, so that nobody else waits
_DISCARD_READS_MAX = 4
DEAD_AFTER_MS = 5000  # unacknowledged data, TCP_USER_TIMEOUT
BACKLOG = 16
_SENT_AT_ONCE = 16  # buffers given to one sendmsg
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78  # include/uapi/linux/in.h, in6.h
_RESET_ON_CLOSE = struct.pack("=ii", 1, 0)  # struct linger


class Stream:
    """A connected socket. `on_data(bytes)` per read, `on_close(reason)` once if it ends by itself;
    whoever calls `close` is not called back. Neither is called from within `send`."""

    def __init__(
        self,
        sock: socket.socket,
        poller: Poller,
        on_data: Callable[[bytes], None],
        on_close: Callable[[str], None],
    ) -> None:
        _configure(sock)
        self._socket = sock
        self._poller = poller
        self._on_data = on_data
        self._on_close = on_close
        self._queue: deque[memoryview] = deque()
        self._waits = False  # for room in the socket's own buffer
        self._failed: str | None = None  # told when the loop comes round
        self.queued_bytes = 0
        self.sent_bytes = 0
        self.received_bytes = 0
        self.closed = False
        self.cause = ""  # the counter of what ended it, where that has one
        poller.add(sock, self._ready)

    def send(self, data: bytes) -> None:
        """Queue it. A queue that is full, or a broken socket, ends the stream soon after."""
        if self.closed or self._failed is not None:
            return
        self._queue.append(memoryview(data))
        self.queued_bytes += len(data)
        if self.queued_bytes > QUEUE_MAX_BYTES:
            self._fail(f"cannot follow: {self.queued_bytes} bytes are waiting for it")
        elif not self._waits:
            self._flush()

    def close(self) -> None:
        """At once; what the socket's own buffer holds is still sent."""
        if self.closed:
            return
        self.closed = True
        self._queue.clear()
        self._poller.remove(self._socket)
        with suppress(OSError):
            # Unread input would make this a reset, which may overtake the last words.
            self._socket.shutdown(socket.SHUT_WR)
            for _ in range(_DISCARD_READS_MAX):
                self._socket.recv(READ_BYTES)
        self._socket.close()

    def _fail(self, reason: str) -> None:
        self._failed = reason
        self._queue.clear()
        self.queued_bytes = 0
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # readable from now on: the loop calls back

    def _ready(self) -> None:
        if self._queue:
            self._flush()
        if self._failed is None and not self.closed:
            self._read()
        if self._failed is not None and not self.closed:
            self.close()
            self._on_close(self._failed)

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._failed = f"receive: {error.strerror}"
            return
        if data:
            self.received_bytes += len(data)
            self._on_data(data)
        else:
            self._failed = "closed by the peer"

    def _flush(self) -> None:
        queue = self._queue
        try:
            while queue:
                sent = self._socket.sendmsg(
                    [queue[i] for i in range(min(len(queue), _SENT_AT_ONCE))]
                )
                self.sent_bytes += sent
                self.queued_bytes -= sent
                while queue and sent >= len(queue[0]):
                    sent -= len(queue.popleft())
                if sent:
                    queue[0] = queue[0][sent:]
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(f"send: {error.strerror}")
            return
        self._watch(bool(queue))

    def _watch(self, waits: bool) -> None:
        if waits != self._waits:
            self._waits = waits
            self._poller.modify(self._socket, read=True, write=waits)


class Wire:
    """How streams to peers are made. This is the plain one, for a cable that nobody else can reach;
    the other one is `tls.Tls`."""

    def check(self, peer: str, *streams: Stream) -> None:
        """Raises KernelError when there can be no stream with this peer, or these no longer."""

    def stream(
        self,
        sock: socket.socket,
        poller: Poller,
        on_data: Callable[[bytes], None],
        on_close: Callable[[str], None],
        *,
        peer: str,
        dialled: bool,
    ) -> Stream:
        """A stream on a connected socket. Raises KernelError when there can be none."""
        return Stream(sock, poller, on_data, on_close)


class Listener:
    """Accepts connections to `address` (which need not exist yet) from `allowed` addresses.

    `on_accept(socket, source)` for those; all others are reset and told to `on_stranger(source)`.
    Raises KernelError when the port is taken.
    """

    def __init__(
        self,
        address: Address,
        port: int,
        allowed: Iterable[Address],
        poller: Poller,
        *,
        on_accept: Callable[[socket.socket, Address], None],
        on_stranger: Callable[[Address], None],
    ) -> None:
        self._allowed = frozenset(allowed)
        self._poller = poller
        self._on_accept = on_accept
        self._on_stranger = on_stranger
        self._socket = socket_at(address, port)
        try:
            self._socket.listen(BACKLOG)
        except OSError as error:
            self._socket.close()
            raise _refused(address, port, error) from error
        poller.add(self._socket, self._accept)

    def close(self) -> None:
        self._poller.remove(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        try:
            sock, name = self._socket.accept()
        except OSError:  # gone again, or out of descriptors: it will try again
            return
        source = ip_address(name[0].partition("%")[0])
        if source in self._allowed:
            self._on_accept(sock, source)
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        sock.close()
        self._on_stranger(source)


class Dial:
    """One attempt to connect from `source`: `on_done(socket, "")` or `on_done(None, reason)`, from
    the poller's loop only, and never once it was given up."""

    def __init__(
        self,
        source: Address,
        target: Address,
        port: int,
        poller: Poller,
        on_done: Callable[[socket.socket | None, str], None],
    ) -> None:
        self._poller = poller
        self._on_done = on_done
        self._error = 0
        self._socket = socket_at(source, 0)
        self.over = False
        try:
            self._socket.connect((str(target), port))
        except BlockingIOError:
            pass
        except OSError as error:  # no route: an unconnected socket is ready at once (EPOLLHUP)
            self._error = error.errno or 0
        poller.add(self._socket, self._ready, write=True)

    def give_up(self) -> None:
        """Close without a word. Harmless when it is over."""
        if not self.over:
            self.over = True
            self._poller.remove(self._socket)
            self._socket.close()

    def _ready(self) -> None:
        self.over = True
        self._poller.remove(self._socket)
        error = self._error or self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._socket.close()
            self._on_done(None, f"connect: {os.strerror(error)}")
        else:
            self._on_done(self._socket, "")


def _configure(sock: socket.socket) -> None:
    """Small frames leave at once; a dead peer is noticed within DEAD_AFTER_MS, busy or idle."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_NODELAY, 1),
        (socket.TCP_KEEPIDLE, 1),
        (socket.TCP_KEEPINTVL, 1),
        (socket.TCP_KEEPCNT, 4),
        (socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS),
    ):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def socket_at(address: Address, port: int) -> socket.socket:
    """A TCP socket at one of our addresses, whether or not a device has it already."""
    ipv4 = address.version == 4
    sock = socket.socket(
        socket.AF_INET if ipv4 else socket.AF_INET6,
        socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
    )
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ipv4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(address), port))
    except OSError as error:
        sock.close()
        raise _refused(address, port, error) from error
    return sock


def _refused(address: Address, port: int, error: OSError) -> KernelError:
    where = f"{address} port {port}" if port else str(address)
    return KernelError(
        f"cannot use {where}: {error.strerror}",
        hint="see addresses in node.toml, and port under [states] or [sync] in group.toml",
    )
