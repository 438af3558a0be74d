"""What counts as healthy, from the answers of the processes alone; and records of labs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carpool.errors import CarpoolError
from carpool.lab.lab import Lab, failover_troubles, states_troubles


def failover(role: str = "MASTER", *reasons: str) -> dict[str, Any]:
    return {"role": role, "summary": "s", "demotion": [{"reason": reason} for reason in reasons]}


def states(**changes: Any) -> dict[str, Any]:
    peer = {"name": "fw2", "connected": True, "bulk": "complete", "last_error": None, **changes}
    return {"peers": [peer], "hold": {"on": False, "reason": ""}, "failover": None}


def test_a_healthy_pair_has_no_troubles() -> None:
    assert failover_troubles(failover(), "MASTER") == []
    assert failover_troubles(failover("BACKUP"), "BACKUP") == []
    assert states_troubles(states()) == []


@pytest.mark.parametrize("role", ["BACKUP", "INIT", "DISABLED", "SPLIT"])
def test_another_role_than_wanted_is_trouble(role: str) -> None:
    assert failover_troubles(failover(role), "MASTER") == [f"is {role}, expected MASTER (s)"]


def test_a_demotion_is_trouble_even_in_the_right_role() -> None:
    assert failover_troubles(failover("MASTER", "bulk sync"), "MASTER") == ["demoted by bulk sync"]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (states(connected=False, last_error="refused"), "no stream with fw2 (refused)"),
        (states(bulk="sending"), "the table of fw2 is sending, expected complete"),
        (states() | {"hold": {"on": True, "reason": "r"}}, "holds preemption: r"),
        (states() | {"failover": "gone"}, "does not hear failover: gone"),
    ],
)
def test_half_a_replication_is_trouble(answer: dict[str, Any], text: str) -> None:
    assert states_troubles(answer) == [text]


def test_a_backup_that_gave_the_place_back_is_well_and_a_master_that_should_give_it_is_not() -> (
    None
):
    assert failover_troubles(failover("BACKUP", "switchover"), "BACKUP") == []
    assert failover_troubles(failover("MASTER", "switchover"), "MASTER") != []


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ('{"agent": true, "colour": "blue"}', "another version of carpool: found colour, expected"),
        ("[]", "is not a record of a lab"),
        ("{", "is not a record of a lab: Expecting"),
    ],
)
def test_a_record_that_says_something_else_is_refused_in_plain_words(
    tmp_path: Path, record: str, words: str
) -> None:
    (tmp_path / "try").mkdir()
    (tmp_path / "try" / "lab.json").write_text(record)
    with pytest.raises(CarpoolError, match=words) as refused:
        Lab("try", labs_dir=tmp_path)
    assert f"{tmp_path}/try" in (refused.value.hint or "")


@pytest.mark.parametrize("kind", ["", ', "machines": true'])
def test_pages_of_either_kind_are_looked_after(tmp_path: Path, kind: str) -> None:
    (tmp_path / "try").mkdir()
    record = tmp_path / "try" / "lab.json"
    record.write_text(f'{{"agent": true, "pages": true, "port": 8443{kind}}}')
    lab = Lab("try", labs_dir=tmp_path)
    assert lab.roles[-1] == "web" and lab.pages() == [], "never started"
    for firewall in lab.firewalls.values():
        firewall.root.mkdir()
        (firewall.pages.directory).mkdir()
        (firewall.pages.directory / "port").write_text("8443")
    assert lab.pages()[0] == "fw1: https://127.0.0.1:8443/"
    said = "[  9.1] carpool: web: log in as admin with the one-time password 5928-2281\r\n"
    lab.firewalls["fw2"].pages.log.write_text(f"before\n{said}after\n")
    assert lab.pages()[1].endswith("/ log in as admin with 5928-2281, once")


def test_a_record_of_an_older_version_says_less(tmp_path: Path) -> None:
    (tmp_path / "try").mkdir()
    (tmp_path / "try" / "lab.json").write_text('{"agent": true}')
    plan = Lab("try", labs_dir=tmp_path).plan
    assert plan.agent and not plan.machines
