"""Entries of the connection table as `conntrack -L` writes them, and the choice among them.

Room: proto. Names and order are those of libnetfilter_conntrack, so that people's eyes and scripts
know the lines. Constant work for shapes that have been seen; refuses to know where messages come
from and who reads the lines.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from operator import itemgetter
from typing import Any

from carpool.proto import ctmessage as ct
from carpool.proto import netlink
from carpool.proto.ctpatch import FREE_HEADER, Shapes, Span

PROTOCOLS = {
    **{"tcp": ct.IP_TCP, "udp": ct.IP_UDP, "udplite": ct.IP_UDPLITE, "dccp": ct.IP_DCCP},
    **{"icmp": ct.IP_ICMP, "icmpv6": ct.IP_ICMPV6, "sctp": ct.IP_SCTP, "gre": ct.IP_GRE},
}
_NAMES = {number: name for name, number in PROTOCOLS.items()}
# By number: enum tcp_conntrack, sctp_conntrack and ct_dccp_states.
_STATES = {
    "tcp": "NONE SYN_SENT SYN_RECV ESTABLISHED FIN_WAIT CLOSE_WAIT LAST_ACK TIME_WAIT CLOSE "
    "SYN_SENT2".split(),
    "sctp": "NONE CLOSED COOKIE_WAIT COOKIE_ECHOED ESTABLISHED SHUTDOWN_SENT SHUTDOWN_RECD "
    "SHUTDOWN_ACK_SENT HEARTBEAT_SENT".split(),
    "dccp": "NONE REQUEST RESPOND PARTOPEN OPEN CLOSEREQ CLOSING TIMEWAIT IGNORE INVALID".split(),
}
STATES = frozenset(name for names in _STATES.values() for name in names)
SRC_NAT, DST_NAT, OFFLOAD, HW_OFFLOAD = 0x10, 0x20, 1 << 14, 1 << 15  # enum ip_conntrack_status
STATUSES = {"SEEN_REPLY": ct.SEEN_REPLY, "ASSURED": ct.ASSURED, "OFFLOAD": OFFLOAD}
_SHOWN_LAST = ((HW_OFFLOAD, "[HW_OFFLOAD] "), (OFFLOAD, "[OFFLOAD] "), (ct.ASSURED, "[ASSURED] "))
_FIXED = frozenset({"status", *(f"{way}.proto.protocol" for way in ("orig", "reply"))})

Part = str | tuple[str, str]  # a text, or the label and the name of a value
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_Check = tuple[slice, int, int]  # a value, a mask, and what it must be under the mask


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries are chosen: all of it must be so. `values`: the name of a field
    (`ctmessage.fields`), a mask and what the value must be under it."""

    family: int | None = None
    protocol: int | None = None
    state: str | None = None
    status: int = 0  # all of these bits
    unreplied: bool = False
    nat: tuple[int, ...] = ()  # of each of these, one bit
    values: tuple[tuple[str, int, int], ...] = ()

    def fits(self, entry: ct.Entry, message: bytes, found: ct.Fields) -> bool:
        """As far as the shape of a message decides it."""
        return (
            self.family in (None, entry.orig.family)
            and self.protocol in (None, entry.orig.protocol)
            and self.state in (None, _state(message, found))
            and entry.status & self.status == self.status
            and not (self.unreplied and entry.status & ct.SEEN_REPLY)
            and all(entry.status & bits for bits in self.nat)
        )

    def checks(self, found: ct.Fields) -> list[_Check] | None:
        """What is left to ask of each message; None: no message of this shape is wanted."""
        asked: list[_Check] = []
        for name, mask, value in self.values:
            if name in found:
                at, length = found[name]
                asked.append((slice(at, at + length), mask, value))
            elif name not in ("mark", "zone") or value:  # those are 0 when they are not there
                return None
        return asked


