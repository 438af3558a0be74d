"""Firewalls with nothing but an agent, for tests of it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from carpool.agent.localclient import LocalClient
from carpool.api.identity import introduce, keys_of
from carpool.errors import CarpoolError
from carpool.kernel.keys import Keys
from tests.netns.lab import Namespace, Network, wait_until
from tests.netns.pair import NODE, OUTSIDER, PAIR, PEER, SYNC

PORT = 3784
GROUP = """name = "test"
[[vip]]
interface = "lan"
vhid = 51
password = "secret"
addresses = ["10.1.0.1/24"]
"""
_Node = TypeVar("_Node", bound="AgentNode")
LINK = '[sync]\ninterface = "sync"\n'


class AgentNode:
    """A firewall with nothing but its agent."""

    def __init__(
        self, namespace: Namespace, directory: Path, name: str, others: Sequence[str]
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.directory = directory / name  # its root
        self.run_dir = self.directory / "run"
        self.state_dir = self.directory / "state"
        self.config_dir = self.directory / "etc" / "carpool"
        self.config_dir.mkdir(parents=True)
        self.process: subprocess.Popen[str] | None = None
        node = NODE.format(name=name, sync=SYNC[name])
        node += "".join(PEER.format(peer=other, sync=SYNC[other]) for other in others)
        (self.config_dir / "node.toml").write_text(node)
        self.configure(GROUP + LINK)

    def configure(self, group: str) -> None:
        (self.config_dir / "group.toml").write_text(group)

    @property
    def keys(self) -> Keys:
        return keys_of(self.config_dir, self.name)

    def begin(self) -> subprocess.Popen[str]:
        env = {"CARPOOL_CONFIG_DIR": str(self.config_dir), "CARPOOL_RUN_DIR": str(self.run_dir)}
        env |= {"CARPOOL_STATE_DIR": str(self.state_dir), "CARPOOL_ROOT": str(self.directory)}
        return self.namespace.start(sys.executable, "-m", "carpool", "run", "agent", env=env)

    def start(self) -> None:
        self.process = self.begin()

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.process.communicate()[0]
        with contextlib.suppress(CarpoolError):
            return bool(self.about())
        return False

    def about(self) -> dict[str, Any]:
        with LocalClient(self.run_dir) as agent:
            return agent.get("/v1/about")

    def refused(self) -> dict[str, int]:
        found: dict[str, int] = self.about()["refused"]
        return found

    def stop(self) -> str:
        """What it said. It waits for no connection that is quiet (QUIET_MAX_S)."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=20)[0]
        assert self.process.returncode == 0, said
        return said


def made_pair(network: Network, directory: Path) -> tuple[AgentNode, AgentNode]:
    """fw1 and fw2, paired, not started; somebody else is on their link too."""
    fw1, fw2 = made_group(network, directory, PAIR, AgentNode)
    return fw1, fw2


def made_group(
    network: Network, directory: Path, names: Sequence[str], kind: type[_Node]
) -> list[_Node]:
    """The same of any number."""
    hosts = {name: network.host(name) for name in (*names, "outsider")}
    addresses = {**SYNC, "outsider": OUTSIDER}
    network.bridge(
        "sync", [(host, "sync0", [f"{addresses[name]}/24"]) for name, host in hosts.items()]
    )
    nodes = [
        kind(hosts[name], directory, name, [one for one in names if one != name]) for name in names
    ]
    introduce({node.name: node.config_dir for node in nodes})
    return nodes


def start(*nodes: AgentNode) -> None:
    for node in nodes:
        node.start()
    for node in nodes:
        wait_until(node.answers, 15, f"{node.name} answers")
