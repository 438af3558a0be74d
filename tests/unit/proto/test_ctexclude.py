"""Exclusions: the judge of dumps, the rules for the kernel, and that both are about the same."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.model.config import Exclusion, Mark, Network
from carpool.proto import ctexclude

TCP, UDP, ICMP = 6, 17, 1
GUESTS, SITE = IPv4Network("10.9.0.0/16"), IPv6Network("fd09::/32")
BIT = Mark(0x80000000, 0x80000000)


def ends(src: str, dst: str, sport: int, dport: int, via: str | None = None) -> ctexclude.Ends:
    """Of a flow from `src` to `dst`, translated to come from `via`."""
    one, other, seen = (ip_address(text).packed for text in (src, dst, via or src))
    ports = [port.to_bytes(2, "big") for port in (sport, dport)]
    return (one, other, *ports, other, seen, *reversed(ports))


@pytest.mark.parametrize(
    ("exclusion", "protocol", "flow", "mark", "excluded"),
    [
        (Exclusion(network=GUESTS), TCP, ("10.9.1.1", "1.1.1.1", 1, 80), 0, True),
        (Exclusion(network=GUESTS), TCP, ("1.1.1.1", "10.9.255.255", 1, 80), 0, True),
        (Exclusion(network=GUESTS), UDP, ("10.8.1.1", "1.1.1.1", 1, 80, "10.9.0.1"), 0, True),
        (Exclusion(network=GUESTS), TCP, ("10.8.1.1", "10.10.0.0", 1, 80), 0, False),
        (Exclusion(network=GUESTS), TCP, ("fd09::1", "fd08::1", 1, 80), 0, False),
        (Exclusion(network=SITE), TCP, ("fd09::1", "fd08::1", 1, 80), 0, True),
        (Exclusion(network=SITE), TCP, ("10.9.1.1", "1.1.1.1", 1, 80), 0, False),
        (Exclusion(port=53), UDP, ("10.1.1.1", "1.1.1.1", 9, 53), 0, True),
        (Exclusion(port=53), UDP, ("10.1.1.1", "1.1.1.1", 53, 9), 0, False),
        (Exclusion(port=53), ICMP, ("10.1.1.1", "1.1.1.1", 53, 53), 0, False),  # an id, no port
        (Exclusion(protocol=UDP, port=53), TCP, ("10.1.1.1", "1.1.1.1", 9, 53), 0, False),
        (Exclusion(protocol=ICMP), ICMP, ("10.1.1.1", "1.1.1.1", 9, 9), 0, True),
        (Exclusion(mark=Mark(1, 0xFF)), TCP, ("10.1.1.1", "1.1.1.1", 1, 2), 0xF01, True),
        (Exclusion(mark=Mark(1, 0xFF)), TCP, ("10.1.1.1", "1.1.1.1", 1, 2), 0x11, False),
        (Exclusion(mark=Mark(0, 0xFF)), TCP, ("10.1.1.1", "1.1.1.1", 1, 2), 0xF00, True),
        (Exclusion(mark=BIT), TCP, ("10.1.1.1", "1.1.1.1", 1, 2), 0x80000001, True),
        (Exclusion(network=GUESTS, port=80), TCP, ("10.9.1.1", "1.1.1.1", 1, 81), 0, False),
    ],
)
def test_a_flow_is_excluded_when_all_that_is_given_holds(
    exclusion: Exclusion, protocol: int, flow: tuple[str, str, int, int], mark: int, excluded: bool
) -> None:
    judge = ctexclude.judge([Exclusion(protocol=99), exclusion])
    assert judge is not None
    assert judge(protocol, ends(*flow), mark) is excluded


def test_by_interface_is_not_for_the_judge() -> None:
    assert ctexclude.judge([]) is None
    assert ctexclude.judge([Exclusion(interface="guest")]) is None


@given(st.binary(max_size=20))
def test_only_our_label_is_ours(labels: bytes) -> None:
    assert ctexclude.labelled(labels) is (len(labels) == 16 and labels[15] >= 0x80)


@pytest.mark.parametrize(
    ("exclusion", "rules"),
    [
        (
            Exclusion(interface="guest"),
            [
                f'ct state new,related {way}ifname "eth7" ct label set 127 ct event set 0 return'
                for way in ("i", "o")
            ],
        ),
        (
            Exclusion(network=GUESTS),
            [
                f"ct state new,related ct {way} ip {end} 10.9.0.0/16 ct event set 0 return"
                for way in ("original", "reply")
                for end in ("saddr", "daddr")
            ],
        ),
        (
            Exclusion(protocol=UDP, port=53),
            ["ct state new,related meta l4proto 17 ct original proto-dst 53 ct event set 0 return"],
        ),
        (
            Exclusion(mark=BIT),
            [
                "ct status and confirmed == 0 ct mark and 0x80000000 == 0x80000000"
                " ct event set 0 return",
                'ct mark and 0x80000000 == 0x80000000 ct event set "mark",destroy return',
            ],
        ),
    ],
)
def test_rules_keep_the_kernel_from_making_events(exclusion: Exclusion, rules: list[str]) -> None:
    assert list(ctexclude.rules([exclusion], {"guest": "eth7"})) == rules


@pytest.mark.parametrize("network", [None, GUESTS, SITE])
def test_a_port_alone_is_a_rule_for_each_protocol_that_has_ports(network: Network | None) -> None:
    made = list(ctexclude.rules([Exclusion(port=53, network=network)], {}))
    assert len(made) == len(set(made)) == 5 * (1 if network is None else 4)


def test_the_socket_drops_the_end_of_what_a_mark_alone_excludes() -> None:
    exclusions = [Exclusion(mark=BIT), Exclusion(mark=BIT, port=53), Exclusion(port=53)]
    assert ctexclude.mark_filters(exclusions) == (ctexclude.MarkFilter(*BIT),)
