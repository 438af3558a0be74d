"""What the peers tell `carpool doctor`, by way of this node's agent.

Room: cli. Asks; why nothing is told is an answer, too.
"""

from __future__ import annotations

from pathlib import Path

from carpool.agent.localclient import LocalClient
from carpool.api import factsjson
from carpool.errors import CarpoolError
from carpool.model.config import Config
from carpool.model.facts import PeerFacts, Unseen

FACTS_WAIT_S = 20.0  # each peer may take 5 s to say that its failover is silent


def peers_of(config: Config | Unseen, run_dir: Path) -> dict[str, PeerFacts | Unseen]:
    """What each peer of node.toml tells, by the agent of this node; or why it does not."""
    if isinstance(config, Unseen) or not config.node.peers:
        return {}
    names = [peer.name for peer in config.node.peers]
    if config.group.sync is None:
        why = "group.toml has no [sync]: the agents of the nodes do not ask each other"
        return dict.fromkeys(names, Unseen(why))
    try:
        with LocalClient(run_dir) as agent:
            answer = agent.get("/v1/doctor/peers", timeout_s=FACTS_WAIT_S)["peers"]
    except CarpoolError as error:
        return dict.fromkeys(names, Unseen(str(error)))
    told = answer if isinstance(answer, dict) else {}
    return {name: _peer(name, told.get(name)) for name in names}


def _peer(name: str, told: object) -> PeerFacts | Unseen:
    if not isinstance(told, dict):
        return Unseen(f"the agent of this node does not ask {name}: `carpool apply`")
    if "error" in told:
        return Unseen(f"{told['error']} ({told['hint']})" if told["hint"] else str(told["error"]))
    return factsjson.read(told)
