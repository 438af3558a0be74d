"""ctnetlink by full parse: recorded messages of the kernel, and requests byte for byte."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import ctmessage as ct
from carpool.proto.ctgate import Gate
from carpool.proto.ctpatch import Patcher
from tests.unit.proto import ctsamples
from tests.unit.proto.ctsamples import Sample, Way, recorded

RECORDED = recorded()
CLIENT, SERVER, VIP = (
    IPv4Address(text).packed for text in ("10.1.0.10", "10.2.0.10", "10.2.0.100")
)


def entry(name: str) -> ct.Entry:
    parsed = ct.parse(RECORDED[name])
    assert isinstance(parsed, ct.Entry), parsed
    return parsed


def test_an_assured_tcp_connection_behind_source_nat() -> None:
    read = entry("plain-tcp-snat-event")
    assert (read.orig.src, read.orig.dst, read.orig.dport) == (CLIENT, SERVER, 80)
    assert (read.reply.src, read.reply.dst) == (SERVER, VIP)
    assert read.reply.dport == read.orig.sport
    assert read.source_nat and not read.destination_nat and read.assured
    assert (read.timeout_s, read.mark, read.zone) == (432_000, 0, None)
    assert read.tcp is not None and read.tcp.state == ct.TCP_ESTABLISHED
    assert read.left_behind == ()


@pytest.mark.parametrize(
    ("flow", "source_nat", "destination_nat"),
    [
        ("tcp-snat", True, False),
        ("tcp-snat-port", True, False),
        ("tcp-plain", False, False),
        ("tcp-dnat", False, True),
        ("tcp-both", True, True),
        ("udp-snat", True, False),
        ("udp-plain", False, False),
        ("udp-dnat", False, True),
        ("icmp-snat", True, False),
        ("icmp-dnat", False, True),
    ],
)
@pytest.mark.parametrize("kind", ["event", "dump", "destroy"])
def test_what_is_translated_shows_in_the_tuples(
    flow: str, kind: str, source_nat: bool, destination_nat: bool
) -> None:
    read = entry(f"plain-{flow}-{kind}")
    assert (read.source_nat, read.destination_nat) == (source_nat, destination_nat)
    assert bool(read.status & 0x10) == source_nat and bool(read.status & 0x20) == destination_nat


def test_a_translated_port_alone_is_source_nat() -> None:
    read = entry("plain-tcp-snat-port-event")
    assert read.reply.dport != read.orig.sport and 5000 <= read.reply.dport <= 5100


def test_an_echo_request_and_its_answer() -> None:
    read = entry("plain-icmp-snat-event")
    assert (read.orig.icmp_type, read.reply.icmp_type) == (8, 0)
    assert read.orig.sport == read.orig.dport == read.reply.sport
    assert read.orig.inverted() == replace(read.reply, dst=CLIENT)
    assert read.assured and not read.status & ct.ASSURED


def test_mark_zone_and_what_stays_behind() -> None:
    read = entry("marked-tcp-snat-dump")
    assert (read.mark, read.zone, read.left_behind) == (0x2A, 5, ())
    assert len(read.labels) == 16 and any(read.labels)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *(("ftp", True), ("Q.931", True), ("netbios-ns", True), ("ftp-2121", True)),
        *(("", False), ("dhcpv6", False), ("ftp-", False), ("-21", False), ("ftp-2121-1", False)),
    ],
)
def test_helpers_of_the_kernel_are_known_by_name(name: str, known: bool) -> None:
    assert ct.is_helper(name) is known


@pytest.mark.parametrize(
    ("name", "protocol"), [("plain-tcp6-event", 6), ("plain-icmp6-destroy", 58)]
)
def test_ipv6_is_read_by_its_own_numbers(name: str, protocol: int) -> None:
    read = entry(name)
    assert (read.orig.protocol, read.orig.family, len(read.reply.dst)) == (protocol, 10, 16)
    if protocol == 58:
        assert (read.orig.icmp_type, read.reply.icmp_type) == (128, 129)
        assert read.orig.sport == read.reply.dport > 0


def test_another_family_is_told_apart() -> None:
    message = RECORDED["plain-tcp-plain-event"]
    assert ct.parse(message[:16] + b"\x07" + message[17:]) is ct.Skip.FAMILY


def test_numbers_of_the_other_family_are_no_entry() -> None:
    message = RECORDED["plain-tcp-plain-event"]
    assert ct.parse(message[:16] + b"\x0a" + message[17:]) is ct.Skip.MALFORMED


def test_a_protocol_without_ports_has_zeros() -> None:
    found = entry("plain-tcp-plain-event")
    esp = replace(
        found,
        orig=replace(found.orig, protocol=50, sport=0, dport=0),
        reply=replace(found.reply, protocol=50, sport=0, dport=0),
        tcp=None,
    )
    assert ct.parse_create(ct.create_request(esp)) == replace(
        esp, status=esp.status & 0xE, timeout_s=ct.QUIET_TIMEOUT_S
    )
    assert not replace(esp, status=ct.CONFIRMED).assured and esp.assured


@given(st.sampled_from(sorted(RECORDED)), st.integers(0, 300), st.binary(max_size=8))
def test_garbage_is_an_entry_or_a_reason_never_an_exception(
    name: str, at: int, garbage: bytes
) -> None:
    message = RECORDED[name]
    at %= len(message)
    for broken in (message[:at], message[:at] + garbage + message[at + len(garbage) :]):
        assert isinstance(ct.parse(broken), ct.Entry | ct.Skip)


@pytest.mark.parametrize("cut", [0, 4, 16, 19, 20, 22, 60, 195])
def test_a_message_that_is_cut_short_is_malformed(cut: int) -> None:
    assert ct.parse(RECORDED["plain-tcp-snat-event"][:cut]) is ct.Skip.MALFORMED


def test_an_attribute_that_is_there_twice_is_malformed() -> None:
    # The kernel takes the last one, this parser would take both: they must not differ.
    sample = Sample(17, Way(CLIENT, SERVER, 5, 53), Way(SERVER, CLIENT, 53, 5), 0xE, 30)
    status = ctsamples.attr(3, b"\0\0\0\x0e")
    body = ctsamples.event(sample)[20:]
    assert isinstance(ct.parse(ctsamples.message(0x0100, 0, body)), ct.Entry)
    assert ct.parse(ctsamples.message(0x0100, 0, body + status)) is ct.Skip.MALFORMED


# ------------------------------------------------------------------------------------ requests


def test_the_create_request_of_a_connection_behind_source_nat() -> None:
    """Every byte, written out: the reply untranslated, the translation beside it."""
    read = ct.Entry(
        orig=ct.Tuple(CLIENT, SERVER, ct.IP_TCP, 0x1234, 80),
        reply=ct.Tuple(SERVER, VIP, ct.IP_TCP, 80, 0x5678),
        status=0x19E,
        timeout_s=432_000,
        mark=0x2A,
        tcp=ct.Tcp(3, 7, 8, flags_orig=0x23, flags_reply=0x02),
    )
    words = """
        00000000 01000601 00000000 00000000  02000000
        0034 8001  0014 8001  0008 0001 0a01000a  0008 0002 0a02000a
                   001c 8002  0005 0001 06000000  0006 0002 12340000  0006 0003 00500000
        0034 8002  0014 8001  0008 0001 0a02000a  0008 0002 0a01000a
                   001c 8002  0005 0001 06000000  0006 0002 00500000  0006 0003 12340000
        0028 8006  0008 0001 0a020064  0008 0002 0a020064
                   0014 8003  0006 0001 56780000  0006 0002 56780000
        0008 0003 0000000e  0008 0007 00000e10
        0030 8004  002c 8001  0005 0001 03000000  0005 0002 07000000  0005 0003 08000000
                   0006 0004 0b0f0000  0006 0005 0a0f0000
        0008 0008 0000002a
    """
    expected = bytearray.fromhex(words)
    header = (len(expected), 0x0100, 0x0601, 0, 0)
    assert ct.create_request(read) == in_host_order(expected, header)


def in_host_order(message: bytearray, header: tuple[int, int, int, int, int]) -> bytes:
    """Turn the headers of a message that is written in network order into this machine's."""
    import struct

    struct.pack_into("=IHHII", message, 0, *header)

    def turn(start: int, end: int, depth: int) -> None:
        while start < end:
            length, type_ = struct.unpack_from(">HH", message, start)
            struct.pack_into("=HH", message, start, length, type_)
            if type_ & 0x8000:
                turn(start + 4, start + length, depth + 1)
            start += (length + 3) & ~3

    turn(20, len(message), 0)
    return bytes(message)


