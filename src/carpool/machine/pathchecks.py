"""What can be wrong on the way between this node and its peers, as this node alone can try it.

Room: machine. Pure: what was tried is a fact.
"""

from __future__ import annotations

from collections.abc import Iterator

from carpool.machine.checkup import Check, Finding, unconfigured
from carpool.machine.facts import Facts
from carpool.machine.replica import dials
from carpool.model.config import Config
from carpool.model.diagnosis import Diagnosis, Severity, Skipped
from carpool.model.facts import Link, Unseen

NOBODY = "Connection refused"  # as the C library calls ECONNREFUSED


def links_of(config: Config) -> list[Link]:
    """All of them, IPv4 where both ends have it."""
    found = []
    for process, one in (("states", config.group.states), ("agent", config.group.sync)):
        if one is None:
            continue
        own = config.node.addresses.get(one.interface, ())
        for peer in config.node.peers:
            theirs = peer.addresses.get(one.interface, ())
            pairs = [(o, t) for o in own for t in theirs if o.version == t.version]
            pairs.sort(key=lambda pair: pair[0].version)
            if pairs:
                found.append(Link(peer.name, process, one.interface, *pairs[0], one.port))
    return found


def ways(config: Config, link: Link) -> tuple[bool, bool]:
    """Whether this node connects, and whether the peer does."""
    if link.process == "states":
        ours = dials(config.node.name, link.peer)
        return ours, not ours
    return True, True  # agents ask each other


def reach(facts: Facts) -> Iterator[Finding]:
    """Whether the ports of the peers answer."""
    yield from _untried("reach", facts)
    for link, why in facts.reached.items():
        if not why:
            continue
        nobody = why == NOBODY
        yield Diagnosis(
            "reach",
            Severity.WARNING,
            f"{link.peer} ({link.target}) on {link.interface}, TCP port {link.port}: {why}",
            f"this is where the {link.process} process of {link.peer} listens",
            f"start it there: `carpool run {link.process}`"
            if nobody
            else f"is {link.peer} up, and the cable in? Rules there: `carpool doctor sync-rules`",
        )


def path_mtu(facts: Facts) -> Iterator[Finding]:
    """Whether packets of full size get to a peer."""
    yield from _untried("path-mtu", facts)
    for link, passed in facts.passed.items():
        seen = facts.node.interfaces.get(link.interface)
        if passed is None or seen is None:
            yield Skipped("path-mtu", f"{link.peer} ({link.target}) answers no ping")
        elif passed < seen.mtu:
            yield Diagnosis(
                "path-mtu",
                Severity.ERROR,
                f"on {link.interface} packets of {passed} bytes reach {link.peer}, larger ones do "
                f"not; the MTU of {seen.device} is {seen.mtu}",
                "streams between the nodes stall as soon as there is much to say: the table of "
                "states is never complete",
                f"raise the MTU of what is in between, or on every node `ip link set {seen.device} "
                f"mtu {passed}`",
            )


def _untried(check: str, facts: Facts) -> Iterator[Skipped]:
    yield from unconfigured(check, facts)
    if not isinstance(facts.config, Unseen) and not links_of(facts.config):
        yield Skipped(check, "no [states] or [sync] with a peer is configured")


CHECKS = (
    Check("reach", "ports of the peers", reach),
    Check("path-mtu", "packets of full size between the nodes", path_mtu),
)
