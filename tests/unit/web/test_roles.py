"""Who may do what: every route of every part, for each role and for nobody, as `Pages` has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from starlette.routing import Mount, Route

from carpool.web.accounts import Account, Accounts, Role
from carpool.web.app import PARTS, routes
from carpool.web.headers import SECURITY
from tests.unit.web.site import Site, filled

LOGIN = {("GET", "/login"), ("POST", "/login"), ("POST", "/login/code")}
LOGIN |= {("POST", "/login/passkey")}
# Yes or no by status code, and what asks for a name and a password itself.
POLLED = {"/is-master", "/is-healthy", "/is-complete", "/metrics", "/status.json"}
OPEN = LOGIN | {("GET", path) for path in POLLED}  # all that asks for no session, but /static
ROUTES = [(method, path, role) for part in PARTS for (method, path), role in part.roles.items()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("web"))
    yield made
    made.close()


def test_there_is_no_other_way_in() -> None:
    guarded = {(method, path) for method, path, _role in ROUTES}
    found = set()
    for route in routes():
        if isinstance(route, Mount):
            assert route.path == "/static"
            continue
        assert isinstance(route, Route)
        found |= {(method, route.path) for method in route.methods or () if method != "HEAD"}
    assert found - guarded == OPEN


@pytest.mark.parametrize(("method", "path", "role"), ROUTES)
def test_nobody_gets_anything_without_a_login(
    site: Site, method: str, path: str, role: Role
) -> None:
    with site.visitor() as visitor:
        answer = visitor.client.request(method, filled(path))
        assert answer.status_code == (303 if method == "GET" else 401), answer.text
        assert answer.headers.get("location", "/login").startswith("/login")
        if method == "GET":
            assert visitor.get(f"{filled(path)}?live=1").status_code == 401


@pytest.mark.parametrize("who", Role)
@pytest.mark.parametrize(("method", "path", "role"), ROUTES)
def test_each_role_may_what_is_its_own_and_below(
    site: Site, method: str, path: str, role: Role, who: Role
) -> None:
    with site.logged_in(who) as visitor:
        at = filled(path)
        answer = visitor.get(at) if method == "GET" else visitor.submit(at)
        refused = f"this takes {role.word}" in answer.text
        assert refused == (who < role), answer.text
        assert (answer.status_code == 403) >= refused
        assert not answer.headers.get("location", "").startswith("/login") or path == "/logout"
        assert SECURITY.items() <= dict(answer.headers).items()


class Broken(Accounts):
    def find(self, name: str) -> Account | None:
        raise RuntimeError(name)


def test_a_fault_of_ours_says_little_and_carries_all_headers(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.web.accounts = Broken(tmp_path, PasswordHasher(1, 8, parallelism=1))
    with site.visitor() as visitor:
        visitor.client.cookies.set(site.web.cookie, site.web.sessions.begin("admin", "-"))
        answer = visitor.get("/password")
    site.close()
    assert answer.status_code == 500 and "RuntimeError" in answer.text
    assert SECURITY.items() <= dict(answer.headers).items()
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("method", "path", "role"), [one for one in ROUTES if one[0] != "GET"])
def test_no_form_is_taken_from_elsewhere(site: Site, method: str, path: str, role: Role) -> None:
    at = filled(path)
    with site.logged_in(Role.ADMIN) as mine, site.logged_in(Role.ADMIN) as other:
        token = mine.token()
        for form, headers in (
            ({}, {}),
            ({"token": ""}, {}),
            ({"token": other.token()}, {}),
            ({"token": token}, {"origin": "https://elsewhere.example"}),
            ({"token": token}, {"origin": "null"}),
            ({"token": token}, {"origin": "http://fw1.example"}),
            ({"token": token}, {"sec-fetch-site": "cross-site"}),
            ({"token": token}, {"sec-fetch-site": "same-site"}),
        ):
            answer = mine.post(at, form, **headers)
            assert answer.status_code == 403, (form, headers)
            assert "another s" in answer.text, answer.text
        assert mine.get("/password").status_code == 200  # still logged in: nothing was done


def test_who_asks_for_the_head_alone_needs_no_form(site: Site) -> None:
    with site.logged_in(Role.VIEWER) as visitor:
        answer = visitor.client.head("/password")
        assert (answer.status_code, answer.content) == (200, b"")
