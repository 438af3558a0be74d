"""Walks below a root: the same by the kernel's word and step by step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carpool.errors import KernelError
from carpool.kernel.rooted import BlockedError, Rooted


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a secret beside it."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "root/etc/a/b").mkdir(parents=True)
    (tmp_path / "root/etc/file").write_text("text")
    return tmp_path / "root"


@pytest.fixture(params=[False, True], ids=["by the kernel", "step by step"])
def rooted(request: pytest.FixtureRequest, root: Path) -> Rooted:
    return Rooted(root, step_by_step=request.param)


def test_a_directory_is_found_below_the_root(rooted: Rooted, root: Path) -> None:
    with rooted.directory("/etc/a/b") as here:
        assert os.path.samestat(os.fstat(here), os.stat(root / "etc/a/b"))
    with rooted.directory("") as here:
        assert os.path.samestat(os.fstat(here), os.stat(root))


@pytest.mark.parametrize("target", ["../../secret", "a", "/etc"])
def test_no_link_on_the_way_is_followed(rooted: Rooted, root: Path, target: str) -> None:
    (root / "etc/link").symlink_to(target)
    for path in ("/etc/link", "/etc/link/b"):
        with pytest.raises(BlockedError, match="/etc/link is a symbolic link to"):
            with rooted.directory(path):
                pass
        assert rooted.seen(f"{path}/x") is None


def test_what_is_missing_or_no_directory_is_told_apart(rooted: Rooted) -> None:
    with pytest.raises(FileNotFoundError):
        with rooted.directory("/etc/gone/b"):
            pass
    with pytest.raises(KernelError, match="/etc/file is no directory"):
        with rooted.directory("/etc/file/b"):
            pass


def test_no_descriptor_is_left_open(rooted: Rooted, root: Path) -> None:
    (root / "etc/link").symlink_to("a")
    before = os.listdir("/proc/self/fd")
    for path in ("/etc/a/b/x", "/etc/gone/x", "/etc/link/x", "/etc/file/x"):
        rooted.seen(path)
    assert os.listdir("/proc/self/fd") == before
