"""A bad day as a value: who takes part, what goes wrong, and when.

Room: tests. `repr(plan)` is Python that builds the same plan again, so a failure that hypothesis
prints is pasted into test_regressions.py as it stands. Knows no engine and no clock: times are
virtual seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from carpool.model.damping import UNDAMPED, Damping

INTERFACES = ("lan", "wan", "dmz", "opt")
DELAY_S = 0.001  # one way, at most, on a network that is well
AGREED_S = 8.0  # all nodes have a change, and have power: so long until all are told


@dataclass(frozen=True, slots=True)
class NodePlan:
    advskew: int = 0
    drift_ppm: int = 0  # of its monotonic clock


@dataclass(frozen=True, slots=True)
class VipPlan:
    interface: str
    vhid: int
    families: str = "4"  # "4", "6" or "46"
    advbase_s: int = 1


@dataclass(frozen=True, slots=True)
class Noise:
    """All links lose, repeat, delay and thereby reorder packets."""

    at_s: float
    for_s: float
    loss: float = 0.0
    duplicate: float = 0.0
    delay_s: float = DELAY_S


@dataclass(frozen=True, slots=True)
class Split:
    """`side` and the others do not hear each other on one interface; None: until the end."""

    at_s: float
    for_s: float | None
    interface: str
    side: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OneWay:
    """Nothing that `sender` says reaches `receiver` on one interface."""

    at_s: float
    for_s: float | None
    interface: str
    sender: int
    receiver: int


@dataclass(frozen=True, slots=True)
class LinkDown:
    at_s: float
    for_s: float | None
    interface: str
    node: int


@dataclass(frozen=True, slots=True)
class SendFault:
    """Sending fails and the node is told so; receiving works."""

    at_s: float
    for_s: float | None
    interface: str
    node: int


@dataclass(frozen=True, slots=True)
class Pause:
    """The process stands still; the kernel does not: packets queue up, addresses run out."""

    at_s: float
    for_s: float
    node: int


@dataclass(frozen=True, slots=True)
class Suspend:
    """The whole machine sleeps: what is sent to it is lost, its addresses do not run out."""

    at_s: float
    for_s: float
    node: int


@dataclass(frozen=True, slots=True)
class Crash:
    """The machine is gone, its addresses with it; it boots again with a wall clock that is off."""

    at_s: float
    for_s: float | None
    node: int
    clock_step_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Kill:
    """The process is gone; the kernel keeps the addresses for as long as they live."""

    at_s: float
    for_s: float | None
    node: int
    clock_step_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Command:
    """maintenance on|off, disable, enable, switchover, bulk on|off, stop, start, check
    fails|passes."""

    at_s: float
    node: int
    verb: str


@dataclass(frozen=True, slots=True)
class Change:
    """Another group.toml. Each node gets it `late_s` after `at_s`, or once it has power again, or
    never (None). When all have it, all are told so, each in its own time (regroup.py)."""

    at_s: float
    late_s: tuple[float | None, ...]  # by node
    password: str = "simulated"
    advbase_s: int | None = None  # of all VIPs; None: what each VipPlan says
    without: tuple[int, ...] = ()  # the VIPs that it has not, by their place in the plan

    @property
    def ends_s(self) -> float:
        """When the last node has had it, if it has power."""
        return self.at_s + max((late_s for late_s in self.late_s if late_s is not None), default=0)


Fault = Noise | Split | OneWay | LinkDown | SendFault | Pause | Suspend | Crash | Kill | Command


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    nodes: tuple[NodePlan, ...]
    vips: tuple[VipPlan, ...]
    faults: tuple[Fault, ...] = ()
    preempt: bool = True
    unicast: bool = False
    detect_ms: int = 0  # between packets of BFD; 0: there is none
    await_bulk: bool = False  # every boot holds preemption until the states process is done
    changes: tuple[Change, ...] = ()
    damping: Damping = UNDAMPED
    before: Change | None = None  # what the group begins with; of times nothing is heeded

    @property
    def interfaces(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(vip.interface for vip in self.vips))

    @property
    def ends_s(self) -> float:
        """When the last fault begins or ends, and every change has come as far as it gets."""
        times = [fault.at_s + (getattr(fault, "for_s", 0.0) or 0.0) for fault in self.faults]
        times += [change.ends_s for change in self.changes]
        return max(times, default=0.0) + (AGREED_S if self.changes else 0.0)

    def advbases_s(self) -> set[int]:
        """All that ever count."""
        forms = (self.before, *self.changes)
        return {(form and form.advbase_s) or vip.advbase_s for vip in self.vips for form in forms}