@given(ctsamples.samples())
def test_requests_are_what_the_fields_say(sample: Sample) -> None:
    read = ct.parse(ctsamples.event(sample))
    assert isinstance(read, ct.Entry)
    assert ct.create_request(read) == ctsamples.expected_create(sample)
    assert ct.delete_request(read) == ctsamples.expected_delete(sample)


@given(ctsamples.samples())
def test_a_create_request_tells_the_translated_entry_again(sample: Sample) -> None:
    read = ct.parse(ctsamples.event(sample))
    assert isinstance(read, ct.Entry)
    again = ct.parse_create(ct.create_request(read))
    assert isinstance(again, ct.Entry)
    assert (again.orig, again.reply, again.zone) == (read.orig, read.reply, read.zone)
    assert ct.create_request(again) == ct.create_request(read)


def test_an_update_carries_no_translation() -> None:
    found = ct.fields(ct.update_request(entry("plain-tcp-both-event")))
    assert found is not None
    assert not {"reply", "nat_src", "nat_dst"} & found.keys()
    assert {"orig", "status", "timeout", "protoinfo"} <= found.keys()


@pytest.mark.parametrize(
    ("name", "lasting"),
    [
        ("plain-tcp-snat-event", True),  # ESTABLISHED
        ("plain-tcp-snat-dump", False),  # TIME_WAIT
        ("plain-udp-snat-event", True),
        ("plain-icmp-snat-event", True),
    ],
)
def test_a_copy_outlives_the_silence_of_its_flow_and_no_more(name: str, lasting: bool) -> None:
    read = entry(name)
    made = ct.parse_create(ct.create_request(read))
    assert isinstance(made, ct.Entry)
    assert made.timeout_s == (ct.QUIET_TIMEOUT_S if lasting else read.timeout_s)
    assert ct.goes_quiet(read) is lasting


