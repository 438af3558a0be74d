"""What is measured of the traffic with one peer: rates, lag, bulks.

Room: service. Joins the meters of `machine/meter.py` to a link's counters; refuses to know what is
in the frames.
"""

from __future__ import annotations

from typing import Protocol

from carpool.machine.meter import Bulk, Lag, Questions, Rate
from carpool.proto import statestream as ss


class Counted(Protocol):
    """A link, as far as it is counted (`stateslink.Link`): requests since the start."""

    sent: int
    received: int

    def send(self, frame: bytes, requests: int = 0) -> None: ...


class Meter:
    """Of one link."""

    def __init__(self, link: Counted, now_s: float) -> None:
        self.sending, self.receiving = Bulk(), Bulk()
        self._link = link
        self._sent, self._received = Rate(), Rate()
        self._lag = Lag(now_s)
        self._questions = Questions()

    def see(self, now_s: float) -> None:
        """To be called about once a second."""
        self._sent.see(self._link.sent, now_s)
        self._received.see(self._link.received, now_s)

    def told(self, read_s: float, now_s: float) -> None:
        """Events that were read at `read_s` have been sent: ask, now and then, when they are in."""
        question = self._questions.ask(read_s, now_s)
        if question is not None:
            self._link.send(ss.build(ss.Kind.ASK, question))

    def acknowledged(self, payload: bytes, now_s: float) -> None:
        lag_s = self._questions.answered(payload, now_s)
        if lag_s is not None:
            self._lag.add(lag_s, now_s)

    def lag_p99_ms(self, now_s: float) -> float | None:
        """99 of 100 were sooner in the peer's kernel; None: nothing was measured lately."""
        return self._lag.status(now_s)["p99_ms"]

    def lost(self) -> None:
        """The stream is gone."""
        self._questions.forget()
        self.sending.forget()
        self.receiving.forget()

    def status(self, now_s: float) -> dict[str, object]:
        """The keys of one peer in the answer to `status`."""
        link = self._link
        running, count = self.receiving, link.received
        if self.sending.total is not None:
            running, count = self.sending, link.sent
        lasts = [last for bulk in (self.sending, self.receiving) if (last := bulk.last(now_s))]
        return {
            "sent_per_s": round(self._sent.per_s(link.sent, now_s), 1),
            "received_per_s": round(self._received.per_s(link.received, now_s), 1),
            "lag": self._lag.status(now_s),
            "bulk_done": running.done(count),
            "bulk_total": running.total,
            "last_bulk": min(lasts, key=lambda last: last["ago_s"], default=None),
        }
