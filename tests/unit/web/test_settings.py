"""The Settings page: read by all, changed by admins on the primary."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from carpool.errors import CarpoolError, UnreachableError
from carpool.web.accounts import Role
from tests.unit.web.desk import HOSTILE, Agent, Desk
from tests.unit.web.told import group, node, pair

FILES = {"group": "/etc/carpool/group.toml", "node": "/etc/carpool/node.toml"}
SECTION = {"name": "unbound", "description": "Unbound, a resolver", "paths": ["/etc/unbound/"]}
VALUES = {
    "name": "edge",
    "states": {"interface": "sync", "exclude": [{"port": 53}]},
    "sync": {"interface": "sync", "sections": ["unbound"], "schedule": "daily"},
    "section": {"unbound": {}},
}
DIGEST = "0" * 64
GROUP = {"digest": DIGEST, "values": VALUES, "refused": None, "left_s": None}
TOLD = {
    "sections": [{**SECTION, "installed": False, "preset": True}],
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
    answers = {
        "/v1/group": GROUP,
        "/v1/settings": TOLD,
        "/v1/nodes": pair(),
        "/v1/checks": {"checks": [CHECK]},
    }
    return Agent({**answers, **more})


def test_a_form_for_each_group_with_what_the_file_says(tmp_path: Path) -> None:
    page = Desk(tmp_path, agent_of(), Role.ADMIN).get("/settings").text
    for text in (
        'action="/settings/group/preempt"',
        f'name="digest" value="{DIGEST}"',
        'name="preempt" value="yes" aria-describedby="field-preempt-about" checked',
        '<option value="sync" selected>sync</option>',
        'name="states.exclude.0.port" value="53"',
        'name="states.exclude.4.port" value=""',
        'name="sync.sections.unbound" value="yes" checked',
        "Unbound, a resolver: /etc/unbound/",
        "(not installed here, changed by this group)",
        'name="sync.schedule" value="daily"',
        "uplink",
        "fails",
        "Peers, by <code>node.toml</code>: fw2.",
        "/etc/carpool/node.toml",
        "eth2",
        "10.10.3.2",
        'href="/accounts"',
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
    page = Desk(tmp_path, agent_of(**{"/v1/group": broken})).get("/settings")
    assert page.status_code == 400 and "is no TOML" in page.text


# ----------------------------------------------------------------------------------- a change

SECTION_DIFF = {
    "name": "carpool",
    "files": [
        {
            "path": "/etc/carpool/group.toml",
            "deed": "changed",
            "text": "--- a\n+++ b\n@@ -1 +1,2 @@\n name\n+preempt = false\n",
        }
    ],
}
GOOD = {
    "changed": True,
    "ok": True,
    "problems": [],
    "sections": [SECTION_DIFF],
    "failover": {"changes": ["preempt is off"]},
    "refused": None,
}
OFF = {"digest": DIGEST}  # the box of preempt is not ticked
OFF_BODY = {"digest": DIGEST, "edits": [{"op": "set", "path": ["preempt"], "value": False}]}
STATES = {"digest": DIGEST, "states": "yes", "states.interface": "sync", "states.scope": "assured"}
STATES |= {"states.encryption": "tls", "states.exclude.0.port": "53"}


class Working(Agent):
    """Whose work ends at once."""

    def __init__(self, answers: Mapping[str, object]) -> None:
        super().__init__(answers)
        self.asked: list[tuple[str, Mapping[str, object], str]] = []

    async def stream(
        self, path: str, body: Mapping[str, object], *, by: str
    ) -> AsyncIterator[dict[str, object]]:
        self.asked.append((path, body, by))
        yield {"step": "end", "outcome": "done"}


def test_a_change_is_shown_as_a_diff_first_and_then_done(tmp_path: Path) -> None:
    agent = Working(agent_of(**{"/v1/group/preview": GOOD}).answers)
    desk = Desk(tmp_path, agent, Role.ADMIN)
    made = desk.post("/settings/group/preempt", OFF)
    assert made.status_code == 303, made.text
    assert agent.posts == [("/v1/group/preview", OFF_BODY, None, "ann from 192.0.2.7")]
    page = desk.get(made.headers["location"]).text
    assert "<ins>+preempt = false</ins>" in page and "preempt is off" in page
    assert "Change settings: Preemption" in page and 'href="/settings#preempt"' in page
    done = desk.post(made.headers["location"], {"within": "60", "reason": "why"})
    assert done.status_code == 303 and done.headers["location"].startswith("/backup/job/")
    job = desk.web.jobs.find(done.headers["location"].rpartition("/")[2])
    assert (job.path, job.what) == ("/v1/group/apply", "change settings: Preemption")
    assert OFF_BODY.items() <= dict(job.body).items() and job.body["reason"] == "why"


def test_what_was_entered_is_in_the_form_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, agent_of(), Role.ADMIN)
    form = {**STATES, "states.exclude.1.network": "10.9.0.0/16", "states.port": "x"}
    back = desk.post("/settings/group/states", form).text
    assert 'name="states.exclude.1.network" value="10.9.0.0/16"' in back
    assert 'name="states.exclude.5.network" value=""' in back  # there are always some to fill in
    assert 'action="/settings/group/preempt"' not in back


def test_a_form_in_which_nothing_is_new_says_so(tmp_path: Path) -> None:
    agent = agent_of()
    page = Desk(tmp_path, agent, Role.ADMIN).post("/settings/group/states", STATES)
    assert page.status_code == 200 and "Nothing changes" in page.text
    assert agent.posts == []


def test_a_mistake_stands_beside_its_field(tmp_path: Path) -> None:
    agent = agent_of()
    wrong = {**STATES, "states.port": "many"}
    page = Desk(tmp_path, agent, Role.ADMIN).post("/settings/group/states", wrong)
    assert page.status_code == 422 and agent.posts == []
    assert 'id="field-states-port-wrong" role="alert">found &#34;many&#34;' in page.text
    assert 'name="states.port" value="many"' in page.text and 'aria-invalid="true"' in page.text


def test_what_the_agent_finds_wrong_stands_beside_its_field_too(tmp_path: Path) -> None:
    found = {"found": "99999", "expected": "1 to 65535", "hint": HOSTILE, "fatal": True}
    problems = [
        {**found, "file": "group.toml", "key": "states.port"},
        {**found, "file": "node.toml", "key": "address.sync"},
        {**found, "file": "group.toml", "key": "web.port", "fatal": False, "found": "no such port"},
    ]
    agent = agent_of(**{"/v1/group/preview": {**GOOD, "ok": False, "problems": problems}})
    form = {**STATES, "states.port": "99999"}
    page = Desk(tmp_path, agent, Role.ADMIN).post("/settings/group/states", form)
    assert page.status_code == 422
    assert 'role="alert">found 99999, expected 1 to 65535' in page.text
    assert "node.toml: address.sync: found 99999" in page.text
    assert "no such port" not in page.text  # is but a warning, and stands on a preview
    assert "<script>alert" not in page.text and "&lt;script&gt;" in page.text


def test_a_schedule_is_explained_before_it_counts(tmp_path: Path) -> None:
    desk = Desk(tmp_path, agent_of(**{"/v1/group/preview": GOOD}), Role.ADMIN)
    form = {"digest": DIGEST, "sync.schedule": "*-*-* 02:30"}
    page = desk.get(desk.post("/settings/group/schedule", form).headers["location"]).text
    assert "The next times of this schedule" in page and page.count("02:30:00") == 3


def test_a_file_that_was_changed_meanwhile_is_told(tmp_path: Path) -> None:
    changed = CarpoolError("group.toml was changed since this page was loaded", hint="look")
    desk = Desk(tmp_path, agent_of(**{"/v1/group/preview": changed}), Role.ADMIN)
    page = desk.post("/settings/group/preempt", OFF)
    assert page.status_code == 409 and "was changed since" in page.text


@pytest.mark.parametrize(
    "more",
    [
        {"/v1/nodes": group(node("fw1", "BACKUP"), node("fw2"))},
        {"/v1/group": {**GROUP, "left_s": 20.0}},
        {"/v1/group": {**GROUP, "refused": {"error": "failover does not say", "hint": ""}}},
    ],
    ids=["not the primary", "a change waits", "the agent refuses"],
)
def test_where_nothing_may_be_changed_nothing_is(more: dict[str, object], tmp_path: Path) -> None:
    agent = agent_of(**more)
    page = Desk(tmp_path, agent, Role.ADMIN).post("/settings/group/preempt", OFF)
    assert page.status_code == 409 and agent.posts == []


def test_a_group_that_is_no_form_is_not_there(tmp_path: Path) -> None:
    desk = Desk(tmp_path, agent_of(), Role.ADMIN)
    assert desk.post("/settings/group/vip", OFF).status_code == 404
