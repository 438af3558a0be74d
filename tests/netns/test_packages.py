"""The Debian package on clean roots of Debian 12 and 13, without network: from apt to a purge."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from carpool.cli.main import VERBS
from tests.netns.debian import RELEASES, Copy, Debian, package, roots

# Cold, two root file systems are fetched and a package is made; some minutes on a slow mirror.
pytestmark = pytest.mark.timeout(900)

SERVICES = ("failover", "states", "agent", "web", "rules")
UNITS = ("carpool.target", *(f"carpool-{name}.service" for name in SERVICES))
# Every package that it brings can be loaded by the Python that is there, and every verb.
LOADED = """
import carpool.agent.server, cryptography.x509, dbus_fast.aio, fastapi, httpx, rich.table
import tree_sitter, tree_sitter_toml, uvicorn
import carpool.cli.main as cli
from importlib import import_module
for module, _ in cli.VERBS.values(): import_module(module)
"""
COMPLETIONS = (
    "/usr/share/bash-completion/completions/carpool",
    "/usr/share/zsh/vendor-completions/_carpool",
    "/usr/share/fish/vendor_completions.d/carpool.fish",
)
BY_DOCTOR = "/etc/sysctl.d/90-carpool.conf"  # of `carpool doctor --fix`


@dataclass(frozen=True, slots=True)
class Made:
    """What all tests begin with: made at once, for each waits for something else."""

    deb: Path
    newer: Path  # the same, of a higher version
    roots: dict[str, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    with ThreadPoolExecutor(1) as pool:
        bases = pool.submit(roots)
        deb = package()
        newer = raised(deb, tmp_path_factory.mktemp("newer"))
        return Made(deb, newer, bases.result())


def raised(deb: Path, scratch: Path) -> Path:
    """The package as the next version: without the libraries and not compressed, to be quick."""
    tree, newer = scratch / "tree", scratch / "newer.deb"
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True, timeout=60)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"^(Version: .*)$", r"\1+next", control.read_text(), flags=re.M))
    for one in (tree / "usr/lib/carpool/site-packages").iterdir():
        if one.is_dir() and one.name != "carpool":
            shutil.rmtree(one)
    build = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, newer]
    subprocess.run([*map(str, build)], check=True, capture_output=True, timeout=60)
    return newer


@pytest.fixture(scope="module", params=RELEASES)
def debian(
    request: pytest.FixtureRequest, made: Made, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Debian]:
    with Debian(made.roots[request.param], tmp_path_factory.mktemp(request.param)) as one:
        yield one


@pytest.fixture(scope="module")
def installed(debian: Debian, made: Made) -> Copy:
    """What every test begins with."""
    clean = debian.copy("installed")
    apt_install(clean, made.deb)
    clean.close()
    return clean


@pytest.fixture
def machine(request: pytest.FixtureRequest, debian: Debian, installed: Copy) -> Iterator[Copy]:
    """A machine on which it was just installed, and that was booted: /run has what it shall."""
    copy = debian.copy(request.function.__name__, installed)
    copy.run("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/carpool.conf")
    yield copy
    copy.close()


def apt_install(copy: Copy, deb: Path) -> None:
    shutil.copy(deb, copy.path("/run/carpool.deb"))
    copy.run("apt-get", "-qy", "install", "/run/carpool.deb")


def test_all_of_it_is_there_and_runs(machine: Copy) -> None:
    assert machine.run("carpool", "--version").startswith("carpool ")
    machine.run("/usr/lib/carpool/bin/python3", "-I", "-c", LOADED)
    assert "node.toml" in machine.run("carpool", "check", code=3)
    pages = {path.name for path in machine.path("/usr/share/man/man8").glob("carpool*")}
    assert pages == {"carpool.8.gz", *(f"carpool-{verb}.8.gz" for verb in VERBS)}
    assert [one for one in COMPLETIONS if not machine.path(one).is_file()] == []


def test_its_units_are_enabled_and_good(machine: Copy) -> None:
    assert set(machine.run("systemctl", "is-enabled", *UNITS).split()) == {"enabled"}
    paths = [f"/usr/lib/systemd/system/{unit}" for unit in UNITS]
    assert machine.run("systemd-analyze", "verify", "--man=no", *paths) == ""
    for path in paths[1:]:
        words = ("--no-pager", "security", "--offline=yes", "--threshold=40")
        machine.run("systemd-analyze", *words, path)


def test_its_directories_are_roots_alone_and_its_user_can_do_nothing(machine: Copy) -> None:
    for name, mode in (
        *(("/etc/carpool", "0o40700"), ("/var/lib/carpool", "0o40700")),
        ("/run/carpool", "0o40711"),  # through it goes the way of carpool-web
    ):
        stat = machine.path(name).stat()
        assert (oct(stat.st_mode), stat.st_uid) == (mode, 0), name
    user = machine.run("getent", "passwd", "carpool-web").strip().split(":")
    assert user[5:] == ["/nonexistent", "/usr/sbin/nologin"]


def test_beside_it_carpool_install_writes_nothing(machine: Copy) -> None:
    before = machine.changes()
    told = machine.run("carpool", "install", code=1)
    assert "is installed as a package of the system" in told
    assert machine.changes() == before


def test_an_upgrade_keeps_what_an_administrator_did(machine: Copy, made: Made) -> None:
    machine.path("/etc/carpool/node.toml").write_text('name = "fw1"\n')
    machine.path("/var/lib/carpool/maintenance").touch()
    machine.run("systemctl", "disable", "carpool-agent.service")
    apt_install(machine, made.newer)
    version = machine.run("dpkg-query", "--show", "--showformat", "${Version}", "carpool")
    assert version.endswith("+next")
    assert machine.run("systemctl", "is-enabled", "carpool-agent.service", code=1) == "disabled\n"
    assert machine.run("systemctl", "is-enabled", "carpool-failover.service") == "enabled\n"
    assert machine.path("/etc/carpool/node.toml").read_text() == 'name = "fw1"\n'
    assert machine.path("/var/lib/carpool/maintenance").exists()
    assert not machine.path("/usr/lib/carpool/site-packages/rich").exists()  # byte code of the old


def test_a_removal_keeps_the_configuration_alone(machine: Copy, made: Made) -> None:
    machine.path("/etc/carpool/node.toml").write_text('name = "fw1"\n')
    machine.path("/var/lib/carpool/maintenance").touch()
    machine.run("apt-get", "-qy", "remove", "carpool")
    assert [name for name in machine.changes() if name.startswith("usr/")] == []
    assert machine.path("/etc/carpool/node.toml").exists()
    assert machine.path("/var/lib/carpool/maintenance").exists()
    apt_install(machine, made.newer)
    assert set(machine.run("systemctl", "is-enabled", *UNITS).split()) == {"enabled"}


def test_a_purge_leaves_nothing_behind(machine: Copy) -> None:
    machine.path("/etc/carpool/node.toml").write_text('name = "fw1"\n')
    machine.path(BY_DOCTOR).write_text("net.ipv4.conf.all.rp_filter = 2\n")
    machine.run("apt-get", "-qy", "purge", "carpool")
    assert machine.changes() == []
    assert not machine.path("/run/carpool").exists()
