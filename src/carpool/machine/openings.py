"""Where the operator's rules drop what a peer sends to carpool, and the rule that lets it in.

Room: machine. Pure: rules are those that `rulewalk.py` reads; only what is surely dropped is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from carpool.machine.rulewalk import Packet, blocker
from carpool.model.config import Config
from carpool.proto.nftjson import Rule, Tables
from carpool.proto.ownrules import ways_in

_TCP = 6


@dataclass(frozen=True, slots=True)
class Opening:
    """A rule to put first in a chain."""

    family: str
    table: str
    chain: str
    rule: str
    why: str  # what drops it now

    @property
    def command(self) -> str:
        """For nft; the chain must be there."""
        return f"insert rule {self.family} {self.table} {self.chain} {self.rule}"


def openings(config: Config, tables: Tables) -> Iterator[Opening]:
    """What would have to be inserted, for each chain in the way and each address of a peer."""
    for interface, name, addresses, ports in ways_in(config):
        device = config.device(interface)
        for source in addresses:
            own = next(
                (one for one in config.node.addresses[interface] if one.version == source.version),
                None,
            )
            blocked = {}
            for port in ports if own is not None else ():
                packet = Packet(source.version, source, own, _TCP, port, entry=device)
                if found := blocker(tables, "input", packet):
                    blocked[port] = found
            chains = {
                (one.family, one.table, one.chain if isinstance(one, Rule) else one.name): one
                for one in blocked.values()
            }
            ip = "ip" if source.version == 4 else "ip6"
            for key, one in chains.items():
                listed = ", ".join(map(str, ports))
                yield Opening(
                    *key,
                    f'iifname "{device}" {ip} saddr {source} tcp dport {{ {listed} }} accept '
                    f'comment "carpool: {name}"',
                    one.place if isinstance(one, Rule) else f"the policy of {one.place}",
                )
