"""Comparing two tables: what is drift and who mends it, and when to look again.

Room: machine. Knows no socket, no kernel and no clock (`now_s` is an argument, monotonic seconds).
The walk itself, which asks kernels and peers, is `service/stateswalk.py`.

The table of the MASTER is the right one. What it lacks on a backup is sent once more; what a backup
has and it has not, is removed there, unless packets refresh it: then the flow lives on the backup,
and the master is told of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from carpool.proto import ctmessage as ct
from carpool.proto.statecheck import Found, Table, Verdict

WALK_EVERY_S = 300.0
WALK_FIRST_S = 30.0  # after the greeting, whose bulk has just told all
PACE_PER_S = 20_000  # entries of a walk that nobody waits for: some 10 % of a core on each node
SETTLE_S = 3.0  # between two looks at what a peer does not have: does a packet refresh it?
SUSPECTS_MAX = 10_000  # looked at twice in one go; some 300 bytes each
LISTED_MAX = 1000  # differences of one kind that a person is shown; all are counted
FULL_SHARE = 0.9  # of nf_conntrack_max, from which on a table is told to be nearly full

_ENDS_SOON_S = 10  # its end may be on its way
# What is not assured lives no longer in any kernel's default (nf_conntrack-sysctl.rst), but
# protocols without ports: "generic", 600 s.
_FRESH_MAX_S = {True: 120, False: 600}
_NOTHING = Found()


class Action(StrEnum):
    """What to do about an entry of ours that a peer does not have just so."""

    LEAVE = "leave"
    SEND = "send"
    REMOVE = "remove"  # ours


def judge(verdict: Verdict, *, master: bool, their_master: bool, alive: bool) -> Action:
    """`master` is who has the entry, `their_master` who has not; `alive`: packets refresh it."""
    if master:
        return Action.LEAVE if their_master else Action.SEND
    if not their_master or verdict is Verdict.DIFFERENT:
        return Action.LEAVE  # no truth to go by; or the master's own walk mends it
    return Action.SEND if alive else Action.REMOVE


def matters(entry: ct.Entry) -> bool:
    """Whether it is worth a word that a peer lacks it: not if it ends soon by itself."""
    least_s = _ENDS_SOON_S
    if not entry.assured:
        least_s = _FRESH_MAX_S[entry.orig.protocol in ct.LASTING]
    return entry.timeout_s > least_s


def refreshed(first_s: int, second_s: int) -> bool:
    """Whether an entry's timeout, seen twice SETTLE_S apart, was set back by a packet between."""
    return second_s >= first_s - 1


def nearly_full(name: str, table: Table) -> str | None:
    """What a person is told of a table that may soon refuse connections. No limit is a 0."""
    if not 0 < FULL_SHARE * table.entries_max <= table.entries:
        return None
    return (
        f"the table of {name} holds {table.entries} of {table.entries_max} entries: raise"
        " net.netfilter.nf_conntrack_max there before it refuses connections"
    )


@dataclass(frozen=True, slots=True)
class Drift:
    """How far two tables were apart. It takes two walks to know: the master's finds what the backup
    lacks, the backup's what it has too much."""

    ours: Found = _NOTHING  # of the last walk over our table
    theirs: Found = _NOTHING  # and over the peer's
    total: Found = _NOTHING  # of all walks since the start
    at_s: float | None = None  # when the last one ended

    @property
    def last(self) -> Found:
        return self.ours + self.theirs

    def walked(self, found: Found, now_s: float, *, by_us: bool) -> Drift:
        """A walk has ended."""
        ours, theirs = (found, self.theirs) if by_us else (self.ours, found)
        return Drift(ours, theirs, self.total + found, now_s)


def gives_table(*, master: bool, was_master: bool, theirs: Table) -> bool:
    """Whether a peer that has just greeted is given our table. Not a master that has taken one by
    who has only copies of its own: it would learn of the dead. `was_master`: since we met last."""
    return master or was_master or not (theirs.master and theirs.whole)


class Rounds:
    """When to walk for a peer by ourselves: soon after its stream is up, then slowly."""

    def __init__(self) -> None:
        self.deadline_s: float | None = None

    def up(self, now_s: float) -> None:
        self.deadline_s = now_s + WALK_FIRST_S

    def down(self) -> None:
        self.deadline_s = None

    def due(self, now_s: float) -> bool:
        """Whether it is time; if so, the next time is set."""
        if self.deadline_s is None or now_s < self.deadline_s:
            return False
        self.deadline_s = now_s + WALK_EVERY_S
        return True
