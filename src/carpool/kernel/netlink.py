"""Netlink sockets: requests whose answers are checked, whole dumps, events without silent loss.

Room: kernel. Moves messages and reads errors; refuses to know any family's meaning. A request is
worked on inside `send`, so its answers are there when `send` returns: nothing here waits for longer
than the kernel holds its own locks.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from carpool.errors import KernelError
from carpool.proto import netlink as nl

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024  # of the kernel, for events that we have not read yet
DATAGRAMS_MAX = 64  # read by one `receive`, so that a flood of events cannot keep a loop
_DISCARD_ROUNDS_MAX = 1000
DUMP_TRIES_MAX = 5  # of a dump that changed while it was read

# include/uapi/linux/netlink.h, include/uapi/asm-generic/socket.h
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 1, 10, 11, 12
_SO_RCVBUFFORCE = 33
_DATAGRAM_BYTES = 256 * 1024  # the kernel's largest answer is 32 KiB; our own, so that none is cut


class Overrun(Enum):
    """Events were lost (ENOBUFS): whoever keeps a copy of kernel state reads all of it again."""

    OVERRUN = auto()


OVERRUN = Overrun.OVERRUN


@dataclass(frozen=True, slots=True)
class Request:
    """A message to the kernel, and what a person is told when it is refused."""

    what: str  # operation and object: "add 10.0.0.1/32 to carp51-3"
    message: bytes  # numbered when it is sent
    tolerate: frozenset[int] = frozenset()  # errno values that are as good as success


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that the kernel did not do."""

    request: Request
    errno: int
    text: str  # the kernel's own words, often empty

    @property
    def reason(self) -> str:
        name = errno.errorcode.get(self.errno, str(self.errno))
        words = self.text or os.strerror(self.errno)
        return f"{self.request.what}: {words} [{name}]"


