"""Passkeys on the pages: what is offered where, and who is refused; a browser makes real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from carpool.web.accounts import Role
from carpool.web.passkeys import Passkey
from carpool.web.second import Second
from carpool.web.throttle import FREE
from tests.unit.web.site import PASSWORD, Site

KEY = Passkey("phone", "aWQ", "a2V5", "fw1.example", 3, 5)
BY_ADDRESS = {"host": "192.0.2.1"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def with_passkey(site: Site, name: str = "viewer") -> None:
    site.accounts.change(
        name, lambda one: replace(one, second=Second("ABCD", 0, ()), passkeys=(KEY,))
    )


def test_it_is_offered_by_name_and_after_the_second_factor(site: Site) -> None:
    with site.logged_in(Role.VIEWER) as visitor:
        assert "Set up the second factor" in visitor.get("/account/passkeys").text
        with_passkey(site)
        assert "Add a passkey for fw1.example" in visitor.get("/account/passkeys").text
        text = visitor.get("/account/passkeys", **BY_ADDRESS).text
        assert "192.0.2.1 is an IP address" in text and "Add a passkey for" not in text
    with site.visitor() as visitor:
        assert 'data-passkey="get"' in visitor.get("/login").text
        assert "data-passkey" not in visitor.get("/login", **BY_ADDRESS).text
        assert visitor.get("/login", host="[").status_code in (200, 400)


def test_none_is_added_without_password_and_answer(site: Site) -> None:
    with site.logged_in(Role.VIEWER) as visitor:
        for form, said in (
            ({"name": "phone"}, "not your password"),
            ({"name": "phone", "password": PASSWORD}, "is no answer of a passkey"),
            ({"name": "", "password": PASSWORD}, "wants a name"),
        ):
            answer = visitor.submit("/account/passkeys/add", form)
            assert answer.status_code == 422 and said in answer.text
        assert visitor.submit("/account/passkeys/remove", {"id": "x"}).status_code == 422


def test_one_is_removed(site: Site) -> None:
    with site.logged_in(Role.VIEWER) as visitor:
        with_passkey(site)
        assert "<strong>phone</strong>" in visitor.get("/account/passkeys").text
        assert visitor.submit("/account/passkeys/remove", {"id": KEY.id}).status_code == 303
        assert "None yet" in visitor.get("/account/passkeys").text


def test_they_go_with_the_second_factor(site: Site) -> None:
    with site.logged_in(Role.ADMIN) as admin:
        with_passkey(site)
        assert admin.submit("/accounts/second", {"name": "viewer"}).status_code == 303
    account = site.accounts.find("viewer")
    assert account is not None and account.passkeys == ()


def test_who_has_none_of_ours_is_refused_and_waits(site: Site) -> None:
    with_passkey(site)
    forged = json.dumps({"id": KEY.id, "rawId": KEY.id, "type": "public-key", "response": {}})
    with site.visitor() as visitor:
        answers = [{"answer": one} for one in ("", "{}", forged, "[" * 9999)]
        for form in answers:
            assert visitor.post("/login/passkey", form).status_code == 403
        answer = visitor.post("/login/passkey", {}, origin="https://elsewhere.example")
        assert "another site" in answer.text
        for _ in range(FREE - len(answers)):
            visitor.post("/login/passkey", {})
        assert visitor.post("/login/passkey", {"answer": forged}).status_code == 429
        assert visitor.log_in("admin", PASSWORD).status_code == 303, "passwords are another matter"
