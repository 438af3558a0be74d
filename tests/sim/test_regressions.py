"""The smallest plans that once broke the engine, each with what was wrong."""

from __future__ import annotations

from tests.sim.checks import play
from tests.sim.plan import LinkDown, NodePlan, Plan, SendFault, VipPlan

PAIR = (NodePlan(advskew=0), NodePlan(advskew=100))
LAN_WAN = (VipPlan("lan", 1), VipPlan("wan", 1))


def test_a_link_that_goes_down_while_sending_fails_does_not_demote_for_ever() -> None:
    """Nothing probed the link any more, so `send errors wan` outlived link and fault."""
    play(
        Plan(
            seed=1,
            nodes=PAIR,
            vips=LAN_WAN,
            faults=(
                SendFault(at_s=10.0, for_s=5.0, interface="wan", node=0),
                LinkDown(at_s=14.0, for_s=2.0, interface="wan", node=0),
            ),
        )
    )
