"""Whether the group would survive a failure, from what its nodes say."""

from __future__ import annotations

from typing import Any

import pytest

from carpool.machine.verdict import Kind, Level, judge

Told = dict[str, Any]


def vhost(state: str, interface: str = "lan", vhid: int = 51, master: str | None = None) -> Told:
    row = {"interface": interface, "vhid": vhid, "state": state, "since_s": 60.0}
    return {**row, "reason": f"because of {interface}", "master": master}


def node(name: str, state: str = "BACKUP", *, peer: str = "fw2", here: bool = False) -> Told:
    hears = f"{peer} (10.10.1.2)" if state == "BACKUP" else None
    failover = {
        "version": "0.1.0",
        "enabled": True,
        "maintenance": False,
        "demotion": [],
        "interfaces": [
            {"interface": "lan", "ready": True, "reason": "up"},
            {"interface": "wan", "ready": True, "reason": "up"},
        ],
        "vhosts": [vhost(state, master=hears), vhost(state, "wan", 52, hears)],
        "group_digest": "abc",
        "troubles": [],
    }
    states = {
        "version": "0.1.0",
        "entries": 5,
        "entries_max": 1000,
        "hold": {"on": False, "reason": "complete"},
        "troubles": [],
        "peers": [{"name": peer, "connected": True, "bulk": "complete", "last_error": None}],
    }
    common = {"name": name, "here": here, "version": "0.1.0", "error": "", "hint": ""}
    return {**common, "failover": failover, "states": states, "troubles": []}


@pytest.fixture
def pair() -> list[Told]:
    return [node("fw1", "MASTER", here=True), node("fw2", peer="fw1")]


def first(nodes: list[Told]) -> tuple[Kind, str]:
    reason = judge(nodes).reasons[0]
    return reason.kind, reason.text


def silence(told: Told) -> None:
    told.update(error=f"{told['name']} has not answered for 4.0 s", hint="is it up?")


def test_an_address_without_a_name_is_that_of_the_master(pair: list[Told]) -> None:
    """Where nodes know each other by the sync link only, as the quick start sets them up."""
    for row in pair[1]["failover"]["vhosts"]:
        row["master"] = "10.10.1.2"
    judged = judge(pair)
    assert judged.sentence.startswith(
        "The group would survive a failure of fw1 now: fw2 takes over"
    )
    assert not judged.reasons


def test_a_healthy_pair_survives_and_says_who_takes_over(pair: list[Told]) -> None:
    verdict = judge(pair)
    assert (verdict.level, verdict.reasons) == (Level.GOOD, ())
    assert verdict.sentence == (
        "The group would survive a failure of fw1 now: fw2 takes over with all connections."
    )


def test_without_replication_it_says_that_connections_are_lost(pair: list[Told]) -> None:
    for told in pair:
        told["states"] = None
    verdict = judge(pair)
    assert verdict.level is Level.GOOD
    assert "without connections" in verdict.sentence


def test_a_silent_backup_leaves_the_master_alone(pair: list[Told]) -> None:
    silence(pair[1])
    pair[0]["states"]["peers"][0]["connected"] = False
    verdict = judge(pair)
    assert verdict.level is Level.BAD
    assert first(pair) == (Kind.ALONE, "fw2 does not answer")
    assert verdict.reasons[0].hint == "fw2 has not answered for 4.0 s; is it up?"
    assert "would not survive a failure of fw1 now" in verdict.sentence


def test_of_a_node_without_an_agent_that_replicates_nobody_knows(pair: list[Told]) -> None:
    silence(pair[1])
    verdict = judge(pair)
    assert (verdict.level, first(pair)[0]) == (Level.WARN, Kind.UNSURE)
    assert verdict.sentence == (
        "Nobody knows whether the group would survive a failure of fw1 now: "
        "the agent of fw2 does not answer, though its state replication does."
    )


def test_what_a_silent_node_said_last_counts_for_nothing(pair: list[Told]) -> None:
    silence(pair[0])
    pair[1]["failover"]["vhosts"] = [vhost("BACKUP"), vhost("BACKUP", "wan", 52)]
    assert first(pair) == (Kind.DOWN, "nobody is MASTER of 51@lan and 52@wan")


def test_a_silent_master_that_is_heard_is_master_still(pair: list[Told]) -> None:
    silence(pair[0])
    assert first(pair) == (Kind.WORSE, "fw1 is heard as MASTER, but its agent does not answer")
    assert "would survive a failure of fw1 now" in judge(pair).sentence


def test_a_third_node_that_is_ready_makes_a_silent_one_lighter(pair: list[Told]) -> None:
    silence(pair[1])
    assert judge([*pair, node("fw3", peer="fw1")]).level is Level.WARN


