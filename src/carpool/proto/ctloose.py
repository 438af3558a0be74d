"""TCP entries of this node, told to be liberal: a window that was not seen moving is no judge.

Room: proto. A message of a dump becomes the request that sets the flag; constant work for shapes
that have been seen. Refuses to know when that is due (`service/stateswindow.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from carpool.proto import ctmessage as ct
from carpool.proto import netlink
from carpool.proto.ctpatch import Shapes, free_spans

_NFGEN = ct.NFGEN.pack(ct.AF_INET, 0, 0)
_FLAG = bytes((ct.BE_LIBERAL, ct.BE_LIBERAL))  # struct nf_ct_tcp_flags: flags, mask
_LIBERAL = netlink.nested(
    ct.Cta.PROTOINFO, netlink.nested(1, netlink.attr(4, _FLAG), netlink.attr(5, _FLAG))
)
_NOTHING = slice(0, 0)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the request takes from the message: whole attributes. No `orig`: there is none."""

    orig: slice
    zone: slice


_LEAVE = _Plan(_NOTHING, _NOTHING)


class Loosener:
    """Works on the messages of a dump of this node's table."""

    def __init__(self) -> None:
        self._plans: Shapes[_Plan] = Shapes()

    def request(self, message: bytes) -> bytes:
        """Set "be liberal" both ways; empty for what is no TCP of IPv4 or has it already."""
        plan = self._plans.find(message) or self._learn(message)
        if plan is _LEAVE:
            return b""
        body = _NFGEN + message[plan.orig] + message[plan.zone] + _LIBERAL
        length = netlink.HEADER_LEN + len(body)
        return netlink.HEADER.pack(length, ct.MSG_NEW, ct.CHANGE_FLAGS, 0, 0) + body

    def _learn(self, message: bytes) -> _Plan:
        found = ct.fields(message)
        entry = ct.parse(message)
        if found is None or isinstance(entry, ct.Skip):
            return _LEAVE
        plan = _LEAVE
        if (
            entry.tcp is not None
            and not entry.tcp.flags_orig & entry.tcp.flags_reply & ct.BE_LIBERAL
        ):
            plan = _Plan(_attribute(found, "orig"), _attribute(found, "zone"))
        # Sequence adjustment differs from flow to flow, and does not matter here.
        adjusted = [found[name] for name in found if name.split(".")[0] in ct.OFTEN_ZERO]
        self._plans.learn(message, [*free_spans(found), *adjusted], plan)
        return plan


def _attribute(found: ct.Fields, name: str) -> slice:
    """A whole attribute with its header, as the kernel pads it."""
    if name not in found:
        return _NOTHING
    at, length = found[name]
    return slice(at - netlink.ATTR_LEN, at + netlink.align(length))
