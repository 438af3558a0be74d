"""The lab's wall clock, for tests, which are skipped where there is no libfaketime."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.lab import wallclock


class WallClock(wallclock.WallClock):
    """As in the lab."""

    def __init__(self, directory: Path, seen: str = "", python_path: str = "") -> None:
        if not wallclock.LIBRARIES:
            pytest.skip("needs libfaketime")
        super().__init__(directory, seen, python_path)