def test_nobody_serves(pair: list[Told]) -> None:
    for told in pair:
        told["failover"]["vhosts"][0] = vhost("INIT")
    kind, text = first(pair)
    assert (kind, text) == (Kind.DOWN, "nobody is MASTER of 51@lan")
    assert judge(pair).sentence.startswith("The group is not in service: nobody")


def test_two_masters_on_one_link_alone_are_told_as_multicast_that_gets_lost_there(
    pair: list[Told],
) -> None:
    pair[1]["failover"]["vhosts"][0] = {**vhost("MASTER"), "since_s": 60.0}
    assert first(pair) == (Kind.TORN, "fw1 and fw2 are MASTER of 51@lan at the same time")
    assert "on lan alone adverts get lost" in judge(pair).reasons[0].hint
    assert "IGMP or MLD" in judge(pair).reasons[0].hint


def test_two_masters_are_told_once_they_last(pair: list[Told]) -> None:
    pair[1] = node("fw2", "MASTER", peer="fw1")
    assert first(pair)[0] is Kind.TORN
    assert "fw1 and fw2 are MASTER of 51@lan and 52@wan at the same time" in first(pair)[1]
    assert "is the link cut?" in judge(pair).reasons[0].hint
    for row in pair[1]["failover"]["vhosts"]:
        row["since_s"] = 0.5  # a switchover: fw1 was asked a moment earlier
    assert Kind.TORN not in {reason.kind for reason in judge(pair).reasons}


def test_a_vip_here_and_a_vip_there(pair: list[Told]) -> None:
    pair[0]["failover"]["vhosts"][1] = vhost("BACKUP", "wan", 52, "fw2 (10.10.2.3)")
    pair[1]["failover"]["vhosts"][1] = vhost("MASTER", "wan", 52)
    text = "fw1 is MASTER of 51@lan only; fw2 is MASTER of 52@wan only"
    assert first(pair) == (Kind.WORSE, text)


def test_a_failover_process_that_does_not_answer(pair: list[Told]) -> None:
    pair[1]["failover"] = {"error": "no failover.sock", "hint": "start it"}
    assert first(pair) == (Kind.ALONE, "the failover process of fw2 does not answer")
    assert judge(pair).reasons[0].hint == "start it"


def test_disabled(pair: list[Told]) -> None:
    pair[1]["failover"]["enabled"] = False
    pair[1]["failover"]["vhosts"] = [vhost("DISABLED"), vhost("DISABLED", "wan", 52)]
    assert first(pair) == (Kind.ALONE, "CARP is disabled on fw2")


def test_an_interface_that_is_down_on_the_backup(pair: list[Told]) -> None:
    pair[1]["failover"]["interfaces"][1] = {"interface": "wan", "ready": False, "reason": "no link"}
    pair[1]["failover"]["vhosts"][1] = vhost("INIT", "wan", 52)
    pair[1]["failover"]["demotion"] = [{"reason": "interface wan down", "weight": 240}]
    trouble = {"key": "interface wan", "text": "wan: no link", "since_s": 60, "hint": ""}
    pair[1]["failover"]["troubles"] = [trouble]
    verdict = judge(pair)
    assert first(pair) == (Kind.ALONE, "wan is down on fw2 (no link)")
    assert len(verdict.reasons) == 1  # demotion and trouble say the same


def test_init_without_a_link_that_is_down(pair: list[Told]) -> None:
    pair[1]["failover"]["vhosts"][1] = vhost("INIT", "wan", 52)
    assert first(pair) == (Kind.ALONE, "fw2 is INIT for 52@wan")


def test_a_vip_that_one_node_does_not_know(pair: list[Told]) -> None:
    del pair[1]["failover"]["vhosts"][1]
    assert first(pair) == (Kind.ALONE, "fw2 does not know 52@wan")


def test_maintenance_and_demotion_leave_it_able(pair: list[Told]) -> None:
    pair[1]["failover"]["maintenance"] = True
    pair[1]["failover"]["demotion"] = [
        {"reason": "maintenance", "weight": 240, "text": "new disk"},
        {"reason": "check disk", "weight": 100, "text": "97 % full"},
    ]
    verdict = judge(pair)
    assert verdict.level is Level.WARN
    assert [reason.text for reason in verdict.reasons] == [
        "fw2 is in maintenance mode (new disk)",
        "fw2 is demoted: check disk (97 % full)",
    ]
    assert verdict.sentence.startswith("The group would survive a failure of fw1 now, but")


def test_no_stream_of_states_is_told_once_for_both_ends(pair: list[Told]) -> None:
    for told in pair:
        told["states"]["peers"][0].update(connected=False, last_error="Connection refused")
    verdict = judge(pair)
    kind, text = first(pair)
    assert (kind, text) == (Kind.LOSSY, "no stream of states between fw1 and fw2")
    assert verdict.reasons[0].hint == "Connection refused"
    assert len(verdict.reasons) == 1


