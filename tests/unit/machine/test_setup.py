"""The questions of the wizard, answered without a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.machine import setup
from carpool.machine.setup import Question, Situation
from carpool.model.config import Config, States, Web
from carpool.model.section import Sync
from tests.unit.machine.rules import chain, tables
from tests.unit.machine.test_proposals import LAN, SYNC, WAN, device, heard
from tests.unit.model.configs import GROUP, config, ips, masked

SEEN = Situation("fw1.example.org", (LAN, WAN, SYNC), "made up")


def asked(seen: Situation, answers: dict[str, str] | None = None) -> dict[str, Question]:
    """All questions, answered as proposed where `answers` say nothing else."""
    found: dict[str, Question] = {}
    given = dict(answers or {})
    full: dict[str, str] = {}
    while (question := setup.next_question(seen, full)) is not None:
        found[question.key] = question
        full[question.key] = given.get(question.key, question.proposal)
    return found


def made(seen: Situation, answers: dict[str, str]) -> Config:
    found = setup.draft(seen, answers)
    assert found is not None
    return found


def test_enter_at_every_question_makes_a_configuration_without_a_mistake() -> None:
    questions = asked(SEEN)
    assert list(questions) == [
        *("role", "node", "group", "sync", "networks", "vip.lan", "vhid.lan", "vip.wan"),
        *("vhid.wan", "password", "peer", "peer_address", "preempt", "states"),
    ]
    assert all(one.proposal for one in questions.values())
    found = made(SEEN, {})
    assert [one for one in setup.problems(SEEN, found) if one.fatal] == []
    assert found.node.name == "fw1"
    assert found.node.interfaces == {"lan": "eth0", "wan": "eth1", "sync": "eth2"}
    assert found.node.addresses == {"sync": ips("10.10.3.1")}
    assert (found.node.peers[0].name, found.node.peers[0].addresses) == (
        "fw2",
        {"sync": ips("10.10.3.2")},
    )
    assert [vip.vhid for vip in found.group.vips] == [51, 52]
    assert found.group.vips[0].addresses == masked("10.10.1.1/24", "fd00:10::1/64")
    assert (found.group.states, found.group.sync) == (States("sync"), Sync("sync"))


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("role", "third", "expected first or second"),
        ("node", "FW 1", "a-z"),
        ("sync", "eth9", "a device of this machine: eth0, eth1, eth2"),
        ("networks", "lan", "NAME=DEVICE"),
        ("networks", "lan=eth0 wan=eth0", "another device"),
        ("vip.lan", "10.10.1.1", "addresses with masks"),
        ("vip.lan", "10.10.1.1/25", "the mask of eth0"),
        ("vip.lan", "10.10.1.2/24", "an address that no node has of its own"),
        ("vip.lan", "10.10.1.0/24", "a host can have"),
        ("vhid.lan", "256", "a number from 1 to 255"),
        ("vhid.lan", "7", "VRRP of 10.10.1.9 has it"),
        ("password", "x" * 21, "1 to 20 bytes"),
        ("peer", "fw1", "the name of another node"),
        ("peer_address", "10.10.3.1", "each address once"),
        ("peer_address", "10.99.3.2", "its address in 10.10.3.0/30"),
        ("preempt", "maybe", "yes or no"),
    ],
)
def test_an_answer_that_cannot_be_is_refused_where_it_was_given(
    key: str, text: str, why: str
) -> None:
    seen = replace(SEEN, heard=(heard("eth0", 7),))
    question = asked(seen)[key]
    assert setup.objection(seen, {}, question, question.proposal) == ""
    assert why in setup.objection(seen, {}, question, text)


def test_a_link_may_be_one_of_the_networks_and_states_may_be_left_out() -> None:
    seen = replace(SEEN, devices=(LAN, WAN))
    answers = {"sync": "eth0", "networks": "lan=eth0", "states": "no", "peer_address": "10.10.1.3"}
    found = made(seen, answers)
    assert found.node.interfaces == {"lan": "eth0"}
    assert (found.group.states, found.group.sync) == (None, Sync("lan"))
    assert [one for one in setup.problems(seen, found) if one.fatal] == []


def test_rules_in_the_way_are_a_question_of_their_own() -> None:
    seen = replace(SEEN, tables=tables(chain(policy="drop")))
    question = asked(seen)["open"]
    assert "insert rule inet t input" in question.help
    assert [one.chain for one in setup.to_open(seen, {"open": "yes"})] == ["input"]
    assert setup.to_open(seen, {"open": "no"}) == []


def test_the_second_node_takes_the_group_and_has_its_own_devices() -> None:
    here = (
        device("a", "10.10.2.7/24"),
        device("b", "10.10.3.2/24"),
        device("c", "10.10.1.7/24", "fd00:10::7/64"),
    )
    before = Situation("vm", here, "")
    assert list(asked(before, {"role": "second"})) == ["role", "address", "code"]
    theirs = config(group=replace(GROUP, sync=Sync("sync")))
    seen = replace(before, theirs=theirs)
    questions = asked(seen, {"role": "second"})
    assert list(questions) == ["role", "node", "networks", "advskew"]
    found = made(seen, {"role": "second"})
    assert found.group is theirs.group
    assert (found.node.name, found.node.advskew) == ("fw2", 100)
    assert found.node.interfaces == {"lan": "c", "wan": "a", "sync": "b"}
    assert found.node.peers[0].name == "fw1"
    said = {"role": "second"}
    assert "fw2: so node.toml of fw1" in setup.objection(seen, said, questions["node"], "fw9")
    few = setup.objection(seen, said, questions["networks"], "lan=c")
    assert "a device for each of lan, wan, sync" in few
    assert "from 0 to 254" in setup.objection(seen, said, questions["advskew"], "255")


def test_what_is_configured_already_is_proposed_and_nothing_changes() -> None:
    first = made(SEEN, {"vip.lan": "10.10.1.77/24", "preempt": "no"})
    again = made(replace(SEEN, current=first), {})
    assert again == first
    served = replace(first, group=replace(first.group, web=Web(("lan", "gone"))))
    assert made(replace(SEEN, current=served), {}).group.web == Web(("lan",))
    second = replace(first, node=replace(first.node, advskew=100))
    seen = replace(SEEN, current=second, paired=True)
    assert list(asked(seen)) == ["role", "node", "networks", "advskew"], "no code is asked for"
    assert made(seen, {}) == second
