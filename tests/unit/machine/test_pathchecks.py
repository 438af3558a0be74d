"""What was tried between two nodes, and what follows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from carpool.machine.pathchecks import links_of, path_mtu, reach, ways
from carpool.model.diagnosis import Severity
from carpool.model.facts import Link
from carpool.model.section import Sync
from tests.unit.machine.facts import FACTS, facts, found, skipped, without_config
from tests.unit.model.configs import GROUP, NODE, config, ips

OWN, FW2 = ip_address("10.10.3.1"), ip_address("10.10.3.2")
LINK = Link("fw2", "states", "sync", OWN, FW2, 3782)


def test_connections_that_the_configuration_asks_for() -> None:
    assert links_of(config()) == [LINK]
    both = links_of(config(group=replace(GROUP, sync=Sync("sync"))))
    assert both == [LINK, Link("fw2", "agent", "sync", OWN, FW2, 3784)]
    six = replace(NODE, addresses={"sync": ips("fd03::1", "10.10.3.1")})
    assert links_of(config(node=six)) == [LINK], "IPv4 where both have it"
    alone = config(group=replace(GROUP, states=None))
    assert links_of(alone) == []
    for judge in (reach, path_mtu):
        assert len(skipped(judge, replace(FACTS, config=alone))) == 1
        assert len(skipped(judge, without_config())) == 1
        assert list(judge(FACTS)) == []


def test_of_states_one_end_connects_and_of_agents_both() -> None:
    assert ways(config(), LINK) == (True, False)
    assert ways(config(node=replace(NODE, name="fw3")), LINK) == (False, True)
    assert ways(config(), LINK._replace(process="agent")) == (True, True)


@pytest.mark.parametrize(
    ("why", "fix"),
    [("Connection refused", "start it there: `carpool run states`"), ("no answer", "is fw2 up")],
)
def test_a_port_that_does_not_answer(why: str, fix: str) -> None:
    assert not found(reach, facts(reached={LINK: ""}))
    (one,) = found(reach, facts(reached={LINK: why}))
    assert one.found == f"fw2 (10.10.3.2) on sync, TCP port 3782: {why}"
    assert one.fix.startswith(fix)


def test_packets_of_full_size() -> None:
    assert not found(path_mtu, facts(passed={LINK: 1500}))
    assert skipped(path_mtu, facts(passed={LINK: None})) == ["fw2 (10.10.3.2) answers no ping"]
    (one,) = found(path_mtu, facts(passed={LINK: 1400}))
    assert one.severity is Severity.ERROR
    assert one.found.startswith("on sync packets of 1400 bytes reach fw2, larger ones do not")
    assert one.fix.endswith("`ip link set sync0 mtu 1400`")
