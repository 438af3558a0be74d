"""Lines as `conntrack -L` writes them, and which messages are chosen. That they are its own lines
is compared with the program itself in tests/netns/test_states_list.py."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest
from hypothesis import given

from carpool.proto import ctline
from carpool.proto import ctmessage as ct
from tests.unit.proto.ctsamples import Sample, attr, event, nest, recorded, samples

TCP = "marked-tcp-snat-dump"
UDP = "plain-udp-dnat-dump"
HALF = "marked-tcp-snat-event"
V6 = "plain-tcp6-event"
PING = "plain-icmp-snat-dump"
LINES = {
    TCP: "tcp      6 119 TIME_WAIT src=10.1.0.10 dst=10.2.0.10 sport=47406 dport=80 "
    "src=10.2.0.10 dst=10.2.0.100 sport=80 dport=47406 [ASSURED] mark=42 zone=5 use=1",
    UDP: "udp      17 119 src=10.2.0.10 dst=10.2.0.100 sport=34433 dport=8080 "
    "src=10.1.0.10 dst=10.2.0.10 sport=8080 dport=34433 [ASSURED] mark=0 use=1",
    HALF: "tcp      6 120 SYN_SENT src=10.1.0.10 dst=10.2.0.10 sport=47406 dport=80 [UNREPLIED] "
    "src=10.2.0.10 dst=10.2.0.100 sport=80 dport=47406 mark=42 zone=5",
    V6: "tcp      6 432000 ESTABLISHED src=fd01::10 dst=fd02::10 sport=42564 dport=80 "
    "src=fd02::10 dst=fd01::10 sport=80 dport=42564 [ASSURED]",
    PING: "icmp     1 29 src=10.1.0.10 dst=10.2.0.10 type=8 code=0 id=27251 "
    "src=10.2.0.10 dst=10.2.0.100 type=0 code=0 id=27251 mark=0 use=1",
}
ADDRESS = 0xFFFFFFFF


@pytest.mark.parametrize("name", LINES)
def test_lines(name: str) -> None:
    lines = ctline.Lines(ctline.Wanted())
    message = recorded()[name]
    assert lines.line(message) == LINES[name]
    assert lines.line(message) == LINES[name]  # as a shape that is known
    other = message.replace(bytes((10, 1, 0, 10)), bytes((192, 168, 255, 1)))
    assert lines.line(other) == LINES[name].replace("10.1.0.10", "192.168.255.1")


@pytest.mark.parametrize("name", LINES)
def test_the_line_of_an_entry_is_that_of_its_message(name: str) -> None:
    entry = ct.parse(recorded()[name])
    assert isinstance(entry, ct.Entry)
    line = LINES[name].replace(" use=1", "")
    assert ctline.entry_line(entry) == (line if "mark=" in line else f"{line} mark=0")


@given(sample=samples())
def test_whatever_the_kernel_tells_has_one_line_known_or_not(sample: Sample) -> None:
    message = event(sample)
    lines = ctline.Lines(ctline.Wanted())
    first = lines.line(message)
    assert first == lines.line(message)
    entry = ct.parse(message)
    assert (first is None) == isinstance(entry, ct.Skip)
    if first is not None and isinstance(entry, ct.Entry):
        assert "\n" not in first and first.count("src=") == 2
        assert ("[UNREPLIED]" in first) == (not entry.status & ct.SEEN_REPLY)


def test_what_is_no_entry_has_no_line() -> None:
    lines = ctline.Lines(ctline.Wanted())
    message = recorded()[TCP]
    for broken in (b"", message[:-4], message[:16] + b"\x07" + message[17:]):
        assert lines.line(broken) is None
        assert not lines.chosen(broken)


def test_a_helper_and_counters_are_shown() -> None:
    message = recorded()[PING]
    for name in (b"ftp\0", b"sip\0"):  # of one shape
        more = nest(5, attr(1, name))
        longer = (len(message) + len(more)).to_bytes(4, "little") + message[4:] + more
        line = ctline.Lines(ctline.Wanted()).line(longer)
        assert line == f"{LINES[PING]} helper={name[:3].decode()}"


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (ctline.Wanted(), LINES),
        (ctline.Wanted(family=ct.AF_INET6), [V6]),
        (ctline.Wanted(protocol=ct.IP_UDP), [UDP]),
        (ctline.Wanted(state="SYN_SENT"), [HALF]),
        (ctline.Wanted(status=ct.ASSURED), [TCP, UDP, V6]),
        (ctline.Wanted(unreplied=True), [HALF]),
        (ctline.Wanted(nat=(ctline.SRC_NAT,)), [TCP, HALF, PING]),
        (ctline.Wanted(nat=(ctline.DST_NAT,)), [UDP]),
        (ctline.Wanted(nat=(ctline.DST_NAT, ctline.SRC_NAT)), []),
        (ctline.Wanted(nat=(ctline.DST_NAT | ctline.SRC_NAT,)), [TCP, UDP, HALF, PING]),
        (ctline.Wanted(values=(("orig.proto.dport", 0xFFFF, 80),)), [TCP, HALF, V6]),
        (ctline.Wanted(values=(("mark", 0xF0, 0x20),)), [TCP, HALF]),
        (ctline.Wanted(values=(("mark", 0xFF, 0),)), [UDP, V6, PING]),  # none is 0
        (ctline.Wanted(values=(("zone", 0xFFFF, 5),)), [TCP, HALF]),
        (ctline.Wanted(values=(("zone", 0xFFFF, 0),)), [UDP, V6, PING]),
        (
            ctline.Wanted(family=2, values=(("orig.ip.src", ADDRESS, 0x0A02000A),)),
            [UDP],
        ),
        (
            ctline.Wanted(family=2, values=(("orig.ip.src", 0xFFFF0000, 0x0A010000),)),
            [TCP, HALF, PING],
        ),
    ],
)
def test_what_is_chosen(wanted: ctline.Wanted, names: list[str]) -> None:
    lines = ctline.Lines(wanted)
    messages = recorded()
    assert [name for name in LINES if lines.chosen(messages[name])] == list(names)
    assert [name for name in LINES if lines.line(messages[name]) is not None] == list(names)


def test_objects_for_programs() -> None:
    lines = ctline.Lines(ctline.Wanted(), json=True)
    message = recorded()[HALF]
    for _known in (False, True):
        assert json.loads(lines.line(message) or "") == {
            "family": "ipv4",
            "protocol": 6,
            "state": "SYN_SENT",
            "status": ["SRC_NAT"],
            "timeout_s": 120,
            "mark": 42,
            "zone": 5,
            "orig": {"src": "10.1.0.10", "dst": "10.2.0.10", "sport": 47406, "dport": 80},
            "reply": {"src": "10.2.0.10", "dst": "10.2.0.100", "sport": 80, "dport": 47406},
        }


@given(sample=samples())
def test_every_object_is_one(sample: Sample) -> None:
    line = ctline.Lines(ctline.Wanted(), json=True).line(event(sample))
    entry = ct.parse(event(sample))
    if isinstance(entry, ct.Entry):
        found = json.loads(line or "")
        assert found["orig"]["src"] == str(ip_address(entry.orig.src))
        assert (found["mark"], found["zone"]) == (entry.mark, entry.zone or 0)
