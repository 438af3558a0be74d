"""What the files of the Debian package say of each other; netns/test_packages installs it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
DEBIAN = ROOT / "packaging" / "debian"
UNITS = {path.name for path in (ROOT / "packaging" / "systemd").iterdir()}


def test_the_package_cares_for_every_unit() -> None:
    for script in ("postinst", "prerm", "postrm"):
        said = set(re.findall(r"carpool[\w-]*\.(?:service|target)", (DEBIAN / script).read_text()))
        assert said >= UNITS, f"{script} misses {UNITS - said}"


def test_the_package_wants_the_pythons_that_it_brings_modules_for() -> None:
    build = (ROOT / "script" / "build-deb").read_text()
    (pythons,) = re.findall(r'^PYTHONS="([\d. ]+)"', build, re.MULTILINE)
    minors = [int(one.split(".")[1]) for one in pythons.split()]
    control = (DEBIAN / "control.in").read_text()
    assert f"python3 (>= 3.{min(minors)}~), python3 (<< 3.{max(minors) + 1})" in control
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">=3.{min(minors)}"


def test_the_python_package_has_what_carpool_install_writes() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    included = wheel["targets"]["wheel"]["force-include"]
    assert included == {
        "packaging": "carpool/assets/packaging",
        "docs/man": "carpool/assets/docs/man",
    }
    assert all((ROOT / directory).is_dir() for directory in included)
