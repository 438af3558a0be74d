"""Checks of the rules: NAT that dies in a failover, and rules in the way of the nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.machine.rulechecks import (
    CHECKS,
    carp_rules,
    flowtable,
    nat_any_source,
    nat_own_address,
    own_rules,
    sync_rules,
    web_rules,
)
from carpool.model.config import Transport, Web
from carpool.model.diagnosis import Severity
from carpool.model.section import Sync
from carpool.proto.nftjson import Tables
from tests.unit.machine.facts import FACTS, UNSEEN, facts, found, severities, skipped
from tests.unit.machine.rules import (
    ACCEPT,
    DROP,
    Expression,
    chain,
    meta,
    nat,
    payload,
    prefix,
    snat,
    tables,
)
from tests.unit.model.configs import GROUP, LAN, config

MASQUERADE: Expression = {"masquerade": None}
WAN_OUT = meta("oifname", "wan0")
LOCAL: Expression = {
    "match": {
        "op": "!=",
        "left": {"fib": {"result": "type", "flags": ["saddr"]}},
        "right": "local",
    }
}


def test_no_rules_no_findings_and_no_listing_no_opinion() -> None:
    for check in CHECKS:
        assert list(check.judge(FACTS)) == [], check.name
        assert skipped(check.judge, facts(tables=UNSEEN)) == ["nobody has looked"], check.name
        assert skipped(check.judge, facts(config=UNSEEN)) == ["nobody has looked"], check.name


@pytest.mark.parametrize(
    ("rule", "ill"),
    [
        ([WAN_OUT, MASQUERADE], True),
        ([payload("ip", "saddr", prefix("10.10.1.0/24")), MASQUERADE], True),
        ([WAN_OUT, snat("10.10.2.2")], True),
        ([WAN_OUT, snat("10.10.2.1")], False),
        ([meta("oifname", "ppp0"), MASQUERADE], False),
        ([WAN_OUT, snat({"range": ["10.10.2.1", "10.10.2.2"]})], False),
    ],
)
def test_source_nat_to_an_address_that_stays(rule: list[Expression], ill: bool) -> None:
    one = found(nat_own_address, facts(tables=nat(rule)))
    assert bool(one) is ill
    if ill:
        assert one[0].severity is Severity.WARNING
        assert one[0].found.startswith("rule 1 of chain post, table ip t: ")
        assert len(one) == 1, "told once, whatever the number of devices"


def test_the_fix_names_the_vip_of_that_device() -> None:
    (one,) = found(nat_own_address, facts(tables=nat([WAN_OUT, MASQUERADE])))
    assert "leaves wan0 as 10.10.2.2" in one.found
    assert "`fib saddr type != local snat to 10.10.2.1`" in one.fix


@pytest.mark.parametrize(
    ("rule", "ill"),
    [
        ([WAN_OUT, snat("10.10.2.1")], True),
        ([WAN_OUT, payload("tcp", "dport", 80), snat("10.10.2.1")], True),
        ([payload("ip", "saddr", prefix("0.0.0.0/0")), snat("10.10.2.1")], True),
        ([payload("ip", "saddr", prefix("10.10.1.0/24"), "!="), snat("10.10.2.1")], True),
        ([WAN_OUT, payload("ip", "saddr", prefix("10.20.0.0/16")), snat("10.10.2.1")], False),
        ([WAN_OUT, LOCAL, snat("10.10.2.1")], False),
        ([meta("iifname", "lan0"), snat("10.10.2.1")], False),
        ([meta("mark", 1), snat("10.10.2.1")], False),
        ([WAN_OUT, snat("10.10.2.77")], False),
        ([WAN_OUT, MASQUERADE], False),
    ],
)
def test_source_nat_that_catches_the_nodes_own_traffic(rule: list[Expression], ill: bool) -> None:
    assert bool(found(nat_any_source, facts(tables=nat(rule)))) is ill
    exempt = [payload("ip", "saddr", {"set": ["10.10.1.2", "10.10.2.2"]}), ACCEPT]
    assert not found(nat_any_source, facts(tables=nat(exempt, rule)))


def test_rules_between_the_nodes() -> None:
    good = config(group=replace(GROUP, sync=Sync("sync")))
    port = payload("tcp", "dport", {"set": [22, 3782]})
    made = tables(chain([port, ACCEPT], policy="drop"))
    (one,) = found(sync_rules, facts(tables=made, config=good))
    assert one.severity is Severity.ERROR
    assert one.found == (
        "the policy of chain input, table inet t drops TCP port 3784 from 10.10.3.2 on sync0"
    )
    assert one.fix.startswith(
        "nft insert rule inet t input iifname sync0 ip saddr 10.10.3.2 tcp dport { 3784 } accept"
    )
    out = tables(chain([meta("oifname", "sync0"), DROP], name="output", hook="output"))
    (one,) = found(sync_rules, facts(tables=out, config=good))
    assert one.found == (
        "rule 1 of chain output, table inet t drops TCP port 3782, 3784 to 10.10.3.2 on sync0"
    )
    assert "oifname sync0 ip daddr 10.10.3.2" in one.fix
    from_fw2 = tables(chain([payload("tcp", "dport", 3784), ACCEPT], policy="drop"))
    assert not found(sync_rules, facts(tables=from_fw2, config=good)), "fw1 connects, not fw2"
    other = replace(good, node=replace(good.node, name="fw3"))
    (one,) = found(sync_rules, facts(tables=from_fw2, config=other))
    assert "TCP port 3782 from" in one.found
    lonely = config(node=replace(good.node, peers=()))
    assert not found(sync_rules, facts(tables=out, config=lonely))


def test_rules_that_drop_adverts() -> None:
    rule = [payload("ip", "protocol", "vrrp"), DROP]
    made = tables(chain(rule, name="out", hook="egress", family="netdev"))
    (one,) = found(carp_rules, facts(tables=made))
    assert (one.severity, one.check) == (Severity.ERROR, "carp-rules")
    assert "leave by lan0" in one.found
    far = [payload("ip", "daddr", "224.0.0.18"), DROP]
    unicast = replace(LAN, transport=Transport.UNICAST)
    made = tables(chain(far, name="out", hook="egress", family="netdev"))
    assert found(carp_rules, facts(tables=made))
    assert not found(carp_rules, facts(tables=made, config=config(vips=(unicast,))))
    inet = tables(chain(rule, name="out", hook="output"))
    assert not found(carp_rules, facts(tables=inet)), "adverts do not pass there"


def test_flowtables_are_worth_a_note() -> None:
    made = facts(tables=Tables({}, ("inet filter fast",)))
    assert severities(found(flowtable, made)) == [Severity.NOTE]
    alone = config(group=replace(GROUP, states=None))
    assert not found(flowtable, replace(made, config=alone))


def test_our_own_table_is_there_and_of_these_files() -> None:
    assert severities(found(own_rules, facts(tables=Tables({})))) == [Severity.NOTE]
    assert found(own_rules) == []
    other = facts(config=config(group=replace(GROUP, sync=Sync("sync"))))
    assert severities(found(own_rules, other)) == [Severity.WARNING]


def test_rules_that_keep_everybody_from_the_pages() -> None:
    served = config(group=replace(GROUP, web=Web(("lan", "wan"), 443)))
    ssh = payload("tcp", "dport", 22)
    strict = tables(chain([ssh, ACCEPT], [meta("iifname", "wan0"), ACCEPT], policy="drop"))
    (one,) = found(web_rules, facts(tables=strict, config=served))
    assert one.severity is Severity.WARNING
    assert one.found == (
        "the policy of chain input, table inet t drops TCP port 443 on lan0, whoever it is from"
    )
    assert one.fix.startswith("nft insert rule inet t input iifname lan0 tcp dport 443 accept;")
    assert not found(web_rules, facts(tables=strict))
    some = [payload("ip", "saddr", prefix("10.10.1.0/24")), payload("tcp", "dport", 443), ACCEPT]
    four = tables(chain(some, policy="drop", family="ip"))
    only_four = replace(served, group=replace(served.group, web=Web(("wan",), 443)))
    assert not found(web_rules, facts(tables=four, config=only_four)), "some get there"
