"""`carpool run`: what keeps a process from starting. Running them is for tests/netns.

Should one start after all, it must not reach the machine of whoever runs the tests: its run
directory is below a file, so that it ends before it touches anything.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.cli.main import main
from carpool.errors import EXIT_CONFIG, EXIT_FAILED, EXIT_OK
from carpool.kernel.appliedfile import Applied, AppliedFile, Sources
from tests.unit.api.files import GROUP, NODE, write


def places(directory: Path) -> list[str]:
    below = str(directory / "node.toml" / "run")
    return ["--config-dir", str(directory), "--run-dir", below, "--state-dir", below]


@pytest.mark.parametrize("process", ["failover", "states"])
def test_a_process_does_not_start_with_a_mistake(
    process: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, NODE.partition("[peer")[0], GROUP.replace("51", "0"))
    assert main([*places(tmp_path), "run", process]) == EXIT_CONFIG
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"warning: {tmp_path}/node.toml: peer\n" in shown.err
    assert f"error: {tmp_path}/group.toml:6: vip[0].vhid\n" in shown.err
    assert shown.err.endswith(f"carpool: {process} does not start: 1 error and 1 warning\n")


def test_what_counted_before_is_gone_by(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its run directory cannot be made: that is as far as it comes here."""
    write(tmp_path)
    applied = Applied(Sources(NODE, GROUP))
    AppliedFile(tmp_path / "state").write(applied)
    (tmp_path / "group.toml").write_text("name = ")
    argv = [*places(tmp_path)[:4], "--state-dir", str(tmp_path / "state"), "run", "failover"]
    assert main(argv) == EXIT_FAILED
    said = capsys.readouterr().err
    assert f"error: {tmp_path}/group.toml:1: syntax\n" in said
    assert "carpool: failover goes by what counted before\n" in said
    assert "make the run directory" in said


def test_without_states_there_is_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, group=GROUP.partition("[states]")[0])
    assert main([*places(tmp_path), "run", "states"]) == EXIT_OK
    assert capsys.readouterr().err == "carpool: group.toml has no [states]: nothing to replicate\n"


def test_without_a_peer_there_is_nobody_to_replicate_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no failure, or systemd would start it for ever."""
    write(tmp_path, NODE.partition("[peer")[0])
    assert main([*places(tmp_path), "run", "states"]) == EXIT_OK
    assert "carpool: node.toml names no peer: nothing to replicate\n" in capsys.readouterr().err
