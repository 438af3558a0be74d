"""carpool from a wheel, by pip and by uv, with `carpool install` for real, on a clean Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.cli.main import VERBS
from tests.netns.debian import RELEASES, Copy, Debian, roots

pytestmark = pytest.mark.timeout(900)  # cold: a root file system and all wheels are fetched

CHECKOUT = Path(__file__).parents[2]
UNITS = (
    "carpool.target",
    *(f"carpool-{name}.service" for name in ("failover", "states", "agent", "web")),
)
PYTHONS = dict(zip(((3, 11), (3, 13)), RELEASES, strict=True))
WAIT_S = 600.0


def call(*argv: object, **variables: str) -> str:
    done = subprocess.run(
        [*map(str, argv)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, argv))}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """carpool, made from its source distribution, and what it needs, as it is locked."""
    made = tmp_path_factory.mktemp("wheels")
    call(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", made / "sdist")
    (sdist,) = (made / "sdist").iterdir()
    pip = (sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check")
    own = ("--no-deps", "--no-build-isolation", "--no-index")
    call(*pip, "wheel", *own, "--wheel-dir", made, sdist)
    locked = ("--require-hashes", "--only-binary", ":all:", "--no-deps")
    call(*pip, "download", *locked, "--dest", made, "-r", CHECKOUT / "requirements.txt")
    return made


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    """The release whose Python is that of this machine."""
    release = PYTHONS.get(sys.version_info[:2])
    if release is None:
        pytest.skip("no Debian that is known has this Python")
    with Debian(roots()[release], tmp_path_factory.mktemp("debian")) as one:
        yield one


def by_pip(place: Path, wheels: Path) -> Path:
    call("/usr/bin/python3", "-m", "venv", place)
    only = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    call(place / "bin" / "pip", "-qq", "install", "--no-compile", "carpool", **only)
    return place / "bin" / "carpool"


def by_uv(place: Path, wheels: Path) -> Path:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if uv is None:
        pytest.skip("no uv here")
    only = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels), "UV_PYTHON_DOWNLOADS": "never"}
    where = {"UV_TOOL_DIR": str(place / "tools"), "UV_TOOL_BIN_DIR": str(place / "bin")}
    words = ("tool", "install", "--offline", "--python", "/usr/bin/python3", "carpool")
    call(uv, *words, UV_CACHE_DIR=str(place / "cache"), **only, **where)
    return place / "tools" / "carpool" / "bin" / "carpool"


@pytest.mark.parametrize("installer", [by_pip, by_uv], ids=["pip", "uv"])
def test_it_installs_runs_and_goes(
    installer: object, wheels: Path, debian: Debian, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert callable(installer)
    command = installer(tmp_path / "env", wheels)
    machine = debian.copy(request.node.callspec.id)
    machine.path(str(tmp_path)).mkdir(parents=True)
    debian.call("mount", "--bind", str(tmp_path), f"{machine.root}{tmp_path}")
    run = str(command)
    assert machine.run(run, "--version").startswith("carpool ")

    machine.run(run, "install")
    units = [f"/etc/systemd/system/{unit}" for unit in UNITS]
    assert machine.run("systemd-analyze", "verify", "--man=no", *units) == ""
    for unit in units[1:]:
        text = machine.path(unit).read_text()
        assert f"\nExecStart={run} " in text and "/usr/bin/carpool" not in text, unit
    is_complete(machine)

    machine.run(run, "install", "--remove")
    assert machine.changes() == []
    machine.run(run, "install")
    for name in ("etc/carpool", "var/lib/carpool", "etc/sysctl.d"):
        machine.path(name).mkdir(exist_ok=True)
    machine.path("etc/carpool/node.toml").write_text('name = "fw1"\n')
    machine.path("etc/sysctl.d/90-carpool.conf").touch()
    machine.run(run, "install", "--purge")
    assert machine.changes() == []
    machine.close()


def is_complete(machine: Copy) -> None:
    pages = {one.name for one in machine.path("/usr/local/share/man/man8").iterdir()}
    assert pages >= {"carpool.8", *(f"carpool-{verb}.8" for verb in VERBS)}
    for name in (
        *("/usr/local/share/man/man5/group.toml.5", "/usr/local/share/man/man5/node.toml.5"),
        *("/etc/sysusers.d/carpool.conf", "/etc/tmpfiles.d/carpool.conf"),
        "/usr/local/share/bash-completion/completions/carpool",
        "/usr/local/share/zsh/site-functions/_carpool",
        "/usr/local/share/fish/vendor_completions.d/carpool.fish",
    ):
        assert machine.path(name).is_file(), name
