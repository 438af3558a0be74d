"""Counters: ours, which only grows, and what we remember of the peers'.

Room: machine. Knows neither packets nor who is master.

Rule 1: our counter is derived from the time, so that it grows over restarts, and ends in a tag
        of the node: two nodes with the same time must not take each other's packets for their own.
Rule 2: a counter that stands still or goes back a little was recorded: chance does not do that.
        A peer whose counter was seen to grow in small steps is proven, and may not go back at all
        while it lives.
Rule 3: a peer lives until nothing of it was accepted for `lifetime_s` (the master-down interval):
        after that a lower counter is a restart. Remembering longer would turn a peer that came back
        with a corrected clock into a second master (docs/decisions/0010).
Rule 4: a peer with other habits (UCarp draws a random counter for each packet, BSD starts at a
        random one) never becomes proven, or is judged anew after its jump.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from carpool.model.config import Address

PEERS_MAX = 16  # remembered per VHID; a group has at most 8 nodes
PROVEN_STEPS = 3
TAG_VALUES = 256
STEP_MAX = 1 << 40  # more than an hour of ours; a step between random 64-bit numbers is larger


class CounterClock:
    """Our counter: microseconds of wall clock at the start plus monotonic time since, and a tag.

    64 bits are enough until the year 4253.
    """

    __slots__ = ("_last", "_start_s", "_start_us", "_tag")

    def __init__(self, start_us: int, now_s: float, node: str) -> None:
        self._start_us = start_us
        self._start_s = now_s
        self._tag = zlib.crc32(node.encode()) % TAG_VALUES
        self._last = 0

    def next(self, now_s: float) -> int:
        """The next counter: greater than any before, whatever the clock does."""
        by_time_us = self._start_us + int((now_s - self._start_s) * 1_000_000)
        self._last = max(self._last + TAG_VALUES, by_time_us * TAG_VALUES + self._tag)
        return self._last


@dataclass(slots=True)
class _Record:
    last: int
    steps: int  # how often in a row it grew by less than STEP_MAX
    seen_s: float
    own_form_s: float | None = None  # when something came that was signed as we sign


class CounterMemory:
    """The last counter of each sender of one VHID."""

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: dict[Address, _Record] = {}

    def accept(self, source: Address, counter: int, now_s: float, lifetime_s: float) -> bool:
        """Whether this counter may come from `source` now; remembered if so."""
        record = self._records.get(source)
        if record is None or now_s - record.seen_s > lifetime_s:
            self._remember(source, _Record(counter, 0, now_s))
            return True
        step = counter - record.last
        if step <= 0 and (step > -STEP_MAX or record.steps >= PROVEN_STEPS):
            return False
        record.steps = min(record.steps + 1, PROVEN_STEPS) if 0 < step < STEP_MAX else 0
        record.last = counter
        record.seen_s = now_s
        return True

    def signs_as_we(self, source: Address, now_s: float) -> None:
        """What was just accepted of `source` was signed for a form of ours."""
        self._records[source].own_form_s = now_s

    def has_our_form(self, source: Address, now_s: float, lifetime_s: float) -> bool:
        """Whether that was so within `lifetime_s`."""
        record = self._records.get(source)
        at_s = record.own_form_s if record else None
        return at_s is not None and now_s - at_s <= lifetime_s

    def _remember(self, source: Address, record: _Record) -> None:
        if source not in self._records and len(self._records) >= PEERS_MAX:
            oldest = min(self._records, key=lambda known: self._records[known].seen_s)
            del self._records[oldest]
        self._records[source] = record
