"""When events wait for each other, in virtual time."""

from __future__ import annotations

import pytest

from carpool.machine.gather import Gathering


def steady(gathering: Gathering, rate: float, every_s: float) -> float:
    """The pause after a second of looks at events of this rate."""
    pause_s = 0.0
    for step in range(1, int(1 / every_s) + 1):
        pause_s = gathering.pause_s(round(rate * every_s), 100.0 + step * every_s)
    return pause_s


@pytest.mark.parametrize(
    ("rate", "spare_s", "scarce_s"),
    [(100, 0, 0), (1000, 0, 0), (5000, 0, 0.004), (20_000, 0.006, 0.010)],
)
def test_pauses_follow_the_rate_and_whether_cores_idle(
    rate: float, spare_s: float, scarce_s: float
) -> None:
    gathering = Gathering()
    gathering.idle(0.9)
    assert steady(gathering, rate, 0.01) == spare_s
    gathering = Gathering()
    gathering.idle(0.05)
    assert steady(gathering, rate, 0.01) == scarce_s


def test_a_burst_alone_is_no_load() -> None:
    gathering = Gathering()
    gathering.idle(0.0)
    assert gathering.pause_s(1, 100.0) == 0
    assert gathering.pause_s(50, 105.0) == 0  # after silence, at once


def test_no_time_between_two_looks() -> None:
    gathering = Gathering()
    gathering.pause_s(1, 100.0)
    assert gathering.pause_s(1, 100.0) >= 0


def test_what_gathering_sets_free_does_not_end_it() -> None:
    gathering = Gathering()

    def scarce(share: float) -> bool:
        gathering.idle(share)
        return gathering.scarce

    shares = (0.1, 0.3, 0.6, 0.3)  # the second: some of it is our own saving
    assert [scarce(share) for share in shares] == [True, True, False, False]