class Lines:
    """The lines of those messages of a dump that are wanted; `json`: each is an object."""

    def __init__(self, wanted: Wanted, *, json: bool = False) -> None:
        self._wanted = wanted
        self._parts = _json_parts if json else _parts
        self._shapes: Shapes[_Form] = Shapes()

    def chosen(self, message: bytes) -> bool:
        """Whether this entry is wanted."""
        form = self._shapes.find(message) or self._learn(message)
        return form is not None and form.chosen(message)

    def line(self, message: bytes) -> str | None:
        """Without a newline; None: not wanted, or no entry at all."""
        form = self._shapes.find(message) or self._learn(message)
        return form.line(message) if form is not None and form.chosen(message) else None

    def _learn(self, message: bytes) -> _Form | None:
        found = ct.fields(message)
        entry = ct.parse(message)
        if found is None or isinstance(entry, ct.Skip):
            return None
        checks: list[_Check] | None = None
        if self._wanted.fits(entry, message, found):
            checks = self._wanted.checks(found)
        form = _Form(self._parts(entry, found.keys(), _state(message, found)), found, checks)
        leaves = found.keys() - {name.rpartition(".")[0] for name in found}
        free = [found[name] for name in leaves - _FIXED if not name.endswith(".state")]
        self._shapes.learn(message, [*free, *FREE_HEADER], form)
        return form


class _Form:
    """How a shape is read: one unpack of all its values, put in order, printed into a template."""

    def __init__(
        self, parts: Iterable[Part], found: ct.Fields, checks: list[_Check] | None
    ) -> None:
        self._checks = checks
        self._convert: list[tuple[int, Callable[[bytes], str]]] = []  # values that are no numbers
        texts: list[str] = []
        spans: list[tuple[Span, str, range]] = []  # value, its code, its places in the line
        place = 0
        for part in parts:
            if isinstance(part, str):
                texts.append(part)
                continue
            label, name = part
            style, code, count, convert = _style(label, name, found[name][1])
            texts.append(f"{label}{style}")
            spans.append((found[name], code, range(place, place + count)))
            if convert is not None:
                self._convert.append((place, convert))
            place += count
        self._template = "".join(texts).rstrip()
        codes, at = ">", 0
        order: list[int] = []
        for (start, length), code, places in sorted(spans, key=lambda value: value[0]):
            codes += f"{start - at}x{code}"
            at = start + length
            order += places
        self._values = struct.Struct(codes)
        self._pick = itemgetter(*(order.index(place) for place in range(place)))

    def chosen(self, message: bytes) -> bool:
        if self._checks is None:
            return False
        for part, mask, value in self._checks:
            if int.from_bytes(message[part], "big") & mask != value:
                return False
        return True

    def line(self, message: bytes) -> str:
        values: tuple[Any, ...] = self._pick(self._values.unpack_from(message))
        if self._convert:
            shown = list(values)
            for place, convert in self._convert:
                shown[place] = convert(shown[place])
            values = tuple(shown)
        return self._template % values


def entry_line(entry: ct.Entry) -> str:
    """The line of an entry, with what an `Entry` knows of it."""
    values: dict[str, int | str] = {"timeout": entry.timeout_s, "mark": entry.mark}
    for name, way in (("orig", entry.orig), ("reply", entry.reply)):
        values |= {f"{name}.ip.src": _address(way.src), f"{name}.ip.dst": _address(way.dst)}
        values |= {f"{name}.proto.{port}": number for port, number in _ends(way).items()}
        values |= {} if way.zone is None else {f"{name}.zone": way.zone}
    values |= {} if entry.zone is None else {"zone": entry.zone}
    shown = [
        part
        if isinstance(part, str)
        else f"{part[0]}{values[part[1]]:{'x' if part[0].endswith('0x') else ''}}"
        for part in _parts(entry, values.keys(), _tcp_state(entry))
    ]
    return "".join(shown).rstrip()


def _ends(way: ct.Tuple) -> dict[str, int]:
    """What a protocol has besides addresses, as `ctmessage.fields` names it."""
    if way.protocol in ct.ICMPS:
        return {"icmp_type": way.icmp_type, "icmp_code": way.icmp_code, "id": way.sport}
    has_ports = way.protocol in ct.LASTING
    return {"sport": way.sport, "dport": way.dport} if has_ports else {}


def _tcp_state(entry: ct.Entry) -> str | None:
    names = _STATES["tcp"]
    known = entry.tcp is not None and entry.tcp.state < len(names)
    return names[entry.tcp.state] if entry.tcp is not None and known else None


