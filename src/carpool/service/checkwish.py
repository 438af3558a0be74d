"""What the agent asks of failover about checks, read from a request.

Room: service. Whoever reaches the control socket is root, and may be of another version: bounds on
everything.
"""

from __future__ import annotations

from collections.abc import Mapping

from carpool.machine.effects import FailingCheck, SetChecks
from carpool.model.scripts import WEIGHT_MAX, is_script_name

FAILING_MAX = 64
LEASE_MAX_S = 300.0
TEXT_MAX = 200


def checks_of(request: Mapping[str, object]) -> SetChecks | str:
    """The wish, or what is wrong with it: `failing` are objects of `name`, `weight` and `text`."""
    lease_s, rows = request.get("lease_s"), request.get("failing")
    if not isinstance(lease_s, int | float) or not 0 < lease_s <= LEASE_MAX_S:
        return f"lease_s is {lease_s!r}, expected 0 to {LEASE_MAX_S:g}"[:TEXT_MAX]
    if not isinstance(rows, list) or len(rows) > FAILING_MAX:
        return f"failing is no list of {FAILING_MAX} checks at most"
    failing = []
    for row in rows:
        one = _failing(row)
        if one is None:
            return f"{str(row)[:TEXT_MAX]} is no check: a name, a weight from 1 to {WEIGHT_MAX}"
        failing.append(one)
    return SetChecks(tuple(failing), float(lease_s))


def _failing(row: object) -> FailingCheck | None:
    if not isinstance(row, dict):
        return None
    name, weight = row.get("name"), row.get("weight")
    if not isinstance(name, str) or not is_script_name(name):
        return None
    if isinstance(weight, bool) or not isinstance(weight, int) or not 1 <= weight <= WEIGHT_MAX:
        return None
    return FailingCheck(name, weight, str(row.get("text") or "")[:TEXT_MAX])
