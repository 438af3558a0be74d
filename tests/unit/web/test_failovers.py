"""Failovers, found and explained from what two nodes of a lab told after drills.

failovers.json has the last events of each, as GET /v1/events answered; who is not in it did not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carpool.errors import UnreachableError
from carpool.web.explain import STEPS_MAX, Cause, Failover, explained, steps_of
from carpool.web.failovers import moves_of, ordered
from carpool.web.timeline import Event, events_of
from tests.unit.web.desk import HOSTILE, Agent, Desk
from tests.unit.web.test_timeline import row
from tests.unit.web.told import pair

TOLD: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("failovers.json").read_text())
NODES = ["fw1", "fw2"]


def events(told: dict[str, Any]) -> list[Event]:
    return ordered(one for name, answer in told.items() for one in events_of(name, answer))


def found(told: dict[str, Any]) -> list[Failover]:
    every = events(told)
    return [explained(move, every) for move in moves_of(every, NODES)]


@pytest.mark.parametrize(
    ("drill", "of", "to", "cause", "gap", "why"),
    [
        ("start", "", "fw1", Cause.START, "none before", "heard nobody for 3 s"),
        ("switchover", "fw1", "fw2", Cause.SWITCHOVER, "none", "told to hand over"),
        ("link", "fw1", "fw2", Cause.LINK, "1 ms", "lost a link (demoted: interface lan down)"),
        ("kill", "fw1", "fw2", Cause.CRASH, "none", "failover process of fw1 died"),
        ("stop", "fw1", "fw2", Cause.GOODBYE, "none by the rule", "said goodbye"),
        ("crash", "fw1", "fw2", Cause.SILENCE, "at most 3.39 s", "nothing of fw1 for 3.39 s"),
        ("return", "fw2", "fw1", Cause.RETURN, "none", "fw1 is preferred to fw2"),
        ("maintenance", "fw1", "fw2", Cause.MAINTENANCE, "none", "maintenance: new disk"),
        ("maintenance_off", "fw2", "fw1", Cause.RETURN, "none", "no longer demoted: maintenance"),
    ],
)
def test_the_last_move_of_each_drill(
    drill: str, of: str, to: str, cause: Cause, gap: str, why: str
) -> None:
    last = found(TOLD[drill])[0]
    assert (last.move.of, last.move.to, last.cause, last.gap.text) == (of, to, cause, gap)
    assert why in last.why and last.rule
    assert last.move.vips == ["51@lan", "52@wan"] or drill == "link"
    assert len(last.move.vips) == 2, "one move of the group is one failover"


def test_who_booted_since_has_forgotten_and_the_other_one_tells() -> None:
    """fw1 was MASTER between two crashes, and only fw2 knows."""
    told = [(one.move.of, one.move.to, one.cause) for one in found(TOLD["crash"])[:3]]
    assert told == [
        ("fw1", "fw2", Cause.SILENCE),
        ("fw2", "fw1", Cause.UNKNOWN),
        ("fw1", "fw2", Cause.GOODBYE),
    ]
    assert "fw1 tells no events" in found(TOLD["crash"])[0].why
    assert "started anew since" in found(TOLD["return"])[1].why


def test_each_step_is_told_with_its_rule_and_the_last_advert_worked_out() -> None:
    every = events(TOLD["crash"])
    last = explained(moves_of(every, NODES)[0], every)
    steps = steps_of(last, every)
    offsets = [step.offset for step in steps]
    assert "\N{MINUS SIGN}3.390 s" in offsets and offsets[-1] == "+0.000 s"
    advert = next(step for step in steps if step.event.kind == "advert")
    assert advert.event.text == "the last advert of fw1 was heard (worked out)"
    assert "3 * advbase" in steps[-1].rule and steps[-1].decides and not advert.decides


def told(kind: str, at: str, **more: object) -> dict[str, object]:
    return row(f"2026-07-01T10:00:{at}Z", kind=kind, **more)


def move(at: str, old: str, new: str, text: str, vip: str = "51@lan") -> dict[str, object]:
    return told("transition", at, vhost=vip, old=old, new=new, text=text)


def test_clocks_that_contradict_the_rule_are_said_to_differ() -> None:
    here = {"events": [move("10", "MASTER", "BACKUP", "handed over to 10.10.1.3")]}
    there = {"events": [move("10.750", "BACKUP", "MASTER", "10.10.1.2 is leaving")]}
    (one,) = found({"fw1": here, "fw2": there})
    assert one.gap.text == "none" and "the clocks differ by 750 ms or more" in one.gap.how


@pytest.mark.parametrize(
    ("there", "cause", "why"),
    [
        (move("09", "MASTER", "BACKUP", "stalled for 5.0 s, longer than"), Cause.STALL, "stood"),
        (move("08", "MASTER", "INIT", "lan: no carrier"), Cause.LINK, "lost a link (lan: no"),
        (move("12", "MASTER", "BACKUP", "10.10.1.3 is a faster master"), Cause.SILENCE, "ran all"),
        (told("bulk", "01", vhost=None, text="complete"), Cause.SILENCE, "killed, or cut off"),
    ],
)
def test_why_a_master_fell_silent(there: dict[str, object], cause: Cause, why: str) -> None:
    before = move("00", "BACKUP", "MASTER", "no advertisement for 3.00 s")
    here = {"events": [move("10", "BACKUP", "MASTER", "no advertisement for 3.39 s")]}
    last = found({"fw1": {"events": [before, there]}, "fw2": here})[0]
    assert (last.move.of, last.cause, last.gap.text) == ("fw1", cause, "at most 3.39 s")
    assert why in last.why


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("demoted: check dns: exit 1", Cause.CHECK),
        ("demoted: send errors lan", Cause.DEMOTED),
    ],
)
def test_a_demotion_that_held_is_why(text: str, cause: Cause) -> None:
    over = [told("demotion", "08", vhost=None, text="demoted: maintenance: x")]
    over += [told("demotion", "09", vhost=None, text="no longer demoted: maintenance")]
    over += [told("demotion", "09.900", vhost=None, text=text)]
    here = {"events": [move("10", "BACKUP", "MASTER", "10.10.1.2 is demoted")]}
    (one,) = found({"fw1": {"events": over}, "fw2": here})
    assert one.cause is cause and text in one.why


def test_a_stop_and_a_disable_are_told_from_each_other() -> None:
    here = {"events": [move("10", "BACKUP", "MASTER", "10.10.1.2 is leaving")]}
    for new, text, cause in (
        ("INIT", "stopping", Cause.STOP),
        ("DISABLED", "disabled by an operator", Cause.DISABLE),
    ):
        gone = [move("10", "MASTER", new, text)]
        (one,) = found({"fw1": {"events": gone}, "fw2": here})
        assert one.cause is cause and one.cause.planned


def test_many_events_take_no_time_and_no_room() -> None:
    many = [move(f"{n / 100:06.3f}", "BACKUP", "MASTER", "x" * 4000) for n in range(1000)]
    lost = [move(f"{n / 100:06.3f}", "MASTER", "BACKUP", "handed over to x") for n in range(1000)]
    every = events({"fw1": {"events": many}, "fw2": {"events": lost}})
    moves = moves_of(every, NODES)
    assert len(moves) == 1000
    steps = steps_of(explained(moves[500], every), every)
    assert len(steps) <= STEPS_MAX


def agent(here: object, there: object) -> Agent:
    return Agent({"/v1/nodes": pair(), "/v1/events": here, "/v1/events?peer=fw2": there})


def test_the_page_explains_it_from_the_timeline(tmp_path: Path) -> None:
    desk = Desk(tmp_path, agent(TOLD["maintenance"]["fw1"], TOLD["maintenance"]["fw2"]))
    events_page = desk.get("/events").text
    path = "/events/failover/20261123T220323484-fw2"
    assert f'href="{path}"' in events_page
    page = desk.get(path).text
    assert "<h1>fw1 → fw2" in page and "planned: maintenance" in page
    assert "fw1 went into maintenance mode (demoted: maintenance: new disk)." in page
    assert "Demotion counts for all VIPs" in page and "The group moves as one" in page
    status = desk.get("/").text
    assert "Last failovers" in status and f'href="{path}"' in status


def test_a_node_that_is_silent_is_named_and_what_is_gone_is_said(tmp_path: Path) -> None:
    lost = UnreachableError("fw2 has not told its events", hint="is fw2 up?")
    desk = Desk(tmp_path, agent(TOLD["maintenance"]["fw1"], lost))
    page = desk.get("/events/failover/20261123T220319626-fw1").text
    assert "fw2 tells nothing now" in page and "is fw2 up?" in page
    gone = desk.get("/events/failover/20200101T000000000-fw1")
    assert gone.status_code >= 400 and "no node remembers this failover" in gone.text


def test_words_of_a_peer_stay_words_and_short(tmp_path: Path) -> None:
    texts = (HOSTILE * 200, f"preempting {HOSTILE}, which is slower", f"{HOSTILE} is leaving")
    odd = [move(f"{at:02}", HOSTILE, "MASTER", text, HOSTILE) for at, text in enumerate(texts)]
    odd += [move("30", "MASTER", HOSTILE, f"handed over to {HOSTILE}", HOSTILE)]
    odd += [told(HOSTILE, "31", vhost=HOSTILE, text=HOSTILE), row("9999-99-99", new="MASTER")]
    desk = Desk(tmp_path, agent({"events": []}, {"events": odd}))
    for path in ("/", "/events", "/events/failover/20260701T100000000-fw2"):
        page = desk.get(path)
        assert page.status_code == 200, page.text
        assert "<script>alert" not in page.text and "\x1b" not in page.text
        assert len(page.text) < 60_000
