"""Strategies: groups and bad days for hypothesis to draw.

Room: tests. Draws values of plan.py only. Times are in tenths of a second, which shrinks well.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tests.sim.plan import (
    INTERFACES,
    Change,
    Command,
    Crash,
    Fault,
    Kill,
    LinkDown,
    NodePlan,
    Noise,
    OneWay,
    Pause,
    Plan,
    SendFault,
    Split,
    Suspend,
    VipPlan,
)

BEGIN_S, END_S = 5.0, 45.0  # faults begin in here; the first seconds elect somebody
VERBS = (
    "maintenance on",
    "maintenance off",
    "disable",
    "enable",
    "switchover",
    "bulk on",
    "bulk off",
    "stop",
    "start",
)


def tenths(low_s: float, high_s: float) -> st.SearchStrategy[float]:
    return st.integers(round(low_s * 10), round(high_s * 10)).map(lambda n: n / 10)


def nodes() -> st.SearchStrategy[tuple[NodePlan, ...]]:
    node = st.builds(
        NodePlan,
        advskew=st.sampled_from((0, 50, 100, 100, 150, 200, 239, 254)),
        drift_ppm=st.integers(-300, 300),
    )
    count = st.sampled_from((2, 2, 2, 3, 3, 4, 8))
    return count.flatmap(lambda n: st.lists(node, min_size=n, max_size=n).map(tuple))


def vips() -> st.SearchStrategy[tuple[VipPlan, ...]]:
    shape = st.tuples(
        st.sampled_from((1, 1, 2)), st.sampled_from(("4", "6", "46")), st.sampled_from((1, 1, 1, 2))
    )
    shapes = st.lists(shape, min_size=1, max_size=4)
    return shapes.map(
        lambda drawn: tuple(
            VipPlan(interface, vhid, families, advbase_s)
            for interface, (count, families, advbase_s) in zip(INTERFACES, drawn, strict=False)
            for vhid in range(1, count + 1)
        )
    )


@st.composite
def faults(draw: st.DrawFn, nodes: int, interfaces: tuple[str, ...], one_way: bool) -> Fault:
    at_s = draw(tenths(BEGIN_S, END_S))
    for_s = draw(tenths(0.1, 12))
    node = draw(st.integers(0, nodes - 1))
    interface = draw(st.sampled_from(interfaces))
    maybe_s = draw(st.sampled_from((for_s, for_s, for_s, None)))
    step_s = draw(st.sampled_from((0.0, 0.0, -2.0, -7200.0, 3600.0)))
    kinds = ["noise", "split", "link", "mute", "pause", "suspend", "crash", "kill"]
    kinds += ["command", "command"]
    kind = draw(st.sampled_from(kinds + ["one way"] * one_way))
    match kind:
        case "noise":
            loss, twice = draw(st.integers(0, 60)) / 100, draw(st.integers(0, 50)) / 100
            return Noise(at_s, for_s, loss, twice, draw(st.sampled_from((0.001, 0.02, 0.3))))
        case "split":
            side = draw(st.sets(st.integers(0, nodes - 1), min_size=1, max_size=nodes - 1))
            return Split(at_s, maybe_s, interface, tuple(sorted(side)))
        case "link":
            return LinkDown(at_s, maybe_s, interface, node)
        case "mute":
            return SendFault(at_s, maybe_s, interface, node)
        case "pause":
            return Pause(at_s, for_s, node)
        case "suspend":
            return Suspend(at_s, for_s, node)
        case "crash":
            return Crash(at_s, maybe_s, node, step_s)
        case "kill":
            return Kill(at_s, draw(st.sampled_from((0.1, 0.1, for_s, None))), node, step_s)
        case "one way":
            other = draw(st.integers(0, nodes - 1).filter(lambda n: n != node))
            return OneWay(at_s, maybe_s, interface, node, other)
        case _:
            return Command(at_s, node, draw(st.sampled_from(VERBS)))


@st.composite
def plans(draw: st.DrawFn, one_way: bool = False, max_faults: int = 10) -> Plan:
    group, addresses = draw(nodes()), draw(vips())
    links = tuple(dict.fromkeys(vip.interface for vip in addresses))
    day = draw(st.lists(faults(len(group), links, one_way), max_size=max_faults))
    return Plan(
        seed=draw(st.integers(0, 2**32 - 1)),
        nodes=group,
        vips=addresses,
        faults=tuple(sorted(day, key=lambda fault: fault.at_s)),
        preempt=draw(st.sampled_from((True, True, False))),
        unicast=draw(st.booleans()),
        await_bulk=draw(st.sampled_from((False, False, True))),
    )


@st.composite
def changes(draw: st.DrawFn, nodes: int, vips: int, settles: bool) -> Change:
    late = st.one_of(st.just(0.0), tenths(0, 3), tenths(0, 20), *([] if settles else [st.none()]))
    return Change(
        at_s=draw(tenths(BEGIN_S, END_S)),
        late_s=tuple(draw(late) for _ in range(nodes)),
        password=draw(st.sampled_from(("simulated", "another", "a third"))),
        advbase_s=draw(st.sampled_from((None, 1, 2, 5))),
        without=draw(st.sampled_from(((), (), *((n,) for n in range(1, vips))))),
    )


@st.composite
def changing_plans(draw: st.DrawFn, settles: bool = True, max_faults: int = 6) -> Plan:
    """`settles`: in the end every node that has power has every change."""
    plan = draw(plans(max_faults=max_faults))
    some = draw(st.lists(changes(len(plan.nodes), len(plan.vips), settles), min_size=1, max_size=3))
    before = draw(st.sampled_from((None, None, some[-1])))
    if any(change.without for change in some):
        # A VIP that comes with one password and changes it before all have it: nodes that have only
        # one of both share no form of it. docs/decisions/0040-group-changes.md
        some = [replace(change, password="simulated") for change in some]
        before = before and replace(before, password="simulated")
    return replace(plan, changes=tuple(sorted(some, key=lambda change: change.at_s)), before=before)
