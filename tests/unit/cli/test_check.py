"""`carpool check`: what it prints, and what it ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carpool.api import hostfacts
from carpool.cli.main import main
from carpool.errors import EXIT_CONFIG, EXIT_OK
from tests.unit.api.files import GROUP, NODE, paired, write

# No machine has these devices, so that what is told does not depend on where the test runs.
ABSENT = (
    NODE.replace("lan0", "no-such-lan").replace("wan0", "no-such-wan").replace("sync0", "nosync")
)


def check(directory: Path, *options: str) -> int:
    (directory / "group.toml").chmod(0o600)
    return main(["check", "--config-dir", str(directory), *options])


def test_everything_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, ABSENT.replace("advskew = 0", "advskew = 255"), GROUP.replace("51", "0"))
    assert check(tmp_path) == EXIT_CONFIG
    shown = capsys.readouterr()
    assert shown.err == ""
    assert (
        shown.out
        == f"""\
error: {tmp_path}/node.toml:2: advskew
    found 255, expected a number from 0 to 254
    the node with the lowest is preferred as master; 255 would mean that it is leaving

error: {tmp_path}/group.toml:6: vip[0].vhid
    found 0, expected a number from 1 to 255

configuration not OK: 2 errors
"""
    )


def test_a_machine_that_is_not_ready_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paired(write(tmp_path, ABSENT))
    assert check(tmp_path) == EXIT_OK
    told = capsys.readouterr().out.split("\n\n")
    assert [block.splitlines()[:2] for block in told[:3]] == [
        [
            f"warning: {tmp_path}/node.toml:{line}: interface.{name}",
            f'    found no device "{device}", expected a device of this machine',
        ]
        for line, name, device in (
            (5, "lan", "no-such-lan"),
            (6, "wan", "no-such-wan"),
            (7, "sync", "nosync"),
        )
    ]
    assert told[3:] == [
        "configuration OK, 3 warnings\n"
        "node fw1 of group edge with fw2; advskew 0, preempt\n"
        "VHIDs: 2, addresses: 4, on lan (no-such-lan), wan (no-such-wan); "
        "states of assured connections over sync\n"
    ]


def test_a_group_of_one_without_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = ABSENT.partition("[peer")[0]
    group = GROUP.partition("[states]")[0].replace("preempt = true", "preempt = false")
    write(tmp_path, node, group)
    assert check(tmp_path) == EXIT_OK
    assert capsys.readouterr().out.endswith(
        "configuration OK, 4 warnings\n"
        "node fw1 of group edge with no peer; advskew 0, no preempt\n"
        "VHIDs: 2, addresses: 4, on lan (no-such-lan), wan (no-such-wan); no state replication\n"
    )


def test_passwords_that_anybody_may_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paired(write(tmp_path, ABSENT))
    for mode, warned in ((0o600, False), (0o400, False), (0o640, True), (0o604, True)):
        (tmp_path / "group.toml").chmod(mode)
        assert main(["check", "--config-dir", str(tmp_path)]) == EXIT_OK
        shown = capsys.readouterr().out
        assert (f"found mode {mode:04o}, expected mode 0600" in shown) is warned


def test_a_node_that_is_not_paired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, ABSENT)
    assert check(tmp_path) == EXIT_OK
    assert (
        f"""\
warning: {tmp_path}/node.toml:1: name
    found encryption = "tls", but fw1 has no key and certificate ({tmp_path}/identity/node.pem), \
expected a key that only root can read, and the certificate of every peer
    pair it: `carpool init` on one node, then `carpool join` on the other
"""
        in capsys.readouterr().out
    )
    paired(tmp_path)
    (tmp_path / "identity" / "peers" / "fw2.pem").unlink()
    assert check(tmp_path) == EXIT_OK
    shown = capsys.readouterr().out
    assert f"warning: {tmp_path}/node.toml:12: peer.fw2\n" in shown
    assert f"fw1 is not paired with fw2 ({tmp_path}/identity/peers/fw2.pem is missing)" in shown
    assert "`carpool init` on fw1, then `carpool join` on fw2, or the other way round" in shown


def test_streams_in_plain_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, ABSENT, GROUP + 'encryption = "none"\n')
    assert check(tmp_path) == EXIT_OK
    shown = capsys.readouterr().out
    assert 'over sync, NOT encrypted (encryption = "none")\n' in shown
    assert "configuration OK, 3 warnings" in shown  # the devices; nobody needs to be paired


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, ABSENT, GROUP.replace("51", "0"))
    assert check(tmp_path, "--json") == EXIT_CONFIG
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "problems": [
            {
                "file": "group.toml",
                "line": 6,
                "key": "vip[0].vhid",
                "found": "0",
                "expected": "a number from 1 to 255",
                "hint": "",
                "fatal": True,
            }
        ],
    }
    paired(write(tmp_path, ABSENT))
    assert check(tmp_path, "--json") == EXIT_OK
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert [problem["fatal"] for problem in answer["problems"]] == [False] * 3


def test_no_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config-dir", str(tmp_path)]) == EXIT_CONFIG
    assert capsys.readouterr().out.endswith("\n\nconfiguration not OK: 2 errors\n")


def test_hooks_and_checks_that_are_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, ABSENT, f"{GROUP}\n[hooks.clouds]\ntimeout = '5s'\n")
    for name in ("hooks.d/cloud", "checks.d/disk.sh"):
        path = tmp_path / name
        path.parent.mkdir()
        path.touch(mode=0o755)
    assert check(tmp_path) == EXIT_OK
    told = capsys.readouterr().out
    line = GROUP.count("\n") + 2
    assert f"warning: {tmp_path}/group.toml:{line}: hooks.clouds\n    found no such file" in told
    assert 'did you mean "cloud"?' in told
    assert f"warning: {tmp_path}/checks.d/disk.sh: file\n    found a name that is none" in told
    problems = hostfacts.configuration(tmp_path)[1]
    assert {"checks.d/disk.sh"} < {one.file for one in problems}, "carpool doctor has them, too"
