"""Since when each section stands to each peer as it does: the first look that found it so.

Room: agent. One file of JSON beside `agreed.json`, and what is in memory; refuses to look by
itself.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from carpool.agent.record import write_whole
from carpool.agent.send import Stand
from carpool.errors import KernelError
from carpool.kernel import clock
from carpool.kernel.journal import say

UNSET = "2025-"  # a time before that was told by a clock that had not been set
Since = dict[str, dict[str, tuple[str, str]]]  # by peer and section: how it stands, RFC 3339


class Seen:
    """`drift.json` in `directory`. Several threads may ask."""

    def __init__(self, directory: Path, wall_iso: Callable[[], str] = clock.wall_iso) -> None:
        self._file = directory / "drift.json"
        self._wall_iso = wall_iso
        self._since = self._read()
        self._lock = threading.Lock()
        # A peer that is silent stands as it stood: what it is found with afterwards is not new.
        self._silent: dict[tuple[str, str], str] = {}

    def note(self, found: Mapping[str, Mapping[str, Stand]]) -> dict[str, dict[str, str]]:
        """By peer and section: since when it stands as it was found now. Blocking. A file that
        cannot be written is told, and hinders nothing."""
        with self._lock:
            return self._note(found)

    def _note(self, found: Mapping[str, Mapping[str, Stand]]) -> dict[str, dict[str, str]]:
        now = self._wall_iso()
        fresh: Since = {}
        answer: dict[str, dict[str, str]] = {}
        for peer, stands in found.items():
            fresh[peer], answer[peer] = {}, {}
            for name, stand in stands.items():
                before = self._since.get(peer, {}).get(name)
                if stand.silent:
                    if _was_unset(self._silent.get((peer, name), now), now):
                        del self._silent[peer, name]
                    answer[peer][name] = self._silent.setdefault((peer, name), now)
                    if before is not None:
                        fresh[peer][name] = before
                    continue
                self._silent.pop((peer, name), None)
                if before is None or before[0] != stand.drift or _was_unset(before[1], now):
                    before = (str(stand.drift), now)
                fresh[peer][name] = before
                answer[peer][name] = before[1]
        if fresh != self._since:
            self._since = fresh
            self._write()
        return answer

    def _read(self) -> Since:
        """A file that is missing or damaged says nothing."""
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            content = json.loads(self._file.read_text(encoding="utf-8"))
            return {
                peer: {name: (str(state), str(since)) for name, (state, since) in rows.items()}
                for peer, rows in content.items()
            }
        return {}

    def _write(self) -> None:
        """Not synced: a power cut may cost a time of day, no configuration."""
        try:
            write_whole(self._file, self._since, sync=False)
        except KernelError as error:
            say(f"agent: {error.message}")


def _was_unset(time: str, now: str) -> bool:
    """Whether the clock has been set since."""
    return time[4:5] == "-" and time < UNSET <= now
