"""A create request whose tuples are in use: is it the same flow, and how is it updated? On bytes.

Room: proto. After a break nearly all of a peer's table is here already, so this is done for every
entry of it: known shapes cost some slices. Refuses to know what to do with another flow that is in
the way (`machine/replica.py`, settle).
"""

from __future__ import annotations

from dataclasses import dataclass

from carpool.proto import ctmessage as ct
from carpool.proto import netlink
from carpool.proto.ctgate import FREE
from carpool.proto.ctpatch import Shapes, Span

_FLAGS = ct.CHANGE_FLAGS
_NFGEN = slice(netlink.HEADER_LEN, ct.BODY_AT)
_HEADER = netlink.HEADER.pack


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the parts of a create request are. Attributes are given with their headers."""

    orig: slice
    reply: slice
    state: slice  # all that an update may change: what follows tuples and translations
    zone: slice
    patches: tuple[tuple[slice, slice], ...]  # of the reply, and the translated value for it


class Prober:
    """Works on create requests that have passed the gate, or that we built."""

    def __init__(self) -> None:
        self._plans: Shapes[_Plan] = Shapes()

    def get(self, create: bytes) -> bytes:
        """The request for the entry that has this original tuple."""
        plan = self._plan_of(create)
        body = create[_NFGEN] + create[plan.orig] + create[plan.zone]
        return _HEADER(netlink.HEADER_LEN + len(body), ct.MSG_GET, _FLAGS, 0, 0) + body

    def same(self, create: bytes, answer: bytes) -> bool:
        """Whether the entry of the kernel's answer has both tuples, the reply as translated."""
        plan = self._plan_of(create)
        reply = bytearray(create[plan.reply])
        for place, value in plan.patches:
            reply[place] = create[value]
        # The kernel writes both tuples first (ctnetlink_fill_info).
        return answer.startswith(create[plan.orig] + reply, ct.BODY_AT)

    def update(self, create: bytes) -> bytes:
        """The request that gives that entry this one's state."""
        plan = self._plan_of(create)
        body = create[_NFGEN] + create[plan.orig] + create[plan.state]
        return _HEADER(netlink.HEADER_LEN + len(body), ct.MSG_NEW, _FLAGS, 0, 0) + body

    def _plan_of(self, create: bytes) -> _Plan:
        plan = self._plans.find(create)
        if plan is None:
            found = ct.fields(create)
            assert found is not None  # it has passed the gate
            plan = _plan(create, found)
            leaves = [found[name] for name in found if name in FREE]
            self._plans.learn(create, leaves, plan)
        return plan


def _value(value: Span) -> slice:
    at, length = value
    return slice(at, at + length)


def _plan(create: bytes, found: ct.Fields) -> _Plan:
    reply = ct.attribute(found["reply"])
    nats = [nat for nat in ("nat_src", "nat_dst") if nat in found]
    sources = {
        "reply.ip.dst": "nat_src.min_ip",
        "reply.proto.dport": "nat_src.proto.min_port",
        "reply.ip.src": "nat_dst.min_ip",
        "reply.proto.sport": "nat_dst.proto.min_port",
        "reply.proto.id": f"{nats[0]}.proto.min_port" if nats else "",  # ICMP has one id
    }
    patches = [
        (slice(at - reply.start, at - reply.start + length), _value(found[source]))
        for name, source in sources.items()
        if name in found and source in found
        for at, length in (found[name],)
    ]
    return _Plan(
        orig=ct.attribute(found["orig"]),
        reply=reply,
        state=slice(found["status"][0] - netlink.ATTR_LEN, len(create)),
        zone=ct.attribute(found["zone"]) if "zone" in found else slice(0, 0),
        patches=tuple(patches),
    )
