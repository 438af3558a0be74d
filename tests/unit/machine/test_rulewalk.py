"""What rules do with a packet: only what is sure is said."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from carpool.machine.rulewalk import Fit, Packet, blocker, hits_of
from carpool.proto.nftjson import Chain, Rule
from tests.unit.machine.rules import (
    ACCEPT,
    DROP,
    Expression,
    chain,
    jump,
    meta,
    payload,
    prefix,
    state,
    tables,
)

IN = Packet(4, ip_address("10.3.0.2"), ip_address("10.3.0.1"), 6, 3782, entry="sync0")
UNKNOWN: Expression = {"match": {"op": "==", "left": {"ct": {"key": "mark"}}, "right": 1}}
PORT = payload("tcp", "dport", 3782)


def blocks(*rules: list[Expression], policy: str = "drop", packet: Packet = IN) -> object:
    """The handle of the rule that drops it, "policy", or None."""
    found = blocker(tables(chain(*rules, policy=policy)), "input", packet)
    return found.handle if isinstance(found, Rule) else "policy" if found else None


@pytest.mark.parametrize(
    "match",
    [
        PORT,
        payload("tcp", "dport", {"set": [22, {"range": [3782, 3784]}]}),
        payload("tcp", "dport", 22, "!="),
        payload("th", "dport", {"range": [3000, 4000]}),
        payload("ip", "saddr", "10.3.0.2"),
        payload("ip", "saddr", prefix("10.3.0.0/24")),
        payload("ip", "saddr", {"set": [{"elem": {"val": "10.3.0.2", "timeout": 9}}]}),
        payload("ip", "daddr", {"range": ["10.3.0.0", "10.3.0.9"]}),
        payload("ip", "protocol", "tcp"),
        meta("iifname", "sync0"),
        meta("iifname", "sync*"),
        meta("iifname", {"set": ["lan0", "sync0"]}),
        meta("iif", "lan0", "!="),
        meta("l4proto", {"set": ["tcp", "udp"]}),
        meta("nfproto", "ipv4"),
        state("new", "established"),
    ],
)
def test_matches_that_fit(match: Expression) -> None:
    assert blocks([match, ACCEPT]) is None
    assert blocks([match, DROP], policy="accept") == 1


@pytest.mark.parametrize(
    "match",
    [
        payload("tcp", "dport", 22),
        payload("udp", "dport", 3782),
        payload("ip", "saddr", prefix("10.4.0.0/16")),
        payload("ip6", "saddr", "fe80::1"),
        payload("ip", "daddr", {"range": ["10.3.0.2", "10.3.0.9"]}),
        meta("iifname", "lan0"),
        meta("oifname", "sync0"),
        meta("nfproto", "ipv6"),
        meta("l4proto", "vrrp"),
        state("established", "related"),
    ],
)
def test_matches_that_do_not(match: Expression) -> None:
    assert blocks([match, ACCEPT]) == "policy"
    assert blocks([match, DROP], policy="accept") is None


@pytest.mark.parametrize(
    "match",
    [UNKNOWN, payload("ip", "saddr", "@trusted"), {"limit": {"rate": 5}}, {"xt": None}],
)
def test_nothing_follows_from_what_is_unknown(match: Expression) -> None:
    assert blocks([match, ACCEPT]) is None, "it may be let in"
    assert blocks([match, DROP], policy="accept") is None, "it need not be dropped"
    assert blocks([match, DROP]) == "policy", "but here it is either way"


def test_chains_that_are_jumped_to() -> None:
    allowed = chain([PORT, ACCEPT], [{"return": None}], [DROP], name="allowed", hook="")
    loops = chain([jump("loops")], name="loops", hook="")

    def decides(rules: list[list[Expression]], policy: str) -> object:
        made = tables(chain(*rules, policy=policy), allowed, loops)
        found = blocker(made, "input", IN)
        return found.place if found else None

    assert decides([[jump("allowed")]], "drop") is None
    assert decides([[meta("iifname", "lan0"), jump("allowed")]], "drop") is not None
    assert decides([[jump("loops")], [DROP]], "accept") == "rule 2 of chain input, table inet t"
    assert decides([[jump("nowhere")], [DROP]], "accept") is not None
    assert decides([[UNKNOWN, {"goto": {"target": "allowed"}}]], "drop") is None


def test_verdict_maps() -> None:
    def vmap(*pairs: tuple[object, Expression]) -> Expression:
        data = {"set": [list(pair) for pair in pairs]}
        return {"vmap": {"key": {"ct": {"key": "state"}}, "data": data}}

    assert blocks([vmap(("established", ACCEPT), ("new", DROP))], policy="accept") == 1
    assert blocks([vmap(("invalid", DROP), ("new", {"continue": None}))], policy="accept") is None
    assert blocks([{"vmap": {"key": {"ct": {"key": "mark"}}, "data": "@verdicts"}}]) is None


def test_every_chain_of_the_hook_has_a_say() -> None:
    first = chain([ACCEPT], name="first", priority=-10)
    found = blocker(tables(first, chain(policy="drop")), "input", IN)
    assert isinstance(found, Chain)
    assert found.name == "input"
    other = chain(policy="drop", family="ip6")
    assert blocker(tables(first, other), "input", IN) is None


def test_what_a_packet_leaves_open_fits_for_some() -> None:
    anything = Packet(4, exit="wan0")
    made = tables(
        chain(
            [payload("ip", "saddr", prefix("10.1.0.0/24")), {"masquerade": None}],
            [meta("oifname", "lan0"), {"masquerade": None}],
            [{"xt": {"type": "target", "name": "MASQUERADE"}}],
            [{"snat": {"addr": "10.2.0.1"}}],
            hook="postrouting",
            type_="nat",
        )
    )
    (only,) = made.hooked("postrouting", ("inet",), "nat")
    hits = [(hit.rule.handle, hit.fit) for hit in hits_of(made, only, anything)]
    assert hits == [(1, Fit.SOME), (3, Fit.YES)]
