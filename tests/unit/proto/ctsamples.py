"""Messages of the kernel for the tests of conntrack bytes: recorded ones, and any it may send.

`event` writes what the kernel would, attribute by attribute in the kernel's order;
`expected_create` and `expected_delete` write what a peer must get, straight from the same fields.
Neither uses a line of what is tested.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import strategies as st

GOLDEN = Path(__file__).parents[2] / "golden" / "conntrack.hex"
ICMP, TCP, UDP, GRE, ESP, ICMPV6, SCTP = 1, 6, 17, 47, 50, 58, 132
ICMPS, PORTED = (ICMP, ICMPV6), (TCP, UDP, GRE, SCTP)
ANSWERS = {8: 0, 13: 14, 15: 16, 17: 18, 0: 8, 14: 13, 16: 15, 18: 17}
ANSWERS6 = {128: 129, 129: 128, 139: 140, 140: 139}


def recorded() -> dict[str, bytes]:
    """The recorded messages by name."""
    lines = [line for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]
    return {name: bytes.fromhex(data) for name, data in (line.split() for line in lines)}


def attr(type_: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), type_) + value + bytes(-len(value) % 4)


def nest(type_: int, *inner: bytes) -> bytes:
    return attr(0x8000 | type_, b"".join(inner))


@dataclass(frozen=True, slots=True)
class Way:
    """One direction: addresses, and ports (ICMP: the id twice; ESP: zeros)."""

    src: bytes
    dst: bytes
    sport: int
    dport: int


@dataclass(frozen=True, slots=True)
class Sample:
    """All that a message of the kernel may tell about an entry."""

    protocol: int
    orig: Way
    reply: Way
    status: int
    timeout: int
    icmp: tuple[int, int] = (8, 0)  # type and code of the original direction
    tcp: tuple[int, int, int, int, int] | None = None  # state, wscales, flags
    mark: int | None = None
    zone: int | None = None
    id: int = 7
    labels: bytes | None = None
    counters: bool = False
    secctx: bytes | None = None
    destroy: bool = False
    flags: int = 0
    sequence: int = 0
    port: int = 0
    sctp: tuple[int, bytes, bytes] | None = None  # state and tags
    helper: str = ""
    master: Way | None = None  # of the same family, TCP; told in dumps and answers only
    seqadj: tuple[bytes, bytes] | None = None  # three numbers each; told there too

    @property
    def whole(self) -> bool:
        """A message of a dump: CTA_USE tells that."""
        return not self.destroy and (self.master is not None or self.seqadj is not None)

    @property
    def family(self) -> int:
        return 2 if len(self.orig.src) == 4 else 10

    @property
    def answer(self) -> tuple[int, int]:
        """ICMP type and code of the reply."""
        answers = ANSWERS if self.protocol == ICMP else ANSWERS6
        return answers.get(self.icmp[0], self.icmp[0]), self.icmp[1]


def _tuple(type_: int, way: Way, protocol: int, icmp: tuple[int, int]) -> bytes:
    ipv6 = len(way.src) == 16
    addresses = nest(1, attr(3 if ipv6 else 1, way.src), attr(4 if ipv6 else 2, way.dst))
    ends = b""
    if protocol in ICMPS:
        first = 7 if ipv6 else 4
        ends = attr(first, struct.pack(">H", way.sport))
        ends += attr(first + 1, bytes([icmp[0]])) + attr(first + 2, bytes([icmp[1]]))
    elif protocol in PORTED:
        ends = attr(2, struct.pack(">H", way.sport)) + attr(3, struct.pack(">H", way.dport))
    return nest(type_, addresses, nest(2, attr(1, bytes([protocol])), ends))


def _sctp(sample: Sample) -> bytes:
    assert sample.sctp is not None
    state, one, other = sample.sctp
    return nest(4, nest(3, attr(1, bytes([state])), attr(2, one), attr(3, other)))


def message(
    type_: int, flags: int, body: bytes, sequence: int = 0, port: int = 0, family: int = 2
) -> bytes:
    body = bytes((family, 0, 0, 0)) + body
    return struct.pack("=IHHII", 16 + len(body), type_, flags, sequence, port) + body


def event(sample: Sample) -> bytes:
    """The message as the kernel writes it (ctnetlink_conntrack_event, ctnetlink_fill_info)."""
    parts = [
        _tuple(1, sample.orig, sample.protocol, sample.icmp),
        _tuple(2, sample.reply, sample.protocol, sample.answer),
    ]
    if sample.zone is not None:
        parts.append(attr(18, struct.pack(">H", sample.zone)))
    parts += [attr(12, struct.pack(">I", sample.id)), attr(3, struct.pack(">I", sample.status))]
    if sample.counters:
        pair = attr(1, struct.pack(">Q", sample.id)) + attr(2, struct.pack(">Q", 3))
        parts += [nest(9, pair), nest(10, pair)]
    if sample.timeout >= 0:
        parts.append(attr(7, struct.pack(">I", sample.timeout)))
    if sample.tcp is not None:
        state, wscale_orig, wscale_reply, flags_orig, flags_reply = sample.tcp
        tcp = [
            attr(1, bytes([state])),
            attr(2, bytes([wscale_orig])),
            attr(3, bytes([wscale_reply])),
        ]
        tcp += [attr(4, bytes([flags_orig, 0])), attr(5, bytes([flags_reply, 0]))]
        parts.append(nest(4, nest(1, *tcp)))
    if sample.sctp is not None:
        parts.append(_sctp(sample))
    if sample.helper and not sample.destroy:
        parts.append(_help(sample))
    if sample.secctx is not None:
        parts.append(nest(19, attr(1, sample.secctx)))
    if sample.labels is not None:
        parts.append(attr(22, sample.labels))
    if sample.mark is not None:
        parts.append(attr(8, struct.pack(">I", sample.mark)))
    if sample.whole:
        parts += [attr(11, bytes(3) + b"\1"), *_rare(sample)]
    type_ = 0x0102 if sample.destroy else 0x0100
    body = b"".join(parts)
    return message(type_, sample.flags, body, sample.sequence, sample.port, sample.family)


def _help(sample: Sample) -> bytes:
    return nest(5, attr(1, sample.helper.encode() + b"\0"))


def _rare(sample: Sample) -> list[bytes]:
    parts = [] if sample.master is None else [_tuple(14, sample.master, TCP, (0, 0))]
    for type_, numbers in zip((15, 16), sample.seqadj or (), strict=False):
        thirds = (numbers[at : at + 4] for at in (0, 4, 8))
        parts.append(nest(type_, *(attr(n, third) for n, third in enumerate(thirds, 1))))
    return parts


def _zone(sample: Sample) -> bytes:
    return b"" if sample.zone is None else attr(18, struct.pack(">H", sample.zone))


def expected_delete(sample: Sample) -> bytes:
    orig = _tuple(1, sample.orig, sample.protocol, sample.icmp)
    return message(0x0102, 0x0001, orig + _zone(sample), family=sample.family)


def expected_create(sample: Sample) -> bytes:
    orig, reply = sample.orig, sample.reply
    back = Way(orig.dst, orig.src, orig.dport, orig.sport)
    parts = [
        _tuple(1, orig, sample.protocol, sample.icmp),
        _tuple(2, back, sample.protocol, sample.answer),
    ]
    ports = sample.protocol != ESP
    if (reply.dst, reply.dport) != (orig.src, orig.sport):
        parts.append(_nat(6, reply.dst, reply.dport if ports else None))
    port_moved = reply.sport != orig.dport and sample.protocol not in ICMPS
    if reply.src != orig.dst or port_moved:
        parts.append(_nat(13, reply.src, reply.sport if ports else None))
    rare = _rare(sample) if sample.whole else []
    if sample.whole and sample.master is not None:
        parts.append(rare.pop(0))
    parts.append(attr(3, struct.pack(">I", sample.status & 0x6 | 0x8)))
    state = sample.tcp[0] if sample.tcp else (3 if sample.status & 4 else 2)
    lasting = sample.protocol != TCP or state == 3
    timeout = 3600 if lasting else sample.timeout
    parts.append(attr(7, struct.pack(">I", timeout)))
    if sample.protocol == TCP:
        _, wscale_orig, wscale_reply, flags_orig, flags_reply = sample.tcp or (state, 0, 0, 0, 0)
        tcp = [
            attr(1, bytes([state])),
            attr(2, bytes([wscale_orig])),
            attr(3, bytes([wscale_reply])),
        ]
        always = 0xC if state in (7, 8) else 8  # TIME_WAIT and CLOSE: a new SYN makes a new entry
        tcp += [
            attr(4, bytes([flags_orig & 7 | always, 0xF])),
            attr(5, bytes([flags_reply & 7 | always, 0xF])),
        ]
        parts.append(nest(4, nest(1, *tcp)))
    if sample.sctp is not None:
        parts.append(_sctp(sample))
    parts.append(attr(8, struct.pack(">I", sample.mark or 0)))
    if any(sample.labels or b""):
        parts.append(attr(22, sample.labels or b""))
    parts += [
        part for part, numbers in zip(rare, sample.seqadj or (), strict=False) if any(numbers)
    ]
    if sample.helper and not sample.destroy:
        parts.append(_help(sample))
    body = b"".join(parts) + _zone(sample)
    return message(0x0100, 0x0601, body, family=sample.family)


def _nat(type_: int, address: bytes, port: int | None) -> bytes:
    first = 1 if len(address) == 4 else 4
    parts = [attr(first, address), attr(first + 1, address)]
    if port is not None:
        pair = attr(1, struct.pack(">H", port)), attr(2, struct.pack(">H", port))
        parts.append(nest(3, *pair))
    return nest(type_, *parts)


# ---------------------------------------------------------------------------------- strategies

_HOSTS = [bytes((net, host)) for net in (1, 2) for host in (10, 100)]
ipv4 = st.sampled_from([bytes((10, net, 0, host)) for net, host in _HOSTS])
ipv6 = st.sampled_from([b"\xfd" + bytes(13) + host for host in _HOSTS])
ports = st.one_of(st.sampled_from([80, 443]), st.integers(0, 0xFFFF))


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Any entry, translated or not."""
    addresses, icmp = draw(st.sampled_from([(ipv4, ICMP), (ipv6, ICMPV6)]))
    protocol = draw(st.sampled_from([icmp, TCP, UDP, GRE, ESP, SCTP]))
    numbers = st.just(0) if protocol == ESP else ports
    orig = draw(st.builds(Way, addresses, addresses, numbers, numbers))
    if protocol == icmp:
        orig = replace(orig, dport=orig.sport)
    reply = Way(orig.dst, orig.src, orig.dport, orig.sport)
    if draw(st.booleans()):
        reply = replace(reply, dst=draw(addresses), dport=draw(numbers))
    if draw(st.booleans()):
        reply = replace(reply, src=draw(addresses), sport=draw(numbers))
    if protocol == icmp:
        reply = replace(reply, sport=reply.dport)
    tag = st.binary(min_size=4, max_size=4)
    sctp = st.tuples(st.integers(0, 8), tag, tag)
    byte = st.integers(0, 255)
    tcp = st.none() | st.tuples(
        st.integers(0, 9), st.integers(0, 14), st.integers(0, 14), byte, byte
    )
    master = st.none() | st.builds(Way, addresses, addresses, ports, ports)
    thirds = st.sampled_from([bytes(12), bytes(range(12)), b"\xff" * 12])
    seqadj = st.none() | st.tuples(thirds, thirds)
    related, moved = draw(st.just((None, None)) | st.tuples(master, seqadj))
    destroy = draw(st.booleans())
    whole = destroy or related is not None or moved is not None
    return Sample(
        protocol,
        orig,
        reply,
        # Without EXPECTED and SEQ_ADJUST where the kernel tells only that there is something.
        status=draw(st.integers(0, 0x3FF)) & (0x3FF if whole else ~0x41),
        timeout=draw(
            st.one_of(st.integers(0, 432_000), st.sampled_from([3599, 3600, 3601, 2**32 - 1]))
        ),
        icmp=(draw(st.sampled_from([8, 13, 15, 17] if icmp == ICMP else [128, 139])), draw(byte)),
        tcp=draw(tcp) if protocol == TCP else None,
        sctp=draw(sctp) if protocol == SCTP else None,
        mark=draw(st.none() | st.integers(0, 2**32 - 1)),
        zone=draw(st.none() | st.integers(0, 0xFFFF)),
        id=draw(st.integers(0, 2**32 - 1)),
        labels=draw(st.none() | st.binary(min_size=16, max_size=16)),
        counters=draw(st.booleans()),
        secctx=draw(st.none() | st.binary(min_size=1, max_size=30)),
        destroy=destroy,
        helper=draw(st.sampled_from(["", "", "ftp", "Q.931", "tftp-6969"])),
        master=related,
        seqadj=moved,
        flags=draw(st.sampled_from([0, 0x600, 2])),
        sequence=draw(st.integers(0, 2**32 - 1)),
        port=draw(st.integers(0, 2**32 - 1)),
    )
