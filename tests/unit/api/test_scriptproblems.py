"""What `carpool check` says about the files of hooks.d."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from carpool.api.scriptproblems import script_problems
from carpool.model.scripts import Hook, Hooks
from tests.unit.model.configs import config


def test_files_and_tables(tmp_path: Path) -> None:
    (tmp_path / "hooks.d").mkdir()
    for name, mode in (("cloud", 0o755), ("mail", 0o644)):
        (tmp_path / "hooks.d" / name).touch()
        (tmp_path / "hooks.d" / name).chmod(mode)
    whole = config()
    named = {"cloud": Hook(), "clouds": Hook()}
    whole = replace(whole, group=replace(whole.group, hooks=Hooks(named=named)))
    mail, clouds = script_problems(whole, tmp_path)
    assert (mail.file, mail.found, mail.fatal) == ("hooks.d/mail", "mode 0644", False)
    assert (clouds.file, clouds.key, clouds.fatal) == ("group.toml", "hooks.clouds", False)
    assert clouds.hint == 'did you mean "cloud"?'


def test_without_a_directory_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert script_problems(config(), tmp_path) == []
