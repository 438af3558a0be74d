"""`carpool account reset`: what is left of an account, and what is said of none."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from carpool.cli.main import main
from carpool.web.accounts import FILE, Accounts
from carpool.web.second import Second


def test_a_one_time_password_is_all_that_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts = Accounts(tmp_path)
    accounts.open(lambda: "first")
    accounts.change("admin", lambda one: replace(one, second=Second("ABCD", 0, ())))
    before = (tmp_path / FILE).stat()
    assert main(["--state-dir", str(tmp_path), "account", "reset", "admin"]) == 0
    password = capsys.readouterr().out.split()[-1]
    assert accounts.refresh() == ["admin"]
    account = accounts.check("admin", password)
    assert account is not None and account.one_time and account.second is None
    after = (tmp_path / FILE).stat()
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert stat.S_IMODE(after.st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_the_file_stays_that_of_the_pages(tmp_path: Path) -> None:
    Accounts(tmp_path).open(lambda: "first")
    os.chown(tmp_path / FILE, 65534, 65534)
    assert main(["--state-dir", str(tmp_path), "account", "reset", "admin"]) == 0
    after = (tmp_path / FILE).stat()
    assert (after.st_uid, after.st_gid) == (65534, 65534)


def test_who_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--state-dir", str(tmp_path), "account", "reset", "admin"]) == 1
    assert "there is no" in capsys.readouterr().err
    assert not (tmp_path / FILE).exists(), "nothing is made"
    Accounts(tmp_path).open(lambda: "first")
    assert main(["--state-dir", str(tmp_path), "account", "reset", "anna"]) == 1
    assert "there are: admin" in capsys.readouterr().err
