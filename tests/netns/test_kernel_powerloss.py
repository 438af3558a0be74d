"""Power that is lost at the steps of a transaction: a real file system forgets all that it was not
made to write, and after the next mount everything is as it was, or new."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from fcntl import ioctl
from functools import partial
from pathlib import Path

import pytest

from tests.unit.kernel.test_transaction import (
    A,
    B,
    killed_at,
    roll_back_what_is_left,
    swap_and_confirm,
    swap_of,
)
from tests.unit.kernel.trees import IN_MEMORY, Swap, seen

CLONE_NEWNS = 0x20000  # linux/sched.h
EXT4_IOC_SHUTDOWN = 0x8004587D  # fs/ext4/ext4.h: _IOR('X', 125, __u32)
NO_LOG_FLUSH = 2  # fs/ext4/ext4.h: what is in the journal's memory is lost, too
DISK_BYTES = 16 * 1024 * 1024
EVERY = 5  # of the steps; each takes a tenth of a second

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="the disk is one of ext4"),
]


class Disk:
    """ext4 on a file in memory, which this process alone has mounted."""

    def __init__(self, directory: Path) -> None:
        self.top = directory / "disk"
        self._image = directory / "image"
        self.top.mkdir()
        with self._image.open("wb") as file:
            file.truncate(DISK_BYTES)
        run("mkfs.ext4", "-q", self._image)
        self._mount()

    def _mount(self) -> None:
        run("mount", "-o", "loop", self._image, self.top)

    def written(self) -> None:
        """All that is there so far."""
        run("sync", "--file-system", self.top)

    def lose_power(self) -> None:
        top = os.open(self.top, os.O_RDONLY)
        ioctl(top, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        os.close(top)
        run("umount", self.top)
        self._mount()


def run(*words: str | Path) -> None:
    subprocess.run(words, check=True)


def on_a_disk(act: Callable[[Disk], None]) -> None:
    """Do it in a child with mounts of its own: they end with it."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as directory:
        child = os.fork()
        if child == 0:
            try:
                assert ctypes.CDLL(None).unshare(CLONE_NEWNS) == 0
                run("mount", "--make-rprivate", "/")
                act(Disk(Path(directory)))
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0, "the child failed: see its traceback"


def swaps(disk: Disk, first: int) -> Iterator[tuple[int, Swap]]:
    """Fresh trees that are on the disk, and every which step."""
    for number in range(first, 1000, EVERY):
        swap = swap_of(disk.top / str(number), A, B)
        disk.written()
        yield number, swap
        shutil.rmtree(disk.top / str(number))


def lost_at_each(act: Callable[[Swap, Callable[[str], None]], None], disk: Disk) -> None:
    """At a step of `act`, and once more of the way back; at last after all of it."""
    for number, swap in swaps(disk, 1):
        old, new = seen(swap.here), seen(swap.there, times=False)
        was_killed = killed_at(number, partial(act, swap))
        disk.lose_power()
        killed_at(number % 37 + 1, partial(roll_back_what_is_left, swap))
        disk.lose_power()
        roll_back_what_is_left(swap, lambda _act: None)
        is_new = seen(swap.here, times=False) == new
        assert is_new or seen(swap.here) == old, f"half of it at step {number}"
        assert not swap.state.exists()
        if not was_killed:
            assert is_new, "what was confirmed is lost"
            assert number > 40
            return


def test_power_is_lost_at_every_few_steps() -> None:
    on_a_disk(partial(lost_at_each, swap_and_confirm))
