"""What a deed would do now: who is MASTER then, and what is not offered."""

from __future__ import annotations

from typing import Any

import pytest

from carpool.model.deed import Deed
from carpool.web.deeds import Plan, choices, plan, result
from carpool.web.members import members_of
from tests.unit.web.told import gone, group, maintained, node


def planned(deed: Deed, *nodes: dict[str, Any]) -> Plan:
    """To the first of them."""
    members = members_of(group(*nodes))
    return plan(deed, members[0], members)


BACKUP = node("fw2", "BACKUP", advskew=100)


def test_a_switchover_names_who_is_master_then() -> None:
    made = planned(Deed.SWITCHOVER, node("fw1"), BACKUP)
    assert not made.refused
    assert made.words[0] == "fw2 becomes MASTER of 51@lan, 52@wan."
    three = planned(Deed.SWITCHOVER, node("fw1"), node("fw3", "BACKUP", advskew=200), BACKUP)
    assert three.words[0].startswith("fw2 "), "the one that advertises fastest"


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (gone("fw2"), "fw2: the agent of fw2 has not answered in time"),
        (node("fw2", "DISABLED", enabled=False), "fw2: CARP is disabled there"),
        (node("fw2", "INIT"), "fw2: it is INIT there"),
        (maintained("fw2", "BACKUP", "new disk"), "fw2: demoted, by maintenance: new disk"),
        (node("fw2", vhosts=[]), "fw2: it has no 51@lan"),
    ],
)
def test_a_switchover_that_nobody_could_take_is_not_offered(
    other: dict[str, Any], why: str
) -> None:
    made = planned(Deed.SWITCHOVER, node("fw1"), other)
    assert made.refused.startswith("Nobody could take over 51@lan, 52@wan. ")
    assert why in made.refused and made.hint
    alone = planned(Deed.SWITCHOVER, node("fw1"))
    assert "no other node in the group" in alone.refused


def test_a_backup_has_nothing_to_hand_over() -> None:
    backup, master = node("fw1", "BACKUP"), node("fw2")
    assert "nothing to hand over" in planned(Deed.SWITCHOVER, backup, master).refused
    assert Deed.SWITCHOVER not in choices(members_of(group(backup))[0])


def test_maintenance_of_the_master_moves_it_and_of_the_backup_nothing() -> None:
    made = planned(Deed.MAINTENANCE_ON, node("fw1"), BACKUP)
    assert made.words[0].startswith("fw2 becomes MASTER") and not made.warning
    made = planned(Deed.MAINTENANCE_ON, node("fw1", "BACKUP"), node("fw2"))
    assert made.words[0] == "Nothing moves: fw1 is MASTER of nothing, fw2 stays MASTER."


def test_maintenance_that_nobody_can_make_up_for_says_so_and_is_offered() -> None:
    for other in (gone("fw2"), maintained("fw2", "BACKUP")):
        made = planned(Deed.MAINTENANCE_ON, node("fw1"), other)
        assert not made.refused, "somebody is MASTER all the same"
        assert "fw1 may stay MASTER" in made.warning


def test_who_is_master_when_maintenance_ends() -> None:
    kept = maintained("fw1", "BACKUP")
    master = node("fw2", advskew=100)
    (words,) = planned(Deed.MAINTENANCE_OFF, kept, master).words
    assert "fw1 is preferred (advskew 0 against 100)" in words
    calm = {**kept, "failover": {**kept["failover"], "preempt": False}}
    (words,) = planned(Deed.MAINTENANCE_OFF, calm, master).words
    assert words.startswith("preempt is off: fw2 stays MASTER")
    worse = {**kept, "failover": {**kept["failover"], "advskew": 150}}
    (words,) = planned(Deed.MAINTENANCE_OFF, worse, master).words
    assert words.startswith("fw2 stays MASTER")
    (words,) = planned(Deed.MAINTENANCE_OFF, kept, maintained("fw2", "MASTER")).words
    assert words == "fw2 is demoted: fw1 becomes MASTER at once."
    more = [*kept["failover"]["demotion"], {"reason": "interface lan down", "weight": 240}]
    both = {**kept, "failover": {**kept["failover"], "demotion": more}}
    (words,) = planned(Deed.MAINTENANCE_OFF, both, master).words
    assert "stays demoted, by interface lan down" in words
    assert planned(Deed.MAINTENANCE_OFF, node("fw1"), master).refused


def test_the_last_node_that_could_be_master_is_not_disabled() -> None:
    for other in (gone("fw2"), node("fw2", "DISABLED", enabled=False), node("fw2", "INIT")):
        made = planned(Deed.DISABLE, node("fw1"), other)
        assert made.refused.startswith("No other node could be MASTER of 51@lan, 52@wan")
        made = planned(Deed.DISABLE, node("fw1", "BACKUP"), other)
        assert made.refused, "also not a backup of which nobody knows the MASTER"
    assert planned(Deed.DISABLE, node("fw1")).refused


def test_a_demoted_node_is_enough_to_disable_the_other() -> None:
    made = planned(Deed.DISABLE, node("fw1"), maintained("fw2", "BACKUP"))
    assert made.words[0] == "fw2 becomes MASTER of 51@lan, 52@wan."
    assert "takes over from nobody" in made.warning
    assert planned(Deed.DISABLE, node("fw1", "DISABLED", enabled=False), BACKUP).refused


def test_enabling_tells_who_is_master_then() -> None:
    off = node("fw1", "DISABLED", enabled=False)
    made = planned(Deed.ENABLE, off, node("fw2", advskew=100))
    assert made.words[0] == "fw1 takes part again, as BACKUP at first."
    assert "becomes MASTER again" in made.words[1]
    assert "becomes it" in planned(Deed.ENABLE, off, gone("fw2")).words[1]
    assert planned(Deed.ENABLE, node("fw1"), BACKUP).refused


def test_of_a_node_that_tells_nothing_nothing_is_offered() -> None:
    for deed in Deed:
        made = planned(deed, gone("fw1"), node("fw2"))
        assert "has not answered in time" in made.refused and made.hint == "is fw1 up?"


def test_every_deed_has_words_and_many_vips_are_counted() -> None:
    for deed in Deed:
        for changed in (True, False):
            said = result(deed, "fw1", changed=changed, took_ms=3)
            assert "fw1" in said and said.endswith(".")
    assert "after 3 ms" in result(Deed.SWITCHOVER, "fw1", changed=True, took_ms=3)
    vip = node()["failover"]["vhosts"][0]
    many = [{**vip, "vhid": number} for number in range(1, 100)]
    backups = [{**one, "state": "BACKUP"} for one in many]
    made = planned(Deed.SWITCHOVER, node("fw1", vhosts=many), node("fw2", vhosts=backups))
    assert made.words[0].endswith("4@lan and 95 more VIPs.")
