"""MAC addresses of unicast peers, from the kernel's neighbour table.

Room: kernel. Asking takes a lock of the kernel, so it happens in the background and the last answer
is used meanwhile. Refuses to know why a frame is sent.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from carpool.errors import KernelError
from carpool.kernel.background import Background
from carpool.kernel.clock import monotonic_s
from carpool.kernel.netlink import NETLINK_ROUTE, NetlinkSocket, Request
from carpool.model.config import Address
from carpool.proto import rtnetlink as rt

REFRESH_S = 5.0  # a peer that got another network card is reached again by then
RETRY_S = 0.2  # while unresolved

_ABSENT = frozenset({errno.ENOENT})


@dataclass(slots=True)
class _Known:
    mac: bytes | None
    ask_at_s: float


class Neighbours:
    """The peers on one device. `mac` never waits."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._known: dict[Address, _Known] = {}  # as many as node.toml has peers
        self._background = Background(f"neighbours of {index}")
        self._socket = NetlinkSocket(NETLINK_ROUTE)  # the background thread's

    def mac(self, address: Address) -> bytes | None:
        """Where frames for `address` go, or None while the kernel does not know."""
        known = self._known.setdefault(address, _Known(None, 0.0))
        now_s = monotonic_s()
        if now_s >= known.ask_at_s:
            known.ask_at_s = now_s + (REFRESH_S if known.mac else RETRY_S)
            self._background.submit(address, lambda: self._ask(address, known))
        return known.mac

    def close(self) -> None:
        self._background.close()
        self._socket.close()

    def _ask(self, address: Address, known: _Known) -> None:
        where = f"neighbour {address} on device {self._index}"
        try:
            question = Request(f"look up {where}", rt.get_neighbour(self._index, address), _ABSENT)
            found = [rt.parse_neighbour(message) for message in self._socket.ask(question)]
            known.mac = next((entry.mac for entry in found if entry and entry.mac), None)
            # Also when it is known: the kernel checks an entry that it has not used for a while.
            resolve = rt.resolve_neighbour(self._index, address)
            self._socket.request([Request(f"resolve {where}", resolve)])
        except KernelError:
            known.mac = None  # the device is gone; sending tells so
