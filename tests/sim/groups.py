"""Small groups on two interfaces, and what became of them: for tests that name their schedule."""

from __future__ import annotations

from carpool.machine.effects import State
from tests.sim.plan import Crash, Fault, NodePlan, Plan, VipPlan
from tests.sim.world import World

LAN_WAN = (VipPlan("lan", 1), VipPlan("wan", 1))
FAULT_S = 15.0


def group(*advskews: int, faults: tuple[Fault, ...], seed: int = 1, preempt: bool = True) -> Plan:
    """Nodes that boot one after the other, so that the first one is master when `faults` begin."""
    boots = tuple(Crash(0.0, 2.0 + 3 * index, index) for index in range(1, len(advskews)))
    nodes = tuple(NodePlan(advskew) for advskew in advskews)
    return Plan(seed, nodes, LAN_WAN, boots + faults, preempt)


def masters(world: World, key: str) -> list[str]:
    return [
        box.name
        for box in world.boxes
        if box.engine is not None
        and any(
            str(k) == key and vhost.state is State.MASTER for k, vhost in box.engine.vhosts.items()
        )
    ]


def took_over(world: World, since_s: float = FAULT_S) -> list[str]:
    """Who became MASTER of anything since, in order, once for each time."""
    return [
        line.split()[1]
        for line in world.trace
        if "-> MASTER" in line and float(line.split()[0]) >= since_s
    ]
