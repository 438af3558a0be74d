"""`carpool install` into a directory, and the units that it writes as systemd judges them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from carpool.cli import files, install
from carpool.cli.main import main
from carpool.errors import EXIT_OK, UnreachableError

PROCESSES = ("failover", "states", "agent", "web")
SERVICES = (*PROCESSES, "rules")
# Of 10; systemd.exec(5) in numbers. The pages are what strangers come to.
EXPOSURE_MAX = {**dict.fromkeys(SERVICES, 4.0), "web": 1.5}


def written(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }


def test_all_is_written_told_and_taken_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(tmp_path)]
    assert main(["install", *root, "--dry-run"]) == EXIT_OK
    shown = capsys.readouterr().out
    assert written(tmp_path) == {}
    assert main(["install", *root]) == EXIT_OK
    assert capsys.readouterr().out == shown
    there = written(tmp_path)
    assert [f"write /{name}" for name in sorted(there)] == sorted(shown.splitlines())
    assert main(["install", *root]) == EXIT_OK
    assert all(line.startswith("is there: ") for line in capsys.readouterr().out.splitlines())
    assert main(["install", *root, "--remove"]) == EXIT_OK
    assert written(tmp_path) == {}
    removed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("remove ")]
    assert len(removed) == len(there)


def test_units_start_this_installation() -> None:
    units = dict(files.files(files.LOCAL, install.command(), Path("/usr/lib/carpool")))
    text = units["/etc/systemd/system/carpool-failover.service"]
    (start,) = re.findall(r"^ExecStart=(\S+) (.*)$", text, re.MULTILINE)
    assert Path(start[0]).parent == Path(sys.executable).parent
    assert start[1].endswith("run failover")
    assert "/usr/bin/carpool" not in "".join(
        text for name, text in units.items() if name.endswith(".service")
    )
    assert "ProtectHome=yes" in text


def test_who_is_installed_in_a_home_can_start_all_the_same() -> None:
    units = dict(files.files(files.LOCAL, "carpool", Path("/root/.local/share/uv/tools/carpool")))
    text = units["/etc/systemd/system/carpool-failover.service"]
    assert "ProtectHome=read-only" in text and "ProtectHome=yes" not in text


def test_no_vip_moves_for_an_upgrade() -> None:
    def told(*states: str) -> dict[str, object]:
        named = [{"vhid": n, "interface": "lan", "state": s} for n, s in enumerate(states, 51)]
        return {"ok": True, "vhosts": named}

    assert install.masters(told("BACKUP", "INIT")) == []
    assert install.masters(told("BACKUP", "MASTER")) == ["52@lan"]
    assert install.masters(UnreachableError("nobody listens")) is None


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units where systemd-analyze finds them, with commands and devices that there are."""
    made = tmp_path_factory.mktemp("root")
    for name, text in files.files(files.LOCAL, shutil.which("true") or "", Path("/usr")):
        if name.startswith(files.LOCAL.units):
            path = made / Path(name).name
            path.write_text(re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE))
    return made


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *words],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_systemd_understands_every_line(root: Path) -> None:
    units = sorted(str(path) for path in root.iterdir())
    assert len(units) == len(SERVICES) + 1
    done = analyze("verify", "--man=no", *units)
    ours = [line for line in done.stderr.splitlines() if "carpool" in line]
    assert (ours, done.returncode) == ([], 0), done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_has_little_that_an_attacker_could_use(root: Path, name: str) -> None:
    threshold = f"--threshold={EXPOSURE_MAX[name] * 10:.0f}"
    done = analyze(
        *("security", "--offline=yes", threshold, "--json=short"),
        str(root / f"carpool-{name}.service"),
    )
    open_doors = [f"{one['name']} {one['exposure']}" for one in json.loads(done.stdout or "[]")]
    assert done.returncode == 0, f"{done.stderr}\n{open_doors}"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_begins_where_one_of_both_files_was_lost(root: Path, name: str) -> None:
    text = (root / f"carpool-{name}.service").read_text()
    found = re.findall(r"^ConditionPathExists=(.*)$", text, re.MULTILINE)
    assert found == ["|/etc/carpool/node.toml", "|/etc/carpool/group.toml"]


@pytest.mark.parametrize("name", PROCESSES)
def test_a_service_is_ready_watched_and_waits_for_no_configuration(root: Path, name: str) -> None:
    text = (root / f"carpool-{name}.service").read_text()
    assert "Type=notify\n" in text
    assert re.search(r"^WatchdogSec=\d+s$", text, re.MULTILINE)
    if name != "web":  # which makes nothing there
        assert re.search(r"^RuntimeDirectoryPreserve=yes$", text, re.MULTILINE)  # others' sockets
    assert "network-online" not in re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