# --------------------------------------------------------------------------------------- rules


def rules(every: bool = False) -> ct.Rules:
    own = IPv4Address("10.2.0.2").packed
    return ct.Rules(every=every, local=frozenset({VIP, own}), own=frozenset({own}))


def flow(src: str, dst: str, back_src: str, back_dst: str, status: int = 0xE) -> ct.Entry:
    ends = [IPv4Address(text).packed for text in (src, dst, back_src, back_dst)]
    return ct.Entry(
        ct.Tuple(ends[0], ends[1], ct.IP_UDP, 4000, 53),
        ct.Tuple(ends[2], ends[3], ct.IP_UDP, 53, 4000),
        status,
    )


@pytest.mark.parametrize(
    ("through", "skip"),
    [
        (flow("10.1.0.10", "10.2.0.10", "10.2.0.10", "10.1.0.10"), None),
        (flow("10.1.0.10", "10.2.0.10", "10.2.0.10", "10.2.0.100"), None),  # NAT to the VIP
        (
            flow("10.2.0.10", "10.2.0.100", "10.1.0.10", "10.2.0.10"),
            None,
        ),  # port forward of the VIP
        (flow("10.1.0.10", "10.2.0.10", "10.2.0.10", "10.2.0.2"), ct.Skip.OWN_ADDRESS),
        (flow("10.1.0.10", "10.2.0.2", "10.2.0.2", "10.1.0.10"), ct.Skip.LOCAL),  # to the node
        (flow("10.1.0.10", "10.2.0.100", "10.2.0.100", "10.1.0.10"), ct.Skip.LOCAL),  # to the VIP
        (flow("10.2.0.2", "10.2.0.10", "10.2.0.10", "10.2.0.2"), ct.Skip.LOCAL),  # from the node
        (flow("10.1.0.10", "10.2.0.10", "10.2.0.10", "10.1.0.10", 0xA), ct.Skip.NOT_ASSURED),
    ],
)
def test_what_travels_goes_through_this_node_and_can_live_on_another(
    through: ct.Entry, skip: ct.Skip | None
) -> None:
    assert rules().skip(through) is skip
    assert rules(every=True).skip(through) is (None if skip is ct.Skip.NOT_ASSURED else skip)


@pytest.mark.parametrize(
    ("ports", "status", "assured"), [((0, 0), 0xA, True), ((5, 6), 0xA, False)]
)
def test_dccp_is_as_any_other_protocol_where_the_kernel_does_not_know_it(
    ports: tuple[int, int], status: int, assured: bool
) -> None:
    way = ct.Tuple(CLIENT, SERVER, ct.IP_DCCP, *ports)
    found = ct.Entry(way, replace(way.inverted(), dst=VIP), status)
    assert (way.has_ports, found.assured) == (not assured, assured)
    request = ct.create_request(found)
    names = ct.fields(request)
    assert names is not None and ("orig.proto.sport" in names) is not assured
    assert ("nat_src.proto" in names) is not assured
    assert Gate().check(request) == 1
    again = ct.parse_create(request)
    assert isinstance(again, ct.Entry) and (again.orig, again.reply) == (found.orig, found.reply)
    patcher = Patcher(ct.Rules(every=False))
    event = request[:4] + b"\0\1\0\0" + request[8:]
    assert isinstance(ct.parse(event), ct.Entry)
    assert (patcher.request(event) != b"") is assured
