"""What states keeps of a change of role: a line of its file for each, and none for its start."""

from __future__ import annotations

from pathlib import Path

from carpool.kernel.journal import Journal
from carpool.kernel.poller import Poller
from carpool.kernel.stream import Wire
from carpool.proto import statestream as ss
from carpool.service.stateslink import Link
from carpool.service.statesmoment import Moments, stream_of
from tests.unit.model.configs import ips

NOW_S = 100.0


class Owner:
    def now_s(self) -> float:
        return NOW_S

    def link_up(self, link: Link) -> None: ...

    def link_down(self, link: Link, reason: str, *, was_up: bool, cause: str = "") -> None: ...

    def refused(self, cause: str) -> None: ...

    def inject(self, link: Link, payload: bytes) -> str | None: ...

    def compare(self, link: Link, frame: ss.Frame) -> str | None: ...

    def bulk_began(self, link: Link) -> None: ...

    def bulk_ended(self, link: Link) -> None: ...


def link() -> Link:
    source, target = *ips("10.10.3.2"), *ips("10.10.3.3")
    return Link(
        Owner(),
        Poller(),
        group="g",
        names=("fw1", "fw2"),
        ends=(source, target),
        port=1,
        wire=Wire(),
    )


def test_each_change_is_a_line_and_the_first_word_is_none(tmp_path: Path) -> None:
    file = tmp_path / "states.events"
    backup, moments = (
        Moments(Journal(file), [link()], lambda: NOW_S, lambda: "2026-07-01T10:00:00Z", int)
        for _ in range(2)
    )
    backup.heard(False)
    moments.heard(True)
    moments.heard(True)
    assert not file.exists()
    moments.heard(False)
    moments.heard(False)
    moments.heard(True)
    gave, took = Journal(file).last(9)
    assert gave["text"] == "no longer MASTER: fw2 was told nothing, no stream for less than 1 ms"
    assert str(took["text"]).startswith("MASTER with 0 entries: nothing of fw2, no stream")
    assert (took["kind"], took["monotonic_s"], took["vhost"]) == ("states", NOW_S, None)


def test_a_link_as_it_is() -> None:
    one = link()
    one.meter.receiving.begin(0, 7, NOW_S - 30.0)
    assert stream_of(one, NOW_S).taking
    one.meter.receiving.end(7, NOW_S - 20.0)
    found = stream_of(one, NOW_S)
    assert (found.peer, found.up, found.heard_s, found.whole_s) == ("fw2", False, None, 20.0)
    assert not found.taking and found.lag_ms is None
