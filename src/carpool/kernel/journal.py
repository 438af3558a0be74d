"""What happened: kept in memory, in a bounded file of the run directory, and told on stderr.

Room: kernel. The file is on tmpfs (/run) and stderr is written without ever waiting for its reader:
a stuck log must not stop failover. Refuses to know what an event means.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path

KEPT_EVENTS = 1000
FILE_MAX_BYTES = 1024 * 1024  # then it becomes FILE.1, and the one before that is gone

Event = Mapping[str, object]


class Journal:
    """The events of one process, newest last. Survives a restart of the process, not a reboot."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: deque[Event] = deque(_load(path), maxlen=KEPT_EVENTS)
        self._unstored: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self.broken = ""  # why the file cannot be written; said once

    def add(self, event: Event) -> None:
        """Keep and store an event. Never raises for a file that cannot be written."""
        self._kept.append(event)
        self._unstored.append(event)
        self.store()

    def store(self) -> None:
        """Write what is not in the file yet; what a full disk took half of is in it once more."""
        if not self._unstored:
            return
        try:
            if self._path.exists() and self._path.stat().st_size >= FILE_MAX_BYTES:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
            lines = [json.dumps(event, separators=(",", ":")) + "\n" for event in self._unstored]
            with open(self._path, "a", encoding="utf-8", opener=_roots_alone) as file:
                file.write("\n" * bool(self.broken) + "".join(lines))
        except OSError as error:
            if not self.broken:
                say(f"events are not stored: {self._path}: {error.strerror}")
            self.broken = f"{self._path}: {error.strerror}"
        else:
            self.broken = ""
            self._unstored.clear()

    def last(self, limit: int) -> list[Event]:
        """The newest `limit` events, oldest of them first."""
        return list(self._kept)[-limit:] if limit > 0 else []


def _roots_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _load(path: Path) -> list[Event]:
    """What an earlier process of this boot left; a half-written last line is passed over."""
    events: list[Event] = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return events
    for line in lines[-KEPT_EVENTS:]:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def never_wait_for_stderr() -> None:
    """From now on a full pipe on stderr, or on the console's stdout, loses lines instead of
    stopping the process. A terminal or a file is left alone: its flags belong to others, too."""
    if not (sys.stderr.isatty() or os.path.isfile("/dev/fd/2")):
        os.set_blocking(2, False)
    if _console() == 1:
        os.set_blocking(1, False)


def say(text: str) -> None:
    """One line on stderr, where systemd's journal or a person reads it; lost if nobody reads."""
    try:
        os.write(2, f"carpool: {text}\n".encode())
    except OSError:
        pass


def tell_console(text: str) -> None:
    """One line where a person with a monitor sees it. In the units, stdout is a stream of the
    journal that is forwarded to the console, and stderr is one that is not; elsewhere it is said as
    anything else. No device is opened: a sandbox has none."""
    try:
        os.write(_console(), f"carpool: {text}\n".encode())
    except OSError:
        pass


def _console() -> int:
    """Its descriptor: stdout if that is a socket of its own."""
    try:
        out, err = os.fstat(1), os.fstat(2)
    except OSError:
        return 2
    own = (out.st_dev, out.st_ino) != (err.st_dev, err.st_ino)
    return 1 if own and stat.S_ISSOCK(out.st_mode) else 2
