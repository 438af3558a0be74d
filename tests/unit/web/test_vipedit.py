"""Virtual IPs by forms: mistakes beside their fields, a draft, its diff, and the job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from carpool.errors import CarpoolError, ConfigError
from carpool.web.accounts import Role
from carpool.web.drafts import DRAFTS_MAX, Draft
from tests.unit.web.desk import HOSTILE, Agent, Desk
from tests.unit.web.told import group, node

STAND: dict[str, Any] = {
    "node": "fw1",
    "digest": "a" * 64,
    "interfaces": {"lan": "eth1", "wan": "eth0"},
    "pages": [{"name": "fw1", "address": "10.9.0.2", "port": 8443}],
    "refused": None,
    "values": {
        "vip": [
            {"interface": "lan", "vhid": 1, "password": True, "addresses": ["10.9.0.1/24"]},
            {"interface": "wan", "vhid": 2, "password": True, "addresses": ["192.0.2.1/24"]},
        ]
    },
}
PAGES_OF_FW2 = {"name": "fw2", "address": "fd00::3", "port": 8443}
GOOD: dict[str, Any] = {
    "changed": True,
    "ok": True,
    "problems": [],
    "refused": None,
    "failover": {"changes": ["3@lan comes: 10.9.0.7/24"]},
    "sections": [
        {
            "name": "carpool",
            "files": [
                {
                    "path": "/etc/carpool/group.toml",
                    "deed": "changed",
                    "attributes": "",
                    "text": "--- a\n+++ b\n@@ -1 +1 @@\n+vhid = 3\n",
                }
            ],
        }
    ],
}
FORM = {
    "digest": "a" * 64,
    "vip": "",
    "interface": "lan",
    "vhid": "3",
    "addresses": "10.9.0.7/24\nfd00::7/64",
    "password": "secret words",
    "advbase": "1",
    "mac": "virtual",
    "transport": "multicast",
    "what": "save",
}


def desk_of(
    directory: Path, answers: Mapping[str, object] | None = None, role: Role = Role.ADMIN
) -> tuple[Desk, Agent]:
    told = {"/v1/group": STAND, "/v1/group/preview": GOOD, **(answers or {})}
    agent = Agent(told)
    return Desk(directory, agent, role), agent


def test_a_new_one_is_filled_in_looked_at_and_then_applied(tmp_path: Path) -> None:
    desk, agent = desk_of(tmp_path)
    page = desk.get("/vips/edit").text
    assert "New virtual IP" in page and "lan (eth1)" in page
    answer = desk.post("/vips/edit", FORM)
    assert answer.status_code == 303
    shown = desk.get(answer.headers["location"]).text
    assert "Add the virtual IP 3@lan" in shown and "+vhid = 3" in shown
    assert "3@lan comes: 10.9.0.7/24" in shown
    assert '<option value="60" selected>' in shown
    assert "secret words" not in shown
    values = {
        "interface": "lan",
        "vhid": 3,
        "addresses": ["10.9.0.7/24", "fd00::7/64"],
        "password": "secret words",
    }
    (path, body, _params, by) = agent.posts[-1]
    assert (path, by) == ("/v1/group/preview", "ann from 192.0.2.7")
    assert body == {"digest": "a" * 64, "edits": [{"op": "add_vip", "values": values}]}


def test_the_form_of_one_that_is_there_changes_what_differs(tmp_path: Path) -> None:
    desk, agent = desk_of(tmp_path)
    page = desk.get("/vips/edit?vip=1@lan").text
    assert "10.9.0.1/24" in page and "left empty, it stays" in page
    form = {**FORM, "vip": "1@lan", "vhid": "1", "password": "", "mac": "interface"}
    assert desk.post("/vips/edit", {**form, "addresses": "10.9.0.1/24"}).status_code == 303
    edits = agent.posts[-1][1]
    assert isinstance(edits, dict)
    assert edits["edits"] == [{"op": "change_vip", "vip": "1@lan", "values": {"mac": "interface"}}]


def test_a_mistake_stands_beside_its_field(tmp_path: Path) -> None:
    def problem(key: str, found: str) -> dict[str, object]:
        return {"file": "group.toml", "key": key, "found": found, "expected": "x", "fatal": True}

    wrong = {
        **GOOD,
        "ok": False,
        "problems": [problem("vip[2].vhid", "999"), problem("vip[0].vhid", HOSTILE)],
    }
    desk, _agent = desk_of(tmp_path, {"/v1/group/preview": wrong})
    answer = desk.post("/vips/edit", {**FORM, "vhid": "999"})
    assert answer.status_code == 422
    assert 'aria-invalid="true" aria-describedby="wrong-vhid1"' in answer.text
    assert 'id="wrong-vhid1">found 999, expected x' in answer.text
    assert "group.toml: vip[0].vhid" in answer.text
    assert "<script>alert" not in answer.text
    assert 'value="999"' in answer.text and "10.9.0.7/24" in answer.text
    assert "secret words" not in answer.text


def test_who_edited_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    refusal = ConfigError("group.toml was changed since", hint="load the page again")
    desk, _agent = desk_of(tmp_path, {"/v1/group/preview": refusal})
    answer = desk.post("/vips/edit", FORM)
    assert answer.status_code == 409 and "was changed since" in answer.text


def test_a_free_vhid_is_not_in_the_file_nor_on_the_wire(tmp_path: Path) -> None:
    heard = {"interface": "lan", "vhid": 2, "kind": "VRRP"}
    other = {"interface": "wan", "vhid": 3, "kind": "CARP"}
    listened = {"peers": {"fw2": {"heard": [heard, other]}}}
    desk, agent = desk_of(tmp_path, {"/v1/doctor/listen": listened})
    page = desk.post("/vips/edit", {**FORM, "what": "pick", "vhid": ""}).text
    assert "VHID 3 is free" in page and "no peer heard it" in page
    assert 'name="vhid" value="3"' in page
    assert agent.posts[-1][0] == "/v1/doctor/listen"
    failures: list[object] = [{"peers": {"fw2": {"error": HOSTILE}}}, CarpoolError("no agent")]
    for answer in failures:
        desk, _agent = desk_of(tmp_path, {"/v1/doctor/listen": answer})
        page = desk.post("/vips/edit", {**FORM, "what": "pick", "vhid": ""}).text
        assert "listen" in page and "no peer heard it" not in page
        assert "<script>alert" not in page


def test_a_deletion_is_looked_at_first(tmp_path: Path) -> None:
    desk, agent = desk_of(tmp_path)
    answer = desk.post("/vips/delete", {"vip": "2@wan", "digest": "a" * 64})
    page = desk.get(answer.headers["location"]).text
    assert "Delete the virtual IP 2@wan" in page
    body = agent.posts[-1][1]
    assert isinstance(body, dict)
    assert body["edits"] == [{"op": "remove_vip", "vip": "2@wan"}]
    assert desk.post("/vips/delete", {"vip": "9@lan"}).status_code == 404
    assert desk.get("/vips/edit?vip=9@lan").status_code == 404


def test_another_node_says_where_to_go(tmp_path: Path) -> None:
    refused = {"error": "this node is not MASTER of 1@lan", "hint": "run it there"}
    answers = {
        "/v1/nodes": group(node("fw1", "BACKUP"), {**node("fw2"), "here": False}),
        "/v1/group": {**STAND, "refused": refused, "pages": [PAGES_OF_FW2]},
        "/v1/group/preview": {**GOOD, "refused": refused},
    }
    desk, _agent = desk_of(tmp_path, answers)
    page = desk.get("/vips/edit").text
    assert "not MASTER of 1@lan" in page
    assert '<a href="https://[fd00::3]:8443/vips">fw2</a>' in page
    page = desk.get(desk.post("/vips/edit", FORM).headers["location"]).text
    assert "not MASTER of 1@lan" in page
    assert "Apply it on all nodes" not in page
    assert '<a href="https://[fd00::3]:8443/vips">fw2</a>' in page


def test_what_failover_refuses_is_shown_before(tmp_path: Path) -> None:
    objection = {**GOOD, "failover": {"error": HOSTILE, "hint": "say --force"}}
    desk, _agent = desk_of(tmp_path, {"/v1/group/preview": objection})
    page = desk.get(desk.post("/vips/edit", FORM).headers["location"]).text
    assert "Failover refuses it" in page and "<script>alert" not in page


def test_a_draft_is_of_its_session_and_they_are_bounded(tmp_path: Path) -> None:
    desk, _agent = desk_of(tmp_path)
    path = desk.post("/vips/edit", FORM).headers["location"]
    assert "no such change" in desk.get("/change/other").text
    assert desk.post(path, {"within": "4"}).status_code == 400
    session = desk.web.sessions.find(desk.key, by_hand=True)
    assert session is not None
    for _ in range(DRAFTS_MAX):
        desk.web.drafts.add(session, Draft("x", [], "", "/"))
    assert "no such change" in desk.get(path).text


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_only_an_admin_edits(role: Role, tmp_path: Path) -> None:
    desk, agent = desk_of(tmp_path, role=role)
    assert desk.get("/vips/edit").status_code == 403
    assert desk.post("/vips/edit", FORM).status_code == 403
    assert "/vips/edit" not in desk.get("/vips").text
    assert agent.posts == []
