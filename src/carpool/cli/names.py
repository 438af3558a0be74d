"""Names that a shell completes: sections, services, peers, VIPs, hooks, checks, labs.

Room: cli. Asked by what `completion.py` writes, at each press of a key: reads files, loads little,
and says nothing but names. Whatever is missing or wrong with the files, others tell.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from carpool.errors import EXIT_OK, CarpoolError

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._-]{0,250}")  # to a shell, which might run what is not
FILE_MAX_BYTES = 512 * 1024
LABS = "run/carpool-lab"
ROOT = Path("/")
DIRECTORY = ("--config-dir", "CARPOOL_CONFIG_DIR", "/etc/carpool")


def main(words: Sequence[str]) -> int:
    """`KIND`, and the words of the command line so far. Prints a name a line."""
    kind, *line = words or ("",)
    try:
        found = KINDS[kind](_config_dir(line)) if kind in KINDS else ()
        print(*sorted({name for name in found if SAFE.fullmatch(name)}), sep="\n")
    except (OSError, ValueError, CarpoolError):
        pass  # an answer that nobody could read: the cursor stands in a command line
    return EXIT_OK


def _config_dir(line: Sequence[str]) -> Path:
    option, variable, default = DIRECTORY
    said = [b for a, b in pairwise(line) if a == option]
    return Path(said[-1] if said else os.environ.get(variable) or default)


def _toml(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return tomllib.loads(file.read(FILE_MAX_BYTES).decode())


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _peers(config_dir: Path) -> Iterable[str]:
    """Of node.toml."""
    return _table(_toml(config_dir / "node.toml").get("peer"))


def _paired(config_dir: Path) -> Iterable[str]:
    """Also those that node.toml does not name any more."""
    return [path.stem for path in (config_dir / "identity" / "peers").glob("*.pem")]


def _sections(config_dir: Path) -> Iterable[str]:
    """Those that are selected, and group.toml, which always is."""
    selected = _table(_toml(config_dir / "group.toml").get("sync")).get("sections")
    return ["carpool", *map(str, selected if isinstance(selected, list) else ())]


def _vips(config_dir: Path) -> Iterable[str]:
    vips = _toml(config_dir / "group.toml").get("vip")
    tables = map(_table, vips if isinstance(vips, list) else ())
    return [f"{vip.get('vhid')}@{vip.get('interface')}" for vip in tables]


def _services(config_dir: Path) -> Iterable[str]:
    """Of the selected sections, with an instance for each file that is one."""
    from carpool.api.sections import load_sections

    known, _problems = load_sections(config_dir)
    for name in _sections(config_dir):
        if name in known:
            section = known[name]
            patterns = [one.files.lstrip("/") for one in section.services if one.files]
            files = [str(path) for pattern in patterns for path in ROOT.glob(pattern)]
            yield from (service.name for service in section.services_of(files))


def _files(directory: str) -> Callable[[Path], Iterable[str]]:
    return lambda config_dir: os.listdir(config_dir / directory)


def _labs(_config_dir: Path) -> Iterable[str]:
    return [path.name for path in (ROOT / LABS).iterdir() if path.is_dir()]


def _topics(_config_dir: Path) -> Iterable[str]:
    from carpool.cli.help import FILES
    from carpool.cli.main import VERBS

    return (*VERBS, *FILES)


def _diagnoses(_config_dir: Path) -> Iterable[str]:
    from carpool.machine.doctor import CHECKS

    return CHECKS


KINDS: dict[str, Callable[[Path], Iterable[str]]] = {
    "sections": _sections,
    "services": _services,
    "peers": _peers,
    "paired": _paired,
    "vips": _vips,
    "hooks": _files("hooks.d"),
    "checks": _files("checks.d"),
    "labs": _labs,
    "topics": _topics,
    "diagnoses": _diagnoses,
}
# What an argument takes a name of: by its verb where that makes a difference.
OF_ARGUMENT = {
    "section": "sections",
    "peer": "peers",
    "vip": "vips",
    "topic": "topics",
    ("unpair", "name"): "paired",
    ("services", "name"): "services",
    ("hooks", "name"): "hooks",
    ("checks", "name"): "checks",
    ("doctor", "checks"): "diagnoses",
    ("lab", "name"): "labs",
}


def kind_of(verb: str, argument: str) -> str:
    """A key of `KINDS`; "" for an argument that takes no name."""
    return OF_ARGUMENT.get((verb, argument)) or OF_ARGUMENT.get(argument, "")
