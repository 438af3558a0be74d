"""What the agent tells of the nodes, read with care."""

from __future__ import annotations

import pytest

from carpool.web.members import keys_of, members_of
from tests.unit.web.told import gone, group, maintained, node, pair


def test_what_is_told_is_there() -> None:
    fw1, fw2 = members_of(pair())
    assert (fw1.name, fw1.here, fw1.masters) == ("fw1", True, ("51@lan", "52@wan"))
    assert (fw2.here, fw2.masters, fw2.effective) == (False, (), 100)
    assert fw2.vips["51@lan"].hears == "fw9 (10.10.1.9)"
    assert keys_of([fw1, fw2]) == ["51@lan", "52@wan"]
    (kept,) = members_of(group(maintained("fw1", "BACKUP", "new disk")))
    assert kept.demotion == ("maintenance: new disk",)


def test_who_can_take_over() -> None:
    found = members_of(
        group(
            node("fw1", "BACKUP"),
            maintained("fw2", "BACKUP"),
            node("fw3", "INIT"),
            node("fw4", "DISABLED", enabled=False),
            gone("fw5"),
            node("fw6", "BACKUP", effective_advskew=240, demotion=[{"reason": "switchover"}]),
        )
    )
    assert [one.takes_part("51@lan") for one in found] == [True, True, False, False, False, True]
    assert [one.is_ready("51@lan") for one in found] == [True, False, False, False, False, True]
    assert not found[0].takes_part("53@lan")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"nodes": None},
        {"nodes": [1, None, "x"]},
        {"nodes": [{}]},
        {"nodes": [{"name": 7, "here": 1, "failover": [], "error": None}]},
        {"nodes": [{"name": "a", "failover": {"vhosts": {}, "demotion": 3, "advskew": "x"}}]},
        {"nodes": [{"name": "a", "failover": {"vhosts": [{}], "advskew": 1e400}}]},
        {"nodes": [{"name": "a", "failover": {"vhosts": [{"addresses": 1, "state": []}]}}]},
    ],
)
def test_odd_answers_are_read_as_far_as_they_go(answer: dict[str, object]) -> None:
    for one in members_of(answer):
        assert not one.masters
        assert not one.here


def test_of_a_process_that_is_down_its_words_are_told() -> None:
    down = {**node("fw2"), "failover": {"error": "failover does not answer", "hint": "start it"}}
    (fw2,) = members_of(group(down))
    assert (fw2.error, fw2.hint) == ("failover does not answer", "start it")
    assert not fw2.takes_part("51@lan")
