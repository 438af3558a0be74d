"""The file of accounts: who is let in, and that nothing wrong in it lets anybody in."""

from __future__ import annotations

import json
import re
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from carpool.errors import CarpoolError, ConfigError
from carpool.web.accounts import (
    ACCOUNTS_MAX,
    FILE,
    PASSWORD_MAX,
    PASSWORD_MIN,
    Accounts,
    Role,
    one_time_password,
)
from carpool.web.second import Second
from carpool.web.tokens import USED_EVERY_S, Token, digest_of

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
GOOD = "a horse that nobody knows"


def made(directory: Path) -> Accounts:
    """With the first account, whose one-time password is "first"."""
    accounts = Accounts(directory, QUICK)
    assert accounts.open(lambda: "first") == "first"
    return accounts


def again(directory: Path) -> Accounts:
    """As the next start of the process reads it."""
    accounts = Accounts(directory, QUICK)
    assert accounts.open(lambda: "never used") == ""
    return accounts


def test_the_first_start_makes_an_admin_whose_password_is_good_for_one_login(
    tmp_path: Path,
) -> None:
    accounts = made(tmp_path)
    (admin,) = accounts.all()
    assert (admin.name, admin.role, admin.one_time) == ("admin", Role.ADMIN, True)
    path = tmp_path / FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "first" not in path.read_text() and "$argon2id$" in path.read_text()
    accounts.set_password("admin", GOOD)
    accounts = again(tmp_path)
    assert accounts.check("admin", "first") is None
    found = accounts.check("admin", GOOD)
    assert found is not None and not found.one_time


def test_who_is_nobody_and_what_is_no_password_gets_nothing(tmp_path: Path) -> None:
    accounts = made(tmp_path)
    for name, password in (("admin", ""), ("Admin", "first"), ("root", "first"), ("", "")):
        assert accounts.check(name, password) is None
    assert accounts.check("nobody", "nobody has this password") is None


def test_accounts_come_change_and_go(tmp_path: Path) -> None:
    accounts = made(tmp_path)
    accounts.add("anna", Role.VIEWER, "one-time")
    accounts.set_password("anna", GOOD)
    accounts.set_role("anna", Role.OPERATOR)
    found = again(tmp_path).check("anna", GOOD)
    assert found is not None and found.role is Role.OPERATOR and not found.one_time
    accounts.renew("anna", "another")
    assert accounts.check("anna", GOOD) is None
    found = again(tmp_path).check("anna", "another")
    assert found is not None and found.one_time and found.role is Role.OPERATOR
    accounts.remove("anna")
    assert again(tmp_path).check("anna", "another") is None
    for change in (accounts.remove, lambda name: accounts.set_role(name, Role.ADMIN)):
        with pytest.raises(CarpoolError, match="there is no account 'anna'"):
            change("anna")


@pytest.mark.parametrize("name", ["", "Anna", "1anna", "an na", "anna\n", "a" * 33, "änna", "<b>"])
def test_names_are_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(CarpoolError, match="is no name of an account"):
        made(tmp_path).add(name, Role.VIEWER, "x")


def test_a_name_is_taken_once_and_there_is_an_end(tmp_path: Path) -> None:
    accounts = made(tmp_path)
    with pytest.raises(CarpoolError, match="there is an account admin already"):
        accounts.add("admin", Role.VIEWER, "x")
    for number in range(ACCOUNTS_MAX - 1):
        accounts.add(f"a{number}", Role.VIEWER, "x")
    with pytest.raises(CarpoolError, match=f"there are {ACCOUNTS_MAX} accounts already"):
        accounts.add("b", Role.VIEWER, "x")


@pytest.mark.parametrize("length", [0, PASSWORD_MIN - 1, PASSWORD_MAX + 1])
def test_a_password_has_some_length(tmp_path: Path, length: int) -> None:
    accounts = made(tmp_path)
    with pytest.raises(CarpoolError, match=f"a password of {length} characters"):
        accounts.set_password("admin", "x" * length)
    assert accounts.check("admin", "first") is not None, "nothing changed"


def test_there_is_always_an_admin(tmp_path: Path) -> None:
    accounts = made(tmp_path)
    with pytest.raises(CarpoolError, match="admin is the last admin"):
        accounts.remove("admin")
    with pytest.raises(CarpoolError, match="admin is the last admin"):
        accounts.set_role("admin", Role.OPERATOR)
    accounts.add("other", Role.ADMIN, "x")
    both = [threading.Thread(target=_tried, args=(accounts, name)) for name in ("admin", "other")]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.role for one in accounts.all()] == [Role.ADMIN]


