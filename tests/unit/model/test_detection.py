from __future__ import annotations

import pytest

from carpool.model.detection import Detection, ranges


@pytest.mark.parametrize(("interval_ms", "wrong"), [(9, 1), (10, 0), (50, 0), (1000, 0), (1001, 1)])
def test_an_interval_is_neither_too_short_nor_too_long(interval_ms: int, wrong: int) -> None:
    assert len(list(ranges(Detection(interval_ms=interval_ms)))) == wrong
