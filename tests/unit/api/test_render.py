"""What a person sees, to the letter, on a terminal of 80 columns."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from io import StringIO

import pytest
from rich.console import Console, RenderableType

from carpool.api import render
from carpool.api.control import Answer
from carpool.api.render import Report
from carpool.errors import CarpoolError, UnreachableError
from tests.unit.api import answers
from tests.unit.model.configs import config

FAILOVER_DOWN = UnreachableError(
    "the failover process does not answer on /run/carpool/failover.sock: No such file or directory",
    hint="is it running? start it with `carpool run failover`",
)
STATES_DOWN = UnreachableError(
    "the states process does not answer on /run/carpool/states.sock: Connection refused",
    hint="is it running? start it with `carpool run states`",
)


def seen(what: RenderableType, width: int = 80) -> str:
    """As printed, without the blanks at the ends of lines."""
    out = StringIO()
    Console(file=out, width=width, color_system=None, highlight=False).print(what)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return "\n" + "\n".join(line.rstrip() for line in lines) + "\n"


def as_answered(answer: Answer) -> Answer:
    """Through JSON and back, as it comes over the socket."""
    back: Answer = json.loads(json.dumps(answer))
    return back


def test_a_good_day() -> None:
    report = Report(as_answered(answers.failover()), as_answered(answers.STATES), config())
    assert (
        seen(render.status(report))
        == """
fw1: master of all 2 VHIDs

group edge   advskew 0   preempt on   up 3 h 12 min   carpool 0.1.0

STATE   VHID    DEVICE  FOR         HEARS  ADDRESSES
MASTER  51@lan  lan0    3 h 12 min  -      10.10.1.1/24
                                           fd00:10::1/64
MASTER  52@wan  wan0    3 h 12 min  -      10.10.2.1/24

Why
  51@lan: no advertisement for 3.00 s
  52@wan: moving with 51@lan: no advertisement for 3.00 s

Interfaces
  lan (lan0), wan (wan0): up

State replication: 1,234,567 states here   up 8 min   encrypted
PEER  LINK             SENT  RECEIVED  INJECTED  ERRORS  BULK
fw2   up 8 min   12,345,678       345       345       0  complete
fw3   down 12 s           0         0         0       3  idle
fw3: last error: connect to 10.10.3.3 port 3782: Connection refused
"""
    )


def test_what_is_wrong_stands_below_the_first_line() -> None:
    trouble = {"key": "files", "text": "group.toml:3: name", "hint": "`carpool check`"}
    failover = {**answers.failover(), "troubles": [{**trouble, "since_s": 61.0}]}
    clock = {"key": "clock", "text": "it is 1970\x1b[2J", "hint": "set it", "since_s": 5.0}
    report = Report(as_answered(failover), None, config(), around=[clock, "odd"])
    assert seen(render.status(report)).startswith(
        """
fw1: master of all 2 VHIDs

