"""A good pair of configuration files, and what tests change in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from carpool.api.identity import introduce
from carpool.api.settings import load
from carpool.model.config import Config, Problem

NODE = """\
name = "fw1"
advskew = 0

[interface]
lan = "lan0"
wan = "wan0"
sync = "sync0"

[address]
sync = "10.10.3.1"

[peer.fw2.address]
lan = "10.10.1.3"
wan = ["10.10.2.3", "fe80::3"]
sync = "10.10.3.2"
"""

GROUP = """\
name = "edge"
preempt = true

[[vip]]
interface = "lan"
vhid = 51
password = "secret"
addresses = ["10.10.1.1/24", "fd00:10::1/64"]

[[vip]]
interface = "wan"
vhid = 52
password = "secret"
addresses = [
    "10.10.2.1/24", # the address of the group
    "10.10.2.11/24",
]
advbase = 1
mac = "virtual"
transport = "multicast"

[states]
interface = "sync"
port = 3782
scope = "assured"
"""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace `old`, which stands in the file once, by `new`."""

    old: str
    new: str

    def of(self, text: str) -> str:
        assert text.count(self.old) == 1, (
            f"{self.old!r} stands in the file {text.count(self.old)} times"
        )
        return text.replace(self.old, self.new)


def write(directory: Path, node: str | bytes = NODE, group: str | bytes = GROUP) -> Path:
    """Write both files; answers the directory."""
    for name, content in (("node.toml", node), ("group.toml", group)):
        data = content.encode() if isinstance(content, str) else content
        (directory / name).write_bytes(data)
    return directory


def paired(directory: Path) -> Path:
    """Pair fw1, whose files are in `directory`, with its peer; answers the directory."""
    introduce({"fw1": directory, "fw2": directory / "fw2"})
    return directory


def load_texts(
    directory: Path, node: str | bytes = NODE, group: str | bytes = GROUP
) -> tuple[Config | None, list[Problem]]:
    return load(write(directory, node, group))
