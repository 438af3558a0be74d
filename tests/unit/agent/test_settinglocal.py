"""What there is to choose from on the Settings page, and what this node has of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carpool.agent.app import build
from tests.unit.agent.home import agent_of
from tests.unit.agent.test_app import ask

GROUP = """
[section.unbound]
nosync = ["/etc/unbound/own.conf"]
[section.leases]
paths = ["/etc/leases/"]
"""


def told(directory: Path) -> Any:
    (directory / "fw1").mkdir(exist_ok=True)
    (directory / "fw1/group.toml").write_text(GROUP)
    answer = ask(build(agent_of(directory, port=1)), "/v1/settings")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_sections_to_choose_from(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in told(tmp_path)["sections"]}
    assert "carpool" not in rows  # is always synchronised
    assert rows["unbound"]["preset"] and rows["nginx"]["preset"]
    leases = rows["leases"]
    assert (leases["preset"], leases["installed"]) == (False, False)
    assert leases["paths"] == ["/etc/leases/"]


def test_what_node_toml_says_and_where(tmp_path: Path) -> None:
    found = told(tmp_path)
    node = found["node"]
    assert (node["name"], node["advskew"], node["interfaces"]) == ("fw1", 0, {"sync": "lo"})
    assert node["addresses"] == {"fw1": {"sync": ["127.0.0.11"]}, "fw2": {"sync": ["127.0.0.12"]}}
    directory = tmp_path / "fw1"
    assert found["files"] == {
        "group": str(directory / "group.toml"),
        "node": str(directory / "node.toml"),
    }
