"""The application: its routes and their description, and how each error is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from carpool.agent.answers import API_HEADER
from carpool.agent.app import build
from carpool.errors import CarpoolError, ConfigError, KernelError, PeerError, UnreachableError
from carpool.kernel.keys import Trouble
from tests.unit.agent.home import agent_of, asked_by

ROUTES = {
    ("GET", "/v1/about"),
    ("GET", "/v1/status"),
    ("GET", "/v1/services"),
    ("POST", "/v1/services/{name}/{action}"),
    ("GET", "/v1/schedule"),
    ("GET", "/v1/samples"),
    ("GET", "/v1/hooks"),
    ("GET", "/v1/alerts"),
    ("POST", "/v1/alerts/test"),
    ("GET", "/v1/web"),
    ("GET", "/v1/nodes"),
    ("GET", "/v1/checks"),
    ("GET", "/v1/settings"),
    ("POST", "/v1/checks/run"),
    ("POST", "/v1/hooks/{name}/run"),
    ("GET", "/v1/peer/about"),
    ("GET", "/v1/peer/digests"),
    ("POST", "/v1/peer/sync"),
    ("PUT", "/v1/peer/sync/{number}/contents"),
    ("GET", "/v1/peer/sync/{number}/diff"),
    ("POST", "/v1/peer/sync/{number}/apply"),
    ("GET", "/v1/peer/sync/{number}/outcome"),
    ("POST", "/v1/peer/sync/{number}/abandon"),
    ("POST", "/v1/peer/confirm"),
    ("POST", "/v1/peer/take-back"),
    ("GET", "/v1/peer/sections/{name}"),
    ("POST", "/v1/peer/contents"),
    ("POST", "/v1/peer/agreed"),
    ("GET", "/v1/peer/services"),
    ("POST", "/v1/peer/services/{name}/{action}"),
    ("POST", "/v1/reload"),
    ("GET", "/v1/group"),
    ("GET", "/v1/group/away"),
    ("POST", "/v1/group/preview"),
    ("POST", "/v1/group/apply"),
    ("GET", "/v1/peer/group"),
    ("POST", "/v1/peer/group/settle"),
    ("GET", "/v1/peer/facts"),
    ("GET", "/v1/peer/node"),
    ("POST", "/v1/peer/deeds"),
    ("POST", "/v1/web/note"),
    ("GET", "/v1/doctor/peers"),
    ("POST", "/v1/peer/listen"),
    ("POST", "/v1/doctor/listen"),
    ("POST", "/v1/maintenance"),
    ("POST", "/v1/switchover"),
    ("POST", "/v1/enable"),
    ("POST", "/v1/disable"),
    ("GET", "/v1/events"),
    ("GET", "/v1/connections"),
    ("GET", "/v1/connections/{peer}"),
    ("GET", "/v1/peer/connections"),
    ("POST", "/v1/peer/operate"),
    ("GET", "/v1/peer/events"),
    ("GET", "/v1/packages"),
    ("POST", "/v1/packages/refresh"),
    ("POST", "/v1/packages/update"),
    ("GET", "/v1/peer/packages"),
    ("POST", "/v1/peer/packages/refresh"),
    ("POST", "/v1/peer/packages/update"),
    ("GET", "/v1/peer/packages/update"),
}


def ask(app: FastAPI, path: str, peer: str | None = None, **more: Any) -> httpx.Response:
    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(asked_by(app, peer), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            return await client.request(more.pop("method", "GET"), path, **more)

    return asyncio.run(get())


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return build(agent_of(tmp_path))


@pytest.fixture
def grouped(tmp_path: Path) -> FastAPI:
    """That of a node with a peer."""
    return build(agent_of(tmp_path, port=1))


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    described = app.openapi()["paths"]
    return {(method.upper(), path) for path, methods in described.items() for method in methods}


def test_the_description_holds_every_route(app: FastAPI) -> None:
    answer = ask(app, "/v1/openapi.json")
    assert answer.status_code == 200
    described = answer.json()["paths"]
    found = {(method.upper(), path) for path, methods in described.items() for method in methods}
    assert found >= ROUTES
    for methods in described.values():
        for route in methods.values():
            assert route["summary"] and route["description"], "each says what it is for"
            assert {"default", "403", "422"} <= route["responses"].keys(), "and how it refuses"


def test_nothing_but_the_peers_own_routes_is_open_to_a_peer(grouped: FastAPI) -> None:
    app = grouped
    asked = [(method, path) for method, path in routes_of(app) if "/peer/" not in path]
    assert len(asked) >= 2
    for method, path in [*asked, ("GET", "/v1/openapi.json"), ("GET", "/nowhere"), ("GET", "/")]:
        answer = ask(app, path, "fw2", method=method)
        assert answer.status_code == 403, path
        assert "is not for peers" in answer.json()["error"]
    for path in ("/v1/peer/../about", "/v1/peer/..%2fabout", "/v1/peer//about"):
        assert ask(app, path, "fw2").status_code in (403, 404), path


def test_about_and_status_of_a_node_on_its_own(app: FastAPI, grouped: FastAPI) -> None:
    about = ask(app, "/v1/about").json()
    assert (about["name"], about["group"], about["peers"], about["listens"]) == (
        "fw1",
        "test",
        [],
        [],
    )
    status = ask(app, "/v1/status").json()
    assert "does not answer" in status["failover"]["error"]
    assert status["states"] is None
    told = ask(grouped, "/v1/peer/about", "fw2").json()
    assert (told["name"], told["roles"], told["sync"]) == ("fw1", None, None)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError, 409),
        (PeerError, 403),
        (KernelError, 500),
        (UnreachableError, 502),
        (CarpoolError, 400),
        (lambda text, hint: Trouble("not_paired", text, hint=hint), 500),
    ],
)
def test_errors_keep_their_words(
    app: FastAPI, error: Callable[..., CarpoolError], status: int
) -> None:
    @app.get("/v1/fails")
    async def fails() -> None:
        raise error("it broke", hint="mend it")

    answer = ask(app, "/v1/fails")
    assert answer.status_code == status
    assert answer.json() == {"error": "it broke", "hint": "mend it"}
    assert answer.headers[API_HEADER] == "1"


def test_bugs_and_wrong_questions_have_the_same_shape(app: FastAPI) -> None:
    @app.get("/v1/bug")
    async def bug() -> None:
        raise ValueError("secret details")

    @app.get("/v1/number")
    async def number(count: int) -> int:
        return count

    for path, status, words in (
        ("/v1/bug", 500, "a fault of carpool itself: ValueError"),
        ("/v1/nowhere", 404, "nothing answers to GET '/v1/nowhere'"),
        ("/v1/number?count=x", 422, "query.count"),
    ):
        answer = ask(app, path)
        assert (answer.status_code, answer.json().keys()) == (status, {"error", "hint"})
        assert words in answer.json()["error"]
        assert "secret" not in answer.text
        assert answer.headers[API_HEADER] == "1"
    assert ask(app, "/v1/about", method="DELETE").status_code == 405


def test_every_route_is_known_to_this_test(app: FastAPI) -> None:
    """A route for peers is a promise: none may come in unseen."""
    peers = {each for each in routes_of(app) if each[1].startswith("/v1/peer/")}
    assert peers == {each for each in ROUTES if each[1].startswith("/v1/peer/")}
