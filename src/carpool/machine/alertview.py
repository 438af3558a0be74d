"""What messages are made of, read out of what the nodes say of themselves.

Room: machine. Pure; believes no answer, as `machine/verdict.py` does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from carpool.machine.alerts import MASTER, View, Vip
from carpool.machine.demotion import MAINTENANCE
from carpool.machine.verdict import Fields, judge, vip_of


def vips_of(failover: Fields) -> dict[str, Vip]:
    """What this node is at each VIP; nothing when its failover process tells nothing."""
    return {
        vip_of(row): Vip(
            str(row.get("state") or ""), str(row.get("reason") or ""), str(row.get("master") or "")
        )
        for row in _rows(failover, "vhosts")
    }


def view_of(nodes: Sequence[Fields], sync_failed: str = "") -> View:
    """`nodes`: this one first, as GET /v1/nodes has them."""
    me = str(nodes[0].get("name"))
    answering = {str(one.get("name")): _failover(one) for one in nodes if not one.get("error")}
    masters = [name for name, told in answering.items() if _is_master(told)]
    # A master that is heard, and whose agent is not: nobody knows whether it tells. So we do.
    first = min(masters or answering or [me])
    maintenance = {
        name: _why(told) for name, told in answering.items() if told.get("maintenance") is True
    }
    silent = frozenset(str(one.get("name")) for one in nodes if one.get("error"))
    return View(judge(nodes), first == me, maintenance, silent, sync_failed)


def _is_master(failover: Fields) -> bool:
    return any(one.state == MASTER for one in vips_of(failover).values())


def _failover(node: Fields) -> Fields:
    found = node.get("failover")
    return found if isinstance(found, Mapping) else {}


def _why(failover: Fields) -> str:
    rows = [row for row in _rows(failover, "demotion") if row.get("reason") == MAINTENANCE]
    return str(rows[0].get("text") or "") if rows else ""


def _rows(fields: Fields, key: str) -> list[Fields]:
    value = fields.get(key)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
