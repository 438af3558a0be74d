"""The kernel's connection table: give it requests, ask it for entries, read all of it.

Room: kernel. Moves netlink bytes and reads errors; refuses to know what an entry means. The kernel
works on a request inside `send`, so errors and answers are there when `send` returns.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from carpool.errors import KernelError
from carpool.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket, Request
from carpool.proto import ctmessage as ct
from carpool.proto import netlink as nl
from carpool.proto import rtnetlink as rt

# Errors come back with the whole request: a full frame of small ones, none of which is done.
RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024
DATAGRAM_BYTES = 64 * 1024  # the kernel's dumps come in pieces of 32 KiB at most
_SO_RCVBUFFORCE = 33
_START = struct.Struct("=IH")  # of nlmsghdr: length and type
_ERROR = struct.Struct("=IHHIIi")  # nlmsghdr and the errno of nlmsgerr; the request follows
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that the kernel did not do."""

    errno: int
    request: bytes

    @property
    def name(self) -> str:
        return errno.errorcode.get(self.errno, str(self.errno))


class _Socket:
    def __init__(self, what: str) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
            )
            self._socket.bind((0, 0))
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        except OSError as error:
            raise KernelError(
                f"{what}: {error.strerror}", hint="this needs root, or CAP_NET_ADMIN"
            ) from error

    def close(self) -> None:
        self._socket.close()


class Injector(_Socket):
    """Gives requests to the kernel; changes made here carry `port` in the events that they make."""

    def __init__(self) -> None:
        super().__init__("open the connection table for writing")
        self.port: int = self._socket.getsockname()[0]
        self.lost_answers = 0  # times when the kernel could not tell all that it refused

    def inject(self, requests: bytes) -> list[Failure]:
        """One `send` of joined requests (64 KiB at most); what the kernel did not do.

        A refused one does not keep it from the others. Raises KernelError when it took none.
        """
        try:
            self._socket.send(requests)
        except OSError as error:
            raise KernelError(
                f"give {len(requests)} bytes to conntrack: {error.strerror}"
            ) from error
        return [
            Failure(-code, data[_ERROR.size :])
            for data in self._datagrams()
            for _length, type_, _flags, _sequence, _port, code in (_ERROR.unpack_from(data),)
            if type_ == nl.NLMSG_ERROR and code < 0
        ]

    def ask(self, requests: Sequence[bytes]) -> list[bytes | None]:
        """What each get request asks for, or None. Raises KernelError when the kernel took none."""
        found: list[bytes | None] = [None] * len(requests)
        stamped = (nl.stamped(request, 0, place) for place, request in enumerate(requests))
        try:
            self._socket.send(b"".join(stamped))
        except OSError as error:
            raise KernelError(f"ask conntrack for entries: {error.strerror}") from error
        for data in self._datagrams():
            _length, type_, _flags, sequence, _port = nl.HEADER.unpack_from(data)
            if type_ == ct.MSG_NEW and sequence < len(found):
                found[sequence] = data
        return found

    def _datagrams(self) -> list[bytes]:
        """All answers that are there: one message each, a refusal with the whole request."""
        found: list[bytes] = []
        while True:
            try:
                found.append(self._socket.recv(DATAGRAM_BYTES))
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(f"answers of conntrack: {error.strerror}") from error
                self.lost_answers += 1


class Dump(_Socket):
    """One walk over all entries, in pieces. The kernel fills each piece when the one before
    it is read: whoever pauses gets one that is as old as the pause. With a family or a mark (value
    and mask), the kernel leaves out what is of another.
    Of expectations with `ctfields.EXP_GET`. Raises KernelError."""

    def __init__(
        self,
        family: int = ct.AF_UNSPEC,
        mark: tuple[int, int] | None = None,
        what: int = ct.MSG_GET,
    ) -> None:
        super().__init__("open the connection table for reading")
        body = ct.NFGEN.pack(family, 0, 0)
        if mark is not None:
            body += nl.be32(ct.Cta.MARK, mark[0]) + nl.be32(ct.Cta.MARK_MASK, mark[1])
        try:
            self._socket.send(nl.message(what, nl.NLM_F_REQUEST | nl.NLM_F_DUMP, 1, body))
        except OSError as error:
            self.close()
            raise KernelError(f"read the connection table: {error.strerror}") from error

    def read(self) -> list[bytes] | None:
        """The messages of the next piece (some 150); None: that was all. Raises KernelError."""
        try:
            data = self._socket.recv(DATAGRAM_BYTES)
        except OSError as error:
            raise KernelError(f"read the connection table: {error.strerror}") from error
        found: list[bytes] = []
        at = 0
        while at + nl.HEADER_LEN <= len(data):
            length, type_ = _START.unpack_from(data, at)
            if type_ == nl.NLMSG_DONE or length < nl.HEADER_LEN:
                return found or None
            if type_ == nl.NLMSG_ERROR:
                (message,) = nl.messages(data[at : at + length])
                name = errno.errorcode.get(nl.answer(message).errno, "?")
                raise KernelError(f"read the connection table: {name}")
            found.append(data[at : at + length])
            at += nl.align(length)
        return found


def entries() -> int:
    """The number of entries in this network namespace; 0 while the module is not loaded."""
    return _number(_COUNT)


def entries_max() -> int:
    """`nf_conntrack_max`: beyond it the kernel refuses connections; 0 means no limit."""
    return _number(_MAX)


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


class Addresses:
    """This node's addresses of both families, in network order."""

    def __init__(self) -> None:
        self._netlink = NetlinkSocket(NETLINK_ROUTE)

    def read(self) -> tuple[frozenset[bytes], frozenset[bytes]]:
        """All of them, and those that carpool did not put there. Raises KernelError."""
        dump = self._netlink.dump(Request("list addresses", rt.get_addresses()))
        found = [address for message in dump if (address := rt.parse_address(message))]
        return (
            frozenset(own.address.ip.packed for own in found),
            frozenset(own.address.ip.packed for own in found if not own.ours),
        )

    def close(self) -> None:
        self._netlink.close()
