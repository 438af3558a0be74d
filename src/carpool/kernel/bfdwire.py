"""BFD on one device by a packet socket: below the firewall's rules and connection tracking.

Room: kernel. As adverts (kernel/adverts.py, docs/decisions/0020-packet-sockets.md): a ruleset that
drops UDP must neither make us deaf nor mute, or a peer that is well would seem to be gone. Frames
in and out; refuses to know what they prove.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from carpool.errors import KernelError
from carpool.kernel.adverts import attach
from carpool.kernel.bfdsocket import PACKETS_MAX, BfdListener, BfdSpeaker, Heard
from carpool.kernel.neighbours import Neighbours
from carpool.model.config import Address, Family
from carpool.proto import bfd, bfdframe, bpf

RECEIVE_BUFFER_BYTES = 256 * 1024
ADDRESSES_MAX = 64

# include/uapi/linux/if_packet.h, include/uapi/asm-generic/socket.h, include/linux/pkt_sched.h
_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_SO_RCVBUFFORCE = 33
_TC_PRIO_CONTROL = 7


class BfdWire:
    """All BFD of one device; a file to poll. For a device that comes back with another index, make
    another."""

    def __init__(self, index: int, device: str, mac: bytes) -> None:
        """Raises KernelError: the device is gone, or this is not root."""
        self.index = index
        self.device = device
        self.mac = mac
        self.receive_errors = 0
        self._ports: dict[Family, BfdListener] = {}
        self._known: dict[bytes, Address] = {}
        self._neighbours = Neighbours(index)
        try:
            self._socket = _packet_socket(index)
        except OSError as error:
            self._neighbours.close()
            raise KernelError(
                f"open a packet socket for BFD on {device}: {_why(error)}",
                hint="this needs root, or CAP_NET_RAW" if error.errno == errno.EPERM else "",
            ) from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def occupy(self, families: Iterable[Family]) -> None:
        """Have the port of these families and no others, and hear nothing there: a port that nobody
        has is answered by ICMP. Raises KernelError: somebody else has one."""
        wanted = set(families)
        for family in [one for one in self._ports if one not in wanted]:
            self._ports.pop(family).close()
        for family in wanted - self._ports.keys():
            made = BfdListener(family, self.index, self.device)
            attach(made.socket, bpf.nothing())
            self._ports[family] = made

    def receive(self, packets_max: int = PACKETS_MAX) -> list[Heard]:
        """What is waiting, at most so many. Never raises for anything that came in."""
        found = []
        for _packet in range(packets_max):
            try:
                frame = self._socket.recv(bpf.SNAP_BYTES)
            except BlockingIOError:
                break
            except OSError:  # the device was set down or removed; LinkMonitor tells
                self.receive_errors += 1
                break
            got = bfdframe.parse(frame)
            if got is None:
                self.receive_errors += 1
                continue
            found.append(Heard(self._address(got.source), got.hop_limit, got.payload))
        return found

    def send(self, speaker: BfdSpeaker, peer: Address, payload: bytes) -> str | None:
        """From the speaker's port; by the speaker itself while it is not known where the peer is.
        Never waits, never raises; what went wrong as text (None: sent)."""
        mac = self._neighbours.mac(peer)
        if mac is None:
            return speaker.send(payload)
        macs = mac, self.mac
        frame = bfdframe.build(macs, speaker.source, peer, speaker.port, payload)
        try:
            self._socket.send(frame)
        except OSError as error:
            speaker.send_errors += 1
            return _why(error)
        return None

    def close(self) -> None:
        self._neighbours.close()
        self._socket.close()
        for port in self._ports.values():
            port.close()

    def _address(self, packed: bytes) -> Address:
        known = self._known.get(packed)
        if known is None:
            if len(self._known) >= ADDRESSES_MAX:  # somebody draws addresses
                self._known.clear()
            known = IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
            self._known[packed] = known
        return known


def _packet_socket(index: int) -> socket.socket:
    """Bound last, so that nothing else slips in; for all protocols, or it would come after the
    rules of a netdev chain."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        made.setblocking(False)
        attach(made, bpf.udp_filter(bfd.PORT))
        made.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _TC_PRIO_CONTROL)
        made.bind((socket.if_indextoname(index), _ETH_P_ALL))
    except OSError:
        made.close()
        raise
    return made


def _why(error: OSError) -> str:
    code = error.errno or 0
    return f"{os.strerror(code)} [{errno.errorcode.get(code, str(code))}]"
