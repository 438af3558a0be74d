"""What `carpool status` says first and last when the agent answers: whether the group would
survive, and what is wrong with the certificate of the pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carpool.agent.localclient import SOCKET
from carpool.api.settings import load
from carpool.cli import pages, verdict
from tests.unit.api.files import GROUP, write
from tests.unit.api.process import process, saying
from tests.unit.web.group import pair, silent

WEB = GROUP + '\n[web]\ninterfaces = ["lan"]\n'


@contextmanager
def agent(run_dir: Path, answer: object, status: str = "200 OK") -> Iterator[None]:
    """It answers one question."""
    body = json.dumps(answer).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    (run_dir / SOCKET).parent.mkdir(parents=True, exist_ok=True)
    with process(run_dir / SOCKET, saying(head.encode() + body)):
        yield


def test_the_sentence_is_that_of_the_pages(tmp_path: Path) -> None:
    with agent(tmp_path, pair()):
        found = verdict.ask(tmp_path)
    assert found is not None
    (first, style), *more = verdict.lines(found)
    assert first == (
        "The group would survive a failure of fw1 now: fw2 takes over with all connections."
    )
    assert "green" in style and more == [("", "")]
    fields = verdict.as_fields(found)
    assert fields == {"level": "good", "sentence": first, "reasons": []}


def test_what_to_do_stands_below_it_and_a_peer_controls_no_terminal(tmp_path: Path) -> None:
    told = silent(pair())
    told["nodes"][1]["error"] = "gone\x1b[2J"
    with agent(tmp_path, told):
        found = verdict.ask(tmp_path)
    assert found is not None
    lines = [line for line, _style in verdict.lines(found)]
    assert "agent of fw2 does not answer" in lines[0] and lines[1].startswith("  -> gone")
    assert "\x1b" not in "".join(lines)
    fields = verdict.as_fields(found)
    assert fields is not None and fields["level"] == "warn"


def test_without_an_agent_it_says_nothing(tmp_path: Path) -> None:
    assert verdict.ask(tmp_path) is None
    assert verdict.as_fields(None) is None
    with agent(tmp_path, {"error": "too old", "hint": ""}, "404 Not Found"):
        assert verdict.ask(tmp_path) is None


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    directory = write(tmp_path, group=WEB)
    config = load(directory)[0]
    answer = {
        "port": 8443,
        "addresses": [],
        "error": "[web] of group.toml: no key\x1b",
        "hint": "x",
    }
    with agent(tmp_path, answer):
        told = list(pages.lines(tmp_path, config))
    assert told == ["Pages: [web] of group.toml: no key?", "  -> x"]
