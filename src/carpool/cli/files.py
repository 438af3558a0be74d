"""The files that an installation consists of, besides the program: units and all the rest.

Room: cli. Knows what they say and where they go; refuses to touch the disk but for reading its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import carpool
from carpool.cli.completion import SHELLS

COMMAND = "/usr/bin/carpool"  # as the units that we keep say it
HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"))  # by ProtectHome=yes


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each kind goes: an administrator's places, or those of packages."""

    units: str
    sysusers: str
    tmpfiles: str
    share: str
    man: str


LOCAL = Layout(
    "/etc/systemd/system",
    "/etc/sysusers.d",
    "/etc/tmpfiles.d",
    "/usr/local/share",
    "/usr/local/share/man",
)
VENDOR = Layout(
    "/usr/lib/systemd/system",
    "/usr/lib/sysusers.d",
    "/usr/lib/tmpfiles.d",
    "/usr/share",
    "/usr/share/man",
)
NEEDRESTART = "/etc/needrestart/conf.d/carpool.conf"
_COMPLETIONS = {
    "bash": "bash-completion/completions/carpool",
    "zsh": "{}/_carpool",
    "fish": "fish/vendor_completions.d/carpool.fish",
}


def assets() -> Path:
    """Where `packaging` and `docs/man` are: in the package, or beside it in a checkout."""
    package = Path(carpool.__file__).parent
    inside = package / "assets"
    return inside if inside.is_dir() else package.parents[1]


def files(layout: Layout, command: str, program: Path) -> Iterator[tuple[str, str]]:
    """Path and text of each. `command`: what runs carpool, of words without blanks; `program`: the
    directory that it is in."""
    packaging, man = assets() / "packaging", assets() / "docs" / "man"
    hidden = any(program.is_relative_to(one) for one in HIDDEN)
    for unit in sorted((packaging / "systemd").iterdir()):
        text = unit.read_text(encoding="utf-8").replace(COMMAND, command)
        if hidden:  # or they could not even start
            text = text.replace("ProtectHome=yes", "ProtectHome=read-only")
        yield f"{layout.units}/{unit.name}", text
    yield f"{layout.sysusers}/carpool.conf", (packaging / "sysusers.conf").read_text("utf-8")
    yield f"{layout.tmpfiles}/carpool.conf", (packaging / "tmpfiles.conf").read_text("utf-8")
    yield NEEDRESTART, (packaging / "needrestart.conf").read_text("utf-8")
    for page in sorted(man.iterdir()):
        yield f"{layout.man}/man{page.suffix[1:]}/{page.name}", page.read_text("utf-8")
    zsh = "zsh/vendor-completions" if layout is VENDOR else "zsh/site-functions"
    for shell, write in SHELLS.items():
        yield f"{layout.share}/{_COMPLETIONS[shell].format(zsh)}", write()
