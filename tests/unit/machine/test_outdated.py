"""Which processes run an older program, and the command that ends that."""

from __future__ import annotations

from carpool.machine.outdated import lines, outdated, restart


def test_those_of_another_version_are_outdated_and_those_that_do_not_say_are_not() -> None:
    told = {"failover": "0.1.0", "states": "0.2.0", "agent": ""}
    assert outdated(told, "0.2.0") == {"failover": "0.1.0"}


def test_only_a_failover_that_is_master_hands_over_first() -> None:
    assert restart("states", master=True) == "systemctl restart carpool-states"
    assert restart("failover", master=False) == "systemctl restart carpool-failover"
    on, move, off = restart("failover", master=True).split(" && ")
    assert (on, off) == ("carpool maintenance on", "carpool maintenance off")
    assert move == "systemctl restart carpool-failover"


def test_no_line_ends_within_a_command() -> None:
    assert lines("one && two words && three") == ["one &&", "two words &&", "three"]
    assert lines("one") == ["one"]
