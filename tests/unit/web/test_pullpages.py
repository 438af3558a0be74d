"""Taking over what was changed on a peer, by the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carpool.errors import PeerError
from carpool.web.accounts import Role
from carpool.web.jobview import Progress
from tests.unit.web.desk import HOSTILE, Agent, Desk
from tests.unit.web.told import pair

FILE = {"path": "/etc/hosts", "deed": "changed", "text": "-old\n+new\n"}
DIFF: dict[str, Any] = {
    "peers": {
        "fw1": {
            "sections": [{"name": "hosts", "files": [FILE], "services": ["reload hostsd"]}],
            "warnings": ["hosts was changed on this node, too: only by --force"],
        }
    }
}


def desk(directory: Path, diff: object = DIFF, role: Role = Role.OPERATOR) -> Desk:
    return Desk(directory, Agent({"/v1/nodes": pair(), "/v1/pull/diff": diff}), role)


def test_the_diff_is_read_first_and_says_what_speaks_against_it(tmp_path: Path) -> None:
    page = desk(tmp_path).get("/backup/pull?peer=fw2").text
    assert "would change on this node" in page and "fw1 (this node)" in page
    assert "<ins>+new</ins>" in page and "<del>-old</del>" in page
    assert "would reload hostsd" in page and "only by --force" in page
    assert 'action="/backup/pull"' in page and "Take over" in page
    seen = desk(tmp_path, role=Role.VIEWER).get("/backup/pull?peer=fw2").text
    assert "<ins>+new</ins>" in seen and 'action="/backup/pull"' not in seen


def test_nothing_to_take_over_and_no_such_peer(tmp_path: Path) -> None:
    same = desk(tmp_path, {"peers": {"fw1": {"sections": [], "warnings": []}}})
    assert "nothing would change" in same.get("/backup/pull?peer=fw2").text
    for name in ("fw1", "fw9", ""):  # nobody takes over from this node itself
        assert "knows no peer" in same.get(f"/backup/pull?peer={name}").text
        assert "knows no peer" in same.post("/backup/pull", {"peer": name}).text


def test_why_there_is_no_diff_is_told_with_what_to_do(tmp_path: Path) -> None:
    broken = desk(tmp_path, PeerError("fw2: refused", hint="`carpool pair`"))
    page = broken.get("/backup/pull?peer=fw2").text
    assert "fw2: refused" in page and "`carpool pair`" in page
    assert 'action="/backup/pull"' not in page, "nothing unread is taken over"
    odd = {"peers": {HOSTILE: {"sections": [{"name": HOSTILE, "files": [{"path": HOSTILE}]}]}}}
    assert "<script>alert" not in desk(tmp_path, odd).get("/backup/pull?peer=fw2").text


def test_it_becomes_a_job_with_steps_on_this_node(tmp_path: Path) -> None:
    mine = desk(tmp_path)
    form = {"peer": "fw2", "reason": "r" * 600, "force": "yes"}
    answer = mine.post("/backup/pull", form)
    assert answer.status_code == 303 and answer.headers["location"].startswith("/backup/job/")
    job = mine.web.jobs.find(answer.headers["location"].rpartition("/")[2])
    assert (job.what, job.node, job.path) == ("take over from fw2", "", "/v1/pull")
    assert job.body["peer"] == "fw2" and job.body["force"] is True
    assert len(str(job.body["reason"])) == 500


def test_the_peer_that_it_comes_from_has_no_card_of_its_own() -> None:
    progress = Progress()
    for event in (
        {"step": "ask", "peer": "fw2", "sections": ["hosts"]},
        {"step": "getting", "peer": "fw2", "files": 1, "files_all": 2, "bytes": 5, "bytes_all": 9},
    ):
        progress.take(event, 0.0)
    assert progress.doing.startswith("fw2: 1 of 2 files") and progress.all_bytes == 9
    progress.take({"step": "got", "peer": "fw2", "files": 2, "bytes": 9}, 0.0)
    progress.take({"step": "plan", "changes": 1, "sections": {"hosts": {"changed": 1}}}, 0.0)
    progress.take({"step": "end", "outcome": "applied"}, 0.0)
    assert [*progress.nodes] == [""] and progress.nodes[""].outcome == "applied"
    assert len(progress.lines) >= 2
