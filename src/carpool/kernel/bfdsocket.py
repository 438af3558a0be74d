"""UDP sockets of BFD, single hop (RFC 5881): one to hear on each link and family, one to speak for
each session.

Room: kernel. Datagrams in and out; refuses to know what is in them and what they prove. That the
hop limit is 255 is told, and judged in proto/bfd.py.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from carpool.errors import KernelError
from carpool.model.config import Address, Family
from carpool.proto import bfd

PACKETS_MAX = 64
RECEIVE_BUFFER_BYTES = 256 * 1024
PORT_TRIES_MAX = 32

# include/uapi/asm-generic/socket.h, include/uapi/linux/in.h, include/linux/pkt_sched.h
_SO_BINDTOIFINDEX = 62
_IP_RECVTTL = 12
_TC_PRIO_CONTROL = 7
_DSCP_CS6 = 0xC0  # RFC 2474's internetwork control, as FRR marks its own
_INT = struct.Struct("=i")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_INT.size)


class Heard(NamedTuple):
    """A datagram to port 3784; nothing in it has been checked."""

    source: Address
    hop_limit: int  # -1: the kernel did not tell
    payload: bytes


def draw() -> int:
    """A random number of 32 bits: discriminators, the first sequence numbers."""
    return int.from_bytes(os.urandom(4), "big")


def chance() -> float:
    """A random number of [0, 1): jitter."""
    return draw() / (1 << 32)


class BfdListener:
    """All control packets of one family that come in on one device; a file to poll."""

    def __init__(self, family: Family, index: int, device: str) -> None:
        """Raises KernelError: the device is gone, or somebody else hears BFD here."""
        self.family = family
        self.index = index
        self.receive_errors = 0
        self._known: dict[str, Address] = {}  # texts of the kernel, so that none is read twice
        try:
            self.socket = _opened(family, index)
            try:
                self.socket.bind(("", bfd.PORT))
            except OSError:
                self.socket.close()
                raise
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise KernelError(
                f"hear BFD over {family} on {device} (UDP port {bfd.PORT}): {_why(error)}",
                hint="another BFD daemon runs here: `ss -lunp` names it" if taken else "",
            ) from error

    def fileno(self) -> int:
        return self.socket.fileno()

    def receive(self, packets_max: int = PACKETS_MAX) -> list[Heard]:
        """What is waiting, at most so many. Never raises for anything that came in."""
        found = []
        for _packet in range(packets_max):
            try:
                payload, ancillary, _flags, where = self.socket.recvmsg(
                    bfd.PACKET_MAX_BYTES, _ANCILLARY_BYTES
                )
            except BlockingIOError:
                break
            except OSError:  # the device was set down or removed; LinkMonitor tells
                self.receive_errors += 1
                break
            hop_limit = _INT.unpack(ancillary[0][2])[0] if ancillary else -1
            found.append(Heard(self._address(where[0]), hop_limit, payload))
        return found

    def close(self) -> None:
        self.socket.close()

    def _address(self, text: str) -> Address:
        known = self._known.get(text)
        if known is None:
            if len(self._known) >= PACKETS_MAX:  # somebody draws addresses
                self._known.clear()
            plain = text.partition("%")[0]
            known = IPv4Address(plain) if self.family is Family.IPV4 else IPv6Address(plain)
            self._known[text] = known
        return known


class BfdSpeaker:
    """Sends the packets of one session: from one port of the range, which stays (RFC 5881, 4)."""

    def __init__(self, index: int, device: str, source: Address, peer: Address) -> None:
        """`source`: our own address on the link. Raises KernelError."""
        family = Family.IPV4 if peer.version == 4 else Family.IPV6
        self.index = index
        self.source = source
        self.send_errors = 0
        try:
            self._socket = _opened(family, index)
            try:
                # Nothing is to be heard here: the port 3784 of the link is the listener's.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
                self.port = _bind(self._socket, source, index)
                self._socket.connect(_where(peer, bfd.PORT, index))
            except OSError:
                self._socket.close()
                raise
        except OSError as error:
            raise KernelError(f"speak BFD to {peer} on {device}: {_why(error)}") from error

    def send(self, payload: bytes) -> str | None:
        """Never waits, never raises; what went wrong as text (None: sent)."""
        try:
            self._socket.send(payload)
        except ConnectionRefusedError:
            # An ICMP answer to an earlier one; asking took it away, so this one goes out now.
            return self._again(payload)
        except OSError as error:
            self.send_errors += 1
            return _why(error)
        return None

    def close(self) -> None:
        self._socket.close()

    def _again(self, payload: bytes) -> str | None:
        try:
            self._socket.send(payload)
        except OSError as error:
            self.send_errors += 1
            return _why(error)
        return None


def _opened(family: Family, index: int) -> socket.socket:
    """Bound to the device, hop limit 255 both ways, never waiting."""
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    made = socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, socket.IPPROTO_UDP)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, index)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _TC_PRIO_CONTROL)
        if family is Family.IPV4:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, bfd.HOP_LIMIT)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _DSCP_CS6)
            made.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, bfd.HOP_LIMIT)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _DSCP_CS6)
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    except OSError:
        made.close()
        raise
    return made


def _bind(made: socket.socket, source: Address, index: int) -> int:
    """To a port of the range that is free; where is chance, so that who is afar cannot know it."""
    first, last = bfd.SOURCE_PORTS
    for left in reversed(range(PORT_TRIES_MAX)):
        port = first + draw() % (last - first + 1)
        try:
            made.bind(_where(source, port, index))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or left == 0:
                raise
        else:
            return port
    raise AssertionError("unreachable")


def _where(address: Address, port: int, index: int) -> tuple[str, int] | tuple[str, int, int, int]:
    if address.version == 4:
        return str(address), port
    return str(address), port, 0, index if address.is_link_local else 0


def _why(error: OSError) -> str:
    code = error.errno or 0
    return f"{os.strerror(code)} [{errno.errorcode.get(code, str(code))}]"
