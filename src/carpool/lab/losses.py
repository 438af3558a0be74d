"""What the switch of a lab loses: adverts between firewalls, by link and direction.

Room: lab. Text for nft, in the bridge family of the namespace of the switch: no host and no
firewall has a part in it, and ports learn addresses as ever. Refuses to know drills.
"""

from __future__ import annotations

from collections.abc import Iterable

from carpool.lab.topology import SYNC, TRIO, Segment

TABLE = "bridge carpool_lab"
NOTHING = f"add table {TABLE}\ndelete table {TABLE}\n"  # also when there is none
DIRECTIONS = ("in", "out", "both")
CARP = 112  # IANA's protocol number of VRRP, which CARP has, too


def adverts(name: str, segments: Iterable[Segment], direction: str) -> str:
    """Lose the adverts that firewall `name` sends ("out"), or that others send it ("in"). The sync
    link has none: everything between firewalls is lost there."""
    rules = [
        f"    {way} {rule} counter drop"
        for segment in segments
        for way in _ways(segment, name, direction)
        for rule in _lost(segment)
    ]
    chain = ["  chain forward {", "    type filter hook forward priority filter;", *rules, "  }"]
    return "\n".join([NOTHING + f"table {TABLE} {{", *chain, "}", ""])


def _ways(segment: Segment, name: str, direction: str) -> list[str]:
    own = f'"{segment.port(name)}"'
    others = ", ".join(f'"{segment.port(one)}"' for one in TRIO if one != name)
    ways = {"in": f"iifname {{ {others} }} oifname {own}"}
    ways["out"] = f"iifname {own} oifname {{ {others} }}"
    return list(ways.values()) if direction == "both" else [ways[direction]]


def _lost(segment: Segment) -> tuple[str, ...]:
    if segment is SYNC:
        return ("",)
    return f"ip protocol {CARP}", f"ip6 nexthdr {CARP}"
