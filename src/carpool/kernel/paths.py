"""Whether packets get from this node to a peer: connections, and packets of full size.

Room: kernel. Sends some packets and waits for their answers; refuses to judge what is missing.
"""

from __future__ import annotations

import os
import select
import socket
import struct

from carpool.errors import KernelError
from carpool.kernel.clock import monotonic_s
from carpool.model.config import Address
from carpool.proto.carp import checksum

CONNECT_WAIT_S = 2.0
ECHO_WAIT_S = 0.5  # for the first one; then ten times what that took, and a little more:
ECHO_MORE_S = 0.1  # both ends are on one wire, and most of those that get lost are waited for
TRIES = 3
SMALL_BYTES = 576  # RFC 1122, 3.3.2: every host takes as many

# include/uapi/linux/in.h, in6.h: never fragment, and pay no heed to what is known of the path
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3
_ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_PROTOCOL = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
_HEADER_BYTES = {4: 20, 6: 40}


def connects(source: Address, target: Address, port: int) -> str:
    """Why no TCP connection comes about; empty when one does."""
    try:
        with socket.create_connection(
            (str(target), port), CONNECT_WAIT_S, source_address=(str(source), 0)
        ):
            return ""
    except TimeoutError:
        return f"no answer within {CONNECT_WAIT_S:g} s"
    except OSError as error:
        return error.strerror or str(error)


def path_mtu(source: Address, target: Address, mtu: int) -> int | None:
    """The largest IP packet, up to `mtu` bytes, that is answered; None when not even small ones
    are. Raises KernelError."""
    with _Echoes(source, target) as echoes:
        if not echoes.answered(min(SMALL_BYTES, mtu)):
            return None
        if echoes.answered(mtu):
            return mtu
        low, high = min(SMALL_BYTES, mtu), mtu
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if echoes.answered(middle) else (low, middle)
        return low


class _Echoes:
    def __init__(self, source: Address, target: Address) -> None:
        self._version = source.version
        self._target = target
        self._sequence = 0
        self._wait_s = ECHO_WAIT_S
        family = socket.AF_INET if self._version == 4 else socket.AF_INET6
        try:
            self._socket = socket.socket(family, socket.SOCK_RAW, _PROTOCOL[self._version])
            self._socket.setblocking(False)
            self._socket.bind((str(source), 0))
            if self._version == 4:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE)
            else:
                self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PROBE)
        except OSError as error:
            raise KernelError(
                f"send echo requests from {source}: {error.strerror}", hint="this needs root"
            ) from error

    def __enter__(self) -> _Echoes:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def answered(self, size: int) -> bool:
        """Whether an echo request in an IP packet of `size` bytes is, in one of some tries."""
        return any(self._answered(size) for _ in range(TRIES))

    def _answered(self, size: int) -> bool:
        self._sequence += 1
        head = (os.getpid() & 0xFFFF, self._sequence)
        data = bytes(size - _HEADER_BYTES[self._version] - _ECHO.size)
        kind = _REQUEST[self._version]
        # Of ICMPv6 the kernel makes the checksum, which covers addresses, too.
        sum_ = checksum(_ECHO.pack(kind, 0, 0, *head) + data) if self._version == 4 else 0
        try:
            self._socket.sendto(_ECHO.pack(kind, 0, sum_, *head) + data, (str(self._target), 0))
        except OSError:
            return False  # larger than the device takes, or nobody there
        sent_s = monotonic_s()
        until_s = sent_s + self._wait_s
        while (left_s := until_s - monotonic_s()) > 0:
            if not select.select([self._socket], [], [], left_s)[0]:
                return False
            try:
                packet, sender = self._socket.recvfrom(65536)
            except OSError:
                return False
            start = (packet[0] & 0x0F) * 4 if self._version == 4 else 0
            if len(packet) < start + _ECHO.size or sender[0] != str(self._target):
                continue
            found = _ECHO.unpack_from(packet, start)
            if (found[0], *found[3:]) == (_REPLY[self._version], *head):
                took_s = monotonic_s() - sent_s
                self._wait_s = min(ECHO_WAIT_S, 10 * took_s + ECHO_MORE_S)
                return True
        return False
