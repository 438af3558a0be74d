"""The command line: verbs, directories, exit codes, and what it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from carpool import __version__
from carpool.cli.main import VERBS, build_parser, main
from carpool.errors import EXIT_CONFIG, EXIT_OK, EXIT_UNREACHABLE, EXIT_USAGE
from tests.unit.api.files import GROUP, write


def carpool(
    *arguments: str, environment: dict[str, str] | None = None, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """The command as a shell runs it, without the caller's own CARPOOL_ variables."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CARPOOL_")}
    return subprocess.run(
        [sys.executable, "-m", "carpool", *arguments],
        env={**clean, **(environment or {})},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )


def test_version_and_help() -> None:
    assert carpool("--version").stdout == f"carpool {__version__}\n"
    shown = carpool("--help").stdout
    for verb, (_, text) in VERBS.items():
        assert verb in shown
        assert text in shown


def test_no_verb_shows_the_help_and_is_a_usage_error() -> None:
    done = carpool()
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert "positional arguments" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-verb"],
        ["check", "--no-such-option"],
        ["check", "--js"],  # no abbreviations: they change their meaning when options are added
        ["run"],
        ["run", "bfd"],
        ["maintenance"],
        ["maintenance", "maybe"],
        ["events", "--limit", "0"],
        ["events", "--limit", "1001"],
        ["events", "--limit", "²"],
        ["events", "--limit", "-5"],
    ],
)
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == EXIT_USAGE
    assert capsys.readouterr().err.startswith("usage: carpool")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_brings_itself_along_with_the_help_that_is_listed(verb: str) -> None:
    module, text = VERBS[verb]
    parser = build_parser([verb])
    assert parser.format_help() == build_parser([]).format_help()
    assert text in parser.format_help()
    assert callable(import_module(module).run)


def test_directories_before_and_after_the_verb(tmp_path: Path) -> None:
    words = ["--config-dir", "/a", "check", "--run-dir", "/b"]
    args = build_parser(words).parse_args(words)
    assert (args.config_dir, args.run_dir) == (Path("/a"), Path("/b"))
    words = ["--config-dir", "/a", "check", "--config-dir", "/c"]
    assert build_parser(words).parse_args(words).config_dir == Path("/c")


def test_directories_from_the_environment(tmp_path: Path) -> None:
    good, other = tmp_path / "good", tmp_path / "other"
    good.mkdir()
    write(good)
    done = carpool("check", environment={"CARPOOL_CONFIG_DIR": str(good)})
    assert "configuration OK" in done.stdout
    assert done.returncode == EXIT_OK
    environment = {"CARPOOL_CONFIG_DIR": str(good)}
    done = carpool("check", "--config-dir", str(other), environment=environment)
    assert done.returncode == EXIT_CONFIG
    assert f"expected {other}/node.toml" in done.stdout
    run_dir = str(tmp_path / "run")
    for variable, wanted in (("CARPOOL_RUN_DIR", run_dir), ("CARPOOL_NONE", "/run/carpool")):
        done = carpool("enable", environment={variable: run_dir})
        assert done.returncode == EXIT_UNREACHABLE
        assert f" on {wanted}/failover.sock:" in done.stderr


def test_an_error_says_what_to_do(tmp_path: Path) -> None:
    done = carpool("enable", "--run-dir", str(tmp_path))
    assert done.returncode == EXIT_UNREACHABLE
    assert done.stdout == ""
    assert done.stderr == (
        f"carpool: the failover process does not answer on {tmp_path}/failover.sock: "
        "No such file or directory\n"
        "         is it running? start it with `carpool run failover`\n"
    )


def test_a_reader_that_has_seen_enough_is_no_error_to_shout_about(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = carpool("check", "--config-dir", str(tmp_path), stdout=writer)
    finally:
        os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 1


def test_only_what_is_said_is_loaded(tmp_path: Path) -> None:
    # Without [states] in the file, `run states` ends before it becomes that process; and it could
    # not, with a run directory below a file.
    write(tmp_path, group=GROUP.partition("[states]")[0])
    nowhere = str(tmp_path / "node.toml" / "run")
    modules = loaded("run", "states", "--config-dir", str(tmp_path), "--run-dir", nowhere)
    assert {"carpool.cli.run", "carpool.api.settings"} <= modules
    heavy = {"rich", "tree_sitter", "asyncio", "ssl", "cryptography", "carpool.lab"}
    assert not (heavy | {"carpool.cli.status"}) & modules
    modules = loaded("status", "--json", "--run-dir", str(tmp_path))
    assert "carpool.cli.status" in modules
    assert not {"rich", "carpool.daemon", "carpool.cli.check", "carpool.cli.lab"} & modules


def loaded(*arguments: str) -> set[str]:
    """The modules that a run of the command has loaded by its end."""
    code = (
        "import sys; from carpool.cli.main import main; main(sys.argv[1:]); "
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split())