class NetlinkSocket:
    """One netlink socket of the network namespace in which it is made.

    Either for requests and dumps, or (with `groups`) for events; not for both. Not for two threads
    at a time. Raises KernelError when the kernel has no such protocol or group.
    """

    def __init__(self, protocol: int, groups: Iterable[int] = (), *, strict: bool = True) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol
            )
        except OSError as error:
            raise _failed(f"open a netlink socket of protocol {protocol}", error) from error
        self._sequence = 0
        self._configure(groups, strict)

    def _configure(self, groups: Iterable[int], strict: bool) -> None:
        sock = self._socket
        try:
            sock.bind((0, 0))
            sock.setblocking(False)
            sock.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
            sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
            if strict:
                sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
            _enlarge(sock)
            for group in groups:
                sock.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        except OSError as error:
            sock.close()
            raise _failed("prepare a netlink socket", error) from error

    def adopt(self) -> None:
        """Call after a fork: answers to the process before us must not look like ours."""
        self.discard()
        self._sequence = int.from_bytes(os.urandom(3), "big") << 7

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def request(self, requests: Sequence[Request]) -> None:
        """Have the kernel do all of these, in order, in one system call.

        A refused one does not keep the kernel from the others. Raises KernelError naming the first
        refusal and the number of the others.
        """
        refusals = self.attempt(requests)
        if refusals:
            more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
            raise KernelError(f"{refusals[0].reason}{more}", hint=_hint(refusals[0].errno))

    def attempt(
        self, requests: Sequence[Request], batch: tuple[bytes, bytes] | None = None
    ) -> list[Refusal]:
        """As `request`, but hand back what was refused and not tolerated.

        With `batch`, the begin and end messages of nfnetlink, the kernel does all or nothing; a
        batch that is refused as a whole is answered under the number of its begin.
        """
        if not requests:
            return []
        begin, end = batch or (b"", b"")
        whole = self._next()
        numbered = {whole: Request(f"commit: {requests[0].what}", begin)} if batch else {}
        parts = [nl.stamped(begin, 0, whole)] if batch else []
        for request in requests:
            numbered[self._next()] = request
            # The kernel works in order, so one acknowledgement, of the last, tells that all are
            # done; a refusal is told in any case.
            flags = nl.NLM_F_ACK if request is requests[-1] else 0
            parts.append(nl.stamped(request.message, flags, self._sequence))
        last = self._sequence
        if batch:
            parts.append(nl.stamped(end, 0, self._next()))
        self._send(b"".join(parts), requests[0].what)
        refusals = []
        for answer in self._answers(last, whole, requests[0].what):
            refused = numbered.get(answer.sequence)  # None: a late answer to an earlier process
            if refused and answer.errno and answer.errno not in refused.tolerate:
                refusals.append(Refusal(refused, answer.errno, answer.text))
        return refusals

    def ask(self, request: Request) -> list[nl.Message]:
        """The answer to a question about one object; empty for a tolerated refusal."""
        self._next()
        self._send(nl.stamped(request.message, nl.NLM_F_ACK, self._sequence), request.what)
        found = []
        for message in self._messages_of(self._sequence, request.what):
            if message.type != nl.NLMSG_ERROR:
                found.append(message)
                continue
            answer = nl.answer(message)
            if answer.errno and answer.errno not in request.tolerate:
                refusal = Refusal(request, answer.errno, answer.text)
                raise KernelError(refusal.reason, hint=_hint(answer.errno))
            return found
        raise _no_answer(request.what)

    def dump(self, request: Request) -> list[nl.Message]:
        """A consistent list of objects: a dump that was interrupted by a change is made again.

        Empty for a tolerated refusal.
        """
        for _try in range(DUMP_TRIES_MAX):
            self._next()
            self._send(nl.stamped(request.message, 0, self._sequence), request.what)
            found, interrupted = self._dumped(request)
            if not interrupted:
                return found
        raise KernelError(
            f"{request.what}: changed {DUMP_TRIES_MAX} times while it was read [EINTR]",
            hint="what adds and removes links or addresses so fast?",
        )

    def receive(self, datagrams_max: int = DATAGRAMS_MAX) -> list[nl.Message] | Overrun:
        """Events that are waiting (none: an empty list), or OVERRUN when some were lost."""
        found: list[nl.Message] = []
        for _datagram in range(datagrams_max):
            try:
                data, (port, _groups) = self._socket.recvfrom(_DATAGRAM_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return OVERRUN
                raise _failed("receive events", error) from error
            if port == 0:  # the kernel; anybody else is a process that pretends
                found += nl.messages(data)
        return found

    def discard(self) -> None:
        """Throw away the events that are waiting: after an OVERRUN they are older than what was
        lost, and would undo what is read next."""
        for _round in range(_DISCARD_ROUNDS_MAX):
            if self.receive() == []:
                return

    # -------------------------------------------------------------------------------- private

    def _next(self) -> int:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF or 1
        return self._sequence

    def _send(self, batch: bytes, what: str) -> None:
        try:
            self._socket.send(batch)
        except OSError as error:
            raise _failed(what, error) from error

    def _answers(self, last: int, whole: int, what: str) -> Iterable[nl.Answer]:
        """All answers up to that of the last request, or the refusal of the batch as a whole."""
        while True:
            for message in nl.messages(self._datagram(what)):
                if message.type != nl.NLMSG_ERROR:
                    continue
                answer = nl.answer(message)
                yield answer
                if answer.sequence == last or (answer.sequence == whole and answer.errno):
                    return

    def _messages_of(self, sequence: int, what: str) -> Iterable[nl.Message]:
        while True:
            for message in nl.messages(self._datagram(what)):
                if message.sequence == sequence:
                    yield message

    def _dumped(self, request: Request) -> tuple[list[nl.Message], bool]:
        found: list[nl.Message] = []
        interrupted = False
        for message in self._messages_of(self._sequence, request.what):
            interrupted |= bool(message.flags & nl.NLM_F_DUMP_INTR)
            if message.type == nl.NLMSG_DONE:
                code = -int.from_bytes(message.body[:4], sys.byteorder, signed=True)
                text = ""
            elif message.type == nl.NLMSG_ERROR:
                answer = nl.answer(message)
                code, text = answer.errno, answer.text
            else:
                found.append(message)
                continue
            if code > 0 and code not in request.tolerate:
                raise KernelError(Refusal(request, code, text).reason, hint=_hint(code))
            return found, interrupted
        raise _no_answer(request.what)

    def _datagram(self, what: str) -> bytes:
        try:
            return self._socket.recv(_DATAGRAM_BYTES)
        except BlockingIOError as error:
            raise _no_answer(what) from error
        except OSError as error:
            raise _failed(what, error) from error


def _enlarge(sock: socket.socket) -> None:
    """Room for events beyond net.core.rmem_max; without CAP_NET_ADMIN as much as is allowed."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)


def _failed(what: str, error: OSError) -> KernelError:
    code = error.errno or 0
    name = errno.errorcode.get(code, str(code))
    return KernelError(f"{what}: {error.strerror} [{name}]", hint=_hint(code))


def _no_answer(what: str) -> KernelError:
    return KernelError(f"{what}: the kernel did not answer", hint="report this as a bug of carpool")


def _hint(code: int) -> str:
    return "this needs root, or CAP_NET_ADMIN" if code == errno.EPERM else ""
