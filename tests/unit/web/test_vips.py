"""The page of the virtual IPs, and the two steps of a deed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from carpool.errors import CarpoolError, UnreachableError
from carpool.web.accounts import Role
from tests.unit.web.desk import HOSTILE, Agent, Desk
from tests.unit.web.told import gone, group, maintained, node, pair

TO_FW2 = {"node": "fw2", "deed": "maintenance-on", "reason": "new disk"}


def test_each_vip_on_each_node(tmp_path: Path) -> None:
    page = Desk(tmp_path, Agent({"/v1/nodes": pair()})).get("/vips").text
    for text in ("51@lan", "10.10.1.1/24", "fd00:10:1::1/64", "MASTER", "fw9 (10.10.1.9)", "1 min"):
        assert text in page
    assert 'href="/vips/act?node=fw2&amp;deed=maintenance-on"' in page
    live = Desk(tmp_path, Agent({"/v1/nodes": pair()})).get("/vips?live=1").text
    assert "51@lan" in live and "<html" not in live


def test_no_master_and_two_of_them_are_told(tmp_path: Path) -> None:
    for first, second, told in (
        (node("fw1"), node("fw2"), "2 MASTERs"),
        (node("fw1", "BACKUP"), node("fw2", "BACKUP"), "no MASTER"),
        (node("fw1", "BACKUP"), gone("fw2", "MASTER"), "no MASTER"),
        (node("fw1"), gone("fw2", "MASTER"), "last seen as MASTER"),
    ):
        page = Desk(tmp_path, Agent({"/v1/nodes": group(first, second)})).get("/vips").text
        assert told in page


def test_a_group_without_any_says_where_they_come_from(tmp_path: Path) -> None:
    answer = group(node("fw1", vhosts=[]))
    assert "[[vip]]" in Desk(tmp_path, Agent({"/v1/nodes": answer})).get("/vips").text


@pytest.mark.parametrize("path", ["/vips", "/vips?live=1", "/vips/act?node=fw2&deed=disable"])
def test_words_of_others_stay_words(path: str, tmp_path: Path) -> None:
    odd = maintained("fw2", HOSTILE, HOSTILE)
    odd["failover"]["summary"] = HOSTILE
    for vip in odd["failover"]["vhosts"]:
        vip |= {key: HOSTILE for key in ("mac", "transport", "master", "reason", "interface")}
        vip["addresses"] = [HOSTILE]
    for row in (odd, {**odd, "error": HOSTILE, "hint": HOSTILE}):
        agent = Agent({"/v1/nodes": group(node("fw1"), row)})
        page = Desk(tmp_path, agent).get(path).text
        assert "<script>alert" not in page and "\x1b" not in page
        assert "&lt;script&gt;" in page


def test_a_deed_is_asked_first_and_then_done_on_that_node(tmp_path: Path) -> None:
    agent = Agent({"/v1/nodes": pair(), "/v1/maintenance?peer=fw2": {"changed": True}})
    desk = Desk(tmp_path, agent)
    page = desk.get("/vips/act?node=fw2&deed=maintenance-on").text
    assert "Nothing moves: fw2 is MASTER of nothing, fw1 stays MASTER." in page
    assert agent.posts == []
    answer = desk.post("/vips/act", TO_FW2)
    assert answer.status_code == 303
    body = {"on": True, "reason": "new disk"}
    by = "ann from 192.0.2.7"
    assert agent.posts == [("/v1/maintenance", body, {"peer": "fw2"}, by)]
    assert "fw2 is in maintenance mode" in desk.get(answer.headers["location"]).text


def test_a_switchover_of_this_node_says_how_long_it_took(tmp_path: Path) -> None:
    agent = Agent({"/v1/nodes": pair(), "/v1/switchover": {"took_s": 0.0034}})
    desk = Desk(tmp_path, agent)
    answer = desk.post("/vips/act", {"node": "fw1", "deed": "switchover"})
    assert agent.posts == [("/v1/switchover", {}, {}, "ann from 192.0.2.7")]
    assert "fw1 handed over after 3 ms." in desk.get(answer.headers["location"]).text


def test_what_is_not_offered_is_not_done_either(tmp_path: Path) -> None:
    agent = Agent({"/v1/nodes": group(node("fw1"), gone("fw2"))})
    desk = Desk(tmp_path, agent)
    for deed in ("disable", "switchover"):
        page = desk.get(f"/vips/act?node=fw1&deed={deed}").text
        assert "Not now." in page and 'action="/vips/act"' not in page
        answer = desk.post("/vips/act", {"node": "fw1", "deed": deed})
        assert answer.status_code == 409
        assert "fw2: the agent of fw2 has not answered in time" in answer.text
    assert agent.posts == []


def test_what_the_node_refuses_is_told_and_can_be_tried_again(tmp_path: Path) -> None:
    for error in (CarpoolError(HOSTILE, hint="look at fw2"), UnreachableError("no", hint=HOSTILE)):
        agent = Agent({"/v1/nodes": pair(), "/v1/maintenance?peer=fw2": error})
        answer = Desk(tmp_path, agent).post("/vips/act", TO_FW2)
        assert answer.status_code == 502 and "That did not work:" in answer.text
        assert "<script>alert" not in answer.text and "\x1b" not in answer.text
        assert 'value="new disk"' in answer.text


@pytest.mark.parametrize(
    "query",
    ["", "node=fw3&deed=disable", "node=fw1&deed=reboot", f"node={quote(HOSTILE)}&deed=disable"],
)
def test_other_nodes_and_deeds_there_are_not(query: str, tmp_path: Path) -> None:
    desk = Desk(tmp_path, Agent({"/v1/nodes": pair()}))
    assert desk.get(f"/vips/act?{query}").status_code == 404
    form = dict(part.split("=") for part in query.split("&") if part)
    assert desk.post("/vips/act", form).status_code == 404


def test_a_reason_is_bounded(tmp_path: Path) -> None:
    agent = Agent({"/v1/nodes": pair()})
    answer = Desk(tmp_path, agent).post("/vips/act", {**TO_FW2, "reason": "x" * 201})
    assert answer.status_code == 502 and "200 at most" in answer.text
    assert agent.posts == []


def test_a_viewer_sees_and_does_nothing(tmp_path: Path) -> None:
    agent = Agent({"/v1/nodes": pair()})
    desk = Desk(tmp_path, agent, Role.VIEWER)
    page = desk.get("/vips").text
    assert "51@lan" in page and "/vips/act" not in page
    assert desk.get("/vips/act?node=fw2&deed=disable").status_code == 403
    assert desk.post("/vips/act", TO_FW2).status_code == 403
    assert agent.posts == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("node=fw1&done=enable", "CARP is enabled on fw1."),
        ("node=fw1&done=enable&same=1", "CARP was enabled on fw1 already."),
        ("node=fw1&done=switchover&took=999999999999", "fw1 handed over."),
        ("node=fw1&done=switchover&took=-1", "fw1 handed over."),
        ("node=fw9&done=enable", None),
        ("node=fw1&done=call+the+bank", None),
    ],
)
def test_an_address_says_nothing_but_our_own_words(
    query: str, said: str | None, tmp_path: Path
) -> None:
    page = Desk(tmp_path, Agent({"/v1/nodes": pair()})).get(f"/vips?{query}").text
    assert (said in page) if said else ('role="status"' not in page and "the bank" not in page)


def test_whoever_looks_by_an_address_that_moves_is_told(tmp_path: Path) -> None:
    nodes = pair()
    for vip in nodes["nodes"][0]["failover"]["vhosts"]:
        vip["addresses"] = ["fw1/24"]  # what the address bar says in these tests
    for told, there in ((nodes, True), (pair(), False)):
        desk = Desk(tmp_path, Agent({"/v1/nodes": told}))
        page = desk.get("/vips/act?node=fw1&deed=switchover").text
        assert ("goes to the other node" in page) is there
