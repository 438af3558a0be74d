"""Keeps what the states process had when the role of this node changed, among the events.

Room: service. A file of its own in the run directory, so that nobody waits for anybody: failover
tells its role and goes on, and who shows events reads it. Refuses to know why the role changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from carpool.kernel import clock, conntrack
from carpool.kernel.journal import Journal, say
from carpool.machine.moment import KIND, Stream, became, ceased

if TYPE_CHECKING:
    from carpool.service.stateslink import Link


class Moments:
    """To be told what failover says, after all that depends on it is done."""

    def __init__(
        self,
        journal: Journal,
        links: Sequence[Link],
        now_s: Callable[[], float],
        wall_iso: Callable[[], str] = clock.wall_iso,
        entries: Callable[[], int] = conntrack.entries,
    ) -> None:
        self._journal = journal
        self._links = links
        self._now_s = now_s
        self._wall_iso = wall_iso
        self._entries = entries
        self._master: bool | None = None  # what failover said last

    def heard(self, master: bool) -> None:
        """What it says first is no change: this process is what began."""
        before, self._master = self._master, master
        if before is None or before is master:
            return
        now_s = self._now_s()
        streams = [stream_of(link, now_s) for link in self._links]
        text = became(self._entries(), streams) if master else ceased(streams)
        self._journal.add(
            {
                "time": self._wall_iso(),
                "monotonic_s": round(now_s, 6),
                "kind": KIND,
                "vhost": None,
                "old": None,
                "new": None,
                "text": text,
            }
        )
        say(f"states: {text}")


def stream_of(link: Link, now_s: float) -> Stream:
    """As it is now."""
    last = link.meter.receiving.last(now_s)
    return Stream(
        peer=link.name,
        up=link.up,
        since_s=now_s - link.since_s,
        heard_s=None if link.heard_s is None else now_s - link.heard_s,
        whole_s=None if last is None else last["ago_s"],
        taking=link.meter.receiving.total is not None,
        queued_bytes=link.queued_bytes,
        lag_ms=link.meter.lag_p99_ms(now_s),
        error="" if link.up else link.last_error or "",
    )
