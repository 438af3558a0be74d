"""What `carpool doctor` knows of this node by itself: its files, and the machine that they are on.

Room: api. Gathers; refuses to judge (`machine/doctor.py`), and to ask a peer.
"""

from __future__ import annotations

from pathlib import Path

from carpool.api.settings import load, secrecy
from carpool.kernel import hostfacts
from carpool.kernel.links import device_facts
from carpool.machine.hostchecks import settings_of
from carpool.model.config import Config, Problem
from carpool.model.facts import Facts, NodeFacts, Unseen
from carpool.model.finding import GROUP_FILE, NODE_FILE
from carpool.model.validate import check_system


def gather(config_dir: Path) -> Facts:
    """All that can be seen without a peer, and without a process of carpool. Raises KernelError."""
    config, problems = configuration(config_dir)
    return Facts(
        config,
        node_facts(config),
        tuple(problems),
        hostfacts.settings(settings_of(config)),
    )


def node_facts(config: Config | Unseen) -> NodeFacts:
    """What this node tells peers, too. Raises KernelError."""
    return hostfacts.node_facts({} if isinstance(config, Unseen) else config.node.interfaces)


def configuration(config_dir: Path) -> tuple[Config | Unseen, list[Problem]]:
    """Both files, and all that `carpool check` says of them but about pairing. Raises
    KernelError."""
    if not any((config_dir / name).exists() for name in (NODE_FILE, GROUP_FILE)):
        return Unseen(f"this node has no configuration yet: no {NODE_FILE} in {config_dir}"), []
    config, problems = load(config_dir)
    problems += secrecy(config_dir)
    if config is None:
        return Unseen("the configuration cannot be used: `carpool check` tells why"), problems
    problems += check_system(config, device_facts(config.node.interfaces.values()))
    return config, problems
