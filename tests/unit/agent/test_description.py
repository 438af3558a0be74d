"""The agent's routes keep their own OpenAPI description, whatever they are asked.

schemathesis reads the description and makes requests of it, some that fit and some that do not.
They go to a real agent with a home of its own and a peer that does not run: as a program of this
machine asks, as its pages do, and as the peer does. The same requests each time; `script/soak api`
draws others.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks
from starlette.types import Receive, Scope, Send

from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.agent.doorman import PEER_ROUTES, REQUESTS_PER_S, SCOPE_PEER, SCOPE_WEB
from carpool.api.identity import introduce
from carpool.kernel.clock import monotonic_s
from tests.unit.agent.home import ADDRESSES, agent_of, config_of, failover, free_port
from tests.unit.agent.test_app import ask

EXAMPLES = int(os.environ.get("CARPOOL_API_EXAMPLES", "0"))
FEW = 4  # of each route, asker and kind
UNREACHABLE = 502  # is the peer, and what names it may be told so
PROGRAM, PAGES, PEER = "a program", "the pages", "a peer"

# Not asked here: these listen on the wires of this machine, for as many seconds as they are told,
# and ask or run its apt.
LEFT_OUT = ("/v1/peer/listen", "/v1/packages", "/v1/peer/packages")


CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


Route = schemathesis.schemas.APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]


class Asked:
    """An agent, and a loop to ask it in. Services are those of a command that does nothing."""

    def __init__(self, directory: Path) -> None:
        homes = {name: directory / name for name in ADDRESSES}
        for home in homes.values():
            home.mkdir()
        introduce(homes)
        config = config_of("fw1", free_port())
        node = replace(config.node, service_command=("true", "{service}", "{action}"))
        home, ticks = homes["fw1"], count()
        self.agent = Agent(
            replace(config, node=node),
            config_dir=home,
            run_dir=home,
            state_dir=home,
            # A peer that asks too often is refused: here it never does.
            now_s=lambda: monotonic_s() + next(ticks) / REQUESTS_PER_S,
        )
        self.app = build(self.agent)
        self.described = self.app.openapi()
        self._loop = asyncio.new_event_loop()
        self._open = AsyncExitStack()
        self._loop.run_until_complete(self._open.enter_async_context(failover(home, [])))

    def of(self, route: Route) -> dict[str, Any]:
        """What the description says of it."""
        found: dict[str, Any] = self.described["paths"][route.path][route.method]
        return found

    def close(self) -> None:
        self._loop.run_until_complete(self._open.aclose())
        self._loop.run_until_complete(self.agent.close())
        self._loop.close()

    def answer(self, case: Case, who: str) -> httpx.Response:
        return self._loop.run_until_complete(self._answer(case, who))

    async def _answer(self, case: Case, who: str) -> httpx.Response:
        async def introduced(scope: Scope, receive: Receive, send: Send) -> None:
            scope[SCOPE_PEER] = "fw2" if who == PEER else None
            scope[SCOPE_WEB] = who == PAGES
            await self.app(scope, receive, send)

        request = case.as_transport_kwargs(base_url="http://agent")
        cookies, raw = request.pop("cookies"), request.pop("data", None)
        if raw is not None:
            request["content"] = raw if isinstance(raw, bytes) else str(raw).encode()
        transport = httpx.ASGITransport(introduced)  # a bug in there is raised here
        async with httpx.AsyncClient(transport=transport, cookies=cookies) as client:
            return await client.request(**request)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    made = Asked(tmp_path_factory.mktemp("agent"))
    yield made
    made.close()


def routes(asked: Asked, who: str, kind: GenerationMode) -> list[Route]:
    """Those that are asked so; where there is nothing to say, nothing can be said wrong."""
    found = schemathesis.openapi.from_dict(asked.described)
    chosen = [one.ok() for one in found.get_all_operations() if isinstance(one, Ok)]
    return [
        one
        for one in chosen
        if (who == PEER) == one.path.startswith(PEER_ROUTES)
        and not one.path.startswith(LEFT_OUT)
        and (kind.is_positive or {"parameters", "requestBody"} & asked.of(one).keys())
    ]


@pytest.mark.timeout(14_400 if EXAMPLES else 120)
@pytest.mark.parametrize(
    ("who", "kind"),
    [
        (PROGRAM, GenerationMode.POSITIVE),
        (PROGRAM, GenerationMode.NEGATIVE),
        (PAGES, GenerationMode.POSITIVE),
        (PEER, GenerationMode.POSITIVE),
        (PEER, GenerationMode.NEGATIVE),
    ],
)
def test_answers_are_as_they_are_described(asked: Asked, who: str, kind: GenerationMode) -> None:
    statuses: set[int] = set()
    chosen = routes(asked, who, kind)
    assert len(chosen) > 10
    for route in chosen:
        known = asked.of(route)["responses"]

        @settings(
            max_examples=EXAMPLES or FEW,
            derandomize=not EXAMPLES,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=route.as_strategy(generation_mode=kind))
        def asks(case: Case) -> None:
            answer = asked.answer(case, who)
            statuses.add(answer.status_code)
            told = f"{case.as_curl_command()}: {answer.status_code} {answer.text[:500]}"
            assert answer.status_code < 500 or answer.status_code == UNREACHABLE, told
            assert str(answer.status_code) in known, told  # noqa: B023
            case.validate_response(answer, checks=CHECKS)

        asks()
    assert (200 if kind.is_positive else 422) in statuses


def test_a_section_that_cannot_be_is_a_wrong_question(tmp_path: Path) -> None:
    """What the search above found first: it was told as a fault of this machine (500)."""
    for name in ("", "a b", "..", "-x"):
        answer = ask(build(agent_of(tmp_path)), "/v1/history", params={"section": name})
        assert answer.status_code == 400, name
        assert "cannot hold a section named" in answer.json()["error"]
