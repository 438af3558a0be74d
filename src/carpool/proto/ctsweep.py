"""What a new master changes in entries that were here before it was one: windows and timeouts.

Room: proto. A message of a dump becomes the request, if any is needed; constant work for shapes
that have been seen. Refuses to know when that is due (`service/statessweep.py`).

TCP is told to be liberal: a window that was not seen moving is no judge. All copies were given a
timeout that outlives the silence between two renewals; now that packets come here, they get the one
that the kernel gives to their protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from carpool.proto import ctmessage as ct
from carpool.proto import netlink
from carpool.proto.ctpatch import Shapes, Span, free_spans

# By protocol: seconds of a flow that is not assured, and of one that is. Others are left alone.
Timeouts = Mapping[int, tuple[int, int]]

_FLAG = bytes((ct.BE_LIBERAL, ct.BE_LIBERAL))  # struct nf_ct_tcp_flags: flags, mask
_LIBERAL = netlink.nested(
    ct.Cta.PROTOINFO, netlink.nested(1, netlink.attr(4, _FLAG), netlink.attr(5, _FLAG))
)
_NOTHING = slice(0, 0)
_ANY_S = 2**32


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the parts of a message are, and what to do."""

    change: bytes  # attributes of the request; empty: the entry is left as it is
    orig: slice  # whole attributes, with their headers
    zone: slice
    timeout: slice  # a value: nothing is done if it is within the limits
    least_s: int
    most_s: int


_LEAVE = _Plan(b"", _NOTHING, _NOTHING, _NOTHING, 0, 0)


class Sweeper:
    """Works on the messages of a dump of this node's table."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._plans: Shapes[_Plan] = Shapes()

    def request(self, message: bytes) -> bytes:
        """What to give to the kernel; empty for what is as it should be."""
        plan = self._plans.find(message) or self._learn(message)
        if not plan.change:
            return b""
        if plan.least_s <= int.from_bytes(message[plan.timeout], "big") <= plan.most_s:
            return b""
        family = ct.NFGEN.pack(message[netlink.HEADER_LEN], 0, 0)
        body = family + message[plan.orig] + message[plan.zone] + plan.change
        length = netlink.HEADER_LEN + len(body)
        return netlink.HEADER.pack(length, ct.MSG_NEW, ct.CHANGE_FLAGS, 0, 0) + body

    def _learn(self, message: bytes) -> _Plan:
        found = ct.fields(message)
        entry = ct.parse(message)
        if found is None or isinstance(entry, ct.Skip):
            return _LEAVE
        plan = self._plan(entry, found)
        # These differ from flow to flow, and do not matter here.
        adjusted = [found[name] for name in found if name.split(".")[0] in ct.OFTEN_ZERO]
        tags = [found[name] for name in found if "vtag" in name or "handshake" in name]
        self._plans.learn(message, [*free_spans(found), *adjusted, *tags], plan)
        return plan

    def _plan(self, entry: ct.Entry, found: ct.Fields) -> _Plan:
        orig = _attribute(found["orig"])
        zone = _attribute(found["zone"]) if "zone" in found else _NOTHING
        timeouts = self._timeouts.get(entry.orig.protocol)
        at, length = found.get("timeout", (0, 0))
        timeout = slice(at, at + length)
        if entry.tcp is not None:
            liberal = entry.tcp.flags_orig & entry.tcp.flags_reply & ct.BE_LIBERAL
            quiet = timeouts is not None and entry.tcp.state == ct.TCP_ESTABLISHED
            change = netlink.be32(ct.Cta.TIMEOUT, timeouts[1]) if quiet and timeouts else b""
            if not liberal:
                return _Plan(_LIBERAL + change, orig, zone, _NOTHING, 1, 0)
            return _Plan(change, orig, zone, timeout, ct.QUIET_TIMEOUT_S + 1, _ANY_S)
        if timeouts is None or not length:
            return _LEAVE
        most_s = timeouts[bool(entry.status & ct.ASSURED)]
        return _Plan(netlink.be32(ct.Cta.TIMEOUT, most_s), orig, zone, timeout, 0, most_s)


def _attribute(value: Span) -> slice:
    """A whole attribute with its header, as the kernel pads it."""
    at, length = value
    return slice(at - netlink.ATTR_LEN, at + netlink.align(length))
