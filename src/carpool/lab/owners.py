"""Who owns the VIPs, and for how long two firewalls do: by the word of their kernels.

Room: lab. A process in the namespace of each firewall notes when a VIP comes and goes; what is made
of that is pure. Refuses to know who ought to own one.
"""

from __future__ import annotations

import select
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.kernel.netlink import NETLINK_ROUTE, OVERRUN, NetlinkSocket, Request
from carpool.lab.channel import Child, Commands, close_all
from carpool.lab.topology import VIP_SEGMENTS, Network
from carpool.proto import netlink as nl
from carpool.proto import rtnetlink as rt

ANSWER_WAIT_S = 5.0
POLL_S = 0.01
MOVES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """A kernel got an address, or has it no more."""

    at_s: float
    address: str
    owned: bool


History = Mapping[str, Sequence[Change]]  # by firewall


def two_owners_s(history: History, since_s: float, until_s: float) -> float:
    """For how long in all, between these times, some address had two owners or more."""
    addresses = {change.address for changes in history.values() for change in changes}
    spans = [
        span
        for address in addresses
        for span in _shared(history, address)
        if span[1] > since_s and span[0] < until_s
    ]
    clipped = sorted((max(since_s, begin), min(until_s, end)) for begin, end in spans)
    total_s, reached_s = 0.0, since_s
    for begin_s, end_s in clipped:
        total_s += max(0.0, end_s - max(begin_s, reached_s))
        reached_s = max(reached_s, end_s)
    return total_s


def ended(changes: Sequence[Change], at_s: float) -> list[Change]:
    """A history that ends with the power: what is owned then is on no link any more."""
    kept = [change for change in changes if change.at_s < at_s]
    return kept + [Change(at_s, one, False) for one in {change.address for change in kept}]


def _shared(history: History, address: str) -> Iterable[tuple[float, float]]:
    """Begin and end of every time in which two owned it; the last one may not end."""
    marks = sorted(
        (change.at_s, name, change.owned)
        for name, changes in history.items()
        for change in changes
        if change.address == address
    )
    owners: set[str] = set()
    since_s: float | None = None
    for at_s, name, owned in marks:
        (owners.add if owned else owners.discard)(name)
        if len(owners) > 1 and since_s is None:
            since_s = at_s
        elif len(owners) < 2 and since_s is not None:
            yield since_s, at_s
            since_s = None
    if since_s is not None:
        yield since_s, float("inf")


class Owners:
    """Looks at all firewalls from when it is made; use as a context manager."""

    def __init__(self, network: Network, firewalls: Iterable[str]) -> None:
        vips = sorted({str(own.ip) for segment in VIP_SEGMENTS for own in segment.vip()})
        self._watched: dict[str, Child] = {}
        try:
            for name in firewalls:
                self._watched[name] = Child(network.namespace(name), "owners", *vips)
            for child in self._watched.values():
                _wait_ready(child)
        except BaseException:
            self.close()
            raise

    def history(self) -> dict[str, list[Change]]:
        """What each has seen so far."""
        for child in self._watched.values():
            child.send("measure")
        return {name: self._told(child) for name, child in self._watched.items()}

    def _told(self, child: Child) -> list[Change]:
        deadline_s = monotonic_s() + ANSWER_WAIT_S
        while (told := child.result()) is None:
            if monotonic_s() > deadline_s:
                raise CarpoolError("what looks at the owners of the VIPs does not answer")
            sleep_s(POLL_S)
        return [Change(*change) for change in told["changes"]]

    def close(self) -> None:
        close_all(list(self._watched.values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _wait_ready(child: Child) -> None:
    deadline_s = monotonic_s() + ANSWER_WAIT_S
    while not child.latest:
        if monotonic_s() > deadline_s:
            raise CarpoolError("what looks at the owners of the VIPs does not begin")
        sleep_s(POLL_S)
        child.read()


def run_owners(vips: Sequence[str]) -> int:
    """Remember what becomes of these addresses here, until the lab is gone."""
    commands, wanted = Commands(), set(vips)
    events = NetlinkSocket(NETLINK_ROUTE, (rt.RTNLGRP_IPV4_IFADDR, rt.RTNLGRP_IPV6_IFADDR))
    owned: set[str] = set()
    changes: list[tuple[float, str, bool]] = []

    def follow(messages: Iterable[nl.Message]) -> None:
        now_s = monotonic_s()
        for message in messages:
            found = rt.parse_address(message)
            address = "" if found is None else str(found.address.ip)
            is_new = message.type == rt.RTM_NEWADDR
            if address in wanted and is_new != (address in owned):
                (owned.add if is_new else owned.discard)(address)
                del changes[:-MOVES_MAX]
                changes.append((now_s, address, is_new))

    asking = NetlinkSocket(NETLINK_ROUTE)
    follow(asking.dump(Request("list the addresses", rt.get_addresses())))
    commands.report({"kind": "stats", "ready": True})
    while not commands.ended:
        ready, _, _ = select.select([commands.descriptor, events], [], [])
        if events in ready:
            seen = events.receive()
            if seen is OVERRUN:
                raise CarpoolError("the kernel lost events of addresses")
            follow(seen)
        if commands.descriptor in ready:
            for _command in commands.read():
                commands.report({"kind": "result", "changes": changes})
    return 0