def _parts(entry: ct.Entry, there: Collection[str], state: str | None) -> Iterator[Part]:
    """A line: what is so in every line of a shape, and the values between, of those that are
    `there`."""
    protocol = entry.orig.protocol
    yield f"{_NAMES.get(protocol, 'unknown'):<8} {protocol} "
    yield from _given(there, ("", "timeout"))
    if state is not None:
        yield f"{state} "
    yield from _way("orig", protocol, there)
    if not entry.status & ct.SEEN_REPLY:
        yield "[UNREPLIED] "
    yield from _way("reply", protocol, there)
    yield from [text for bit, text in _SHOWN_LAST if entry.status & bit][:1]
    last = (("mark=", "mark"), ("zone=", "zone"), ("use=", "use"), ("helper=", "help"))
    yield from _given(there, *last)


def _way(way: str, protocol: int, there: Collection[str]) -> Iterator[Part]:
    ports = (("sport=", "sport"), ("dport=", "dport"))
    if protocol == ct.IP_GRE:
        ports = (("srckey=0x", "sport"), ("dstkey=0x", "dport"))
    icmp = (("type=", "icmp_type"), ("code=", "icmp_code"), ("id=", "id"))
    named = [(label, f"{way}.proto.{name}") for label, name in (*ports, *icmp)]
    yield from _given(there, ("src=", f"{way}.ip.src"), ("dst=", f"{way}.ip.dst"), *named)
    zone, counters = (f"zone-{way}=", f"{way}.zone"), f"counters_{way}"
    yield from _given(there, zone)
    yield from _given(there, ("packets=", f"{counters}.packets"), ("bytes=", f"{counters}.bytes"))


def _json_parts(entry: ct.Entry, there: Collection[str], state: str | None) -> Iterator[Part]:
    """The same for programs: the text of a JSON object."""
    status = {**STATUSES, "SRC_NAT": SRC_NAT, "DST_NAT": DST_NAT}
    known = ", ".join(f'"{name}"' for name, bit in status.items() if entry.status & bit)
    family = "ipv4" if entry.orig.family == ct.AF_INET else "ipv6"
    yield f'{{"family": "{family}", "protocol": {entry.orig.protocol}, "status": [{known}]'
    yield f', "state": "{state}"' if state is not None else ""
    for key, name in (("timeout_s", "timeout"), ("mark", "mark"), ("zone", "zone")):
        if name in there:
            yield f', "{key}": ', name
        elif key != "timeout_s":
            yield f', "{key}": 0'
    for way in ("orig", "reply"):
        yield f', "{way}": {{"src": "', f"{way}.ip.src"
        yield '", "dst": "', f"{way}.ip.dst"
        yield '"'
        ends = [(end, f"{way}.proto.{end}") for end in _ends(entry.orig)]
        ends += [(count, f"counters_{way}.{count}") for count in ("packets", "bytes")]
        yield from ((f', "{key}": ', name) for key, name in ends if name in there)
        yield "}"
    yield "}"


def _given(there: Collection[str], *parts: tuple[str, str]) -> list[Part]:
    return [piece for part in parts if part[1] in there for piece in (part, " ")]


def _style(
    label: str, name: str, length: int
) -> tuple[str, str, int, Callable[[bytes], str] | None]:
    """For a value: its format, its code in a struct, into how many values that unpacks, and what
    makes a text of it."""
    if name.endswith((".ip.src", ".ip.dst")):
        return ("%d.%d.%d.%d", "4B", 4, None) if length == 4 else ("%s", "16s", 1, _address)
    if name == "help":
        return "%s", f"{length}s", 1, _helper
    return "%x" if label.endswith("0x") else "%d", _CODES[length], 1, None


def _address(value: bytes) -> str:
    return ".".join(map(str, value)) if len(value) == 4 else str(IPv6Address(value))


def _helper(value: bytes) -> str:
    """The name in CTA_HELP, which is its first attribute."""
    name = value[netlink.ATTR_LEN :].partition(b"\0")[0].decode(errors="replace")
    return "".join(c if c.isprintable() else "?" for c in name)


def _state(message: bytes, found: ct.Fields) -> str | None:
    """The name of the state of a protocol that has some."""
    for protocol, names in _STATES.items():
        at, length = found.get(f"protoinfo.{protocol}.state", (0, 0))
        if length == 1 and message[at] < len(names):
            return names[message[at]]
    return None
