"""What the states process measures of a peer: rates, and the lag from event to injected.

Room: machine. Constant memory and no clock: `now_s` is an argument. Refuses to know what is counted
and how the question for an acknowledgement travels.

The lag is measured by one clock, the sender's: from reading an event here until the peer's word is
back here that everything up to it is in its kernel. That is longer than the lag itself by the way
back; half of it would be a guess.
"""

from __future__ import annotations

import struct
from collections import deque
from math import ceil, log

WINDOW_S = 10.0  # of a rate
SAMPLE_EVERY_S = 1.0
LAG_MIN_S = 10e-6  # the bound of the first bucket; each is 2 ** (1 / 4) times the one before it
LAG_BUCKETS = 96  # up to 140 s; the last one takes all that is longer
LAG_WINDOW_S = 60.0  # quantiles are of the last one to two of these
ASK_EVERY_S = 0.1  # one acknowledgement in that time is enough, and costs next to nothing
ASK_LOST_S = 10.0  # a question without an answer is forgotten then
_STEP = log(2) / 4
_NUMBER = struct.Struct(">Q")


class Rate:
    """How fast a counter that only grows has grown in the last WINDOW_S seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def see(self, total: int, now_s: float) -> None:
        """The counter as it is; to be called about once a second, more often does no harm."""
        samples = self._samples
        if samples and now_s < samples[-1][0] + SAMPLE_EVERY_S:
            return
        samples.append((now_s, total))
        while len(samples) > 1 and samples[1][0] <= now_s - WINDOW_S:
            samples.popleft()

    def per_s(self, total: int, now_s: float) -> float:
        """Per second, up to `total` now; 0 before there is anything to compare with."""
        if not self._samples:
            return 0.0
        since_s, before = self._samples[0]
        return (total - before) / (now_s - since_s) if now_s > since_s else 0.0


class Lag:
    """A histogram of lags in buckets that grow: quantiles are right to 10 %."""

    def __init__(self, now_s: float) -> None:
        self._now = [0] * LAG_BUCKETS
        self._before = [0] * LAG_BUCKETS  # the window before this one
        self._until_s = now_s + LAG_WINDOW_S

    def add(self, lag_s: float, now_s: float) -> None:
        self._turn(now_s)
        bucket = ceil(log(lag_s / LAG_MIN_S) / _STEP) if lag_s > LAG_MIN_S else 0
        self._now[min(bucket, LAG_BUCKETS - 1)] += 1

    def status(self, now_s: float) -> dict[str, float | int | None]:
        """`p50_ms`, `p99_ms` (null without samples) and the number of `samples`."""
        self._turn(now_s)
        counts = [a + b for a, b in zip(self._now, self._before, strict=True)]
        p50_ms, p99_ms = (_quantile_ms(counts, share) for share in (0.5, 0.99))
        return {"p50_ms": p50_ms, "p99_ms": p99_ms, "samples": sum(counts)}

    def _turn(self, now_s: float) -> None:
        if now_s < self._until_s:
            return
        late = now_s >= self._until_s + LAG_WINDOW_S
        self._before = [0] * LAG_BUCKETS if late else self._now
        self._now = [0] * LAG_BUCKETS
        self._until_s = now_s + LAG_WINDOW_S


def _quantile_ms(counts: list[int], share: float) -> float | None:
    """The middle of the bucket in which the quantile is, in milliseconds."""
    rank, seen = ceil(share * sum(counts)), 0
    for bucket, count in enumerate(counts):
        seen += count
        if count and seen >= rank:
            return round(LAG_MIN_S * 2 ** ((bucket - 0.5) / 4) * 1000, 4)
    return None


class Questions:
    """When to ask a peer for an acknowledgement, and what its answer says. One at a time."""

    def __init__(self) -> None:
        self._number = 0
        self._asked: tuple[bytes, float] | None = None  # the question, since when the event is here
        self._next_s = float("-inf")

    def ask(self, read_s: float, now_s: float) -> bytes | None:
        """The payload of a question that follows an event which was read at `read_s`; None: not
        now."""
        if now_s < self._next_s or (self._asked is not None and now_s < self._next_s + ASK_LOST_S):
            return None
        self._next_s = now_s + ASK_EVERY_S
        self._number += 1
        payload = _NUMBER.pack(self._number)
        self._asked = payload, read_s
        return payload

    def answered(self, payload: bytes, now_s: float) -> float | None:
        """The lag in seconds; None: that was not the question."""
        if self._asked is None or payload != self._asked[0]:
            return None
        _payload, read_s = self._asked
        self._asked = None
        return now_s - read_s

    def forget(self) -> None:
        """The stream is gone, and the answer with it."""
        self._asked = None


class Bulk:
    """How far a bulk is, whoever sends it, and how the last one went. `count` is of all requests to
    or from the peer: the news among them are few."""

    def __init__(self) -> None:
        self.total: int | None = None  # about; while one runs
        self._began: tuple[int, float] | None = None
        self._last: tuple[int, float, float] | None = None  # entries, seconds, when

    def begin(self, count: int, total: int, now_s: float) -> None:
        self._began, self.total = (count, now_s), total

    def end(self, count: int, now_s: float) -> None:
        """All of it is sent, or here. Harmless when none runs."""
        if self._began is not None:
            before, since_s = self._began
            self._last = count - before, now_s - since_s, now_s
        self.forget()

    def forget(self) -> None:
        """The stream is gone, and with it what was under way."""
        self._began = self.total = None

    def done(self, count: int) -> int | None:
        """Requests so far; None: none runs."""
        return None if self._began is None else count - self._began[0]

    def last(self, now_s: float) -> dict[str, float] | None:
        """`entries`, `duration_s` and `ago_s`; None: there was none yet."""
        if self._last is None:
            return None
        entries, duration_s, at_s = self._last
        return {"entries": entries, "duration_s": duration_s, "ago_s": now_s - at_s}
