"""The kernel's own bytes, moved: an event becomes the request that a peer's kernel takes.

Room: proto. Constant work per message: nothing is parsed whose shape has been seen. Refuses to know
what a message means: whatever it has not seen goes through `ctmessage.py`, the reference, and what
comes out teaches it the shape.

A *shape* is every byte of a message but the values that may differ between two flows (addresses,
ports, timeouts, marks...), so the headers of all attributes, the status and the TCP state belong to
it. One AND and one look-up of the message, taken as a number, find it. A *recipe* says which of the
message's values and which constants make up the request; it is read off the reference's answer.
Messages of one shape that come together are worked on together, as one large number.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter, ne
from typing import Any, Generic, TypeVar

from carpool.proto import ctexclude, ctexpect, netlink
from carpool.proto import ctmessage as ct
from carpool.proto.ctfields import EXP_DELETE

SHAPES_MAX = 1024  # learned at a time; one takes about 5 kB. When full, all are learned anew
RUN_MAX = 64  # messages of one shape that are looked at together; more gains nothing (measured)
RUN_MIN = 4  # and fewer neither
RUNS_MAX = 64  # shapes that are ready for this; one takes about 30 kB
_ATTR_LENGTH = struct.Struct("=H")
_ZONE_HEADER = netlink.ATTR.pack(6, ct.Cta.ZONE)
_DELETE_TYPES = frozenset(struct.pack("=H", type_) for type_ in (ct.MSG_DELETE, EXP_DELETE))

_ORIG_LEAVES = ("ip.src", "ip.dst", "proto.sport", "proto.dport", "proto.id")
_ENDS = ("ip.src", "ip.dst", "proto.sport", "proto.dport")  # of each way, for _variant
_SWAPPED = {
    **{"ip.src": "ip.dst", "ip.dst": "ip.src", "proto.id": "proto.id"},
    **{"proto.sport": "proto.dport", "proto.dport": "proto.sport"},
}
_SAME = (
    *("timeout", "mark", "zone", "orig.zone", "reply.zone"),
    *("protoinfo.tcp.wscale_orig", "protoinfo.tcp.wscale_reply"),
)
# Values of a request, each with the value of the event that it is; the rest of it is constant.
_SOURCES = (
    {f"orig.{leaf}": f"orig.{leaf}" for leaf in _ORIG_LEAVES}
    | {f"reply.{leaf}": f"orig.{_SWAPPED[leaf]}" for leaf in _ORIG_LEAVES}
    | {name: name for name in _SAME}
)
_NAT_SOURCES = {
    **{"nat_src.min_ip": "reply.ip.dst", "nat_src.max_ip": "reply.ip.dst"},
    **{"nat_dst.min_ip": "reply.ip.src", "nat_dst.max_ip": "reply.ip.src"},
}
_NAT_PORTS = {
    **{"nat_src.proto.min_port": "dport", "nat_src.proto.max_port": "dport"},
    **{"nat_dst.proto.min_port": "sport", "nat_dst.proto.max_port": "sport"},
}
# Values of an event that differ between flows of one shape: those above, and what does not travel.
_TAKEN = frozenset(
    {*_SAME, *(f"{way}.{leaf}" for way in ("orig", "reply") for leaf in _ORIG_LEAVES)}
)
# Flows of one shape differ in these.
_BY_VALUES = (ct.Skip.LOCAL, ct.Skip.OWN_ADDRESS, ct.Skip.EXCLUDED)
# An event tells of the master and of moved sequence numbers only that there are some.
_TOLD_BY_STATUS = ct.EXPECTED | ct.SEQ_ADJUST

T = TypeVar("T")
Question = tuple[bytes, bytes]  # a get request; what travels after the answer, if that does
Span = tuple[int, int]  # offset, length
Column = tuple[bytes, ...]  # one value of many messages
FREE_HEADER = ((8, 8), (18, 2))  # sequence and port; res_id, in which dumps tell their generation


def free_spans(found: ct.Fields) -> list[Span]:
    """Where two messages of the kernel that tell the same of two flows may differ."""
    return [
        *(span for name, span in found.items() if name in _TAKEN | ct.MEANINGLESS),
        *FREE_HEADER,
    ]


def is_delete(request: bytes) -> bool:
    """Whether a netlink message is of the type that removes entries (DESTROY events too)."""
    return request[4:6] in _DELETE_TYPES


def is_made_by_hand(event: bytes) -> bool:
    """Whether a program asked for this change: packets have no netlink port (nlmsghdr)."""
    return event[12:16] != b"\0\0\0\0"


def flow_of(request: bytes) -> bytes:
    """What tells the flow of a create or delete request of ours from any other: its original tuple
    and, if it has one, its zone, which is the last attribute."""
    (length,) = _ATTR_LENGTH.unpack_from(request, ct.BODY_AT)
    zone = request[-8:] if request[-8:-4] == _ZONE_HEADER else b""
    return request[ct.BODY_AT : ct.BODY_AT + length] + zone


class Shapes(Generic[T]):
    """Something known about messages that differ in free values only."""

    __slots__ = ("_by_length", "_count", "_runs")

    def __init__(self) -> None:
        # length -> for each arrangement of free values: the mask that blanks them, and what is
        # known by what is left
        self._by_length: dict[int, list[tuple[int, dict[int, T]]]] = {}
        self._count = 0
        # RUN_MAX times a mask, RUN_MAX times what is left: made when it is first of use
        self._runs: dict[tuple[int, int], tuple[int, int]] = {}

    def find(self, message: bytes | memoryview) -> T | None:
        """What was learned of this message's shape; None: not seen before."""
        number = int.from_bytes(message, "little")
        for mask, known in self._by_length.get(len(message), ()):
            value = known.get(number & mask)
            if value is not None:
                return value
        return None

    def find_run(self, joined: bytes, length: int) -> T | None:
        """What was learned of the shape that all of these messages have, RUN_MAX of the same length
        at most; None: not seen before, or not all of one shape."""
        first = int.from_bytes(joined[:length], "little")
        for mask, known in self._by_length.get(length, ()):
            value = known.get(first & mask)
            if value is not None:
                masks, wanted = self._run(mask, first & mask, length)
                beyond = 8 * (RUN_MAX * length - len(joined))
                alike = int.from_bytes(joined, "little") & masks == wanted >> beyond
                return value if alike else None
        return None

    def _run(self, mask: int, number: int, length: int) -> tuple[int, int]:
        run = self._runs.get((mask, number))
        if run is None:
            masks, wanted = (
                int.from_bytes(one.to_bytes(length, "little") * RUN_MAX, "little")
                for one in (mask, number)
            )
            if len(self._runs) >= RUNS_MAX:
                self._runs.clear()
            run = self._runs[mask, number] = masks, wanted
        return run

    def learn(self, message: bytes | memoryview, free: Iterable[Span], value: T) -> None:
        """Remember `value` for all messages that equal this one outside the free spans."""
        if self._count >= SHAPES_MAX:
            self._by_length.clear()
            self._runs.clear()
            self._count = 0
        self._count += 1
        fixed = bytearray(b"\xff" * len(message))
        for at, length in free:
            fixed[at : at + length] = bytes(length)
        mask = int.from_bytes(fixed, "little")
        number = int.from_bytes(message, "little") & mask
        arrangements = self._by_length.setdefault(len(message), [])
        for known_mask, known in arrangements:
            if known_mask == mask:
                known[number] = value
                return
        arrangements.append((mask, {number: value}))


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a request is put together: `pick` chooses from the taken values and the constants."""

    pick: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]
    constants: tuple[bytes, ...]

    def build(self, values: tuple[bytes, ...]) -> bytes:
        return b"".join(self.pick(values + self.constants))

    def build_all(self, columns: tuple[tuple[bytes, ...], ...]) -> list[bytes]:
        """The same for many: each column is one value of all of them."""
        pick: Any = self.pick
        parts = pick((*columns, *map(repeat, self.constants)))
        return list(map(b"".join, zip(*parts, strict=False)))  # the constants never end


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the values of a shape are, and what to do with its messages."""

    skip: ct.Skip | None  # none of its messages travels
    partial: bool  # the kernel knows more: the recipes are those of questions
    protocol: int
    mark: slice  # its value; empty where it is zero
    form: struct.Struct
    take: Callable[[bytes], tuple[Any, ...]]  # form.unpack
    names: tuple[str, ...]  # of the taken values, in their order
    ends: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]  # src, dst, sport, dport; both ways
    goes_quiet: bool  # the timeout of the request is the same for all
    without: tuple[str, ...]  # counters of what does not travel along
    recipes: list[_Recipe | None]  # by variant: what is translated


