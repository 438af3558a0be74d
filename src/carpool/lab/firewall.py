"""One firewall of the lab: what drills ask of either kind, and how both are configured.

Room: lab. Knows control sockets and the text of configuration files. Refuses to know drills, and
how a firewall runs: as processes (`bare.py`) or as a machine that boots (`machine.py`).
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from carpool.agent.localclient import LocalClient
from carpool.api import control
from carpool.errors import CarpoolError, UnreachableError
from carpool.lab.pages import Pages
from carpool.lab.processes import Tracked
from carpool.lab.topology import FIREWALLS, LAN, SEGMENTS, SYNC, VIP_SEGMENTS, Network

ROLES = (control.FAILOVER, control.STATES)
AGENT = "agent"  # runs on request: it has no part in a failover
WEB = "web"  # the pages: on request, too
ADVSKEW = {"fw1": 0, "fw2": 100, "fw3": 200}
PASSWORD = "lab only, not secret"  # noqa: S105 (20 bytes, the most that CARP keeps)
ANSWER_WAIT_S = 3.0

Answer = dict[str, Any]


class Firewall(ABC):
    """fw1 or fw2 of a lab, of either kind; what is the lab's of it is below `root`. `pages`: where
    this host sees them, if they are shown."""

    def __init__(self, name: str, network: Network, root: Path, pages: Pages) -> None:
        self.name = name
        self.network = network
        self.root = root
        self.pages = pages

    @property
    def namespace(self) -> str:
        return self.network.namespace(self.name)

    # ------------------------------------------------------------------------------ places

    @property
    @abstractmethod
    def files(self) -> Path:
        """The root of its file system, as far as it has one of its own."""

    @property
    def config_dir(self) -> Path:
        return self.files / "etc" / "carpool"

    @property
    @abstractmethod
    def run_dir(self) -> Path:
        """Where its sockets are while it runs."""

    @property
    @abstractmethod
    def state_dir(self) -> Path:
        """What its carpool remembers."""

    @abstractmethod
    def carpool(self, *arguments: str) -> list[str]:
        """The command line, for the host, that runs `carpool` for this node."""

    @abstractmethod
    def log(self, role: str) -> Path:
        """Where to look when a process does not do as it should."""

    # ------------------------------------------------------------------------------- power

    @abstractmethod
    def prepare(self) -> None:
        """Write its configuration, before it runs for the first time."""

    def forget(self) -> None:
        """Take away what `prepare` wrote for carpool, before it runs for the first time."""
        shutil.rmtree(self.config_dir)

    @abstractmethod
    def start(self, roles: Sequence[str]) -> Iterator[str]:
        """Start what does not run of these, booting first where that is needed; in words."""

    @abstractmethod
    def only(self, roles: Sequence[str]) -> None:
        """From now on no others shall run."""

    @abstractmethod
    def cut_power(self) -> None:
        """Everything on it ends at once, with nothing said; its disk stays as it is."""

    @abstractmethod
    def reboot(self) -> None:
        """After its power was cut: as new, with what its disk had. `start` comes next."""

    @abstractmethod
    def remove(self) -> int:
        """End all of it, in whatever state it is; how many processes or machines were there."""

    # -------------------------------------------------- mischief; each gives when, monotonic

    @abstractmethod
    def end(self) -> float:
        """Tell carpool to end, and do not wait."""

    @abstractmethod
    def power_off(self, wait_s: float) -> float:
        """Tell it to shut down in good order; waits for the end of failover, so long at most."""

    @abstractmethod
    def kill_worker(self) -> float:
        """SIGKILL to the process that holds the addresses."""

    @abstractmethod
    def kill_all(self) -> float:
        """SIGKILL to every process of carpool."""

    @abstractmethod
    def pause_all(self) -> float:
        """SIGSTOP to every process of carpool."""

    @abstractmethod
    def resume_all(self) -> float:
        """SIGCONT to every process of carpool; harmless when none is stopped."""

    # ----------------------------------------------------------------------------- answers

    @abstractmethod
    def tracked(self, role: str) -> Tracked | None:
        """The living process of that role, as the host knows it."""

    @abstractmethod
    def ended(self, role: str) -> bool:
        """Whether nothing will ever come of that process any more."""

    @abstractmethod
    def last_words(self, role: str) -> str:
        """What a process said last."""

    @abstractmethod
    def troubles(self) -> list[str]:
        """What is not well beside its carpool."""

    @abstractmethod
    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on it; CarpoolError when it is off."""

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


def node_toml(name: str, firewalls: Sequence[str] = FIREWALLS) -> str:
    """node.toml of one of these firewalls, as its operator would write it."""
    peers = "\n".join(
        f"[peer.{one}.address]\n{_own_addresses(one)}\n" for one in firewalls if one != name
    )
    interfaces = "\n".join(f'{segment.name} = "{segment.device}"' for segment in SEGMENTS)
    return f"""\
name = "{name}"
advskew = {ADVSKEW[name]}

[interface]
{interfaces}

[address]
{_own_addresses(name)}

{peers}"""


def group_toml(name: str, sections: Sequence[str] = (), *, web: bool = False) -> str:
    """group.toml: the same on both. `sections`: presets that are synchronised, as they are. `web`:
    its pages are served on the LAN."""
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
    chosen = f"sections = {_list(sections)}\n" if sections else ""
    pages = f"\n[web]\ninterfaces = {_list([LAN.name])}\n" if web else ""
    # [states] comes last: a bench adds a key to it.
    return (
        f'name = "{name}"\npreempt = true\n{vips}\n[sync]\n{link}{chosen}{pages}\n[states]\n{link}'
    )


def detecting(group: str, interval_ms: int) -> str:
    """That group.toml, with another interval of detection; 0: the same."""
    table = f'[detection]\ninterval = "{interval_ms}ms"\n\n'
    return group.replace("[states]", table + "[states]") if interval_ms else group


def _own_addresses(name: str) -> str:
    return "\n".join(
        f"{segment.name} = {_list(own.ip for own in segment.own(name))}" for segment in SEGMENTS
    )


def _list(values: Iterable[object]) -> str:
    """A TOML list of strings that need no escaping."""
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"
