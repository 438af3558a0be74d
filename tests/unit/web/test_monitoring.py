"""Who is told what by the addresses for programs, where no agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher
from prometheus_client.parser import text_string_to_metric_families

from carpool.web.accounts import Accounts, Role
from carpool.web.app import Web, build
from carpool.web.ask import Ask
from carpool.web.throttle import FREE

PASSWORD = "correct horse battery"
FOR_ACCOUNTS = ("/metrics", "/status.json")
HEALTH = ("/is-master", "/is-healthy", "/is-complete")


@pytest.fixture
def web(tmp_path: Path) -> Web:
    accounts = Accounts(tmp_path, PasswordHasher(time_cost=1, memory_cost=64))
    accounts.open(lambda: "one-time-password")
    accounts.add("mon", Role.VIEWER, "one-time-password")
    accounts.set_password("mon", PASSWORD)
    return Web(Ask(tmp_path / "agent.sock"), accounts)


def get(
    web: Web, path: str, *who: str, source: str = "10.0.0.9", headers: Mapping[str, str] = {}
) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(build(web), client=(source, 1))
        async with httpx.AsyncClient(transport=transport, base_url="https://fw1") as client:
            auth = httpx.BasicAuth(*who) if who else None
            return await client.get(path, auth=auth, headers=dict(headers))

    return asyncio.run(ask())


@pytest.mark.parametrize("path", HEALTH)
def test_health_is_told_to_anybody_and_nothing_else(web: Web, path: str) -> None:
    answer = get(web, path)
    assert (answer.status_code, answer.text) == (503, "unknown\n")


@pytest.mark.parametrize("path", FOR_ACCOUNTS)
def test_the_rest_wants_an_account(web: Web, path: str) -> None:
    for answer in (
        get(web, path),
        get(web, path, "mon", "wrong"),
        get(web, path, "nobody", PASSWORD),
        get(web, path, headers={"authorization": "Basic ***"}),
        get(web, path, headers={"authorization": "Basic bm9jb2xvbg=="}),
        get(web, path, headers={"authorization": f"Bearer {PASSWORD}"}),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert "carpool_" not in answer.text


@pytest.mark.parametrize("path", FOR_ACCOUNTS)
def test_a_one_time_password_is_for_the_login_alone(web: Web, path: str) -> None:
    answer = get(web, path, "admin", "one-time-password")
    assert answer.status_code == 403
    assert "log in" in answer.text


def test_metrics_of_an_agent_that_does_not_run_say_so(web: Web) -> None:
    answer = get(web, "/metrics", "mon", PASSWORD)
    assert answer.status_code == 200
    (family,) = text_string_to_metric_families(answer.text)
    assert [(one.name, one.labels, one.value) for one in family.samples] == [
        ("carpool_up", {"process": "agent"}, 0.0)
    ]


def test_the_status_of_an_agent_that_does_not_run_is_an_error(web: Web) -> None:
    answer = get(web, "/status.json", "mon", PASSWORD)
    assert answer.status_code == 502
    assert "the agent does not run" in answer.json()["error"]
    assert answer.json()["hint"]


def test_who_guesses_waits_and_who_was_right_before_from_elsewhere_does_not(web: Web) -> None:
    assert get(web, "/metrics", "mon", PASSWORD, source="10.0.0.1").status_code == 200
    codes = [get(web, "/metrics", "mon", f"guess {n}").status_code for n in range(FREE + 1)]
    assert codes == [401] * FREE + [429]
    refused = get(web, "/metrics", "mon", PASSWORD)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert get(web, "/metrics", "mon", PASSWORD, source="10.0.0.1").status_code == 200
    codes = [
        get(web, "/metrics", "mon", f"guess {n}", source="10.0.0.1").status_code
        for n in range(FREE + 1)
    ]
    assert codes == [401] * FREE + [429], "what it guesses counts where it comes from"


def test_nobody_is_known_who_is_no_account_any_more(web: Web) -> None:
    assert get(web, "/metrics", "mon", PASSWORD).status_code == 200
    web.accounts.remove("mon")
    assert get(web, "/metrics", "mon", PASSWORD).status_code == 401
