"""Kernel settings under /proc/sys/net, and the values that they had before.

Room: kernel. What it changes it puts back at the end, also what a killed process before it had
changed. Refuses to know what a setting is for.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from carpool.errors import KernelError

_ROOT = Path("/proc/sys")


def write(key: str, value: int) -> None:
    """Set `net/ipv4/conf/lan0/arp_ignore` (slashes: a device's name may hold a dot).

    Of the network namespace of the calling thread. Raises KernelError.
    """
    try:
        (_ROOT / key).write_text(f"{value}\n", encoding="ascii")
    except OSError as error:
        raise KernelError(
            f"write {value} to {_ROOT / key}: {error.strerror}",
            hint="this needs root and a /proc/sys that is not read-only",
        ) from error


def read(key: str) -> int | None:
    """The value, or None when there is no such setting (a device is gone, no IPv6)."""
    try:
        return int((_ROOT / key).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


class Sysctls:
    """Settings that are put back by `restore`. Remembered in a file, so that a process that follows
    a killed one knows the values from before both."""

    def __init__(self, file: os.PathLike[str] | str) -> None:
        """`file`: in the run directory, which a reboot empties as it resets the settings."""
        self._file = Path(file)
        self._changed = _load(self._file)  # key -> (before, ours)
        self.unsaved = ""  # why the file does not say what was changed, if it does not

    def set(self, key: str, value: int) -> None:
        """Change a setting; harmless when it has that value. Raises KernelError."""
        now = read(key)
        if now == value:
            return
        if now is not None:
            self._changed[key] = (now, value)
            self.save()
        write(key, value)

    def at_least(self, key: str, value: int) -> None:
        """Raise a setting that is lower. Raises KernelError."""
        now = read(key)
        if now is None or now < value:
            self.set(key, value)

    def restore(self) -> None:
        """Put back what nobody else has changed since. What is gone is passed over."""
        for key, (before, ours) in self._changed.items():
            if read(key) == ours:
                with contextlib.suppress(KernelError):  # it went between our look and our write
                    write(key, before)
        self._changed.clear()
        self.unsaved = ""
        self._file.unlink(missing_ok=True)

    def save(self) -> None:
        """Before the change: a value too many is harmless, one too few is lost. But a disk that is
        full keeps no firewall from its addresses: then a process that is killed leaves them."""
        text = json.dumps({key: list(pair) for key, pair in self._changed.items()}, indent=1)
        new = self._file.with_suffix(".new")
        try:
            new.write_text(text + "\n", encoding="ascii")
            os.replace(new, self._file)
            self.unsaved = ""
        except OSError as error:
            self.unsaved = f"{self._file}: {error.strerror}"
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)


def _load(file: Path) -> dict[str, tuple[int, int]]:
    """What an earlier process left; nothing when it is no work of ours."""
    try:
        found = json.loads(file.read_text(encoding="ascii"))
        return {str(key): (int(before), int(ours)) for key, (before, ours) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
