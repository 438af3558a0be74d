"""What there is to choose from on the Settings page, and what this node has of its own.

Room: agent. What group.toml says itself, and changing it, is grouplocal.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fastapi import APIRouter

from carpool.agent.agent import Agent
from carpool.agent.asker import ThisAgent
from carpool.api.sections import CARPOOL, PRESETS, is_installed
from carpool.model.config import Address, Config
from carpool.model.finding import GROUP_FILE, NODE_FILE
from carpool.model.section import Section

router = APIRouter(tags=["this node"])


@router.get("/settings")
async def settings(agent: ThisAgent) -> dict[str, object]:
    """For the pages: `sections`, all that there are; `node`, what node.toml says, and `files`,
    where both files are."""
    return await asyncio.to_thread(_settings, agent)


def _settings(agent: Agent) -> dict[str, object]:
    sections = [one for one in list(agent.sections.values()) if one.name != CARPOOL]
    names = {"group": GROUP_FILE, "node": NODE_FILE}
    return {
        "sections": [_section(agent, one) for one in sections],
        "node": _node(agent.config),
        "files": {key: str(agent.config_dir / name) for key, name in names.items()},
    }


def _section(agent: Agent, one: Section) -> dict[str, object]:
    return {
        "name": one.name,
        "description": one.description,
        "paths": list(one.paths),
        "installed": is_installed(one, agent.root),
        "preset": (PRESETS / f"{one.name}.toml").exists(),
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
