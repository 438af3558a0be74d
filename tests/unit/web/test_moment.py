"""What the page of a failover says of connections and services at that moment."""

from __future__ import annotations

from pathlib import Path

from carpool.web.explain import Failover
from carpool.web.moment import SERVICES_MAX, Service
from tests.unit.web.desk import HOSTILE, Desk
from tests.unit.web.test_failovers import agent, found, move, told

Rows = list[dict[str, object]]
HAD = "MASTER with 5034 entries: all of fw1 until 3.02 s before (whole table 5 min before)"
OWED = "no longer MASTER: 0 bytes were still to go to fw2, lag 1 ms (p99)"


def said(kind: str, at: str, text: str) -> dict[str, object]:
    return told(kind, at, vhost=None, text=text)


def last(fw1: Rows, fw2: Rows) -> Failover:
    """The last that fw2 took."""
    every = found({"fw1": {"events": fw1}, "fw2": {"events": fw2}})
    return next(one for one in every if one.move.to == "fw2")


def crash() -> tuple[Rows, Rows]:
    before = [move("00", "BACKUP", "MASTER", "no advertisement for 3.00 s")]
    return before, [move("10", "BACKUP", "MASTER", "no advertisement for 3.39 s")]


def handover() -> tuple[Rows, Rows]:
    gives = [move("10.001", "MASTER", "BACKUP", "handed over to 10.10.1.3")]
    return gives, [move("10", "BACKUP", "MASTER", "10.10.1.2 is leaving")]


def test_after_silence_the_new_master_alone_tells_and_what_it_lacks_is_said() -> None:
    fw1, fw2 = crash()
    one = last([*fw1, said("states", "00.01", HAD)], [*fw2, said("states", "10.003", HAD)])
    assert one.connections.startswith(f"fw2 became {HAD}. What fw1 let through after its last")


def test_of_a_move_by_hand_both_sides_tell() -> None:
    fw1, fw2 = handover()
    one = last([*fw1, said("states", "10.002", OWED)], [*fw2, said("states", "10.003", HAD)])
    assert one.connections == f"fw2 became {HAD}. fw1 says: {OWED}."


def test_of_before_an_upgrade_it_says_what_is_not_told() -> None:
    fw1, fw2 = handover()
    far = said("states", "30", HAD)
    one = last(fw1, [said("bulk", "08", "the table of fw1 is complete"), *fw2, far])
    assert one.connections == (
        "The last fw2 said of the table, 2.00 s before: the table of fw1 is complete. What was "
        "still to come at that moment is not told."
    )
    assert not one.services


def test_services_of_both_sides_until_the_next_move_of_each() -> None:
    fw1, fw2 = handover()
    stop = "this node is not MASTER: stop vpn took 0.20 s, done 1.21 s after the change"
    start = "this node is MASTER: start vpn took 0.50 s, done 1.51 s after the change"
    wrong = "this node is MASTER, but radvd: start ended with 1"
    later = move("40", "MASTER", "BACKUP", "10.10.1.2 is a faster master")
    one = last(
        [
            said("service", "09", stop.replace("vpn", "old")),
            *fw1,
            said("service", "11.2", stop),
            said("service", "12", start.replace("vpn", "other")),
        ],
        [
            *fw2,
            said("service", "11.5", start),
            said("service", "12", wrong),
            later,
            said("service", "50", start),
        ],
    )
    assert one.services == [
        Service("fw1", "stop vpn took 0.20 s, done 1.21 s after the change", False),
        Service("fw2", "start vpn took 0.50 s, done 1.51 s after the change", False),
        Service("fw2", "radvd: start ended with 1", True),
    ]
    many = last(fw1, [*fw2, *[said("service", "11", start)] * 200])
    assert len(many.services) == SERVICES_MAX


def test_the_page_shows_them_and_words_stay_words(tmp_path: Path) -> None:
    fw1, fw2 = crash()
    fw2 += [
        said("states", "10.003", f"MASTER with {HOSTILE}"),
        said("service", "11", f"this node is MASTER, but {HOSTILE * 100}"),
    ]
    desk = Desk(tmp_path, agent({"events": fw1}, {"events": fw2}))
    page = desk.get("/events/failover/20260701T100010000-fw2")
    assert page.status_code == 200 and 'badge bad">failed' in page.text
    assert "<script>alert" not in page.text and "\x1b" not in page.text
    assert len(page.text) < 60_000
    assert "<dt>Services</dt><dd>No agent tells of one" in (
        desk.get("/events/failover/20260701T100000000-fw1").text
    )
