"""Global limits are raised only where they are lower, and come back however the bench ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from carpool.errors import KernelError
from carpool.lab.statesbench.limits import Ended, raised

WANTED = {"net/low": 1000, "net/high": 1000}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/low").write_text("10\n")
    (tmp_path / "net/high").write_text("5000\n")
    return tmp_path


def values(root: Path) -> tuple[int, int]:
    return int((root / "net/low").read_text()), int((root / "net/high").read_text())


@pytest.mark.parametrize("number", [None, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_they_come_back(root: Path, number: signal.Signals | None) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ends = () if number is None else (KeyboardInterrupt, Ended)
    try:
        with raised(root, WANTED):
            assert values(root) == (1000, 5000)
            if number is not None:
                os.kill(os.getpid(), number)
    except ends:
        pass
    assert values(root) == (10, 5000)
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_was_raised_comes_back_when_another_is_refused(root: Path) -> None:
    with (
        pytest.raises(KernelError, match="net/missing"),
        raised(root, {**WANTED, "net/missing": 1}),
    ):
        raise AssertionError
    assert values(root) == (10, 5000)
