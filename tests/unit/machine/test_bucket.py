"""The token bucket: its burst, its rate, and a clock that stands still."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carpool.machine.bucket import Bucket


def test_a_burst_then_one_for_each_interval() -> None:
    bucket = Bucket(per_s=2, burst=3, now_s=100)
    assert [bucket.take(100) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(100.4)
    assert bucket.take(100.5)
    assert not bucket.take(100.5)


def test_a_pause_gives_no_more_than_the_burst() -> None:
    bucket = Bucket(per_s=10, burst=2, now_s=0)
    assert [bucket.take(1000) for _ in range(3)] == [True, True, False]


def test_a_clock_that_stands_still_gives_nothing() -> None:
    bucket = Bucket(per_s=10, burst=1, now_s=5)
    assert [bucket.take(5), bucket.take(5), bucket.take(4)] == [True, False, False]


@given(
    per_s=st.floats(0.1, 100),
    burst=st.integers(1, 50),
    steps_s=st.lists(st.floats(0, 5), max_size=200),
)
def test_never_more_than_burst_and_rate(per_s: float, burst: int, steps_s: list[float]) -> None:
    bucket, now_s, taken = Bucket(per_s, burst, 0.0), 0.0, 0
    for step_s in steps_s:
        now_s += step_s
        taken += bucket.take(now_s)
        assert taken <= burst + per_s * now_s + 1e-6
