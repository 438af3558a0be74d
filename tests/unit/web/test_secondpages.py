"""The second factor, as a browser without JavaScript has it: set up, asked for, taken off."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyotp
import pytest

from carpool.web.accounts import FILE, Accounts, Role
from carpool.web.second import RECOVERY_CODES, STEP_S
from carpool.web.secondpages import SETUPS_MAX, Setups
from carpool.web.throttle import FREE
from tests.unit.web.site import PASSWORD, Site
from tests.visitor import Visitor

SECRET = re.compile(r'class="secret">([A-Z2-7 ]+)<')
CODES = re.compile(r"<li><code>([0-9a-f-]{19})</code>")
STEP = re.compile(r'name="step" value="([0-9a-f]+)"')


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


class Phone:
    """An app with a clock that is right."""

    def __init__(self, site: Site, secret: str) -> None:
        self._site = site
        self._otp = pyotp.TOTP(secret)

    def code(self) -> str:
        return self._otp.at(int(self._site.web.wall_s()))

    def next_code(self) -> str:
        self._site.now_s += STEP_S
        return self.code()


def switched_on(site: Site, visitor: Visitor) -> tuple[Phone, list[str]]:
    page = visitor.get("/account/totp").text
    found = SECRET.search(page)
    assert found is not None and 'class="qr"' in page and "style=" not in page
    phone = Phone(site, found[1].replace(" ", ""))
    form = {"code": phone.code(), "password": PASSWORD}
    assert visitor.submit("/account/totp", form).status_code == 303
    codes = CODES.findall(visitor.get("/account/totp").text)
    assert len(set(codes)) == RECOVERY_CODES
    assert not CODES.findall(visitor.get("/account/totp").text), "shown once"
    return phone, codes


def second_step(visitor: Visitor, answer: httpx.Response, code: str) -> httpx.Response:
    found = STEP.search(answer.text)
    assert found is not None, answer.text
    return visitor.post("/login/code", {"step": html.unescape(found[1]), "code": code})


def test_a_login_asks_for_a_code_that_is_good_once(site: Site, tmp_path: Path) -> None:
    with site.logged_in(Role.OPERATOR) as visitor:
        phone, codes = switched_on(site, visitor)
    text = (tmp_path / FILE).read_text()
    assert all(one not in text and one.replace("-", "") not in text for one in codes)
    with site.visitor() as visitor, site.visitor() as thief:
        form = {"name": "operator", "password": PASSWORD, "next": "/events"}
        asked = visitor.post("/login", form)
        assert asked.status_code == 200 and not visitor.client.cookies
        assert second_step(visitor, asked, phone.code()).status_code == 403, "it set it up"
        code = phone.next_code()
        answer = second_step(visitor, asked, code)
        assert (answer.status_code, answer.headers["location"]) == (303, "/events")
        assert visitor.get("/account").status_code == 200
        assert second_step(thief, asked, phone.next_code()).status_code == 403, "a step is once"
        asked = thief.log_in("operator", PASSWORD)
        assert "was used" in second_step(thief, asked, code).text
        assert second_step(thief, asked, codes[3]).status_code == 303
        asked = thief.log_in("operator", PASSWORD)
        assert second_step(thief, asked, codes[3]).status_code == 403
        assert "9 recovery codes are left" in visitor.get("/account/totp").text


def test_who_has_the_password_cannot_guess_codes(site: Site) -> None:
    with site.logged_in(Role.OPERATOR) as visitor:
        switched_on(site, visitor)
    with site.visitor("203.0.113.7") as thief:
        codes = []
        asked = thief.log_in("operator", PASSWORD)
        for _ in range(FREE):
            codes.append(second_step(thief, asked, "000000").status_code)
        assert codes == [403] * (FREE - 1) + [429], "the password alone takes no try back"
        assert thief.log_in("operator", PASSWORD).status_code == 429
        assert thief.log_in("operator", "guess").status_code == 429
    with site.visitor("203.0.113.8") as thief:
        assert thief.log_in("operator", PASSWORD).status_code == 429, "nor from elsewhere"


def test_a_wrong_password_is_asked_for_no_code(site: Site) -> None:
    with site.logged_in(Role.OPERATOR) as visitor:
        switched_on(site, visitor)
    with site.visitor() as visitor:
        answer = visitor.log_in("operator", "guess")
        assert answer.status_code == 403 and STEP.search(answer.text) is None


def test_a_step_ends_with_its_time_and_with_its_password(site: Site) -> None:
    with site.logged_in(Role.OPERATOR) as visitor:
        phone, _codes = switched_on(site, visitor)
    with site.visitor() as visitor:
        asked = visitor.log_in("operator", PASSWORD)
        site.now_s += 301
        assert "begin anew" in second_step(visitor, asked, phone.code()).text
        asked = visitor.log_in("operator", PASSWORD)
        site.accounts.set_password("operator", PASSWORD + "!")
        assert second_step(visitor, asked, phone.next_code()).status_code == 403
        assert visitor.post("/login/code", {}).status_code == 403
        answer = visitor.post("/login/code", {}, origin="https://elsewhere.example")
        assert answer.status_code == 403 and "another site" in answer.text


def test_it_is_on_only_once_an_app_has_shown_a_code(site: Site) -> None:
    with site.logged_in(Role.VIEWER) as visitor:
        page = visitor.get("/account/totp").text
        found = SECRET.search(page)
        assert found is not None and found[0] in visitor.get("/account/totp").text
        phone = Phone(site, found[1].replace(" ", ""))
        for form in ({"code": "000000", "password": PASSWORD}, {"code": phone.code()}):
            assert visitor.submit("/account/totp", form).status_code == 422
        account = site.accounts.find("viewer")
        assert account is not None and account.second is None


@pytest.mark.parametrize("by", ["password", "code", "recovery"])
def test_it_is_switched_off_by_password_or_code(site: Site, by: str) -> None:
    with site.logged_in(Role.VIEWER) as visitor:
        phone, codes = switched_on(site, visitor)
        for form in ({}, {"password": "guess"}, {"code": "000000", "password": PASSWORD}):
            assert visitor.submit("/account/totp/off", form).status_code == 422
        told = {"password": PASSWORD, "code": phone.next_code(), "recovery": codes[0]}
        form = {"password" if by == "password" else "code": told[by]}
        assert visitor.submit("/account/totp/off", form).headers["location"] == "/account"
        assert "is off" in visitor.get("/account").text
        assert visitor.submit("/account/totp/off").status_code == 303
    with site.logged_in(Role.VIEWER):
        pass


def test_an_admin_takes_it_off_another_account(site: Site) -> None:
    with site.logged_in(Role.OPERATOR) as visitor, site.logged_in(Role.ADMIN) as admin:
        assert "Take it off" not in admin.get("/accounts").text
        switched_on(site, visitor)
        assert "Take it off operator" in admin.get("/accounts").text
        assert admin.submit("/accounts/second", {"name": "admin"}).status_code == 422
        assert admin.submit("/accounts/second", {"name": "operator"}).status_code == 303
        assert visitor.get("/account").status_code == 303, "logged out"
    with site.logged_in(Role.OPERATOR):
        pass


def test_a_full_disk_keeps_nobody_out_and_no_code_is_good_twice(site: Site, tmp_path: Path) -> None:
    with site.logged_in(Role.OPERATOR) as visitor:
        phone, codes = switched_on(site, visitor)
    (tmp_path / "accounts.new").mkdir()
    with site.visitor() as visitor:
        code = phone.next_code()
        assert second_step(visitor, visitor.log_in("operator", PASSWORD), code).status_code == 303
        asked = visitor.log_in("operator", PASSWORD)
        assert second_step(visitor, asked, code).status_code == 403
        assert second_step(visitor, asked, codes[0]).status_code == 403


def test_who_was_reset_at_the_console_is_logged_out(site: Site, tmp_path: Path) -> None:
    with site.logged_in(Role.OPERATOR) as visitor, site.logged_in(Role.ADMIN) as admin:
        switched_on(site, visitor)
        other = Accounts(tmp_path)
        other.open(lambda: "never used")
        other.reset("operator", "from the console")
        with site.visitor() as fresh:
            assert fresh.log_in("operator", "from the console").status_code == 303
            assert fresh.get("/").headers["location"] == "/password"
        assert visitor.get("/account").status_code == 303
        assert admin.get("/account").status_code == 200


def test_secrets_that_wait_are_few() -> None:
    numbers = iter(range(1000))
    setups = Setups(lambda: str(next(numbers)))
    assert [setups.secret("a"), setups.secret("a")] == ["0", "0"]
    for number in range(SETUPS_MAX):
        setups.secret(str(number))
    assert setups.secret("a") != "0"
    setups.drop("a")
    assert setups.secret("a") == str(SETUPS_MAX + 2)
