"""One firewall of the lab: its files, its carpool processes, and what they answer.

Room: lab. Drives carpool as an operator does: configuration files, `carpool run`, control sockets.
Refuses to know drills.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carpool.agent.localclient import LocalClient
from carpool.api import control
from carpool.errors import CarpoolError, UnreachableError
from carpool.lab import processes
from carpool.lab.processes import Tracked
from carpool.lab.topology import SEGMENTS, SYNC, VIP_SEGMENTS, Network, other

ROLES = (control.FAILOVER, control.STATES)
AGENT = "agent"  # runs on request: it has no part in a failover
ADVSKEW = {"fw1": 0, "fw2": 100}
PASSWORD = "lab only, not secret"  # noqa: S105 (20 bytes, the most that CARP keeps)
ANSWER_WAIT_S = 3.0

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Firewall:
    """fw1 or fw2 of a lab; its files are below `root`."""

    name: str
    network: Network
    root: Path

    @property
    def config_dir(self) -> Path:
        return self.files / "etc" / "carpool"

    @property
    def run_dir(self) -> Path:
        return self.root / "run"

    @property
    def state_dir(self) -> Path:
        return self.root / "state"

    @property
    def files(self) -> Path:
        """What its agent takes for the root of the file system."""
        return self.root / "root"

    @property
    def namespace(self) -> str:
        return self.network.namespace(self.name)

    def log(self, role: str) -> Path:
        return self.root / f"{role}.log"

    def last_words(self, role: str) -> str:
        """The last line of a process's log."""
        try:
            lines = self.log(role).read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        return lines[-1] if lines else "it said nothing"

    def prepare(self) -> None:
        """Make the directories and write both configuration files."""
        for directory in (self.config_dir, self.run_dir, self.state_dir, self.files / "etc"):
            directory.mkdir(parents=True, exist_ok=True)
        (self.config_dir / "node.toml").write_text(node_toml(self.name), encoding="utf-8")
        group = self.config_dir / "group.toml"
        group.write_text(group_toml(self.network.name), encoding="utf-8")
        group.chmod(0o600)  # it holds passwords

    def forget_boot(self) -> None:
        """What a reboot takes away: /run is empty then, configuration and state directory stay."""
        shutil.rmtree(self.run_dir, ignore_errors=True)
        self.run_dir.mkdir()

    def carpool(self, *arguments: str) -> list[str]:
        """The command line of `carpool` for this node."""
        places = ("--config-dir", self.config_dir, "--run-dir", self.run_dir)
        options = [str(word) for word in (*places, "--state-dir", self.state_dir)]
        return [sys.executable, "-m", "carpool", *options, *arguments]

    def start(self, role: str) -> Tracked:
        words = ("--root", str(self.files)) if role == AGENT else ()
        argv = self.carpool("run", role, *words)
        return processes.start(self.namespace, self.name, role, argv, self.log(role))

    def ask(self, role: str, command: str, **arguments: object) -> Answer:
        """One question to a process of this node.

        UnreachableError when it does not answer within ANSWER_WAIT_S; CarpoolError when it refuses.
        """
        path = control.socket_of(self.run_dir, role)
        try:
            return control.request(path, {"command": command, **arguments}, ANSWER_WAIT_S)
        except UnreachableError as error:
            hint = f"its log is {self.log(role)}"
            raise UnreachableError(f"{self.name}: {error.message}", hint=hint) from error
        except CarpoolError as error:
            raise CarpoolError(f"{self.name}: {error.message}", hint=error.hint) from error


def agent_troubles(firewall: Firewall) -> list[str]:
    """What keeps its agent from serving, and from reaching its peer."""
    try:
        with LocalClient(firewall.run_dir) as agent:
            about = agent.get("/v1/about", timeout_s=ANSWER_WAIT_S)
    except CarpoolError as error:
        return [error.message]
    peers = about["peers"]
    assert isinstance(peers, list)
    return [str(peer["error"]) for peer in peers if not peer["reachable"]]


def node_toml(name: str) -> str:
    """node.toml of a firewall, as its operator would write it."""
    interfaces = "\n".join(f'{segment.name} = "{segment.device}"' for segment in SEGMENTS)
    return f"""\
name = "{name}"
advskew = {ADVSKEW[name]}

[interface]
{interfaces}

[address]
{_own_addresses(name)}

[peer.{other(name)}.address]
{_own_addresses(other(name))}
"""


def group_toml(name: str) -> str:
    """group.toml: the same on both."""
    vips = "".join(
        f"""
[[vip]]
interface = "{segment.name}"
vhid = {segment.vhid}
password = "{PASSWORD}"
addresses = {_list(segment.vip())}
"""
        for segment in VIP_SEGMENTS
    )
    link = f'interface = "{SYNC.name}"\n'
    # [states] comes last: a bench adds a key to it.
    return f'name = "{name}"\npreempt = true\n{vips}\n[sync]\n{link}\n[states]\n{link}'


def _own_addresses(name: str) -> str:
    return "\n".join(
        f"{segment.name} = {_list(own.ip for own in segment.own(name))}" for segment in SEGMENTS
    )


def _list(values: Iterable[object]) -> str:
    """A TOML list of strings that need no escaping."""
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"
