"""Logging in and out: cookies, sessions that end, and who has to wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.web.accounts import Role
from carpool.web.throttle import FREE
from tests.unit.web.site import PASSWORD, Site

OTHER = "another one, as long"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def test_a_cookie_goes_to_this_node_alone_and_no_script_sees_it(site: Site) -> None:
    with site.visitor() as visitor:
        answer = visitor.log_in("viewer", PASSWORD)
        name, _, flags = answer.headers["set-cookie"].partition("=")
        assert name == "__Host-carpool-0123abcd"
        found = {one.strip().lower() for one in flags.split(";")[1:]}
        assert found == {"httponly", "secure", "samesite=strict", "path=/"}


def test_what_was_there_before_a_login_is_nobody_after_it(site: Site) -> None:
    with site.logged_in(Role.VIEWER) as visitor, site.visitor() as thief:
        planted = dict(visitor.client.cookies)
        assert visitor.log_in("admin", PASSWORD).status_code == 303
        assert dict(visitor.client.cookies) != planted
        thief.client.cookies.update(planted)
        assert thief.get("/password").status_code == 303  # neither viewer's nor admin's


def test_a_made_up_cookie_is_nobody(site: Site) -> None:
    with site.visitor() as visitor:
        for value in ("", "0" * 64, "é" * 9, "a" * 4000):
            cookie = f"__Host-carpool-0123abcd={value}".encode()
            answer = visitor.client.get("/password", headers={b"cookie": cookie})
            assert answer.status_code == 303, value


def test_logout_ends_the_session_itself(site: Site) -> None:
    with site.logged_in(Role.VIEWER) as visitor, site.visitor() as thief:
        thief.client.cookies.update(visitor.client.cookies)
        assert thief.get("/password").status_code == 200
        assert visitor.submit("/logout").headers["location"] == "/login"
        assert not visitor.client.cookies
        assert thief.get("/password").status_code == 303


def test_another_password_ends_all_other_sessions_of_it(site: Site) -> None:
    with site.logged_in(Role.VIEWER) as here, site.logged_in(Role.VIEWER) as there:
        assert here.set_password(PASSWORD, OTHER).status_code == 303
        assert here.get("/password").status_code == 200
        assert there.get("/password").status_code == 303
        assert there.log_in("viewer", PASSWORD).status_code == 403
        assert there.log_in("viewer", OTHER).status_code == 303


def test_a_session_ends_when_nobody_uses_it_and_at_the_end_of_a_day(site: Site) -> None:
    with site.logged_in(Role.VIEWER) as visitor:
        for _ in range(23):
            site.now_s += 29 * 60
            assert visitor.get("/password").status_code == 200
        assert visitor.get("/password?live=1").status_code == 200
        site.now_s += 29 * 60
        assert visitor.get("/password?live=1").status_code == 200
        site.now_s += 2 * 60  # a page that renews itself is nobody's use
        assert visitor.get("/password?live=1").status_code == 401
    with site.logged_in(Role.VIEWER) as visitor:
        for _ in range(24):
            site.now_s += 29 * 60
            visitor.get("/password")
        site.now_s += 29 * 60
        assert visitor.get("/password").status_code == 303


def test_who_guesses_waits_longer_each_time(site: Site) -> None:
    with site.visitor() as visitor:
        for _ in range(FREE):
            assert visitor.log_in("admin", "guess").status_code == 403
        told = visitor.log_in("admin", PASSWORD)
        assert told.status_code == 429 and told.headers["retry-after"] == "1"
        assert "try again in 1 s" in told.text
        site.now_s += 1
        assert visitor.log_in("admin", "guess").status_code == 403
        assert visitor.log_in("admin", PASSWORD).headers["retry-after"] == "2"
        assert visitor.log_in("nobody", "guess").status_code == 429  # by the address, too
        site.now_s += 2
        assert visitor.log_in("admin", PASSWORD).status_code == 303


def test_an_account_under_attack_lets_its_owner_in_where_he_was_before(site: Site) -> None:
    with site.visitor("192.0.2.1") as owner:
        assert owner.log_in("admin", PASSWORD).status_code == 303
        for number in range(FREE + 3):
            with site.visitor(f"203.0.113.{number}") as attacker:
                attacker.log_in("admin", "guess")
        with site.visitor("198.51.100.7") as stranger:
            assert stranger.log_in("admin", PASSWORD).status_code == 429
        assert owner.log_in("admin", PASSWORD).status_code == 303


def test_all_addresses_of_an_ipv6_network_count_as_one(site: Site) -> None:
    for number in range(FREE):
        with site.visitor(f"2001:db8:1:2:{number}::1") as visitor:
            assert visitor.log_in(f"name{number}", "guess").status_code == 403
    with site.visitor("2001:db8:1:2:ffff::1") as visitor:
        assert visitor.log_in("other", "guess").status_code == 429
    with site.visitor("2001:db8:1:3::1") as visitor:
        assert visitor.log_in("other", "guess").status_code == 403


def test_a_session_is_no_way_to_guess_the_password(site: Site) -> None:
    with site.logged_in(Role.VIEWER) as visitor:
        for _ in range(FREE):
            assert visitor.set_password("guess", OTHER).status_code == 422
        answer = visitor.set_password(PASSWORD, OTHER)
        assert answer.status_code == 429 and "try again in 1 s" in answer.text


@pytest.mark.parametrize(
    "path", ["//elsewhere.example", "/\\elsewhere.example", "https://elsewhere.example", "", "x"]
)
def test_a_login_leads_to_pages_of_ours_alone(site: Site, path: str) -> None:
    with site.visitor() as visitor:
        form = {"name": "admin", "password": PASSWORD, "next": path}
        assert visitor.post("/login", form).headers["location"] == "/"


def test_another_site_logs_nobody_in(site: Site) -> None:
    form = {"name": "admin", "password": PASSWORD}
    with site.visitor() as visitor:
        for name, value in (("origin", "https://elsewhere.example"), ("origin", "null")):
            assert visitor.post("/login", form, **{name: value}).status_code == 403
        assert visitor.post("/login", form, **{"sec-fetch-site": "cross-site"}).status_code == 403
