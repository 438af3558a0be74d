"""What the peers tell `carpool doctor` by way of this node's agent, and what all hear.

Room: cli. Asks; why nothing is told is an answer, too.
"""

from __future__ import annotations

import secrets
import threading
from ipaddress import ip_address
from pathlib import Path

from carpool.agent.localclient import LocalClient
from carpool.agent.waits import LISTEN_MORE_S
from carpool.api import factsjson
from carpool.errors import CarpoolError, KernelError
from carpool.kernel.hearing import ethernet_devices, listen
from carpool.machine.checkup import vip_devices
from carpool.model.config import Config
from carpool.model.facts import Heard, PeerFacts, Unseen
from carpool.proto.routers import PROBE_BYTES

NO_SYNC = "group.toml has no [sync]: the agents of the nodes do not ask each other"
FACTS_WAIT_S = 20.0  # each peer may take 5 s to say that its failover is silent


def peers_of(config: Config | Unseen, run_dir: Path) -> dict[str, PeerFacts | Unseen]:
    """What each peer of node.toml tells, by the agent of this node; or why it does not."""
    if isinstance(config, Unseen) or not config.node.peers:
        return {}
    names = [peer.name for peer in config.node.peers]
    if config.group.sync is None:
        return dict.fromkeys(names, Unseen(NO_SYNC))
    try:
        with LocalClient(run_dir) as agent:
            answer = agent.get("/v1/doctor/peers", timeout_s=FACTS_WAIT_S)["peers"]
    except CarpoolError as error:
        return dict.fromkeys(names, Unseen(str(error)))
    told = answer if isinstance(answer, dict) else {}
    return {name: _peer(name, told.get(name)) for name in names}


class Listeners:
    """Has the peers listen, in a thread, while this node does."""

    def __init__(self, config: Config, run_dir: Path, seconds: float, nonce: bytes) -> None:
        self._names = [peer.name for peer in config.node.peers]
        self._run_dir = run_dir
        self._body = {"seconds": seconds, "nonce": nonce.hex()}
        self._wait_s = seconds + 2 * LISTEN_MORE_S
        self._told: dict[str, tuple[Heard, ...] | Unseen] = {}
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        return self._thread.is_alive()

    def heard(self) -> dict[str, tuple[Heard, ...] | Unseen]:
        """By peer, when it is over."""
        self._thread.join()
        return self._told

    def _ask(self) -> None:
        try:
            with LocalClient(self._run_dir) as agent:
                answer = agent.post("/v1/doctor/listen", self._body, timeout_s=self._wait_s)
        except CarpoolError as error:
            self._told = dict.fromkeys(self._names, Unseen(str(error)))
            return
        told = answer["peers"] if isinstance(answer["peers"], dict) else {}
        self._told = {name: _heard(name, told.get(name)) for name in self._names}


def listened(
    config: Config | Unseen, run_dir: Path, seconds: float, *, peers: bool
) -> tuple[tuple[Heard, ...] | Unseen, dict[str, tuple[Heard, ...] | Unseen]]:
    """What this node and, if they are asked, its peers hear at the same time."""
    if seconds <= 0:
        return Unseen("--listen 0"), {}
    nonce, listeners = secrets.token_bytes(PROBE_BYTES), None
    if isinstance(config, Unseen):
        devices = ethernet_devices()
    else:
        devices = vip_devices(config)
        if peers and config.node.peers and config.group.sync is not None:
            listeners = Listeners(config, run_dir, seconds, nonce)
    try:
        if listeners is None:
            return tuple(listen(devices, seconds)), _unasked(config) if peers else {}
        heard = tuple(listen(devices, seconds, nonce, lambda: listeners.busy))
    except KernelError as error:
        return Unseen(str(error)), {}
    return heard, listeners.heard()


def _unasked(config: Config | Unseen) -> dict[str, tuple[Heard, ...] | Unseen]:
    names = [] if isinstance(config, Unseen) else [peer.name for peer in config.node.peers]
    return dict.fromkeys(names, Unseen(NO_SYNC))


def _heard(name: str, told: object) -> tuple[Heard, ...] | Unseen:
    why = _why(name, told)
    if why is not None or not isinstance(told, dict):
        return why or Unseen(name)
    return tuple(
        Heard(one["interface"], ip_address(one["source"]), one["mac"], one["kind"], one["vhid"])
        for one in told["heard"]
    )


def _peer(name: str, told: object) -> PeerFacts | Unseen:
    why = _why(name, told)
    if why is not None or not isinstance(told, dict):
        return why or Unseen(name)
    return factsjson.read(told)


def _why(name: str, told: object) -> Unseen | None:
    """Why an answer is none."""
    if not isinstance(told, dict):
        return Unseen(f"the agent of this node does not ask {name}: `carpool apply`")
    if "error" in told:
        return Unseen(f"{told['error']} ({told['hint']})" if told["hint"] else str(told["error"]))
    return None
