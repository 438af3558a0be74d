"""The Settings page, to be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.errors import CarpoolError, UnreachableError
from carpool.web.accounts import Role
from tests.unit.web.desk import HOSTILE, Agent, Desk
from tests.unit.web.told import group, node, pair

FILES = {"group": "/etc/carpool/group.toml", "node": "/etc/carpool/node.toml"}
SECTION = {"name": "unbound", "description": "Unbound, a resolver", "paths": ["/etc/unbound/"]}
TOLD = {
    "settings": {
        "states": {"interface": "sync", "exclude": [{"port": 53}]},
        "sync": {"interface": "sync", "sections": ["unbound"], "schedule": "daily"},
    },
    "sections": [{**SECTION, "installed": False, "preset": True, "changed": True}],
    "node": {
        "name": "fw1",
        "advskew": 0,
        "interfaces": {"lan": "eth0", "sync": "eth2"},
        "addresses": {"fw1": {"sync": ["10.10.3.1"]}, "fw2": {"sync": ["10.10.3.2"]}},
    },
    "files": FILES,
}
CHECK = {"name": "uplink", "failing": True, "interval_s": 10, "weight": 240, "result": "exit 1"}


def agent_of(**more: object) -> Agent:
    answers = {"/v1/settings": TOLD, "/v1/nodes": pair(), "/v1/checks": {"checks": [CHECK]}}
    return Agent({**answers, **more})


def test_what_the_file_says_and_what_is_besides(tmp_path: Path) -> None:
    page = Desk(tmp_path, agent_of(), Role.ADMIN).get("/settings").text
    for text in (
        "unbound",
        "daily",
        "uplink",
        "fails",
        "Peers, by <code>node.toml</code>: fw2.",
        "/etc/carpool/node.toml",
        "eth2",
        "10.10.3.2",
        'href="/accounts"',
        "<code>carpool apply</code>",
    ):
        assert text in page, text
    assert page.count("00:00:00") == 3  # the next times of a daily schedule


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_others_read(role: Role, tmp_path: Path) -> None:
    page = Desk(tmp_path, agent_of(), role).get("/settings").text
    assert "role admin" in page and "port 53" in page and "3782 (default)" in page
    assert "<form" not in page.partition("<main")[2] and 'href="/accounts"' not in page


def test_a_node_that_is_not_the_primary_says_where(tmp_path: Path) -> None:
    nodes = group(node("fw1", "BACKUP"), node("fw2"))
    page = Desk(tmp_path, agent_of(**{"/v1/nodes": nodes}), Role.ADMIN).get("/settings").text
    assert "fw2 is the primary" in page and "<form" not in page.partition("<main")[2]
    nodes = group(node("fw1", "BACKUP"), node("fw2", "BACKUP"))
    page = Desk(tmp_path, agent_of(**{"/v1/nodes": nodes}), Role.ADMIN).get("/settings").text
    assert "No node is MASTER of every VIP" in page


def test_words_of_others_stay_words(tmp_path: Path) -> None:
    odd = {key: HOSTILE for key in ("name", "result", "last_line", "time")}
    agent = agent_of(**{"/v1/checks": {"checks": [odd]}})
    page = Desk(tmp_path, agent, Role.ADMIN).get("/settings").text
    assert "<script>alert" not in page and "\x1b" not in page and "&lt;script&gt;" in page


def test_what_the_agent_cannot_tell_is_told(tmp_path: Path) -> None:
    silent = UnreachableError("the agent has not answered", hint="start it")
    page = Desk(tmp_path, agent_of(**{"/v1/checks": silent})).get("/settings")
    assert page.status_code == 200 and "has not answered" in page.text
    broken = CarpoolError("group.toml is no TOML")
    page = Desk(tmp_path, agent_of(**{"/v1/settings": broken})).get("/settings")
    assert page.status_code == 400 and "is no TOML" in page.text
