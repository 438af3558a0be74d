"""What the Settings page is told of both files and of the sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carpool.agent.app import build
from tests.unit.agent.home import agent_of
from tests.unit.agent.test_app import ask

GROUP = """
name = "test"
preempt = false
[[vip]]
password = "hunter2"
[states]
interface = "sync"
[section.unbound]
nosync = ["/etc/unbound/own.conf"]
[section.leases]
paths = ["/etc/leases/"]
"""


def told(directory: Path, text: str, status: int = 200) -> Any:
    (directory / "fw1").mkdir(exist_ok=True)
    file = directory / "fw1/group.toml"
    file.write_text(text)
    answer = ask(build(agent_of(directory, port=1)), "/v1/settings")
    assert answer.status_code == status, answer.text
    return answer.json()


def test_tables_as_they_are_written_and_no_password(tmp_path: Path) -> None:
    found = told(tmp_path, GROUP)
    assert found["settings"] == {"preempt": False, "states": {"interface": "sync"}}
    assert "hunter2" not in str(found)
    assert found["files"]["group"] == str(tmp_path / "fw1/group.toml")


def test_sections_to_choose_from(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in told(tmp_path, GROUP)["sections"]}
    assert "carpool" not in rows  # is always synchronised
    assert (rows["unbound"]["preset"], rows["unbound"]["changed"]) == (True, True)
    assert (rows["nginx"]["preset"], rows["nginx"]["changed"]) == (True, False)
    leases = rows["leases"]
    assert (leases["preset"], leases["installed"], leases["selected"]) == (False, False, False)
    assert leases["paths"] == ["/etc/leases/"]


def test_what_node_toml_says(tmp_path: Path) -> None:
    node = told(tmp_path, GROUP)["node"]
    assert (node["name"], node["advskew"], node["interfaces"]) == ("fw1", 0, {"sync": "lo"})
    assert node["addresses"] == {"fw1": {"sync": ["127.0.0.11"]}, "fw2": {"sync": ["127.0.0.12"]}}


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert "is no TOML" in told(tmp_path, "name =", 409)["error"]
