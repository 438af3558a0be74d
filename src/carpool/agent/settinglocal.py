"""What the Settings page shows: tables of group.toml as they are written, and what there is to
choose from on this node.

Room: agent. Reads, as root, a file with passwords, and tells none of them. Changes nothing.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter

from carpool.agent.agent import Agent
from carpool.agent.asker import ThisAgent
from carpool.api.sections import CARPOOL, PRESETS, is_installed
from carpool.errors import ConfigError
from carpool.model.config import Address, Config
from carpool.model.finding import GROUP_FILE, NODE_FILE
from carpool.model.section import Section

TABLES = ("preempt", "states", "sync", "checks")  # none of them holds a secret

router = APIRouter(tags=["this node"])


@router.get("/settings")
async def settings(agent: ThisAgent) -> dict[str, object]:
    """For the pages: `settings`, tables of group.toml as they are written; `sections`, all that
    there are; `node`, what node.toml says, and `files`, where both are."""
    return await asyncio.to_thread(_settings, agent)


def _settings(agent: Agent) -> dict[str, object]:
    file = agent.config_dir / GROUP_FILE
    written = _written(file)
    named = written.get("section")
    overlaid = named if isinstance(named, dict) else {}
    return {
        "settings": {key: written[key] for key in TABLES if key in written},
        "sections": [
            _section(agent, one, changed=one.name in overlaid)
            for one in list(agent.sections.values())
            if one.name != CARPOOL
        ],
        "node": _node(agent.config),
        "files": {"group": str(file), "node": str(agent.config_dir / NODE_FILE)},
    }


def _written(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}", hint="`carpool check` tells more") from error
    except ValueError as error:
        raise ConfigError(
            f"{file} is no TOML: {error}", hint="`carpool check` tells where"
        ) from error


def _section(agent: Agent, one: Section, *, changed: bool) -> dict[str, object]:
    return {
        "name": one.name,
        "description": one.description,
        "paths": list(one.paths),
        "installed": is_installed(one, agent.root),
        "selected": one.name in agent.selected,
        "preset": (PRESETS / f"{one.name}.toml").exists(),
        "changed": changed,
    }


def _node(config: Config) -> dict[str, object]:
    """`addresses`: of this node and of its peers, as this node's file has them."""
    node = config.node
    everybody = {node.name: node.addresses, **{one.name: one.addresses for one in node.peers}}
    return {
        "name": node.name,
        "advskew": node.advskew,
        "interfaces": dict(node.interfaces),
        "addresses": {name: _texts(addresses) for name, addresses in everybody.items()},
    }


def _texts(addresses: Mapping[str, tuple[Address, ...]]) -> dict[str, list[str]]:
    return {name: [str(one) for one in some] for name, some in addresses.items()}
