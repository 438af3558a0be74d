"""What a preset advises in its comment: a table of group.toml, to be copied as it stands there.

Room: lab. Reads; `roletrial.py` tries it for real.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from carpool.api.sections import PRESETS, load_sections
from carpool.errors import CarpoolError
from carpool.model.section import Service

INDENT = "#     "
# As much of a group as a table needs around it.
GROUP = """name = "edge"
[[vip]]
interface = "lan"
vhid = 51
password = "secret"
addresses = ["10.10.1.1/24"]
"""


def tables(name: str) -> list[str]:
    """Those of this section, without their `#`."""
    lines = (PRESETS / f"{name}.toml").read_text().splitlines()
    advised = "\n".join(line.removeprefix(INDENT) for line in lines if line.startswith(INDENT))
    return re.findall(rf"^\[+section\.{name}\b.*(?:\n(?!\[).*)*", advised, re.M)


def switched(name: str, files: tuple[str, ...] = ()) -> Service:
    """The service of a preset that it advises to switch, where these are its files. Raises
    CarpoolError when there is none, or when what it advises cannot be read."""
    for table in tables(name):
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "group.toml").write_text(f"{GROUP}{table}\n")
            sections, problems = load_sections(Path(directory))
        if problems:
            raise CarpoolError(f"{name}: {problems[0]}")
        for service in sections[name].services_of(files):
            if service.switched:
                return service
    raise CarpoolError(f"{name} advises to switch nothing")