Trouble
  group.toml:3: name (for 1 min)
    `carpool check`
  it is 1970?[2J (for 5.0 s)
    set it

group edge"""
    )


def test_a_bad_day() -> None:
    report = Report(as_answered(answers.failover(answers.TROUBLED)), STATES_DOWN, config())
    assert (
        seen(render.status(report))
        == """
fw2: backup, hearing fw1 (10.10.1.2); demoted: interface wan down, maintenance

group edge   advskew 100, now 240   preempt on   up 3 h 12 min   carpool 0.1.0
Maintenance mode is on: `carpool maintenance off` ends it

STATE   VHID     DEVICE         FOR      HEARS  ADDRESSES
BACKUP  51@lan   lan0           3.2 s    fw1    10.10.1.1/24
                                                fd00:10::1/64
INIT    152@wan  enp129s0f1np1  1 d 2 h  -      198.51.100.1/24
                                                2001:db8:1234:5678::1/64

Why
  51@lan: fw1 is a faster master
  152@wan: wan: device enp129s0f1np1 has no carrier

Demoted
  by 240: interface wan down
  by 240: maintenance

Interfaces
  lan (lan0): up
  wan (enp129s0f1np1): device enp129s0f1np1 has no carrier

State replication: DOWN
  the states process does not answer on /run/carpool/states.sock: Connection
  refused
  is it running? start it with `carpool run states`
"""
    )


def test_both_processes_down() -> None:
    assert (
        seen(render.status(Report(FAILOVER_DOWN, STATES_DOWN, config())))
        == """
fw1: DOWN, the failover process tells nothing

  the failover process does not answer on /run/carpool/failover.sock: No such
  file or directory
  is it running? start it with `carpool run failover`

group edge   advskew 0   as configured:

STATE  VHID    DEVICE  ADDRESSES
DOWN   51@lan  lan0    10.10.1.1/24
                       fd00:10::1/64
DOWN   52@wan  wan0    10.10.2.1/24

State replication: DOWN
  the states process does not answer on /run/carpool/states.sock: Connection
  refused
  is it running? start it with `carpool run states`
"""
    )


def test_nothing_at_all() -> None:
    assert (
        seen(render.status(Report(FAILOVER_DOWN, None, None)))
        == """
this node: DOWN, the failover process tells nothing

  the failover process does not answer on /run/carpool/failover.sock: No such
  file or directory
  is it running? start it with `carpool run failover`

The configuration cannot be used either: `carpool check` says why

State replication: not configured ([states] in group.toml)
"""
    )


def test_a_process_that_refuses_is_not_called_down() -> None:
    busy = CarpoolError("16 programs are connected already", hint="close one of them")
    text = seen(render.status(Report(busy, busy, config())))
    assert "fw1: UNKNOWN, the failover process tells nothing" in text
    assert "State replication: UNKNOWN\n  16 programs are connected already\n" in text
    assert "DOWN" not in text


def test_a_disabled_node_says_how_to_end_it() -> None:
    status = replace(answers.MASTER, enabled=False, role="DISABLED")
    text = seen(render.status(Report(as_answered(answers.failover(status)), None, config())))
    assert "CARP is disabled until a restart: `carpool enable` ends it" in text
    assert "Maintenance" not in text


def test_streams_that_are_not_encrypted_are_told() -> None:
    states = {**answers.STATES, "encryption": "none"}
    text = seen(render.status(Report(as_answered(answers.failover()), states, config())))
    assert "states here   up 8 min   NOT encrypted\n" in text


def test_states_without_a_count_and_without_peers() -> None:
    states = {**answers.STATES, "entries": None, "peers": []}
    text = seen(render.status(Report(as_answered(answers.failover()), states, config())))
    assert text.endswith(
        "\nState replication: running   up 8 min   encrypted\nNo peer to replicate to\n"
    )


def test_processes_that_run_another_version_are_told_with_what_ends_that() -> None:
    report = Report(as_answered(answers.failover()), as_answered(answers.STATES), config())
    assert "Not the installed" not in seen(render.status(replace(report, installed="0.1.0")), 200)
    text = seen(render.status(replace(report, installed="0.2.0")), 200)
    assert "Not the installed carpool 0.2.0\n" in text
    assert (
        """
  failover runs carpool 0.1.0; to end that:
    carpool maintenance on &&
    systemctl restart carpool-failover &&
    carpool maintenance off
"""
        in text
    )


def test_what_the_kernel_refused_is_told() -> None:
    answer = {**answers.failover(), "refused": ["no real-time priority (why): grant it"]}
    text = seen(render.status(Report(as_answered(answer), None, config())))
    assert "Refused by the kernel\n  no real-time priority (why): grant it\n" in text


def test_many_vhids_with_one_reason_are_counted() -> None:
    vhosts = tuple(replace(answers.LAN, vhid=vhid) for vhid in range(1, 201))
    status = replace(answers.MASTER, vhosts=vhosts)
    text = seen(render.status(Report(as_answered(answers.failover(status)), None, config())))
    assert "Why\n  1@lan, 2@lan, 3@lan, 197 more: no advertisement for 3.00 s\n" in text


def test_a_heard_address_without_a_name_is_shown() -> None:
    vhosts = (replace(answers.LAN, state="BACKUP", master="10.10.1.77"),)
    status = replace(answers.MASTER, vhosts=vhosts)
    text = seen(render.status(Report(as_answered(answers.failover(status)), None, config())))
    assert "BACKUP  51@lan  lan0    3 h 12 min  10.10.1.77  10.10.1.1/24" in text


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"vhosts": None, "interfaces": "x", "demotion": [1], "peers": {}},
        {"vhosts": [{}], "interfaces": [{}], "demotion": [{}], "peers": [{}], "events": [{}]},
        {"vhosts": [{"since_s": "x", "addresses": 7}], "events": [{"time": "yesterday"}]},
    ],
)
def test_answers_of_another_version_are_shown_as_far_as_they_go(odd: Answer) -> None:
    assert "State replication" in seen(render.status(Report(odd, odd, None)))
    assert seen(render.events(odd)).strip()


def test_nothing_in_an_answer_steers_the_terminal() -> None:
    status = replace(answers.MASTER, summary="\x1b[2Jmaster\r\x9b1m [bold]of[/bold] all")
    text = seen(render.status(Report(as_answered(answers.failover(status)), None, config())))
    assert "fw1: ?[2Jmaster??1m [bold]of[/bold] all\n" in text


def test_events() -> None:
    assert (
        seen(render.events(as_answered(answers.EVENTS), UTC))
        == """
TIME            VHID    WHAT              WHY
2026-03-01 UTC
23:59:59.500    51@lan  BACKUP -> MASTER  no advertisement for 3.00 s
2026-03-02 UTC
00:00:01.004            demotion          demoted: interface wan down
00:00:01.005    51@lan  MASTER -> BACKUP  10.10.1.3 is as fast and has the lower
                                          address than this node
"""
    )


def test_events_are_told_in_the_readers_time() -> None:
    text = seen(render.events(as_answered(answers.EVENTS), timezone(timedelta(hours=2), "EET")))
    assert text.count("2026-03-02 EET") == 1
    assert "01:59:59.500" in text


def test_no_events() -> None:
    assert seen(render.events({"ok": True, "events": []})) == "\nNo events yet\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (86399, "23 h 59 min"),
        (86400 * 400 + 3600, "400 d 1 h"),
        (-1, "?"),
        (1e300, "?"),
        (float("nan"), "?"),
        (float("inf"), "?"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert render.duration(seconds) == text


def test_how_the_configuration_of_each_peer_stands() -> None:
    seen_at = "2026-11-23T12:40:12.345Z"

    def row(drift: str, why: str = "", since: object = seen_at) -> Answer:
        return {"drift": drift, "why": why, "since": since, "agreed": None}

    drift = {
        "fw2": {"web": row("in sync"), "dns": row("in sync")},
        "fw3": {
            "web": row("ahead"),
            "dns": row("differs on the backup"),
            "ntp": row("differs on the backup"),
            "vpn": row("in sync"),
        },
        "fw4": {"web": row("unknown", "cannot\x1b connect", None)},
        "fw5": {},
    }
    shown = seen(render.status(Report(FAILOVER_DOWN, None, None, drift)), 200)
    lines = [line for line in shown.splitlines() if line.startswith("Configuration: ")]
    assert len(lines) == 3
    assert lines[0] == "Configuration: in sync with fw2"
    assert re.fullmatch(
        "Configuration: not in sync with fw3: web: ahead since 2026-11-2. ..:..; "
        "dns, ntp: differs on the backup since 2026-11-2. ..:..",
        lines[1],
    )
    assert lines[2] == "Configuration: may differ on fw4: web: unknown (cannot? connect)"
    assert render.stand(row("ahead"), UTC) == "ahead since 2026-11-23 12:40"


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"state": "none", "ago_s": None}, "Tue 2026-11-24 03:00; was not due yet"),
        ({"state": "ok", "ago_s": 7200}, "Tue 2026-11-24 03:00; succeeded 2 h 0 min ago"),
        (
            {"state": "failed", "ago_s": 11000, "why": "fw2\x1b does not answer", "jitter_s": 600},
            "Tue 2026-11-24 03:00 (+ up to 10 min); failed 3 h 3 min ago: fw2? does not answer",
        ),
        ({"state": "missed", "ago_s": 61, "why": "x"}, "Tue 2026-11-24 03:00; missed 1 min ago: x"),
        (
            {"state": "ok", "ago_s": 60, "running": True},
            "Tue 2026-11-24 03:00; runs now; succeeded 1 min ago",
        ),
        ({"state": "standby", "ago_s": 3}, "Tue 2026-11-24 03:00; is the primary's business"),
        (
            {"state": "ok", "ago_s": 1, "next_unix_s": None},
            "never comes again; succeeded 1.0 s ago",
        ),
        ({"state": "new", "next_unix_s": 1e300}, "never comes again; new"),
    ],
)
def test_the_schedule(more: Answer, line: str) -> None:
    answer = {"expression": "03:00", "next_unix_s": 1795489200, "jitter_s": 0, "why": "", **more}
    told = seen(render.schedule(answer, UTC), 200).strip()
    assert told == f"Schedule: 03:00, {'' if 'never' in line else 'next '}{line}"


def test_a_schedule_that_nobody_keeps() -> None:
    report = Report(FAILOVER_DOWN, None, None, None, UnreachableError("no agent", hint="start it"))
    shown = seen(render.status(report), 200)
    assert "Schedule: nothing is synchronised by itself\n  no agent\n  start it\n" in shown


CHANGE: Answer = {
    "since_s": 75.0,
    "changes": ["51@lan: 10.10.1.5/24 added", "53@lan goes: 10.10.1.7/24"],
    "confirm_left_s": None,
}


def changing(**more: object) -> str:
    answer = {**answers.failover(), "group_digest": "ab", "change": {**CHANGE, **more}}
    return seen(render.status(Report(as_answered(answer), answers.STATES, config())))


def test_a_change_of_the_group_is_shown_until_all_have_it() -> None:
    assert """
Group is changing
  51@lan: 10.10.1.5/24 added
  53@lan goes: 10.10.1.7/24
  for 1 min; what was before counts, too, until `carpool sync` is through

""" in changing()
    quiet = {**answers.failover(), "group_digest": "ab", "change": None}
    text = seen(render.status(Report(as_answered(quiet), answers.STATES, config())))
    assert "changing" not in text


def test_a_change_that_waits_to_be_confirmed_says_when_it_is_put_back() -> None:
    text = changing(confirm_left_s=42.0)
    assert "  put back in 42 s, unless `carpool confirm` is said\n" in text
    assert "put back in 0.0 s" in changing(confirm_left_s=0)


@pytest.mark.parametrize(
    "odd", ["x", 3, [], {}, {"changes": 3, "since_s": "x"}, {"changes": [None, {}]}]
)
def test_a_change_as_another_version_tells_it_breaks_nothing(odd: object) -> None:
    answer = {**answers.failover(), "change": odd}
    assert "51@lan" in seen(render.status(Report(as_answered(answer), answers.STATES, config())))


def test_a_change_does_not_steer_the_terminal() -> None:
    assert "\x1b" not in changing(changes=["51@lan: \x1b[2J added"])


def test_a_change_that_is_not_failovers_only_waits_to_be_confirmed() -> None:
    shown = changing(changes=[], confirm_left_s=290)
    assert "put back in 4 min" in shown and "carpool sync" not in shown


def test_an_agent_that_should_be_there_is_missed_once() -> None:
    down = UnreachableError("no agent", hint="start it")
    shown = seen(render.status(Report(FAILOVER_DOWN, None, None, agent=down, schedule=down)), 200)
    assert "Configuration: agent DOWN, nothing is synchronised\n  no agent\n  start it\n" in shown
    assert shown.count("no agent") == 1


def test_what_waits_to_be_confirmed_says_whose_it_is_and_how_long_still() -> None:
    waits = {"what": "sync of web", "by": "alice on fw1\x1b[2J", "left_s": 250.0}
    shown = seen(render.status(Report(FAILOVER_DOWN, None, None, waiting=waits)), 200)
    line = "sync of web of alice on fw1?[2J waits: put back in 4 min, unless `carpool confirm`"
    assert f"{line} is said\n" in shown
    there = {"fw2": {**waits, "until": "2026-11-23T05:41:21.123Z"}}
    shown = seen(render.status(Report(FAILOVER_DOWN, None, None, waiting_on=there)), 200)
    assert "fw2: sync of web of alice on fw1?[2J waits there to be confirmed, until 2026-" in shown
    assert ":21 (in 4 min): `carpool confirm`" in shown


def test_an_object_within_an_answer_is_believed_when_it_is_one() -> None:
    row: Answer = {"last": {"time": "2026-07-01T10:00:00.250Z"}, "odd": ["no object"]}
    assert render.fields_of(row, "last") == row["last"]
    assert render.fields_of(row, "odd") == render.fields_of(row, "none") == {}
    assert render.brief_moment("2026-07-01T10:00:00.250Z", UTC) == "07-01 10:00:00"
    assert render.brief_moment("", UTC) == ""
