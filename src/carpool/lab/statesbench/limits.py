"""Limits of the whole machine that a million connections need, raised for a while and put back.

Room: lab. These few sysctls belong to no namespace; nothing else of the host is touched. Whoever
ends the bench by a signal gets them back too.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from carpool.errors import KernelError

SYSCTLS = Path("/proc/sys")
WANTED: Final = {
    "net/netfilter/nf_conntrack_buckets": 1 << 20,
    "net/netfilter/nf_conntrack_max": 1 << 22,
    "net/core/rmem_max": 1 << 28,  # conntrackd's buffers; carpool forces its own
    "net/core/wmem_max": 1 << 28,
}


class Ended(BaseException):
    """SIGTERM or SIGHUP: unwinds everything, as KeyboardInterrupt does."""


@contextmanager
def raised(root: Path = SYSCTLS, wanted: Mapping[str, int] = WANTED) -> Iterator[None]:
    """Raise what is lower; what was there before comes back in any case. KernelError if refused."""
    before: dict[Path, str] = {}
    handlers = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        for name, least in wanted.items():
            path = root / name
            found = _read(path)
            if int(found) < least:
                before[path] = found
                _write(path, str(least))
        yield
    finally:
        for path, value in reversed(before.items()):
            _write(path, value)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    raise Ended(signal.Signals(number).name)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise KernelError(
            f"read {path}: {error.strerror}", hint="load the module nf_conntrack (modprobe)"
        ) from error


def _write(path: Path, value: str) -> None:
    try:
        path.write_text(value, encoding="ascii")
    except OSError as error:
        raise KernelError(
            f"write {value} to {path}: {error.strerror}", hint="run as root"
        ) from error