def _tried(accounts: Accounts, name: str) -> None:
    try:
        accounts.remove(name)
    except CarpoolError as error:
        assert "last admin" in error.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 2, "accounts": []}',
        '{"version": 1, "accounts": [{"name": "a"}]}',
        '{"version": 1, "accounts": [{"name": "a", "role": "viewer", "password": "", '
        '"one_time": false, "tokens": [{}]}]}',
        '{"version": 1, "accounts": [{"name": "a", "role": "viewer", "password": "", '
        '"one_time": false, "second": []}]}',
        '{"version": 1, "accounts": [{"name": "a", "role": "king", "password": "", '
        '"one_time": false}]}',
    ],
)
def test_a_file_that_cannot_be_used_lets_nobody_in(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ConfigError, match="no accounts in it") as caught:
        Accounts(tmp_path, QUICK).open(lambda: "x")
    assert "remove" in caught.value.hint
    assert (tmp_path / FILE).read_text() == text, "nothing is overwritten"


def test_a_digest_that_is_none_is_nobodys_password(tmp_path: Path) -> None:
    accounts = made(tmp_path)
    told = json.loads((tmp_path / FILE).read_text())
    told["accounts"][0]["password"] = ""
    (tmp_path / FILE).write_text(json.dumps(told))
    accounts = again(tmp_path)
    assert accounts.check("admin", "") is None and accounts.check("admin", "first") is None


def test_a_file_of_before_has_neither_tokens_nor_a_second_factor(tmp_path: Path) -> None:
    made(tmp_path)
    told = json.loads((tmp_path / FILE).read_text())
    for row in told["accounts"]:
        del row["tokens"], row["second"], row["passkeys"]
    (tmp_path / FILE).write_text(json.dumps(told))
    account = again(tmp_path).check("admin", "first")
    assert account is not None and (account.tokens, account.second) == ((), None)


def test_tokens_and_a_second_factor_are_there_at_the_next_start(tmp_path: Path) -> None:
    accounts = made(tmp_path)
    accounts.add("anna", Role.OPERATOR, "x")
    token = Token("grafana", digest_of("secret"), Role.VIEWER, 5, 1000, 7)
    factor = Second("ABCD", 3, ("digest",))
    before = accounts.change("anna", lambda one: replace(one, tokens=(token,), second=factor))
    accounts = again(tmp_path)
    assert accounts.find("anna") == before
    assert accounts.by_token("secret", 999) == (before, token)
    assert accounts.by_token("secret", 1000) is None and accounts.by_token("other", 0) is None
    accounts.used(before, token, 7 + USED_EVERY_S - 1)
    assert accounts.find("anna") == before, "not each time"
    accounts.used(before, token, 7 + USED_EVERY_S)
    account = again(tmp_path).find("anna")
    assert account is not None and account.tokens[0].used_s == 7 + USED_EVERY_S
    accounts.renew("anna", "another")
    account = accounts.find("anna")
    assert account is not None and (account.tokens, account.second) == ((), factor)
    accounts.reset("anna", "another")
    account = accounts.find("anna")
    assert account is not None and account.second is None and account.one_time


def test_what_somebody_else_wrote_counts_and_is_not_overwritten(tmp_path: Path) -> None:
    accounts = made(tmp_path)
    assert accounts.refresh() == []
    again(tmp_path).reset("admin", "from the console")
    with pytest.raises(CarpoolError, match="somebody else changed the accounts"):
        accounts.add("anna", Role.VIEWER, "x")
    assert accounts.refresh() == ["admin"] and accounts.refresh() == []
    assert accounts.check("admin", "from the console") is not None
    accounts.add("anna", Role.VIEWER, "x")
    (tmp_path / FILE).unlink()
    assert accounts.refresh() == [] and accounts.find("anna") is not None


def test_what_cannot_be_written_did_not_happen(tmp_path: Path) -> None:
    accounts = made(tmp_path)
    (tmp_path / "accounts.new").mkdir()
    with pytest.raises(CarpoolError, match="Is a directory"):
        accounts.add("anna", Role.VIEWER, "x")
    assert accounts.find("anna") is None
    assert [one.name for one in again(tmp_path).all()] == ["admin"]


def test_one_time_passwords_are_long_and_each_another_one() -> None:
    some = {one_time_password() for _one in range(100)}
    assert len(some) == 100
    assert all(re.fullmatch("[0-9a-f]{4}(-[0-9a-f]{4}){3}", one) for one in some)
    assert all(len(one) >= PASSWORD_MIN for one in some)
