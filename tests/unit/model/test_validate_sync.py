"""Rules of [sync] and [vars], and of the link that [sync] and [states] share or do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.model.config import Config, Group, Problem, States
from carpool.model.section import Sync
from carpool.model.validate import check_config
from tests.unit.model.configs import FW2, GROUP, NODE, config, ips

N, G = "node.toml", "group.toml"


def synchronised(sync: Sync, states: States | None = GROUP.states) -> Group:
    return replace(GROUP, sync=sync, states=states)


def told(checked: Config) -> list[Problem]:
    return check_config(checked)


def only(checked: Config) -> Problem:
    problems = told(checked)
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]


def test_good_ones() -> None:
    assert told(config(group=synchronised(Sync("sync", ("nftables", "unbound"))))) == []
    assert told(config(group=synchronised(Sync("sync"), states=None))) == []
    node = replace(NODE, vars={"site": "a", "x_1": ""})
    assert told(config(node=node)) == []


@pytest.mark.parametrize("name", ["", "Site", "1a", "a-b", "_a", "a" * 33, "a.b"])
def test_names_of_variables(name: str) -> None:
    problem = only(config(node=replace(NODE, vars={name: "x"})))
    assert problem.file == N and problem.key.startswith("vars.")
    assert problem.expected == "1 to 32 of a-z, 0-9 and _, starting with a letter"


def test_a_schedule_is_a_calendar_expression_for_some_sections() -> None:
    good = Sync("sync", ("nftables",), schedule="daily", schedule_jitter_s=86400)
    assert told(config(group=synchronised(good))) == []
    problem = only(config(group=synchronised(replace(good, schedule="25:00"))))
    assert (problem.file, problem.key, problem.found) == (G, "sync.schedule", '"25:00"')
    assert problem.fatal and problem.hint == "hour 25 is not in 0 to 23"
    problem = only(config(group=synchronised(replace(good, schedule="x" * 300))))
    assert len(problem.found) < 70
    problem = only(config(group=synchronised(replace(good, sections=()))))
    assert problem.key == "sync.sections"
    for jitter_s in (-1, 86401):
        late = replace(good, schedule_jitter_s=jitter_s)
        problem = only(config(group=synchronised(late)))
        assert (problem.key, problem.expected) == ("sync.schedule_jitter", "a time from 0s to 24h")
    problem = only(config(group=synchronised(replace(good, schedule=""))))
    assert problem.key == "sync.schedule_jitter" and not problem.fatal


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_the_port_is_one(port: int) -> None:
    problem = only(config(group=synchronised(Sync("sync", port=port))))
    assert (problem.file, problem.key) == (G, "sync.port")
    assert problem.expected == "a number from 1 to 65535"


@pytest.mark.parametrize(
    ("port", "states", "found"),
    [
        (3782, States("sync"), "3782, the port of the states"),
        (
            3783,
            States("sync"),
            "3783, where nodes are paired, one after the port of the states",
        ),
        (3783, None, "3783, where nodes are paired, one after the port of the states"),
        (1, States("sync", 65535), "1, where nodes are paired, one after the port of the states"),
        (3784, States("sync", 3784), "3784, the port of the states"),
    ],
)
def test_the_port_is_free(port: int, states: States | None, found: str) -> None:
    problem = only(config(group=synchronised(Sync("sync", port=port), states)))
    assert (problem.key, problem.found) == ("sync.port", found)
    assert problem.hint == ("" if port == 3784 else "without this key it is 3784")


def test_the_port_of_states_is_free_without_states() -> None:
    assert told(config(group=synchronised(Sync("sync", port=3782), states=None))) == []


def test_names_of_sections() -> None:
    problem = only(config(group=synchronised(Sync("sync", ("unbound", "BIND")))))
    assert (problem.key, problem.found) == ("sync.sections[1]", '"BIND"')
    problem = only(config(group=synchronised(Sync("sync", ("a", "b", "a")))))
    assert (problem.key, problem.found) == ("sync.sections[2]", '"a" again')


def test_the_interface_is_known() -> None:
    problem = only(config(group=synchronised(Sync("syncs"))))
    assert (problem.file, problem.key, problem.found) == (G, "sync.interface", '"syncs"')
    assert problem.hint == 'did you mean "sync"?'


def test_own_and_peers_addresses_on_the_interface() -> None:
    group = synchronised(Sync("lan"))
    problem = only(config(group=group))  # the peer has one there
    assert (problem.file, problem.key) == (N, "address.lan")
    assert problem.expected == "this node's own address on lan, to listen on for its peers"
    node = replace(NODE, addresses={**NODE.addresses, "lan": ips("fd00::2")})
    problem = only(config(node=node, group=group))
    assert (problem.key, problem.expected) == (
        "peer.fw2.address.lan",
        "an IPv6 address, as address.lan is",
    )
    assert problem.hint == "both ends of the synchronisation need the same family"
    peer = replace(FW2, addresses={**FW2.addresses, "lan": ()})
    problem = only(config(node=replace(node, peers=(peer,)), group=group))
    assert problem.expected == "the address of fw2 on lan, to synchronise with"
    assert problem.hint == "[sync] in group.toml asks for it"


def test_what_states_need_too_is_told_once() -> None:
    problem = only(config(node=replace(NODE, addresses={}), group=synchronised(Sync("sync"))))
    assert problem.expected == "this node's own address on sync, to listen on for states"