class Patcher:
    """Turns events and dump messages into requests for a peer.

    `causes` counts what stays here: `skipped_` and a `Skip`, `without_` and a part of an entry that
    travels without it, `unknown_attribute` (of a kernel newer than this file).
    """

    def __init__(self, rules: ct.Rules) -> None:
        self.rules = rules
        self.causes: Counter[str] = Counter()
        self.parsed = 0  # messages that took the slow path
        self._labels = False
        self._questions: list[Question] = []

    @property
    def rules(self) -> ct.Rules:
        return self._rules

    @rules.setter
    def rules(self, rules: ct.Rules) -> None:
        self._rules, self._local, self._own = rules, rules.local, rules.own
        self._excluded = ctexclude.judge(rules.exclusions)
        self._shapes: Shapes[_Layout] = Shapes()

    @property
    def labels(self) -> bool:
        """Whether labels are in use here: events do not tell them."""
        return self._labels

    @labels.setter
    def labels(self, labels: bool) -> None:
        self._labels = labels
        self._shapes = Shapes()

    def questions(self) -> list[Question]:
        """For entries of which the messages since the last call told a part only, and for those
        that an expectation belongs to. The answers are messages as any other."""
        asked, self._questions = self._questions, []
        return asked

    def request(self, message: bytes) -> bytes:
        """The create or (for a DESTROY) delete request; empty when the entry does not travel."""
        layout = self._shapes.find(message)
        if layout is None:
            return self._parse(message)
        if layout.skip is not None:
            self.causes[f"skipped_{layout.skip}"] += 1
            return b""
        values = layout.take(message)
        osrc, _, _, _, rsrc, rdst, _, _ = ends = layout.ends(values)
        if osrc in self._local or rsrc in self._local or rdst in self._own:
            return self._parse(message)  # it stays here: let the reference say why
        if self._excluded is not None and self._excluded(
            layout.protocol, ends, int.from_bytes(message[layout.mark], "big")
        ):
            return self._parse(message)
        recipe = layout.recipes[_variant(ends)]
        if recipe is None:
            return self._parse(message)
        if layout.partial:
            self._questions.append((recipe.build(values), b""))
            return b""
        if layout.without:
            self.causes.update(layout.without)
        return recipe.build(values)

    def requests(self, messages: Sequence[bytes]) -> list[bytes]:
        """`request` of each, in their order."""
        if len(set(map(len, messages))) == 1:
            return self._alike(messages)
        places: dict[int, list[int]] = {}
        for place, message in enumerate(messages):
            places.setdefault(len(message), []).append(place)
        found = [b""] * len(messages)
        for of_length in places.values():
            requests = self._alike([messages[place] for place in of_length])
            for place, request in zip(of_length, requests, strict=True):
                found[place] = request
        return found

    def _alike(self, messages: Sequence[bytes]) -> list[bytes]:
        """`request` of messages of one length, each run at once if it is of one shape."""
        found: list[bytes] = []
        for at in range(0, len(messages), RUN_MAX):
            run = messages[at : at + RUN_MAX]
            together = self._together(run) if len(run) >= RUN_MIN else None
            found += map(self.request, run) if together is None else together
        return found

    def _together(self, run: Sequence[bytes]) -> list[bytes] | None:
        """What `request` gives for each; None: they differ in more than values, or stay here."""
        joined = b"".join(run)
        layout = self._shapes.find_run(joined, len(run[0]))
        if layout is None or layout.skip is not None or self._excluded is not None:
            return None
        columns = tuple(zip(*layout.form.iter_unpack(joined), strict=True))
        ends: Any = layout.ends
        osrc, odst, osport, odport, rsrc, rdst, rsport, rdport = ends(columns)
        here = self._local
        if not (here.isdisjoint(osrc) and here.isdisjoint(rsrc) and self._own.isdisjoint(rdst)):
            return None
        source_nat = _moved(rdst, osrc, rdport, osport)
        destination_nat = _moved(rsrc, odst, rsport, odport)
        if source_nat is None or destination_nat is None:
            return None
        recipe = layout.recipes[source_nat + 2 * destination_nat]
        if recipe is None:
            return None
        if layout.partial:
            self._questions += zip(recipe.build_all(columns), repeat(b""))
            return [b""] * len(run)
        for cause in layout.without:
            self.causes[cause] += len(run)
        return recipe.build_all(columns)

    def _parse(self, message: bytes) -> bytes:
        """The slow path."""
        self.parsed += 1
        if ctexpect.concerns(message):
            return self._expectation(message)
        entry = ct.parse(message)
        skip = entry if isinstance(entry, ct.Skip) else self._rules.skip(entry)
        if isinstance(entry, ct.Skip) or skip in _BY_VALUES:
            self.causes[f"skipped_{skip}"] += 1
            if isinstance(entry, ct.Entry) and skip is ct.Skip.EXCLUDED and _is_news(message):
                return ct.delete_request(entry)  # perhaps it was not until now
            return b""
        if skip is None and self._is_partial(message, entry):
            question = ct.get_request(entry.orig, entry.zone)
            self._learn(message, entry, skip, question, partial=True)
            self._questions.append((question, b""))
            return b""
        make = ct.delete_request if is_delete(message) else ct.create_request
        request = make(entry)
        self._learn(message, entry, skip, request)
        if skip is not None:
            self.causes[f"skipped_{skip}"] += 1
            return b""
        self.causes.update(_without(entry))
        return request

    def _is_partial(self, message: bytes, entry: ct.Entry) -> bool:
        wanted = self._labels or entry.status & _TOLD_BY_STATUS
        return bool(wanted) and _is_news(message)

    def _expectation(self, message: bytes) -> bytes:
        """It travels if its master does, and after it: the helper has changed what passes there."""
        request, master = ctexpect.request(message), ctexpect.master_of(message)
        if not request or master is None:
            self.causes["skipped_malformed"] += 1
        elif ctexpect.is_local(message, self._local):
            self.causes["skipped_local"] += 1
        else:
            self._questions.append((ct.get_request(master, None), request))
        return b""

    def _learn(
        self,
        message: bytes,
        entry: ct.Entry,
        skip: ct.Skip | None,
        request: bytes,
        *,
        partial: bool = False,
    ) -> None:
        found = ct.fields(message)
        assert found is not None  # it has been parsed
        if any("unknown_" in name for name in found):
            self.causes["unknown_attribute"] += 1
            return
        if any(entry.numbers) or entry.protoinfo or entry.master is not None:
            return  # rare, and no two alike
        if entry.orig.protocol not in ct.ICMPS and not entry.orig.has_ports:
            return  # rare, and nothing of it is where others have their ports
        known = self._shapes.find(message)
        layout = known or _layout(len(message), found, entry, skip, partial=partial)
        values = layout.take(message)
        recipe = _recipe(layout.names, request, goes_quiet=layout.goes_quiet)
        if recipe.build(values) != request:
            return  # something that no recipe covers: parse it each time
        layout.recipes[_variant(layout.ends(values))] = recipe
        if known is None:
            self._shapes.learn(message, free_spans(found), layout)


