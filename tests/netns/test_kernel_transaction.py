"""Transactions on small disks, and with the files of several users.

Each test runs in a child with mounts of its own, which the machine never sees and which go with it.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import subprocess
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from carpool.errors import KernelError
from carpool.kernel.stage import Stage
from tests.unit.kernel.trees import Swap, Tree, build, look, seen

CLONE_NEWNS = 0x20000  # linux/sched.h
OLD: Tree = {"a": ("file", 0o644, b"a" * 100_000), "b": ("file", 0o600, b"b" * 100_000)}
NEW: Tree = {"a": ("file", 0o644, b"A" * 150_000), "c": ("file", 0o600, b"C" * 150_000)}


def alone(act: Callable[[], None]) -> None:
    """Do it in a child with its own mount namespace; fail where it fails."""
    child = os.fork()
    if child == 0:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.unshare(CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            act()
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0, "the child failed: see its traceback"


def small_disk(path: Path, options: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)


def fill(directory: Path) -> None:
    """To the last block."""
    with (directory / "filler").open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


def swap_on(tmp_path: Path, options: str, new: Tree = NEW) -> Swap:
    """The old tree on a small disk; the transaction's directory on another one."""
    small_disk(tmp_path / "small", options)
    made = Swap(tmp_path / "small/here", tmp_path / "there", tmp_path / "state")
    build(made.here, OLD)
    build(made.there, new)
    return made


@pytest.mark.parametrize(
    ("options", "message"),
    [("size=400k", "KiB free and .* KiB are needed"), ("size=8m,nr_inodes=7", "more files and 2")],
    ids=["blocks", "inodes"],
)
def test_no_room_is_told_before_anything_is_done(
    tmp_path: Path, options: str, message: str
) -> None:
    def act() -> None:
        swap = swap_on(tmp_path, options)
        before = seen(swap.here)
        with pytest.raises(KernelError, match=message):
            swap.prepared()
        assert seen(swap.here) == before
        assert not swap.state.exists()

    alone(act)


def test_a_disk_that_gets_full_while_it_prepares(tmp_path: Path) -> None:
    def act() -> None:
        swap = swap_on(tmp_path, "size=4m")
        before = seen(swap.here)

        def tell(act: str) -> None:
            if act == "lay /etc/site/c":
                fill(tmp_path / "small")

        with pytest.raises(KernelError, match="get ready /etc/site/c: No space left"):
            swap.prepared(tell)
        assert seen(swap.here) == before
        assert not swap.state.exists()

    alone(act)


@pytest.mark.parametrize("where", ["small/state", "state"])
def test_rolled_back_on_a_full_disk(tmp_path: Path, where: str) -> None:
    """With the snapshot on the same file system as the files, and on another one."""

    def act() -> None:
        made = swap_on(tmp_path, "size=4m")
        swap = Swap(made.here, made.there, tmp_path / where)
        before = seen(swap.here)
        transaction = swap.prepared()
        transaction.swap()
        assert look(swap.here) == look(swap.there)
        fill(tmp_path / "small")
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            (tmp_path / "small/more").write_bytes(b"more")
        (tmp_path / "small/more").unlink()
        transaction.roll_back()
        assert seen(swap.here) == before
        assert not swap.state.exists()

    alone(act)


def test_a_copy_back_makes_its_own_room(tmp_path: Path) -> None:
    """A disk that gets full while rolling back has room where the new file goes away."""

    def act() -> None:
        swap = swap_on(tmp_path, "size=4m", {**OLD, "a": NEW["a"]})
        before = seen(swap.here)

        def tell(act: str) -> None:
            if act == "restore /etc/site/a":
                fill(tmp_path / "small")

        transaction = swap.prepared(tell)
        transaction.swap()
        transaction.roll_back()
        assert seen(swap.here) == before

    alone(act)


def test_the_snapshot_comes_back_from_another_file_system_as_it_was(tmp_path: Path) -> None:
    def act() -> None:
        swap = swap_on(tmp_path, "size=4m")
        path = swap.here / "etc/site/a"
        os.chown(path, 4_000_001, 4_000_002)
        path.chmod(0o4750)
        os.utime(path, ns=(5, 1_234_567_890_123_456_789))
        before = seen(swap.here)
        transaction = swap.prepared()
        transaction.swap()
        assert (path.stat().st_uid, path.stat().st_mode & 0o7777) == (0, 0o644)
        transaction.roll_back()
        assert seen(swap.here) == before

    alone(act)


def test_owners_alone_are_changed_and_put_back(tmp_path: Path) -> None:
    def act() -> None:
        tree: Tree = {
            "d": ("dir", 0o750, b""),
            "d/f": ("file", 0o4755, b"f"),
            "d/l": ("link", 0, b"f"),
        }
        swap = Swap(tmp_path / "here", tmp_path / "there", tmp_path / "state")
        build(swap.here, tree)
        build(swap.there, tree)
        for path in (swap.there / "etc/site").rglob("*"):
            os.lchown(path, 4_000_001, 4_000_002)
        (swap.there / "etc/site/d/f").chmod(0o4755)  # chown took the 4 away
        before = seen(swap.here)
        inode = (swap.here / "etc/site/d/f").stat().st_ino
        transaction = swap.prepared()
        transaction.swap()
        assert seen(swap.here, times=False) == seen(swap.there, times=False)
        assert (swap.here / "etc/site/d/f").stat().st_ino == inode
        transaction.roll_back()
        assert seen(swap.here) == before
        assert transaction.phase is None

    alone(act)


def test_a_full_stage_keeps_what_is_whole(tmp_path: Path) -> None:
    def act() -> None:
        small_disk(tmp_path / "small", "size=256k")
        stage = Stage(tmp_path / "small/stage")
        small, large = b"s" * 1000, b"l" * 1_000_000
        digest = hashlib.sha256(small).hexdigest()
        stage.put(digest, [small], len(small))
        with pytest.raises(KernelError, match="No space left on device"):
            stage.put(hashlib.sha256(large).hexdigest(), [large], len(large))
        assert stage.have() == {digest}
        assert [one.name for one in (tmp_path / "small/stage").iterdir()] == [digest]

    alone(act)
