"""`carpool doctor` on any machine: before there is a configuration, and with a broken one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carpool.cli.main import main
from carpool.errors import EXIT_CONFIG, EXIT_OK, EXIT_USAGE
from tests.unit.api.files import GROUP, NODE, write

FILES = ("configuration", "arp")  # what does not depend on the machine that the test runs on


def test_before_there_is_a_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--config-dir", str(tmp_path), *FILES]) == EXIT_OK
    shown = capsys.readouterr().out
    assert "this node has no configuration yet" in shown
    assert "not looked at: arp\n" in shown
    assert shown.endswith("\n1 note in 1 check.\n")
    assert max(map(len, shown.splitlines())) <= 80


def test_a_broken_configuration_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, NODE.replace("advskew = 0", "advskew = 255"), GROUP)
    arguments = ["doctor", "--json", "--config-dir", str(tmp_path), *FILES]
    assert main(arguments) == EXIT_CONFIG
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["checks"]) == (False, list(FILES))
    assert told["findings"][0]["found"].startswith("node.toml, advskew: found 255")
    assert told["skipped"][0]["check"] == "arp"


def test_a_check_that_is_none_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "rp-filtre"])
    assert ended.value.code == EXIT_USAGE
    assert 'did you mean "rp-filter"?' in capsys.readouterr().err
