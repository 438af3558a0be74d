"""A change of group.toml without a peer that is away: the first step leads to it, the second says
what follows, and only an admin who says that he read it does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carpool.errors import CarpoolError
from carpool.web.accounts import Role
from carpool.web.drafts import Draft
from tests.unit.web.desk import HOSTILE, Agent, Desk
from tests.unit.web.test_vipedit import GOOD, STAND
from tests.unit.web.told import gone, group, node

AWAY: dict[str, Any] = {
    "away": True,
    "why": "the agent of fw2 could not be connected to in time",
    "hint": "is fw2 up?",
    "sign": "",
    "age_s": 7200.0,
}
THERE = {**AWAY, "away": False, "sign": "the machine of fw2 is there, at 10.10.1.3"}
ANSWERS = {"away": False, "why": "", "hint": "", "sign": "", "age_s": 0.1}
SURE = {"without": "fw2", "within": "60", "understood": "yes", "reason": "no spare <part>"}


def desk_of(
    home: Path,
    peers: dict[str, Any],
    more: dict[str, object] | None = None,
    role: Role = Role.ADMIN,
) -> tuple[Desk, Agent, str]:
    """And the path of the page."""
    answers = {
        "/v1/nodes": group(node("fw1"), gone("fw2")),
        "/v1/group": STAND,
        "/v1/group/preview": GOOD,
        "/v1/group/away": {"peers": peers},
        **(more or {}),
    }
    agent = Agent(answers)
    desk = Desk(home, agent, role)
    session = desk.web.sessions.find(desk.key, by_hand=True)
    assert session is not None
    draft = Draft("add the virtual IP 3@lan", [{"op": "add_vip", "values": {}}], "a" * 64, "/vips")
    return desk, agent, desk.web.drafts.add(session, draft)


def test_the_first_step_says_who_is_silent_and_leads_to_the_second(tmp_path: Path) -> None:
    desk, _agent, path = desk_of(tmp_path, {"fw2": AWAY})
    page = desk.get(path).text
    assert "fw2 does not answer." in page and f'href="{path}/alone"' in page
    assert "Apply it on all nodes" in page
    both = group(node("fw1"), node("fw2", "BACKUP"))
    desk, _agent, path = desk_of(tmp_path, {"fw2": ANSWERS}, {"/v1/nodes": both})
    assert "/alone" not in desk.get(path).text


def test_who_is_away_is_left_out_by_who_read_what_follows(tmp_path: Path) -> None:
    desk, _agent, path = desk_of(tmp_path, {"fw2": AWAY, "fw3": ANSWERS})
    page = desk.get(f"{path}/alone").text
    for text in ("fw2 is away", "It told something last 2 h", "What follows from it", "vhid = 3"):
        assert text in page
    assert 'name="without" value="fw2"' in page and "fw3" not in page
    answer = desk.post(f"{path}/alone", {**SURE, "understood": ""})
    assert answer.status_code == 400 and "say that you have read" in answer.text
    assert desk.web.jobs.running == []
    answer = desk.post(f"{path}/alone", SURE)
    assert answer.status_code == 303
    (job,) = desk.web.jobs._jobs.values()
    assert job.what == "add the virtual IP 3@lan, without fw2"
    assert (job.path, job.body["without"], job.body["force"]) == ("/v1/group/apply", ["fw2"], False)
    assert job.body["confirm_within_s"] == 60.0
    assert desk.post(f"{path}/alone", {**SURE, "without": ""}).status_code == 400
    assert desk.post(f"{path}/alone", {**SURE, "within": "4"}).status_code == 400


@pytest.mark.parametrize(
    ("peers", "more", "told"),
    [
        ({"fw2": THERE}, {}, "the machine of fw2 is there, at 10.10.1.3"),
        ({"fw2": AWAY, "fw3": {**THERE, "sign": "fw3 refuses"}}, {}, "fw3 refuses"),
        ({"fw2": ANSWERS}, {}, "Every node answers"),
        ({"fw2": AWAY}, {"/v1/group/preview": {**GOOD, "ok": False}}, "fw2 is away"),
        (
            {"fw2": AWAY},
            {"/v1/group/preview": CarpoolError("it was changed since")},
            "changed since",
        ),
        ({"fw2": AWAY}, {"/v1/group/away": CarpoolError("no agent")}, "no agent"),
        ({"fw2": AWAY}, {"/v1/group/preview": {**GOOD, "refused": {"error": "x"}}}, "fw2 is away"),
        ({"fw2": AWAY}, {"/v1/group/preview": {**GOOD, "failover": {"error": "x"}}}, "fw2 is away"),
    ],
)
def test_otherwise_there_is_no_button(
    peers: dict[str, Any], more: dict[str, object], told: str, tmp_path: Path
) -> None:
    desk, _agent, path = desk_of(tmp_path, peers, more)
    page = desk.get(f"{path}/alone").text
    assert told in page
    assert "Apply without" not in page


def test_nobody_but_an_admin(tmp_path: Path) -> None:
    desk, _agent, path = desk_of(tmp_path, {"fw2": AWAY}, role=Role.OPERATOR)
    assert desk.get(f"{path}/alone").status_code == 403
    assert desk.post(f"{path}/alone", SURE).status_code == 403


def test_words_of_others_stay_words(tmp_path: Path) -> None:
    odd = {**THERE, "why": HOSTILE, "hint": HOSTILE, "sign": HOSTILE, "age_s": HOSTILE}
    desk, _agent, path = desk_of(tmp_path, {HOSTILE: odd, "fw3": [], "fw4": 3})
    page = desk.get(f"{path}/alone").text
    assert "<script>alert" not in page and "&lt;script&gt;" in page and "\x1b" not in page
