"""One's own account, as a browser without JavaScript has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.web.accounts import Role
from carpool.web.throttle import FREE
from carpool.web.tokens import DAY_S
from tests.unit.web.site import PASSWORD, Site
from tests.visitor import Visitor

SHOWN = re.compile(r'class="one-time">(carpool_[\w-]{43})<')


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def make(visitor: Visitor, name: str, **more: str) -> str:
    """A token; nothing if it is refused."""
    form = {"name": name, "role": "viewer", "days": "90", "password": PASSWORD, **more}
    answer = visitor.submit("/account/tokens/add", form)
    if answer.status_code != 303:
        assert answer.status_code == 422 and "Nothing changed" in answer.text
        return ""
    found = SHOWN.search(visitor.get("/account").text)
    assert found is not None
    return found[1]


def test_a_token_is_shown_once_and_counts_until_it_is_removed(site: Site) -> None:
    with site.logged_in(Role.OPERATOR) as visitor, site.visitor() as program:
        text = make(visitor, "grafana")
        page = visitor.get("/account").text
        assert text not in page and "grafana" in page and "never" in page
        bearer = {"authorization": f"Bearer {text}"}
        assert program.get("/status.json", **bearer).status_code == 502, "of the agent"
        assert "or within the hour" in visitor.get("/account").text
        with site.logged_in(Role.VIEWER) as other:
            answer = other.submit("/account/tokens/remove", {"name": "grafana"})
            assert answer.status_code == 422 and "you have no token" in answer.text
        assert program.get("/status.json", **bearer).status_code == 502
        assert visitor.submit("/account/tokens/remove", {"name": "grafana"}).status_code == 303
        assert program.get("/status.json", **bearer).status_code == 401
        assert "grafana" not in visitor.get("/account").text


def test_one_that_is_over_says_so(site: Site) -> None:
    with site.logged_in(Role.VIEWER) as visitor:
        make(visitor, "grafana", days="1")
        assert "expired" not in visitor.get("/account").text
    site.now_s += DAY_S
    with site.logged_in(Role.VIEWER) as visitor:
        assert "expired" in visitor.get("/account").text


def test_what_is_refused_is_said_and_makes_none(site: Site) -> None:
    with site.logged_in(Role.OPERATOR) as visitor:
        assert make(visitor, "one")
        for more in (
            {"role": "admin"},
            {"role": ""},
            {"days": "366"},
            {"name": "one"},
            {"name": "a\nb"},
            {"password": "guess"},
            {"password": ""},
        ):
            assert not make(visitor, **{"name": "two", **more}), more
        account = site.accounts.find("operator")
        assert account is not None and [one.name for one in account.tokens] == ["one"]


def test_a_session_is_no_way_to_guess_the_password(site: Site) -> None:
    with site.logged_in(Role.VIEWER) as visitor:
        for _ in range(FREE):
            assert not make(visitor, "one", password="guess")
        form = {"name": "one", "role": "viewer", "days": "1", "password": PASSWORD}
        assert "too many wrong" in visitor.submit("/account/tokens/add", form).text


def test_a_token_has_no_more_than_its_account_has_now(site: Site) -> None:
    with site.logged_in(Role.OPERATOR) as visitor:
        make(visitor, "grafana", role="operator")
    site.accounts.set_role("operator", Role.VIEWER)
    with site.visitor() as visitor:
        visitor.log_in("operator", PASSWORD)
        assert "counts as viewer" in visitor.get("/account").text
