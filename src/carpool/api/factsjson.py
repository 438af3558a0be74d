"""What a node tells another one of itself for `carpool doctor`, as JSON and back.

Room: api. `read` takes what the agent of this node has checked; refuses to judge it.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_interface
from typing import Any

from carpool.model.facts import InterfaceFacts, NodeFacts, PeerFacts


def told(facts: NodeFacts) -> dict[str, object]:
    """For a peer."""
    return {
        "version": facts.version,
        "kernel": facts.kernel,
        "conntrack_max": facts.conntrack_max,
        "conntrack_count": facts.conntrack_count,
        "interfaces": {
            name: {
                "device": one.device,
                "present": one.present,
                "up": one.up,
                "carrier": one.carrier,
                "mtu": one.mtu,
                "addresses": [str(address) for address in one.addresses],
            }
            for name, one in facts.interfaces.items()
        },
    }


def read(answer: Mapping[str, Any]) -> PeerFacts:
    """Of one peer, as the agent of this node tells it."""
    found = answer["facts"]
    interfaces = {
        name: InterfaceFacts(
            one["device"],
            one["present"],
            one["up"],
            one["carrier"],
            one["mtu"],
            tuple(ip_interface(address) for address in one["addresses"]),
        )
        for name, one in found["interfaces"].items()
    }
    node = NodeFacts(
        found["version"],
        found["kernel"],
        interfaces,
        found["conntrack_max"],
        found["conntrack_count"],
    )
    roles = found["roles"]
    return PeerFacts(node, answer["clock_off_s"], answer["clock_error_s"], roles or {})
