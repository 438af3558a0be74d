"""Between which addresses connection state is replicated: what the configuration says about it.

Room: service. Refuses to know sockets, and whether anybody is there.
"""

from __future__ import annotations

from carpool.errors import ConfigError
from carpool.model.config import Address, Config, Peer, States


def settings(config: Config) -> States:
    """`[states]` of group.toml. Raises ConfigError when there is nothing to do, or no peer."""
    if config.group.states is None:
        raise ConfigError(
            "group.toml has no [states]: no connection state is to be replicated",
            hint='add [states] with interface = "..." to group.toml on all nodes',
        )
    if not config.node.peers:
        raise ConfigError(
            "node.toml names no peer to replicate connection state with",
            hint="add [peer.NAME] with its addresses",
        )
    return config.group.states


def ends(config: Config, interface: str, peer: Peer) -> tuple[Address, Address]:
    """Our address and the peer's on the interface of [states], of one family: IPv4 if both have.

    Raises ConfigError when they have none.
    """
    ours = config.node.addresses.get(interface, ())
    theirs = peer.addresses.get(interface, ())
    for version in (4, 6):
        for own in ours:
            for other in theirs:
                if own.version == other.version == version:
                    return own, other
    raise ConfigError(
        f"{config.node.name} and {peer.name} have no addresses of one family on {interface}",
        hint=f"node.toml: addresses of the node and of [peer.{peer.name}] on {interface}",
    )
