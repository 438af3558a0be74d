"""What `carpool doctor` knows of this node by itself: its files, and the machine that they are on.

Room: api. Gathers; refuses to judge (`machine/doctor.py`), and to ask a peer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from carpool.api import control, identity
from carpool.api.control import Answer
from carpool.api.settings import load, secrecy
from carpool.errors import CarpoolError, KernelError, UnreachableError
from carpool.kernel import clock, features, hostfacts, nftload
from carpool.kernel.keys import Trouble
from carpool.kernel.links import device_facts
from carpool.kernel.listeners import listeners
from carpool.machine import hostchecks, ownchecks, rulechecks
from carpool.machine.facts import Facts
from carpool.model.config import Config, Problem
from carpool.model.facts import Certificate, NodeFacts, Unseen
from carpool.model.finding import GROUP_FILE, NODE_FILE
from carpool.model.validate import check_system
from carpool.proto import nftjson
from carpool.proto.nftjson import Tables

_UNASKED = Unseen("nobody asked for it")


def gather(config_dir: Path, run_dir: Path, checks: Collection[str]) -> Facts:
    """What these checks need and can be seen without a peer. Raises KernelError."""
    config, problems = configuration(config_dir)
    answers = {} if isinstance(config, Unseen) else _answers(config, run_dir)
    of_rules = any(check.name in checks for check in rulechecks.CHECKS)
    return Facts(
        config,
        node_facts(config),
        now_s=clock.wall_us() / 1e6,
        problems=tuple(problems),
        settings=hostfacts.settings((*hostchecks.settings_of(config), *ownchecks.SETTINGS)),
        present=hostfacts.present(),
        tables=_tables() if of_rules else _UNASKED,
        listeners=tuple(listeners()) if "bound-services" in checks else _UNASKED,
        certificates=_certificates(config, config_dir),
        missing=features.missing() if "kernel" in checks else _UNASKED,
        silent=_silent(answers),
        roles=_roles(answers.get(control.FAILOVER)),
    )


def node_facts(config: Config | Unseen) -> NodeFacts:
    """What this node tells peers, too. Raises KernelError."""
    return hostfacts.node_facts({} if isinstance(config, Unseen) else config.node.interfaces)


def configuration(config_dir: Path) -> tuple[Config | Unseen, list[Problem]]:
    """Both files, and all that `carpool check` says of them. Raises KernelError."""
    if not any((config_dir / name).exists() for name in (NODE_FILE, GROUP_FILE)):
        return Unseen(f"this node has no configuration yet: no {NODE_FILE} in {config_dir}"), []
    config, problems = load(config_dir)
    problems += secrecy(config_dir)
    if config is None:
        return Unseen("the configuration cannot be used: `carpool check` tells why"), problems
    problems += check_system(config, device_facts(config.node.interfaces.values()))
    return config, [*problems, *identity.problems(config, config_dir)]


def _tables() -> Tables | Unseen:
    try:
        found = nftjson.parse(nftload.listing_json())
    except KernelError as error:
        return Unseen(error.message)
    return found or Unseen("nft printed something other than JSON")


def _certificates(config: Config | Unseen, config_dir: Path) -> tuple[Certificate, ...] | Unseen:
    """Ours and those of peers, as far as there are any."""
    if isinstance(config, Unseen):
        return config
    keys = identity.keys_of(config_dir, config.node.name)
    found = []
    try:
        paths = [keys.identity_path, *map(keys.peer_path, keys.names())]
        for path in filter(Path.exists, paths):
            der = keys.own() if path == keys.identity_path else keys.pinned(path.stem)
            found.append(Certificate(str(path), *identity.validity(der)))
    except (Trouble, CarpoolError) as error:
        return Unseen(error.message)
    return tuple(found) or Unseen("this node is paired with nobody yet: `carpool init`")


def _answers(config: Config, run_dir: Path) -> dict[str, Answer | CarpoolError]:
    """What the processes that the configuration asks for tell, by name."""
    wanted = [control.FAILOVER] + ([control.STATES] if config.group.states is not None else [])
    return {name: control.status(run_dir, name) for name in wanted}


def _silent(answers: Mapping[str, Answer | CarpoolError]) -> dict[str, str]:
    """Those that do not answer, and why."""
    return {
        name: answer.message
        for name, answer in answers.items()
        if isinstance(answer, UnreachableError)
    }


def _roles(answer: Answer | CarpoolError | None) -> dict[str, str]:
    """Of this node by VIP, as failover tells them."""
    vhosts = answer.get("vhosts") if isinstance(answer, dict) else None
    return {
        f"{one['vhid']}@{one['interface']}": str(one["state"])
        for one in (vhosts if isinstance(vhosts, list) else [])
    }
