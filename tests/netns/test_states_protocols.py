"""What else the kernel tracks, between two real nodes: IPv6, and neither TCP nor UDP."""

from __future__ import annotations

import socket
import struct
from contextlib import ExitStack

import pytest

from carpool.proto import ctmessage as ct
from tests.netns.lab import Namespace, wait_until
from tests.netns.pair import (
    NAT_BITS,
    SERVER,
    SERVER6,
    WAN_VIP6,
    Pair,
    arrives,
    assure,
    flow,
    same,
)

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
GRE, ESP, OSPF, SCTP, DCCP = 47, 50, 89, 132, 33
FAMILIES = {ct.AF_INET: socket.AF_INET, ct.AF_INET6: socket.AF_INET6}


def test_every_kind_of_ipv6_flow_arrives_field_by_field(pair: Pair) -> None:
    pair.start()
    client, server = pair.client, pair.server
    with ExitStack() as open_flows:
        for args in (
            (TCP, client, server, (SERVER6, 80), None),  # source NAT
            (TCP, client, server, (SERVER6, 81), None),  # to a range of ports
            (TCP, client, server, (SERVER6, 82), None),  # no NAT
            (TCP, server, client, (WAN_VIP6, 8080), 80),  # destination NAT
        ):
            assert open_flows.enter_context(flow(*args)).echoes()
        assure(pair, open_flows.enter_context(flow(UDP, client, server, (SERVER6, 83), None)))
        assert client.pings(SERVER6, 10)
        expected = {(6, 80): 0x10, (6, 81): 0x10, (6, 82): 0, (6, 8080): 0x20}
        expected |= {(17, 83): 0x10, (58, 0): 0x10}
        for (protocol, dport), nat in expected.items():
            there = arrives(pair.fw2, protocol, dport, ct.AF_INET6)
            here = pair.fw1.find(protocol, dport, ct.AF_INET6)
            assert here is not None
            same(here, there)
            assert there.status & NAT_BITS == nat and there.mark == 0x2A
    well(pair)


@pytest.mark.parametrize("replicated", [True, False], ids=["replicated", "control"])
def test_ipv6_connections_live_on_only_where_they_were_replicated(
    pair: Pair, replicated: bool
) -> None:
    if replicated:
        pair.start()
    with (
        flow(TCP, pair.client, pair.server, (SERVER6, 80)) as out,
        flow(TCP, pair.server, pair.client, (WAN_VIP6, 8080), 80) as back,
    ):
        flows = {80: out, 8080: back}
        for dport, one in flows.items():
            assert one.echoes()
            if replicated:
                arrives(pair.fw2, 6, dport, ct.AF_INET6)
            else:  # what is waited for in vain
                one.near.settimeout(1)
                one.far.settimeout(1)
        pair.fail_over()
        lived = {dport: one.echoes(b"still here") for dport, one in flows.items()}
        assert lived == dict.fromkeys(flows, replicated)


def test_what_ends_in_ipv6_ends_on_both(pair: Pair) -> None:
    pair.start()
    with flow(TCP, pair.client, pair.server, (SERVER6, 80)):
        arrives(pair.fw2, 6, 80, ct.AF_INET6)
        here = pair.fw1.find(6, 80, ct.AF_INET6)
        assert here is not None
        pair.fw1.delete(here)
        wait_until(lambda: pair.fw2.find(6, 80, ct.AF_INET6) is None, 5, "deleted on fw2")


# ------------------------------------------------------------------------------- raw protocols


class RawHost:
    """One end of an exchange of bare IP payloads."""

    def __init__(self, host: Namespace, protocol: int, family: int) -> None:
        self.family = family
        with host.entered():
            self.socket = socket.socket(FAMILIES[family], socket.SOCK_RAW, protocol)
        self.socket.settimeout(10)

    def send(self, payload: bytes, to: str) -> None:
        self.socket.sendto(payload, (to, 0))

    def receive(self) -> tuple[bytes, str]:
        data, sender = self.socket.recvfrom(2048)
        header = (data[0] & 15) * 4 if self.family == ct.AF_INET else 0
        return data[header:], sender[0]


def crc32c(data: bytes) -> int:
    """RFC 9260, appendix A."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _bit in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sctp(sport: int, dport: int, tag: int, kind: int, chunk: bytes) -> bytes:
    """A packet of one chunk (RFC 9260, 3)."""
    body = struct.pack(">BBH", kind, 0, 4 + len(chunk)) + chunk
    head = struct.pack(">HHI", sport, dport, tag)
    return head + struct.pack("<I", crc32c(head + bytes(4) + body)) + body


def init(tag: int) -> bytes:
    return struct.pack(">IIHHI", tag, 65536, 1, 1, 7)


# Who speaks (the client first), and what: an association is set up, or questions and answers.
ONE, OTHER = 0x11111111, 0x22222222
SCTP_SETUP = [
    (True, sctp(4000, 9, 0, 1, init(ONE))),
    (False, sctp(9, 4000, ONE, 2, init(OTHER))),
    (True, sctp(4000, 9, OTHER, 10, b"cookie!!")),
    (False, sctp(9, 4000, ONE, 11, b"")),
]
GRE_TALK = [(outward, struct.pack(">HH", 0, 0x0800) + bytes(20)) for outward in (True, False) * 2]
ESP_TALK = [(outward, struct.pack(">II", 77, 1) + bytes(24)) for outward in (True, False)]
# Kernels that know DCCP (before 6.16) judge its numbers, and make nothing of this.
OTHER_TALK = [(outward, struct.pack(">HH", 5001, 5002) + bytes(24)) for outward in (True, False)]
TALKS = {SCTP: SCTP_SETUP, GRE: GRE_TALK, ESP: ESP_TALK, OSPF: OTHER_TALK, DCCP: OTHER_TALK}


@pytest.mark.parametrize("family", FAMILIES, ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("protocol", TALKS, ids=["sctp", "gre", "esp", "ospf", "dccp"])
def test_other_protocols_travel_and_live_on(pair: Pair, protocol: int, family: int) -> None:
    pair.start()
    server = SERVER if family == ct.AF_INET else SERVER6
    near, far = (RawHost(host, protocol, family) for host in (pair.client, pair.server))
    vip = ""
    for outward, payload in TALKS[protocol]:
        if outward:
            near.send(payload, server)
            vip = far.receive()[1]
        else:
            far.send(payload, vip)
            near.receive()
    there = arrives(pair.fw2, protocol, 9 if protocol == SCTP else 0, family)
    here = pair.fw1.find(protocol, 9 if protocol == SCTP else 0, family)
    assert here is not None
    same(here, there)
    assert there.status & NAT_BITS == 0x10
    assert there.protoinfo == here.protoinfo
    assert bool(here.protoinfo) == (protocol == SCTP)
    pair.fail_over()
    far.send(TALKS[protocol][-1][1], vip)  # an answer passes where its question never went
    assert near.receive()[0] == TALKS[protocol][-1][1]
    for end in (near, far):
        end.socket.close()
    well(pair)


def well(pair: Pair) -> None:
    for node in pair.nodes:
        assert node.status()["peers"][0]["errors"] == 0
