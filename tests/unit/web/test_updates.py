"""The page of packages: what it shows of each answer, and what it has the agent do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from carpool.errors import CarpoolError, PeerError, UnreachableError
from carpool.web import updateview
from carpool.web.accounts import Role
from carpool.web.jobview import LINES_MAX, Progress
from tests.unit.web.desk import HOSTILE, Agent, Desk

NODES = {"nodes": [{"name": "fw1", "here": True}, {"name": "fw2"}]}
PACKAGES: dict[str, Any] = {
    "node": "fw2",
    "packages": [
        {"name": "bash", "old": "1", "new": "2", "origins": [HOSTILE]},
        {"name": "curl", "new": "8", "security": True},
    ],
    "left": ["tar"],
    "lists_s": 60.0,
    "last": {"number": "1", "phase": "ended", "by": HOSTILE, "when": "2026-11-23T05:41:21Z"},
}
PAGE = "/backup/update?node=fw2"


def desk(directory: Path, answer: object, role: Role = Role.OPERATOR) -> Desk:
    agent = Agent({"/v1/nodes": NODES, "/v1/packages?peer=fw2": answer})
    return Desk(directory, agent, role)


def test_security_is_first_and_said_in_words(tmp_path: Path) -> None:
    text = desk(tmp_path, PACKAGES).get(PAGE).text
    assert "2 packages could be updated, 1 of them for security" in text
    assert text.index("curl") < text.index("bash") and ">security</span>" in text
    assert "comes anew" in text and "Left as they are: tar" in text
    assert "The last update, 2026-11-23 05:41:21" in text
    assert 'value="update"' in text and 'value="reboot"' in text
    assert "<script>alert" not in text and "\x1b" not in text


def test_a_viewer_may_read_it_and_no_more(tmp_path: Path) -> None:
    text = desk(tmp_path, PACKAGES, Role.VIEWER).get(PAGE).text
    assert "curl" in text and "/backup/update/lists" not in text and 'value="update"' not in text


def test_nothing_is_offered_on_a_master(tmp_path: Path) -> None:
    text = desk(tmp_path, {**PACKAGES, "masters": ["51@lan"]}).get(PAGE).text
    assert "fw2 is MASTER of 51@lan" in text and 'value="update"' not in text


def test_what_is_under_way_may_be_followed(tmp_path: Path) -> None:
    last = {**PACKAGES["last"], "phase": "installing"}
    text = desk(tmp_path, {**PACKAGES, "last": last, "reboot": "a kernel"}).get(PAGE).text
    assert 'value="follow"' in text and 'value="update"' not in text
    assert "A reboot is needed:</strong> a kernel" in text


@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("cannot connect to the agent of fw2", hint="does it run?"),
        PeerError("fw2 runs an older carpool", hint="update it by hand this once"),
        PeerError("no connection to the agent of fw2: another certificate", hint="pair again"),
    ],
)
def test_why_nothing_is_known_is_told_with_what_to_do(tmp_path: Path, error: CarpoolError) -> None:
    text = desk(tmp_path, error).get(PAGE).text
    assert error.message in text and error.hint in text and 'value="update"' not in text


def test_no_other_node_and_no_other_deed(tmp_path: Path) -> None:
    at = desk(tmp_path, PACKAGES)
    assert at.get("/backup/update?node=fw9").status_code == 400
    assert at.post("/backup/update", {"node": "fw9", "deed": "update"}).status_code == 400
    assert at.post("/backup/update", {"node": "fw2", "deed": "purge"}).status_code == 400


@pytest.mark.parametrize(
    ("form", "what", "wanted"),
    [
        ({"deed": "update"}, "update packages of fw2", (True, False, False)),
        ({"deed": "update", "reboot": "yes"}, "update packages of fw2", (True, True, False)),
        ({"deed": "reboot"}, "reboot fw2", (False, True, False)),
        ({"deed": "follow"}, "follow the update of fw2", (True, False, True)),
    ],
)
def test_what_the_agent_is_asked(
    tmp_path: Path, form: dict[str, str], what: str, wanted: tuple[bool, bool, bool]
) -> None:
    at = desk(tmp_path, PACKAGES)
    answer = at.post("/backup/update", {"node": "fw2", **form})
    job = at.web.jobs.find(answer.headers["location"].rpartition("/")[2])
    assert (answer.status_code, job.what, job.path) == (303, what, "/v1/packages/update")
    body = job.body
    assert (body["install"], body["reboot"], body["follow"]) == wanted
    assert (body["peer"], body["by"]) == ("fw2", "ann from 192.0.2.7")


def test_the_lists_are_fetched(tmp_path: Path) -> None:
    at = desk(tmp_path, PACKAGES)
    answers = cast("Agent", at.web.ask).answers
    answers["/v1/packages/refresh?peer=fw2"] = CarpoolError("no mirror", hint="a cable?")
    assert at.post("/backup/update/lists", {"node": "fw2"}).headers["location"] == PAGE
    text = at.get(PAGE).text
    assert "no mirror" in text and "a cable?" in text


def test_a_long_list_is_cut_and_counted() -> None:
    found = updateview.listing_of({"packages": [{"name": "a"}] * (updateview.ROWS_MAX + 3)})
    assert (len(found.rows), found.more) == (updateview.ROWS_MAX, 3)
    assert updateview.listing_of({"packages": 1, "last": 2}).rows == []


def test_what_a_program_says_is_kept_beside_the_steps() -> None:
    progress = Progress()
    progress.take({"step": "lines", "peer": "fw2", "lines": [HOSTILE] * (LINES_MAX + 9)}, 0.0)
    progress.take({"step": "update", "peer": "fw2", "text": "reboots"}, 0.0)
    assert len(progress.output) == LINES_MAX and "\x1b" not in progress.output[0]
    assert (list(progress.lines), progress.doing) == (["fw2: reboots"], "fw2: reboots")


def test_while_it_runs_its_last_words_are_shown(tmp_path: Path) -> None:
    at = desk(tmp_path, PACKAGES)
    path = at.post("/backup/update", {"node": "fw2", "deed": "update"}).headers["location"]
    job = at.web.jobs.find(path.rpartition("/")[2])
    job.ended_s, job.progress = None, Progress()
    job.progress.take({"step": "lines", "lines": [f"line {n}" for n in range(40)]}, 0.0)
    text = at.get(path).text
    assert "Said last" in text and "line 39" in text and "line 24<" not in text
    assert "line 25" in text, "fifteen of them"
    job.ended_s = job.begun_s
    assert "What was said" in (done := at.get(path).text) and "line 0" in done
