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
from carpool.proto.ctpatch import Shapes, free_spans

# By protocol: seconds of a flow that is not assured, and of one that is. Others are left alone.
Timeouts = Mapping[int, tuple[int, int]]

_FLAG = bytes((ct.BE_LIBERAL, ct.BE_LIBERAL))  # struct nf_ct_tcp_flags: flags, mask
_LIBERAL = netlink.nested(
    ct.Cta.PROTOINFO, netlink.nested(1, netlink.attr(4, _FLAG), netlink.attr(5, _FLAG))
)
_NOTHING = slice(0, 0)
_NEVER_S, _LONGER_S = range(0), range(ct.QUIET_TIMEOUT_S + 1, 2**32)  # than a copy lives


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the parts of a message are, and what to do."""

    change: bytes  # attributes of the request; empty: the entry is left as it is
    orig: slice  # whole attributes, with their headers
    zone: slice
    timeout: slice  # the value
    well_s: range  # a timeout with which the entry is as it should be


_LEAVE = _Plan(b"", _NOTHING, _NOTHING, _NOTHING, _NEVER_S)


class Sweeper:
    """Works on the messages of a dump of this node's table."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._plans: Shapes[_Plan] = Shapes()

    def request(self, message: bytes) -> bytes:
        """What to give to the kernel; empty for what is as it should be."""
        plan = self._plans.find(message) or self._learn(message)
        if not plan.change or int.from_bytes(message[plan.timeout], "big") in plan.well_s:
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
        rare = {*ct.OFTEN_ZERO, "master"}
        adjusted = [found[name] for name in found if name.split(".")[0] in rare]
        tags = [found[name] for name in found if "vtag" in name or "handshake" in name]
        self._plans.learn(message, [*free_spans(found), *adjusted, *tags], plan)
        return plan

    def _plan(self, entry: ct.Entry, found: ct.Fields) -> _Plan:
        normal_s = self._timeouts.get(entry.orig.protocol, (0, 0))[bool(entry.status & ct.ASSURED)]
        change = netlink.be32(ct.Cta.TIMEOUT, normal_s) if normal_s and "timeout" in found else b""
        well_s = range(normal_s + 1)
        if entry.tcp is not None:
            if entry.tcp.state != ct.TCP_ESTABLISHED:
                change = b""
            well_s = _LONGER_S
            if not entry.tcp.flags_orig & entry.tcp.flags_reply & ct.BE_LIBERAL:
                change, well_s = _LIBERAL + change, _NEVER_S
        at, length = found.get("timeout", (0, 0))
        zone = ct.attribute(found["zone"]) if "zone" in found else _NOTHING
        return _Plan(change, ct.attribute(found["orig"]), zone, slice(at, at + length), well_s)
