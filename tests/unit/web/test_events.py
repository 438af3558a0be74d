"""The page of what happened."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from carpool.errors import UnreachableError
from tests.unit.web.desk import HOSTILE, Agent, Desk
from tests.unit.web.test_timeline import MOVED, row
from tests.unit.web.told import pair


def agent(here: object, there: object) -> Agent:
    told = {"/v1/nodes": pair(), "/v1/events": here}
    return Agent({**told, "/v1/events?peer=fw2": there})


BOTH = (
    {"events": [row(kind="demotion", vhost=None, text="demoted: interface lan down")]},
    {"events": [MOVED]},
)


def test_both_nodes_are_told_and_failovers_marked(tmp_path: Path) -> None:
    asked = agent(*BOTH)
    page = Desk(tmp_path, asked).get("/events").text
    assert '<time datetime="2026-07-01T10:00:00.250+00:00">' in page
    assert "demoted: interface lan down" in page and "no advertisement for 3.00 s" in page
    assert page.count('class="failover"') == 1
    assert ("/v1/events", {"limit": "50", "peer": "fw2"}) in asked.gets


def test_filters_stay_in_the_form_and_in_the_live_part(tmp_path: Path) -> None:
    asked = agent(*BOTH)
    page = Desk(tmp_path, asked).get("/events?node=fw2&kind=failovers&text=ADVERT&limit=200").text
    assert "<option selected>fw2</option>" in page and 'value="ADVERT"' in page
    assert "live=1&amp;node=fw2&amp;kind=failovers&amp;text=ADVERT&amp;limit=200" in page
    assert "demoted" not in page and "no advertisement" in page
    assert [params for path, params in asked.gets if path == "/v1/events"] == [
        {"limit": "1000", "peer": "fw2"}
    ], "the filtered ones are looked for among all that it keeps"
    live = Desk(tmp_path, agent(*BOTH)).get("/events?live=1&kind=failovers").text
    assert "no advertisement" in live and "<html" not in live


def test_a_filter_that_there_is_not_is_none(tmp_path: Path) -> None:
    query = f"node=fw9&kind={quote(HOSTILE)}&limit=7&text={'x' * 500}"
    page = Desk(tmp_path, agent(*BOTH)).get("/events").text
    assert "demoted" in page
    odd = Desk(tmp_path, agent(*BOTH)).get(f"/events?{query}").text
    assert "<option selected>50</option>" in odd and f'value="{"x" * 100}"' in odd
    assert "fw9" not in odd and "<script>alert" not in odd


def test_nothing_is_told_as_that(tmp_path: Path) -> None:
    nothing = agent({"events": []}, {"events": []})
    assert "Nothing has happened yet" in Desk(tmp_path, nothing).get("/events").text
    page = Desk(tmp_path, agent(*BOTH)).get("/events?text=unheard").text
    assert "Nothing of that has happened" in page


def test_a_peer_that_is_gone_hides_nothing_of_this_node(tmp_path: Path) -> None:
    lost = UnreachableError("fw2 has not told its events within 1.5 s", hint="is fw2 up?")
    page = Desk(tmp_path, agent(BOTH[0], lost)).get("/events").text
    assert "fw2 has not told its events" in page and "is fw2 up?" in page
    assert "demoted: interface lan down" in page
    down = {**BOTH[1], "error": "failover does not answer", "hint": "start it"}
    page = Desk(tmp_path, agent(BOTH[0], down)).get("/events").text
    assert "failover does not answer" in page and "no advertisement" in page


def test_words_of_others_stay_words(tmp_path: Path) -> None:
    odd = {key: HOSTILE for key in ("time", "kind", "vhost", "old", "new", "text")}
    told = {"events": [odd, {**odd, "new": None}], "error": HOSTILE, "hint": HOSTILE}
    page = Desk(tmp_path, agent({"events": []}, told)).get(f"/events?text={HOSTILE[:8]}").text
    assert "<script>alert" not in page and "\x1b" not in page
    assert page.count("&lt;script&gt;") > 6
