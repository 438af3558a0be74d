"""What the C library does with memory that this process has freed.

Room: kernel. Refuses to know what the memory is for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

# glibc malloc.h. Each has a default that adapts; to set one ends that for all.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
PIECE_BYTES = 1 << 20
MAPPED_MIN_BYTES = 4 << 20  # less is taken from the heap, and given back to it
KEPT_MAX_BYTES = 32 << 20  # at the end of a heap, before the kernel gets it back


def keep_for_pieces() -> None:
    """Keep freed memory for the next pieces of a megabyte. Otherwise the C library gives each back
    to the kernel, which fills the next one with zeros, page by page: 120,000 times for 200 MB."""
    _set({_M_MMAP_THRESHOLD: MAPPED_MIN_BYTES, _M_TRIM_THRESHOLD: KEPT_MAX_BYTES})


def give_back_pieces() -> None:
    """Give the kernel back what was a piece of a megabyte as soon as it is freed. By default one
    such piece makes the C library keep room for the next, in each thread: 12 MiB of a password."""
    _set({_M_MMAP_THRESHOLD: PIECE_BYTES})


def _set(options: Mapping[int, int]) -> None:
    """Where there is no glibc, nothing happens."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for option, size in options.items():
        mallopt(option, size)