def _is_news(message: bytes) -> bool:
    """Whether it is an event of an entry that is new or has changed."""
    found = ct.fields(message) or {}
    return not is_delete(message) and "use" not in found  # only answers and dumps have that


def _without(entry: ct.Entry) -> tuple[str, ...]:
    return tuple(f"without_{name}" for name in entry.left_behind)


def _variant(ends: tuple[bytes, ...]) -> int:
    """What decides on the recipe within a shape, 0 to 3."""
    osrc, odst, osport, odport, rsrc, rdst, rsport, rdport = ends
    source_nat = rdst != osrc or rdport != osport
    destination_nat = rsrc != odst or rsport != odport
    return source_nat + 2 * destination_nat


def _moved(one: Column, other: Column, port: Column, other_port: Column) -> bool | None:
    """As in `_variant`, for many: whether this end of them is translated. None: of some only."""
    if one == other and port == other_port:
        return False
    return True if all(map(ne, one, other)) or all(map(ne, port, other_port)) else None


def _layout(
    length: int, found: ct.Fields, entry: ct.Entry, skip: ct.Skip | None, *, partial: bool
) -> _Layout:
    spans = sorted((*found[name], name) for name in found.keys() & _TAKEN)
    form, done = "=", 0
    for at, size, _name in spans:
        form += f"{at - done}x{size}s"
        done = at + size
    whole = struct.Struct(f"{form}{length - done}x")
    names = tuple(name for _at, _size, name in spans)
    ends = [f"{way}.{end}" for way in ("orig", "reply") for end in _ENDS]
    if entry.orig.protocol in ct.ICMPS:
        # One id stands for both ports. Another one is source NAT, and says nothing about the other
        # end: for that, the reply's id is compared with itself.
        ends = [end.replace("sport", "id").replace("dport", "id") for end in ends]
        ends[_ENDS.index("proto.dport")] = "reply.proto.id"
    mark_at, mark_length = found.get("mark", (0, 0))
    return _Layout(
        skip=skip,
        partial=partial,
        protocol=entry.orig.protocol,
        mark=slice(mark_at, mark_at + mark_length),
        form=whole,
        take=whole.unpack,
        names=names,
        ends=itemgetter(*(names.index(end) for end in ends)),
        goes_quiet=ct.goes_quiet(entry),
        without=_without(entry),
        recipes=[None] * 4,
    )


def _recipe(names: tuple[str, ...], request: bytes, *, goes_quiet: bool) -> _Recipe:
    """Read off which values of the event, at which places, make up the reference's request."""
    found = ct.fields(request)
    assert found is not None  # we built it
    port_of = {"sport": "id", "dport": "id"} if "orig.proto.id" in names else {}
    sources = _SOURCES | _NAT_SOURCES
    sources |= {to: f"reply.proto.{port_of.get(end, end)}" for to, end in _NAT_PORTS.items()}
    picked: list[int] = []
    constants: list[bytes] = []
    at = 0
    for name, (start, length) in sorted(found.items(), key=itemgetter(1)):
        source = sources.get(name)
        if source not in names or (goes_quiet and name == "timeout"):
            continue
        picked += [len(names) + len(constants), names.index(source)]
        constants.append(request[at:start])
        at = start + length
    picked.append(len(names) + len(constants))
    constants.append(request[at:])
    return _Recipe(itemgetter(*picked), tuple(constants))
