"""What a peer gets from here when it asks, and what it does not."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.agent.bundle import unbundle
from carpool.model.manifest import digest, manifest
from tests.unit.agent.home import asked_by, rooted_pair

TEXT = b"good 1\n"
SHA256 = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def fw1(tmp_path: Path) -> Agent:
    agent, _peer = rooted_pair(tmp_path)
    (agent.root / "etc/web/a").write_bytes(TEXT)
    (agent.root / "etc/other.conf").write_text("another section's\n")
    return agent


@pytest.fixture
def app(fw1: Agent) -> FastAPI:
    return build(fw1)


def ask(app: FastAPI, path: str, body: object = None, peer: str | None = "fw2") -> httpx.Response:
    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(asked_by(app, peer))
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            if body is None:
                return await client.get(path)
            return await client.post(path, json=body)

    return asyncio.run(scenario())


def given(app: FastAPI, sha256: list[str]) -> httpx.Response:
    return ask(app, "/v1/peer/contents", {"section": "web", "sha256": sha256})


def test_what_is_synchronised_and_nothing_else(app: FastAPI) -> None:
    answer = ask(app, "/v1/peer/sections/web").json()
    assert {row["path"]: row["sha256"] for row in answer["entries"]}["/etc/web/a"] == SHA256
    assert answer["devices"] == {"sync": "lo"}
    for name in ("other", "nginx", "x" * 64):
        answer = ask(app, f"/v1/peer/sections/{name}")
        assert answer.status_code == 400
        assert answer.json()["error"] == f"section {name} is not synchronised here"
        answer = ask(app, "/v1/peer/contents", {"section": name, "sha256": []})
        assert "is not synchronised here" in answer.json()["error"]
    assert ask(app, "/v1/peer/sections/web", peer=None).status_code == 403


def test_devices_are_those_of_node_toml_as_it_is_now(app: FastAPI, fw1: Agent) -> None:
    fw1.config = replace(fw1.config, node=replace(fw1.config.node, interfaces={"sync": "eth7"}))
    assert ask(app, "/v1/peer/sections/web").json()["devices"] == {"sync": "eth7"}


def test_contents_of_that_section_alone(app: FastAPI, fw1: Agent) -> None:
    found = [(sha, b"".join(pieces)) for sha, _, pieces in unbundle([given(app, [SHA256]).content])]
    assert found == [(SHA256, TEXT)]
    other = hashlib.sha256((fw1.root / "etc/other.conf").read_bytes()).hexdigest()
    answer = given(app, [SHA256, other])
    assert answer.status_code == 403
    assert "does not hold 1 of the contents" in answer.json()["error"]
    assert given(app, ["../" + "0" * 61]).status_code == 422


def test_it_agrees_to_what_it_has_only(app: FastAPI, fw1: Agent) -> None:
    def agreed(pulled: str) -> httpx.Response:
        sections = {"web": {"pulled": pulled, "source": "5" * 64}}
        return ask(app, "/v1/peer/agreed", {"by": "alice", "sections": sections})

    answer = agreed("0" * 64)
    assert answer.status_code == 400
    assert "section web was changed here after it was pulled" in answer.json()["error"]
    assert fw1.configuration.record.read() == {}
    section = fw1.configuration.sections["web"]
    entries = fw1.configuration._place.source(section)
    assert agreed(digest(manifest(entries.values()))).json() == {"agreed": ["web"]}
    found = fw1.configuration.record.read()["web"]
    assert (found.source, found.peer) == ("5" * 64, "fw2")
    (revision,) = fw1.configuration.history.log(5)
    assert (revision.kind, revision.author, revision.node) == ("pulled", "alice@fw2", "fw1")
