"""The page of who is told: what it shows, and its test button."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carpool.errors import CarpoolError
from carpool.web.accounts import Role
from tests.unit.web.desk import HOSTILE, Agent, Desk


def told(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    file = "/etc/carpool/alerts.toml"
    return {"file": file, "per_hour": 6, "alerts": list(rows), "problems": [], **more}


def target(**more: Any) -> dict[str, Any]:
    last = {"time": "2026-11-23T03:00:00Z", "title": "[edge] a try", "ok": True, "result": "sent"}
    url = "mailtos://****@mail.example.com"
    row = {"name": "ops", "url": url, "on": ["failover", "outage"], "waiting": 0}
    return {**row, "last": last, **more}


def test_targets_are_shown_with_what_came_last(tmp_path: Path) -> None:
    failed = {"title": "[edge] fw2 became MASTER", "ok": False, "result": "refused", "time": "-"}
    agent = Agent({"/v1/alerts": told(target(), target(name="duty", last=failed))})
    page = Desk(tmp_path, agent).get("/settings/alerts").text
    for text in ("mailtos://****@mail", "failover, outage", ">sent<", "not sent", ": refused"):
        assert text in page
    assert "Send a test" not in Desk(tmp_path, agent, Role.VIEWER).get("/settings/alerts").text


def test_nobody_to_tell_and_mistakes_in_the_file(tmp_path: Path) -> None:
    agent = Agent({"/v1/alerts": told(problems=["alerts.toml:2: to.ops.url: found nothing"])})
    page = Desk(tmp_path, agent).get("/settings/alerts").text
    assert "Nobody is told" in page and "alerts.toml:2" in page


def test_a_try_is_sent_to_one_and_refused_in_words(tmp_path: Path) -> None:
    agent = Agent({"/v1/alerts": told(target())})
    answer = Desk(tmp_path, agent).post("/settings/alerts/test", {"name": "ops"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/settings/alerts")
    assert agent.posts[0][:2] == ("/v1/alerts/test", {"name": "ops"})
    agent.answers["/v1/alerts/test"] = CarpoolError("too many tries", hint="wait")
    answer = Desk(tmp_path, agent).post("/settings/alerts/test", {"name": ""})
    assert answer.status_code == 422 and "Nothing was sent: too many tries" in answer.text


def test_words_of_others_stay_words(tmp_path: Path) -> None:
    last = {"time": HOSTILE, "title": HOSTILE, "ok": False, "result": HOSTILE}
    odd = target(name=HOSTILE, url=HOSTILE, on=[HOSTILE], last=last)
    page = Desk(tmp_path, Agent({"/v1/alerts": told(odd, problems=[HOSTILE])}))
    assert "<script>alert" not in (text := page.get("/settings/alerts").text)
    assert "\x1b" not in text
