"""The templates of Backup and History with strings that a hostile peer would choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carpool.api.clean import clean
from carpool.web import backupview, diffview, historyview
from carpool.web.accounts import Account, Accounts, Role
from carpool.web.app import Web
from carpool.web.ask import Ask
from carpool.web.jobs import Job
from carpool.web.notes import Note
from carpool.web.session import Session

EVIL = "\"'><script>alert(1)</script>\x1b[2J"
DIFF: dict[str, Any] = {
    "name": EVIL,
    "files": [{"path": EVIL, "deed": EVIL, "attributes": EVIL, "text": f"+{EVIL}\n-{EVIL}\n"}],
    "services": [EVIL],
}
REVISION = {key: EVIL for key in ("id", "short", "when_iso", "kind", "author", "node", "reason")}
SERVICE = {"name": EVIL, "active": True, "since": EVIL, "sections": [EVIL], "role": EVIL}


def page(directory: Path, template: str, role: Role = Role.OPERATOR, **values: object) -> str:
    web = Web(Ask(directory / "nowhere"), Accounts(directory))
    account = Account("ann", role, "")
    session = Session("ann", "token", "192.0.2.1", 0.0, 0.0)
    return web.render(
        template,
        account=account,
        session=session,
        path="/backup",
        may=lambda name: role >= Role[name.upper()],
        **values,
    )


def job_of(*events: dict[str, Any]) -> Job:
    job = Job("number", f"synchronise {EVIL}", clean(EVIL), EVIL, "/v1/sync")
    for event in events:
        job.progress.take(event, 0.0)
    return job


def check(text: str) -> None:
    assert "<script>alert" not in text and "\x1b" not in text and "alert(1)" in text
    assert " style=" not in text and "onclick" not in text  # the policy of the pages refuses them


def test_backup(tmp_path: Path) -> None:
    nodes = backupview.nodes_of(
        {"nodes": [{"name": EVIL, "error": EVIL, "version": EVIL}, {"name": "fw1", "here": True}]}
    )
    stands = {"peers": {clean(EVIL): {EVIL: {"drift": EVIL, "why": EVIL}}}}
    values: dict[str, Any] = {
        "nodes": nodes,
        "node": nodes[0],
        "notes": [Note(EVIL, EVIL, "bad")],
        "failed": [],
        "services": backupview.services_of({"services": [SERVICE]}),
        "standings": backupview.standings_of(stands, nodes[0].name),
        "waiting": "something",
        "waiting_here": "something",
        "own_version": "1",
    }
    assert values["standings"]
    text = page(tmp_path, "backup.html", **values)
    check(text)
    assert "<button" in text and 'action="/backup/service"' in text
    seen = page(tmp_path, "backup.html", Role.VIEWER, **values)
    check(seen)
    assert 'action="/backup/' not in seen  # who may only look has nothing to press


def test_diff_and_history(tmp_path: Path) -> None:
    answer = {"peers": {EVIL: {"sections": [DIFF], "warnings": [EVIL]}, "b": {"error": EVIL}}}
    diffs = diffview.peers_of(answer)
    some: dict[str, Any] = {"peer": "", "peers": [clean(EVIL), "b"], "failed": [], "notes": []}
    check(page(tmp_path, "diff.html", **some, diffs=diffs, within=[("60", "1 min")]))
    rows = historyview.revisions_of({"revisions": [{**REVISION, "sections": [EVIL]}]})
    check(page(tmp_path, "history.html", rows=rows, section=EVIL, most=100))
    shown = historyview.shown({"revision": {**REVISION, "sections": [EVIL]}, "sections": [DIFF]})
    check(page(tmp_path, "revision.html", shown=shown))
    result = {"peer": EVIL, "outcome": EVIL, "error": EVIL, "by": EVIL, "sections": {EVIL: {}}}
    results = historyview.results_of({"results": [{**result, "services": [EVIL]}]})
    check(page(tmp_path, "syncs.html", rows=results, section="", most=100))


def test_a_job_under_way_waiting_and_over(tmp_path: Path) -> None:
    begun = {"step": "offer", "peer": EVIL, "sections": [EVIL]}
    wait = {"step": "waiting", "peer": EVIL, "within_s": 60.0, "number": "1"}
    waits = {"step": "end", "peer": EVIL, "outcome": "waiting"}
    fails = {"step": "end", "peer": EVIL, "outcome": EVIL, "error": EVIL, "hint": f"--force {EVIL}"}
    plan = {"step": "plan", "peer": EVIL, "sections": {EVIL: {"added": 1}}}
    job = job_of(begun, plan)
    text = page(tmp_path, "job.html", job=job, notes=[], now_s=1.0)
    check(text)
    assert 'hx-trigger="every 750ms"' in text and 'http-equiv="refresh"' in text
    job = job_of(begun, plan, wait, waits)
    job.ended_s = 1.0
    text = page(tmp_path, "job.html", job=job, notes=[], now_s=2.0)
    check(text)
    assert "puts it back in" in text and "58 s" in text and 'value="confirm"' in text
    assert "every 750ms" not in text  # what renews itself would move buttons below a finger
    assert "The time is up" in page(tmp_path, "job.html", job=job, notes=[], now_s=61.0)
    job = job_of(begun, plan, fails)
    job.ended_s = 1.0
    text = page(tmp_path, "job.html", job=job, notes=[], now_s=2.0)
    check(text)
    assert 'action="/backup/again"' in text and 'http-equiv="refresh"' not in text
