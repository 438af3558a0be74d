"""Who is told what by the addresses for programs, where no agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher
from prometheus_client.parser import text_string_to_metric_families

from carpool.kernel import clock
from carpool.web.accounts import Accounts, Role
from carpool.web.app import Web, build
from carpool.web.ask import Ask
from carpool.web.second import Second
from carpool.web.throttle import FREE
from carpool.web.tokens import Token, digest_of

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


def with_token(web: Web, text: str, role: Role = Role.VIEWER, name: str = "mon") -> None:
    token = Token(text, digest_of(text), role, 0, int(web.wall_s()) + 60)
    web.accounts.change(name, lambda one: replace(one, tokens=(*one.tokens, token)))


def bearer(web: Web, path: str, text: str, source: str = "10.0.0.9") -> httpx.Response:
    return get(web, path, source=source, headers={"authorization": f"Bearer {text}"})


@pytest.mark.parametrize("path", FOR_ACCOUNTS)
def test_a_token_is_enough_as_long_as_it_counts(web: Web, path: str) -> None:
    with_token(web, "mine")
    assert bearer(web, path, "mine").status_code not in (401, 403)
    account = web.accounts.find("mon")
    assert account is not None and account.tokens[0].used_s > 0
    web.wall_s = lambda: clock.wall_s() + 61
    over, unknown = bearer(web, path, "mine"), bearer(web, path, PASSWORD)
    assert over.status_code == unknown.status_code == 401
    assert over.text == unknown.text and "unknown, or has expired" in over.text
    assert over.headers["www-authenticate"].startswith("Bearer ")


def test_a_token_ends_with_its_account_and_when_an_admin_renews_the_password(web: Web) -> None:
    with_token(web, "mine")
    web.accounts.renew("mon", "another")
    assert bearer(web, "/metrics", "mine").status_code == 401
    with_token(web, "mine")
    assert bearer(web, "/metrics", "mine").status_code == 403, "not before the first login"
    web.accounts.remove("mon")
    assert bearer(web, "/metrics", "mine").status_code == 401


def test_who_shows_wrong_tokens_waits_and_who_shows_a_right_one_does_not(web: Web) -> None:
    with_token(web, "mine")
    codes = [bearer(web, "/metrics", f"guess {n}").status_code for n in range(FREE + 1)]
    assert codes == [401] * FREE + [429]
    assert bearer(web, "/metrics", "mine").status_code == 200
    assert get(web, "/metrics", "mon", PASSWORD).status_code == 200, "passwords are another matter"


def test_a_password_alone_is_not_enough_with_a_second_factor(web: Web) -> None:
    assert get(web, "/metrics", "mon", PASSWORD).status_code == 200
    web.accounts.change("mon", lambda one: replace(one, second=Second("ABCD", 0, ())))
    for source in ("10.0.0.9", "10.0.0.1"):  # one of them is known
        answer = get(web, "/metrics", "mon", PASSWORD, source=source)
        assert answer.status_code == 403 and "make a token" in answer.text
    assert get(web, "/metrics", "mon", "wrong").status_code == 401
    with_token(web, "mine")
    assert bearer(web, "/metrics", "mine").status_code == 200
