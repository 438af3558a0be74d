"""How `script/try-presets` tells what it found; its trials install packages and are no tests."""

from __future__ import annotations

import pytest

from carpool.api.sections import PRESETS
from carpool.errors import EXIT_USAGE
from carpool.lab.presets import samples
from carpool.lab.presets.roletrial import TRIALS
from carpool.lab.presets.trial import Result, packages_of
from carpool.lab.presets.trials import line, main


def test_what_trials_write_is_for_presets_that_are_there() -> None:
    known = {path.stem for path in PRESETS.glob("*.toml")}
    assert {*samples.SAMPLES, *samples.SPOILS, *samples.BACKPORTED} <= known
    assert packages_of("isc-kea")[0] == "kea-dhcp4-server"


def test_a_good_row() -> None:
    result = Result("radvd", check="ok", refuses="yes", sample=True, units=["radvd: reload"])
    assert line(result).split() == ["ok", "radvd", "ok", "(sample)", "yes", "radvd:", "reload"]


def test_what_was_measured_in_both_roles_is_told() -> None:
    assert line(Result("frr", role="cost 1000 -> 10")).splitlines()[1].split(": ") == [
        "        role",
        "cost 1000 -> 10",
    ]
    assert set(samples.ROLES) == set(TRIALS)


def test_a_bad_row_says_what_failed() -> None:
    result = Result("x", absent=["/etc/y"], failures=["no /usr/sbin/x"])
    head, *rest = line(result).splitlines()
    assert head.split() == ["FAILED", "x", "none", "-", "-"]
    assert [part.strip() for part in rest] == ["absent, optional: /etc/y", "no /usr/sbin/x"]


def test_a_preset_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nftable"]) == EXIT_USAGE
    assert capsys.readouterr().err == "try-presets: no preset: nftable\n"
