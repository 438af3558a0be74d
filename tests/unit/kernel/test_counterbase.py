"""The counter goes on over restarts, whatever somebody does to the wall clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.kernel.counterbase import FILE, start_us

HOUR_US = 3_600_000_000
WALL_US = 1_700_000_000_000_000


@pytest.fixture
def boot_id(tmp_path: Path) -> Path:
    path = tmp_path / "boot_id"
    path.write_text("one\n")
    return path


def test_the_first_start_of_a_boot_goes_by_the_wall_clock(tmp_path: Path, boot_id: Path) -> None:
    assert start_us(tmp_path, 50.0, WALL_US, boot_id) == WALL_US


@pytest.mark.parametrize("step_us", [-HOUR_US, HOUR_US, -WALL_US])
def test_a_later_start_goes_on_from_there(tmp_path: Path, boot_id: Path, step_us: int) -> None:
    start_us(tmp_path, 50.0, WALL_US, boot_id)
    assert start_us(tmp_path, 60.0, WALL_US + step_us, boot_id) == WALL_US + 10_000_000


def test_another_boot_asks_anew(tmp_path: Path, boot_id: Path) -> None:
    start_us(tmp_path, 50.0, WALL_US, boot_id)
    boot_id.write_text("two\n")
    assert start_us(tmp_path, 1.0, WALL_US + HOUR_US, boot_id) == WALL_US + HOUR_US


@pytest.mark.parametrize("content", ["", "one", "one x", "one 1 2", f"one {1 << 60}", "\xff"])
def test_what_is_no_counter_is_none(tmp_path: Path, boot_id: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    assert start_us(tmp_path, 50.0, WALL_US, boot_id) == WALL_US


def test_without_a_place_for_it_the_wall_clock_is_asked(tmp_path: Path, boot_id: Path) -> None:
    assert start_us(tmp_path / "away", 50.0, WALL_US, boot_id) == WALL_US
    assert start_us(tmp_path, 50.0, WALL_US, tmp_path / "no boot id") == WALL_US
