"""`carpool metrics`, printed and into a file."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from carpool.cli.main import main
from carpool.errors import EXIT_FAILED, EXIT_OK
from tests.unit.api import answers
from tests.unit.api.files import GROUP, write
from tests.unit.api.process import process, saying


def ask(directory: Path, *options: str, states: bool = False) -> int:
    with ExitStack() as running:
        for name, answer in (("failover", answers.failover()), ("states", answers.STATES)):
            if name == "failover" or states:
                play = saying(json.dumps(answer).encode() + b"\n")
                running.enter_context(process(directory / f"{name}.sock", play))
        places = ["--config-dir", str(directory), "--run-dir", str(directory)]
        return main([*places, "metrics", *options])


def test_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(write(tmp_path), states=True) == EXIT_OK
    shown = capsys.readouterr().out
    assert 'carpool_up{process="states"} 1\n' in shown
    assert "carpool_states_entries 1234567\n" in shown


def test_states_that_are_down_or_not_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(write(tmp_path)) == EXIT_OK
    assert 'carpool_up{process="states"} 0\n' in capsys.readouterr().out
    (tmp_path / "failover.sock").unlink()
    write(tmp_path, group=GROUP.partition("[states]")[0])
    assert ask(tmp_path) == EXIT_OK
    assert "states" not in capsys.readouterr().out


def test_what_the_agent_finds_wrong_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.dumps({"troubles": [{"key": "clock", "since_s": 42.0}]}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
    with process(tmp_path / "agent.sock", saying(head + content)):
        assert (
            main(["--run-dir", str(tmp_path), "--config-dir", str(tmp_path), "metrics"]) == EXIT_OK
        )
    line = 'carpool_trouble_seconds{process="agent",key="clock"} 42'
    assert line in capsys.readouterr().out


def test_an_agent_is_missed_where_it_should_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(write(tmp_path), states=True) == EXIT_OK
    assert "agent" not in capsys.readouterr().out
    for name in ("failover", "states"):
        (tmp_path / f"{name}.sock").unlink()
    write(tmp_path, group=GROUP + '[sync]\ninterface = "sync"\n')
    assert ask(tmp_path, states=True) == EXIT_OK
    assert 'carpool_up{process="agent"} 0\n' in capsys.readouterr().out


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    place = tmp_path / "collector"
    place.mkdir()
    target = place / "carpool.prom"
    target.write_text("old")
    with target.open() as reader:  # who has begun to read the old one reads it to its end
        assert ask(write(tmp_path), "--output", str(target), states=True) == EXIT_OK
        assert reader.read() == "old"
    assert target.read_text().startswith("# HELP carpool_up ")
    assert target.stat().st_mode & 0o777 == 0o644
    assert list(place.iterdir()) == [target]


def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "nowhere" / "carpool.prom"
    assert ask(write(tmp_path), "--output", str(target), states=True) == EXIT_FAILED
    assert f"carpool: write {target}: No such file or directory" in capsys.readouterr().err
