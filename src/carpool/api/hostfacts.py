"""What `carpool doctor` knows of this node by itself: its files, and the machine that they are on.

Room: api. Gathers; refuses to judge (`machine/doctor.py`), and to ask a peer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from carpool.api import control, identity
from carpool.api.clean import clean
from carpool.api.control import Answer
from carpool.api.scriptproblems import script_problems
from carpool.api.settings import load, secrecy
from carpool.errors import CarpoolError, KernelError, PeerError, UnreachableError
from carpool.kernel import clock, features, hostfacts, nftload, paths
from carpool.kernel.keys import Trouble
from carpool.kernel.links import device_facts
from carpool.kernel.listeners import listeners
from carpool.machine import hostchecks, ownchecks, rulechecks
from carpool.machine.facts import Facts
from carpool.machine.pathchecks import links_of, ways
from carpool.model.config import Address, Config, Problem
from carpool.model.facts import Certificate, Link, NodeFacts, Unseen
from carpool.model.finding import GROUP_FILE, NODE_FILE
from carpool.model.validate import check_system
from carpool.proto import nftjson
from carpool.proto.nftjson import Tables

ABSENT = ("no_identity", "not_paired")  # causes of Trouble
_UNASKED = Unseen("nobody asked for it")


def gather(config_dir: Path, run_dir: Path, checks: Collection[str]) -> Facts:
    """What these checks need and can be seen without a peer. Raises KernelError."""
    config, problems = configuration(config_dir)
    answers = {} if isinstance(config, Unseen) else _answers(config, run_dir)
    node = node_facts(config)
    of_rules = any(check.name in checks for check in rulechecks.CHECKS)
    return Facts(
        config,
        node,
        now_s=clock.wall_us() / 1e6,
        problems=tuple(problems),
        settings=hostfacts.settings((*hostchecks.settings_of(config), *ownchecks.SETTINGS)),
        present=hostfacts.present(),
        tables=_tables() if of_rules else _UNASKED,
        listeners=tuple(listeners()) if "bound-services" in checks else _UNASKED,
        certificates=_certificates(config, config_dir),
        missing=features.missing() if "kernel" in checks else _UNASKED,
        silent=_silent(answers),
        running={name: _version(answer) for name, answer in answers.items()},
        refused=_refused(answers.get(control.FAILOVER)),
        roles=_roles(answers.get(control.FAILOVER)),
        reached=_reached(config, answers.get(control.STATES)) if "reach" in checks else {},
        passed=_passed(config, node) if "path-mtu" in checks else {},
    )


def node_facts(config: Config | Unseen) -> NodeFacts:
    """What this node tells peers, too. Raises KernelError."""
    return hostfacts.node_facts({} if isinstance(config, Unseen) else config.node.interfaces)


def configuration(config_dir: Path) -> tuple[Config | Unseen, list[Problem]]:
    """Both files, and all that `carpool check` says of them. Raises KernelError."""
    if not any(_is_there(config_dir / name) for name in (NODE_FILE, GROUP_FILE)):
        return Unseen(f"this node has no configuration yet: no {NODE_FILE} in {config_dir}"), []
    config, problems = load(config_dir)
    problems += secrecy(config_dir)
    if config is None:
        return Unseen("the configuration cannot be used: `carpool check` tells why"), problems
    problems += check_system(config, device_facts(config.node.interfaces.values()))
    problems += script_problems(config, config_dir)
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
    for path, read in identity.readers(keys).items():
        try:
            found.append(Certificate(str(path), *identity.validity(read())))
        except Trouble as error:
            if error.cause not in ABSENT:
                return Unseen(error.message)
        except PeerError as error:
            return Unseen(f"{path}: {error.message}")
    return tuple(found) or Unseen("this node is paired with nobody yet: `carpool init`")


def _is_there(path: Path) -> bool:
    """Also if this is not root, and may not see."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def _reached(config: Config | Unseen, states: Answer | CarpoolError | None) -> dict[Link, str]:
    """Of the ports that this node connects to. A stream that is up is not tried again: the peer
    would count a stranger."""
    if isinstance(config, Unseen):
        return {}
    links = [link for link in links_of(config) if ways(config, link)[0]]
    peers = states.get("peers") if isinstance(states, dict) else None
    up = {one["name"] for one in (peers if isinstance(peers, list) else []) if one["connected"]}
    return {
        link: ""
        if link.process == control.STATES and link.peer in up
        else paths.connects(link.source, link.target, link.port)
        for link in links
    }


def _passed(config: Config | Unseen, node: NodeFacts) -> dict[Link, int | None]:
    """Once for each pair of addresses. Raises KernelError."""
    links = [] if isinstance(config, Unseen) else links_of(config)
    found: dict[tuple[Address, Address], Link] = {}
    for link in links:
        if node.interfaces[link.interface].mtu:
            found.setdefault((link.source, link.target), link)
    return {link: _path_mtu(link, node.interfaces[link.interface].mtu) for link in found.values()}


def _path_mtu(link: Link, mtu: int) -> int | None:
    try:
        return paths.path_mtu(link.source, link.target, mtu)
    except KernelError:
        return None  # `carpool check` tells that the address is not here, the kernel check of root


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


def _version(answer: Answer | CarpoolError) -> str:
    """Of the program that a process was started with; "" if it does not say."""
    return clean(str(answer.get("version") or "")) if isinstance(answer, dict) else ""


def _refused(answer: Answer | CarpoolError | None) -> tuple[str, ...]:
    words = answer.get("refused") if isinstance(answer, dict) else None
    return tuple(clean(str(one)) for one in words) if isinstance(words, list) else ()


def _roles(answer: Answer | CarpoolError | None) -> dict[str, str]:
    """Of this node by VIP, as failover tells them."""
    vhosts = answer.get("vhosts") if isinstance(answer, dict) else None
    return {
        f"{one['vhid']}@{one['interface']}": str(one["state"])
        for one in (vhosts if isinstance(vhosts, list) else [])
    }
