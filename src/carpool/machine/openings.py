"""Where the operator's rules drop what a peer sends to carpool, and the rule that lets it in.

Room: machine. Pure: rules are those that `rulewalk.py` reads; only what is surely dropped is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from carpool.machine.rulewalk import Packet, blocker
from carpool.model.config import Address, Config
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
    """What would have to be inserted, for each link and each chain in the way. It names all nodes
    of the link, this one too: rules may be synchronised, and are the same on all nodes then."""
    peers: dict[str, list[Address]] = {}
    ports: dict[str, list[int]] = {}
    for interface, _name, addresses, there in ways_in(config):
        peers.setdefault(interface, []).extend(addresses)
        ports[interface] = there
    for interface, sources in peers.items():
        own = config.node.addresses[interface]
        for version, word in ((4, "ip"), (6, "ip6")):
            theirs = [one for one in sources if one.version == version]
            ours = [one for one in own if one.version == version]
            if not (theirs and ours):
                continue
            device = config.device(interface)
            packets = [
                Packet(version, source, ours[0], _TCP, port, entry=device)
                for source in theirs
                for port in ports[interface]
            ]
            every = ", ".join(map(str, sorted({*theirs, *ours}, key=int)))
            listed = ", ".join(map(str, ports[interface]))
            rule = (
                f'iifname "{device}" {word} saddr {{ {every} }} tcp dport {{ {listed} }} accept '
                f'comment "carpool: nodes on {interface}"'
            )
            for key, why in _in_the_way(tables, packets).items():
                yield Opening(*key, rule, why)


def _in_the_way(tables: Tables, packets: Iterable[Packet]) -> dict[tuple[str, str, str], str]:
    """By chain (family, table, name), what there drops one of these packets."""
    found: dict[tuple[str, str, str], str] = {}
    for packet in packets:
        if one := blocker(tables, "input", packet):
            chain = one.chain if isinstance(one, Rule) else one.name
            why = one.place if isinstance(one, Rule) else f"the policy of {one.place}"
            found.setdefault((one.family, one.table, chain), why)
    return found