def test_a_bulk_under_way_and_a_hold(pair: list[Told]) -> None:
    pair[1]["states"]["peers"][0]["bulk"] = "receiving"
    assert first(pair)[0] is Kind.LOSSY
    pair[1]["states"]["peers"][0]["bulk"] = "complete"
    pair[1]["states"]["hold"] = {"on": True, "reason": "nothing has come from fw1"}
    assert first(pair)[1] == "fw2 does not have all connections: nothing has come from fw1"


def test_a_states_process_that_does_not_answer(pair: list[Told]) -> None:
    pair[1]["states"] = {"error": "no states.sock", "hint": "start it"}
    assert first(pair) == (Kind.LOSSY, "the states process of fw2 does not answer")


def test_a_table_that_is_nearly_full(pair: list[Told]) -> None:
    pair[1]["states"]["entries"] = 950
    assert first(pair) == (Kind.LOSSY, "the table of connections of fw2 is nearly full")


def test_a_node_that_tells_nobody_what_another_one_would_tell(pair: list[Told]) -> None:
    pair[0].update(alert_targets=2)
    assert not judge(pair).reasons  # an older node says nothing of it
    pair[1].update(alert_targets=0)
    assert first(pair) == (Kind.ODD, "fw2 tells nobody of a failover, as fw1 does")
    pair[0].update(alert_targets=0)
    assert not judge(pair).reasons


def test_who_has_an_older_file_is_told_with_the_way_out_of_it(pair: list[Told]) -> None:
    pair[0]["failover"] |= {"group_digest": "new", "change": {"older": ["old"]}}
    pair[1]["failover"] |= {"group_digest": "old", "change": None}
    (reason,) = judge(pair).reasons
    assert reason.text == "configuration differs: fw2 has an older group.toml than fw1"
    assert "on fw1: `carpool diff`" in reason.hint
    pair[1]["failover"] |= {"group_digest": "new", "change": {"older": ["old"]}}
    pair[0]["failover"] |= {"group_digest": "old", "change": None}
    (reason,) = judge(pair).reasons
    assert reason.text == "configuration differs: fw1 has an older group.toml than fw2"
    assert reason.hint == "on fw1: `carpool pull fw2 carpool` takes the newer one over"


def test_versions_files_and_troubles_come_last(pair: list[Told]) -> None:
    pair[1].update(version="0.2.0")
    pair[1]["failover"]["group_digest"] = "def"
    pair[1]["troubles"] = [{"key": "clock", "text": "it is 1970", "hint": "NTP", "since_s": 9}]
    verdict = judge(pair)
    assert {reason.kind for reason in verdict.reasons} == {Kind.ODD}
    texts = [reason.text for reason in verdict.reasons]
    assert texts[0] == "fw1 runs carpool 0.1.0, fw2 runs carpool 0.2.0"
    assert "the nodes go by different group files" in texts
    assert "fw2: it is 1970" in texts
    assert "failover on fw2 runs carpool 0.1.0, installed is 0.2.0" in texts


def test_a_trouble_that_may_be_over_by_itself_waits(pair: list[Told]) -> None:
    pair[0]["troubles"] = [{"key": "x", "text": "a moment", "hint": "", "since_s": 1.0}]
    assert judge(pair).level is Level.GOOD


def test_the_worst_comes_first(pair: list[Told]) -> None:
    pair[1]["version"] = "0.2.0"
    pair[0]["failover"]["maintenance"] = True
    pair[1]["states"]["peers"][0]["connected"] = False
    kinds = [reason.kind for reason in judge(pair).reasons]
    assert kinds == sorted(kinds)
    assert kinds[0] is Kind.LOSSY


def test_a_node_without_peers_is_alone() -> None:
    only = node("fw1", "MASTER", here=True)
    only["states"] = None
    assert first([only]) == (Kind.ALONE, "fw1 is the only node")


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"name": 3, "failover": [], "states": "x", "troubles": {}},
        {"name": "a", "failover": {"vhosts": {}, "interfaces": 1, "demotion": None}},
        {"name": "a", "failover": {"vhosts": [1, {}], "interfaces": [None]}, "states": {}},
        {"name": "a", "failover": {"vhosts": [{"since_s": True}]}, "states": {"peers": [{}]}},
        {"name": "a", "failover": {"vhosts": []}, "states": {"hold": 1, "entries_max": "x"}},
    ],
)
def test_any_answer_is_judged(told: Told) -> None:
    assert judge([told, told]).level is Level.BAD
    assert judge([]).level is Level.BAD
