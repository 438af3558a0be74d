"""What the Settings page shows besides its fields."""

from __future__ import annotations

from calendar import timegm
from datetime import UTC, datetime

import pytest

from carpool.model.calendar import Civil
from carpool.web import settingview
from carpool.web.members import members_of
from carpool.web.settingfields import SECTIONS, STATES
from carpool.web.settingform import Choice
from tests.unit.web.told import gone, group, node, pair

NOON_S = timegm((2026, 11, 23, 12, 0, 0))  # a Monday
ANSWER = {
    "node": {
        "name": "fw1",
        "advskew": 0,
        "interfaces": {"lan": "eth0"},
        "addresses": {"fw1": {}, "fw2": {"sync": ["10.10.3.2", "fd00::2"]}},
    },
    "sections": [
        {
            "name": "cron",
            "description": "jobs",
            "paths": ["/a", "/b", "/c", "/d"],
            "installed": True,
            "preset": True,
        },
        {"name": "own", "paths": [], "installed": False, "preset": False},
    ],
}

VALUES: dict[str, object] = {"section": {"own": {}, "cron": {}}}


class Utc:
    def civil(self, wall_s: float) -> Civil:
        return Civil(*datetime.fromtimestamp(wall_s, UTC).timetuple()[:6])

    def wall_s(self, civil: Civil) -> int | None:
        return timegm(civil)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        (
            "Mon..Fri 02:30",
            ["Tue 2026-11-24 02:30", "Wed 2026-11-25 02:30", "Thu 2026-11-26 02:30"],
        ),
        ("*:0/15", ["Mon 2026-11-23 12:15", "Mon 2026-11-23 12:30", "Mon 2026-11-23 12:45"]),
        ("2026-11-24 04:00", ["Tue 2026-11-24 04:00"]),
        ("2025-01-01", []),
        ("now and then", []),
        ("", []),
    ],
)
def test_the_next_times_that_a_schedule_means(expression: str, told: list[str]) -> None:
    found = settingview.times(expression, NOON_S, Utc())
    assert found == [f"{text}:00" for text in told]


def test_what_there_is_to_choose_from() -> None:
    offered = settingview.offered(ANSWER, VALUES)
    assert offered["sync.interface"] == offered["states.interface"] == [Choice("lan", "lan")]
    cron, own = offered["sync.sections"]
    assert (cron.more, cron.mark) == ("jobs: /a, /b, /c and more", "changed by this group")
    assert (own.more, own.mark) == ("", "not installed here, of this group")


def test_a_form_with_all_that_its_template_places() -> None:
    offered = settingview.offered(ANSWER, VALUES)
    form = {"sync.sections.cron": "yes", "sync.port": "x"}
    found = settingview.shown(SECTIONS, form, offered, {"sync.port": "no number"})
    sections, interface, port = found.fields
    assert found.on and "cron" in sections.ticked and "own" not in sections.ticked
    assert [one.value for one in interface.choices] == ["lan", ""]
    assert (port.text, port.wrong) == ("x", "no number")
    assert not settingview.shown(STATES, {}, offered, {}).on
    assert settingview.shown(STATES, {"states": "yes"}, offered, {}).on


def test_checks_and_how_they_stand() -> None:
    rows = [
        {"name": "a", "failing": True, "result": "exit 1", "last_line": "no", "weight": 240},
        {"name": "b", "failing": False, "time": "2026-11-23T18:20:57.008Z", "interval_s": 60},
        {"name": "c", "failing": None},
    ]
    a, b, c = settingview.checks_of({"checks": rows})
    assert (a.state, a.tone, a.result, a.weight) == ("fails", "bad", "exit 1: no", "240")
    assert (b.state, b.tone, b.time, b.interval) == ("well", "good", "2026-11-23 18:20:57", "60 s")
    assert (c.state, c.tone) == ("not known yet", "calm")


def test_what_each_node_has_of_its_own() -> None:
    told = pair()
    told["nodes"][1]["failover"]["interfaces"] = [{"interface": "sync", "device": "eth9"}]
    fw1, fw2 = settingview.own_keys(ANSWER, told, members_of(told))
    assert (fw1.here, fw1.advskew, fw1.rows) == (True, "0", (("lan", "eth0", ""),))
    assert (fw2.here, fw2.advskew) == (False, "100")
    assert fw2.rows == (("sync", "eth9", "10.10.3.2, fd00::2"),)
    silent = group(node("fw1"), gone("fw2"))
    silent["nodes"][1]["failover"] = {}
    assert settingview.own_keys(ANSWER, silent, members_of(silent))[1].advskew == "not known now"


def test_who_may_change_settings_and_where() -> None:
    def told(*nodes: dict[str, object], is_admin: bool = True) -> str:
        return settingview.reading(members_of(group(*nodes)), is_admin=is_admin)

    assert told(node("fw1"), node("fw2", "BACKUP")) == ""
    assert "role admin" in told(node("fw1"), node("fw2", "BACKUP"), is_admin=False)
    assert told(node("fw1", "BACKUP"), node("fw2")).startswith("fw2 is the primary")
    assert told(node("fw1", "BACKUP"), gone("fw2", "MASTER")).startswith("No node")
    split = node("fw1")
    split["failover"]["vhosts"][0]["state"] = "BACKUP"
    assert told(split).startswith("No node")
    split["failover"]["vhosts"][0]["state"] = "INIT"  # its link is down
    assert told(split) == ""
