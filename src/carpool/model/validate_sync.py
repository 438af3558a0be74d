"""What `[sync]` needs, and what it and `[states]` ask of the link between the nodes.

Room: model. Part of `model/validate.py`, which see. What a section may be is in
`model/validate_sections.py`: the processes that load neither presets nor sections need none of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from carpool.model.calendar import NoCalendarError, calendar
from carpool.model.config import STATES_PORT, Address, Config, Node, Peer, family_of
from carpool.model.finding import (
    FAMILY_LABEL,
    GROUP_FILE,
    NODE_FILE,
    PORT_MAX,
    PORT_MIN,
    Finding,
    Place,
    has_name,
    in_range,
    known_interface,
)
from carpool.model.keypath import KeyPath, quoted
from carpool.model.section import AGENT_PORT, Sync

SCHEDULE = 'a calendar expression, as timers of systemd have: "daily", "Mon..Fri 02:30", "*:0/15"'
JITTER_MAX_S = 24 * 3600
VAR_RULE = "1 to 32 of a-z, 0-9 and _, starting with a letter"
_VAR = re.compile(r"[a-z][a-z0-9_]{0,31}")


def sync_findings(config: Config) -> Iterator[Finding]:
    """Everything about `[sync]` and `[vars]` that these values say by themselves."""
    for name in config.node.vars:
        if not _VAR.fullmatch(name):
            yield Finding((NODE_FILE, ("vars", name)), quoted(name), VAR_RULE)
    sync = config.group.sync
    if sync is None:
        return
    yield from _port(config, sync.port)
    yield from _schedule(sync)
    first: dict[str, int] = {}
    for index, section in enumerate(sync.sections):
        place: Place = (GROUP_FILE, ("sync", "sections", index))
        yield from has_name(place, section)
        if first.setdefault(section, index) != index:
            yield Finding(place, f"{quoted(section)} again", "each section once")
    place = (GROUP_FILE, ("sync", "interface"))
    if sync.interface not in config.node.interfaces:
        yield from known_interface(place, sync.interface, config.node)
        return
    states = config.group.states
    if states is None or states.interface != sync.interface:  # else it is told for states already
        yield from link(
            config.node, place, sync.interface, "to listen on for its peers", "to synchronise with"
        )


def _schedule(sync: Sync) -> Iterator[Finding]:
    place: Place = (GROUP_FILE, ("sync", "schedule"))
    jitter: Place = (GROUP_FILE, ("sync", "schedule_jitter"))
    if not 0 <= sync.schedule_jitter_s <= JITTER_MAX_S:
        yield Finding(jitter, f"{sync.schedule_jitter_s} s", "a time from 0s to 24h")
    if not sync.schedule:
        if sync.schedule_jitter_s:
            hint = "without one nothing is synchronised by itself"
            found = "a jitter of nothing"
            yield Finding(jitter, found, "a schedule", hint, fatal=False, needs=(place,))
        return
    try:
        calendar(sync.schedule)
    except NoCalendarError as error:
        yield Finding(place, quoted(sync.schedule[:60]), SCHEDULE, str(error))
    if not sync.sections:
        sections: Place = (GROUP_FILE, ("sync", "sections"))
        yield Finding(sections, "no section", "what the schedule synchronises", needs=(place,))


def _port(config: Config, port: int) -> Iterator[Finding]:
    yield from own_port(config, "sync", port, AGENT_PORT)


def own_port(
    config: Config, table: str, port: int, default: int, others: Mapping[int, str] | None = None
) -> Iterator[Finding]:
    """Whether `port` of `[table]` is one, and neither of the states nor of `others` (whose it is,
    by port); `default` is what counts without the key."""
    place: Place = (GROUP_FILE, (table, "port"))
    yield from in_range(place, port, PORT_MIN, PORT_MAX)
    states = config.group.states
    first = states.port if states is not None else STATES_PORT
    taken = {first % PORT_MAX + 1: "where nodes are paired, one after the port of the states"}
    taken |= others or {}
    if states is not None:
        taken[first] = "the port of the states"
    if port in taken:
        needs: tuple[Place, ...] = ((GROUP_FILE, ("states",)),)
        if table != "sync":
            needs += ((GROUP_FILE, ("sync",)),)
        yield Finding(
            place,
            f"{port}, {taken[port]}",
            "a port of its own",
            f"without this key it is {default}" if default not in taken else "",
            needs=needs,
        )


def link(
    node: Node, asker: Place, interface: str, own_purpose: str, peer_purpose: str
) -> Iterator[Finding]:
    """This node and each peer need an address on the known `interface` that `asker` names. The
    purposes end the sentences "own address on it, ..." and "address of fw2 on it, ..."."""
    where: KeyPath = ("address", interface)
    own = node.addresses.get(interface, ())
    if not own:
        yield Finding(
            (NODE_FILE, where),
            "no address",
            f"this node's own address on {interface}, {own_purpose}",
            f'write [address] and below it, for instance, {interface} = "10.10.3.1"',
            needs=((NODE_FILE, where), asker),
        )
    for peer in node.peers:
        yield from _peer(peer, asker, interface, own, peer_purpose)


def _peer(
    peer: Peer, asker: Place, interface: str, own: tuple[Address, ...], purpose: str
) -> Iterator[Finding]:
    where: KeyPath = ("peer", peer.name, "address", interface)
    needs = ((NODE_FILE, where), (NODE_FILE, ("address", interface)))
    theirs = peer.addresses.get(interface, ())
    if not theirs:
        yield Finding(
            (NODE_FILE, where),
            "no address",
            f"the address of {peer.name} on {interface}, {purpose}",
            f"[{asker[1][0]}] in group.toml asks for it",
            needs=(*needs, asker),
        )
        return
    families = {family_of(address) for address in own}
    if own and families.isdisjoint(family_of(address) for address in theirs):
        wanted = " or ".join(FAMILY_LABEL[family] for family in sorted(families))
        yield Finding(
            (NODE_FILE, where),
            ", ".join(str(address) for address in theirs),
            f"an {wanted} address, as address.{interface} is",
            f"both ends of {_ENDS[str(asker[1][0])]} need the same family",
            needs=needs,
        )


_ENDS = {"states": "the replication", "sync": "the synchronisation"}
