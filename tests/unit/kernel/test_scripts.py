"""Which files may be run."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.kernel.scripts import FILES_MAX, scan


def put(path: Path, mode: int = 0o755) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_names_in_order_and_what_is_nobodys(tmp_path: Path) -> None:
    for name in ("20-b", "10_A", ".carpool-1", ".gitkeep", "README"):
        put(tmp_path / name)
    assert scan(tmp_path) == (["10_A", "20-b"], [])


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    assert scan(tmp_path / "none") == ([], [])


@pytest.mark.parametrize("name", ["hook.sh", "hook~", "hook.dpkg-old", "a b", "x" * 65])
def test_names_that_run_parts_would_pass_over(tmp_path: Path, name: str) -> None:
    put(tmp_path / name)
    names, (flaw,) = scan(tmp_path)
    assert (names, flaw.name) == ([], name)
    assert "run-parts" in flaw.expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(0o644, "an executable file"), (0o775, "nobody but its owner"), (0o757, "nobody but")],
)
def test_modes(tmp_path: Path, mode: int, expected: str) -> None:
    path = put(tmp_path / "hook", mode)
    names, (flaw,) = scan(tmp_path)
    assert names == []
    assert (flaw.found, str(path) in flaw.hint) == (f"mode {mode:04o}", True)
    assert flaw.expected.startswith(expected)


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert [(one.name, one.expected) for one in scan(tmp_path)[1]] == [
        ("gone", "a file"),
        ("sub", "a file"),
    ]


def test_a_directory_that_others_may_write(tmp_path: Path) -> None:
    put(tmp_path / "hook")
    tmp_path.chmod(0o777)
    names, (flaw,) = scan(tmp_path)
    assert (names, flaw.name) == ([], "")
    assert "go-w" in flaw.hint


def test_so_many_and_no_more(tmp_path: Path) -> None:
    for number in range(FILES_MAX + 1):
        put(tmp_path / f"{number:03d}")
    names, (flaw,) = scan(tmp_path)
    assert (len(names), flaw.name) == (FILES_MAX, f"{FILES_MAX:03d}")
