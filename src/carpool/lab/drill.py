"""A drill: a healthy lab, live traffic, one fault, and what became of every probe and connection.

Room: lab. Measures; what breaks is in `faults.py`, who survives is judged in `probe.py` and
`streams.py`, how it is shown in `report.py`.
"""

from __future__ import annotations

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab.channel import Report
from carpool.lab.faults import VICTIM, Cutter, Scenario, Takeover, take_over
from carpool.lab.lab import Lab
from carpool.lab.load import Load
from carpool.lab.pause import Pause

YOUNG_S = 1.15  # young connections are opened this long before the fault
AFTER_S = 1.0  # traffic is watched this long after it flows again
SURVIVE_WAIT_S = (
    15.0  # TCP doubles its wait: after 3.5 s of silence it tries again at 6.3, then 12.7 s
)
POLL_S = 0.02
CONNECTIONS_MAX = 2000
TWO_OWNERS_MAX_MS = 3000.0  # what the lifetime of addresses promises
RUNS_MAX = 1000
# What only some scenarios measure, in words.
FIGURES = {
    "two_owners_ms": ("two owners for {} ms", ".0f"),
    "two_owners_after_ms": ("for {} ms after it was over", ".0f"),
    "false_takeovers": ("{} false take-overs", "d"),
    "stalls": ("{} stalls", "d"),
    "hogs_percent": ("the hogs got {} % of a core", ".0f"),
    "frames_as_master": ("{} frames as master after waking", "d"),
    "first_took_over_ms": ("the first time after {} ms", ".0f"),
    "healed_s": ("healthy again after {} s", ".1f"),
}


def run_drill(
    lab: Lab, scenario: Scenario, connections: int, runs: int, with_states: bool = True
) -> Report:
    """`runs` times the same; leaves the lab healthy. One entry a run.

    Without states it is the control: connections that nobody replicates have to die.

    CarpoolError when the lab cannot be brought into the state that the scenario begins with.
    """
    if scenario.third and not lab.plan.third:
        text = f"the scenario {scenario.name!r} needs three firewalls, and this lab has two"
        raise CarpoolError(text, hint="`carpool lab up --three`, or let the drill build one")
    results: list[Report] = []
    before = lab.roles
    lab.run_only(*_drilled(lab, with_states))
    try:
        for number in range(1, runs + 1):
            lab.repair()
            lab.wait_healthy()
            if not with_states:
                lab.forget_connections()
            lab.say(f"{scenario.name} {number}/{runs}: {scenario.about}")
            try:
                result = run_once(lab, scenario, connections)
            finally:
                scenario.undo(lab)
            result |= scenario.ends(lab)
            lab.say(f"{scenario.name} {number}/{runs}: {'; '.join(sentences(result))}")
            results.append(result)
    finally:
        lab.run_only(*before)
        lab.repair()
    lab.wait_healthy()
    return {"scenario": scenario.name, "runs": results}


def _drilled(lab: Lab, with_states: bool) -> tuple[str, ...]:
    """What runs meanwhile: all that the lab was built with, the pages too, to be watched there."""
    return tuple(role for role in lab.roles if with_states or role != "states")


def run_once(lab: Lab, scenario: Scenario, connections: int) -> Report:
    """Traffic and one fault, in a healthy lab."""
    scenario.prepare(lab)
    with Load(lab.network, connections) as load:
        return measure(lab, scenario, load)


def measure(lab: Lab, scenario: Scenario, load: Load, pause: Pause = sleep_s) -> Report:
    """One fault under a load that goes on afterwards; everything is as `prepare` leaves it.

    `pause` is called between two looks at anything, with the seconds to spend.
    """
    load.wait_flowing(pause)
    since_s = monotonic_s()
    load.open_young()
    _spend(since_s + YOUNG_S, pause)
    cutter = Cutter(lab, scenario.cuts)
    try:
        fault_s = scenario.strike(lab, cutter)
    finally:
        cutter.close()
    if not scenario.late:
        load.fault(fault_s)
    more = scenario.goes_on(lab, fault_s, pause) if scenario.goes_on else {}
    fault_s = more.pop("fault_s", fault_s)
    moved = None
    if not scenario.stays:
        moved = take_over(lab, scenario.successor, fault_s, scenario.wait_s, pause)
    moved_s = moved.first_s if moved is not None and scenario.late else fault_s
    if scenario.late:
        load.fault(moved_s)
    if scenario.comes_back and moved is not None:
        take_over(lab, VICTIM, moved.last_s, scenario.wait_s, pause)
    _watch(load, moved_s, pause)
    measured = load.measure(since_s, fault_s, monotonic_s() + SURVIVE_WAIT_S, pause)
    took = {} if scenario.stays else {"took_over_ms": _took_over_ms(moved, fault_s)}
    found = {**measured, **more, **took}
    return {**found, "faults": flaws(found)} if scenario.flawless else found


def flaws(result: Report) -> list[str]:
    """What a drill that must lose nothing at all has lost."""
    youngest = result["young_under_100ms"]
    dead = youngest["opened"] - youngest["survived"]
    lost = [f"{result['probes_lost']} probes lost"] if result["probes_lost"] else []
    lost += [f"{dead} connections younger than 100 ms died"] if dead else []
    return [*result.get("faults", []), *lost]


def _watch(load: Load, since_s: float, pause: Pause) -> None:
    """Until traffic flows again or has had its time, and AFTER_S more."""
    load.refresh()
    while not load.probes_flow(since_s) and monotonic_s() < since_s + SURVIVE_WAIT_S:
        pause(POLL_S)
        load.refresh()
    _spend(monotonic_s() + AFTER_S, pause)


def _spend(until_s: float, pause: Pause) -> None:
    while monotonic_s() < until_s:
        pause(POLL_S)


def _took_over_ms(moved: Takeover | None, fault_s: float) -> float | None:
    return None if moved is None else round((moved.last_s - fault_s) * 1000, 1)


def passed(result: Report) -> bool:
    """Whether somebody took over, every connection that counts lived, and who slept was quiet."""
    asleep = result.get("two_owners_ms", 0.0) > TWO_OWNERS_MAX_MS or result.get("frames_as_master")
    asleep = asleep and "frames_as_master" in result
    return (
        not asleep
        and not result.get("faults")
        and result.get("took_over_ms", 0.0) is not None
        and all(
            result[kind]["survived"] == result[kind]["opened"] > 0
            for kind in ("connections", "young")
        )
    )


def sentences(result: Report) -> tuple[str, str]:
    """One run in two lines: what was felt, who lived."""
    steady, young = result["connections"], result["young"]
    took = result.get("took_over_ms")
    over = "NOBODY took over" if took is None else f"taken over after {took:.0f} ms"
    if "took_over_ms" not in result:
        over = "nobody had to take over"
    for key, (words, style) in FIGURES.items():
        if key in result:
            over += "; " + words.format(format(result[key], style))
    over += "".join(f"; WRONG: {fault}" for fault in result.get("faults", ()))
    return (
        f"{over}; gap {result['gap_ms']:.1f} ms, {result['probes_lost']} probes lost",
        f"{steady['survived']} of {steady['opened']} connections live, "
        f"young ones {young['survived']} of {young['opened']}",
    )


def check_size(connections: int, runs: int) -> None:
    """CarpoolError for sizes that the lab does not do."""
    for found, most, what in (
        (connections, CONNECTIONS_MAX, "--connections"),
        (runs, RUNS_MAX, "--runs"),
    ):
        if not 1 <= found <= most:
            raise CarpoolError(f"found {what} {found}, expected 1 to {most}")
