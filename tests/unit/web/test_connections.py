"""The page that searches the state table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carpool.errors import CarpoolError
from tests.unit.web.desk import HOSTILE, Agent, Desk
from tests.unit.web.told import pair


def entry(**more: Any) -> dict[str, Any]:
    way = {"src": "192.0.2.7", "dst": "198.51.100.1", "sport": 40000, "dport": 443}
    back = {"src": "2001:db8::1", "dst": "2001:db8::2", "sport": None, "dport": None}
    told = {"family": "ipv4", "protocol": 6, "status": ["ASSURED"], "state": "ESTABLISHED"}
    return {**told, "timeout_s": 75, "mark": 0, "orig": way, "reply": back, **more}


def found(*rows: dict[str, Any], whole: bool = True, node: str = "fw2") -> dict[str, Any]:
    return {"node": node, "found": list(rows), "looked_at": 9, "whole": whole}


def test_nothing_is_asked_before_somebody_says_what_for(tmp_path: Path) -> None:
    agent = Agent({"/v1/nodes": pair()})
    assert "Search the state table" in Desk(tmp_path, agent).get("/connections").text
    assert [path for path, _params in agent.gets] == ["/v1/nodes"]
    Desk(tmp_path, agent).get("/connections?node=fw9")
    assert {path for path, _params in agent.gets} == {"/v1/nodes"}


def test_a_search_here_and_on_the_peer(tmp_path: Path) -> None:
    for node, path in (("fw1", "/v1/connections"), ("fw2", "/v1/connections/fw2")):
        agent = Agent({"/v1/nodes": pair(), path: found(entry())})
        query = f"node={node}&address=192.0.2.7&port=&state=ESTABLISHED"
        page = Desk(tmp_path, agent).get(f"/connections?{query}").text
        assert agent.gets[-1] == (path, {"address": "192.0.2.7", "state": "ESTABLISHED"})
        for text in ("tcp", "192.0.2.7:40000", "198.51.100.1:443", "2001:db8::1", "1 of 9 entries"):
            assert text in page


def test_none_and_too_many_and_refused_are_told(tmp_path: Path) -> None:
    refused = CarpoolError("'x' is no state", hint="one of <b>")
    for answer, text in (
        (found(), "No such entry among the 9 of fw2."),
        (found(whole=False), "that there was time for"),
        (found(entry(), whole=False), "The first 1 that were found"),
        (refused, "one of &lt;b&gt;"),
    ):
        agent = Agent({"/v1/nodes": pair(), "/v1/connections/fw2": answer})
        assert text in Desk(tmp_path, agent).get("/connections?node=fw2").text


def test_words_of_others_stay_words(tmp_path: Path) -> None:
    way = {"src": HOSTILE, "dst": HOSTILE, "sport": 1, "dport": 2}
    odd = entry(state=HOSTILE, status=[HOSTILE], orig=way, reply=way)
    agent = Agent({"/v1/nodes": pair(), "/v1/connections/fw2": found(odd, node=HOSTILE)})
    page = Desk(tmp_path, agent).get("/connections?node=fw2").text
    assert "<script>alert" not in page and "\x1b" not in page
