"""What came of each synchronisation from this node: by peer and section, file by file.

Room: agent. One file of JSON in the state directory, newest last. What a file was before and after
is in the history of the peer; refuses to know how it got there.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable
from pathlib import Path

from carpool.agent.job import Event
from carpool.agent.plan import Plan
from carpool.agent.record import write_whole
from carpool.errors import KernelError
from carpool.kernel import clock
from carpool.kernel.journal import say
from carpool.model.manifest import Deed

KEPT_MAX = 100  # synchronisations with one peer
FILES_MAX = 200  # that are named, of a section

WAITING = "waiting"  # to be confirmed: a step, and an outcome

Row = dict[str, object]


def summary(plans: Iterable[Plan]) -> dict[str, Row]:
    """By section: how many paths become what, and the first of them."""
    found: dict[str, Row] = {}
    for plan in plans:
        deeds = [change.deed for change in plan.changes]
        files = [[str(change.deed), change.path] for change in plan.changes[:FILES_MAX]]
        found[plan.section.name] = {
            "added": deeds.count(Deed.ADDED),
            "changed": deeds.count(Deed.CHANGED) + deeds.count(Deed.ATTRIBUTES),
            "removed": deeds.count(Deed.REMOVED),
            "files": files,
        }
    return found


class Tally:
    """Makes a row of the events of one peer."""

    def __init__(self, peer: str, by: str, reason: str) -> None:
        self.row: Row = {"when": clock.wall_iso(), "peer": peer, "by": by, "reason": reason}
        self._services: list[str] = []
        self._sections: Row = {}  # as planned; group.toml may go before the others

    def take(self, event: Event) -> None:
        step = event.get("step")
        if step == "offer":
            names = event.get("sections")
            offered: Row = {str(name): {} for name in names} if isinstance(names, list) else {}
            self.row["sections"] = {**offered, **self._sections}
        elif step == "plan" and isinstance(planned := event.get("sections"), dict):
            self._sections |= planned
            self.row["sections"] = {**self._sections}
        elif step == WAITING:
            self.row |= {key: event[key] for key in ("number", "within_s") if key in event}
        elif step in ("reload", "restart", "load"):
            self._services.append(f"{step} {event.get('service')}")
        elif step == "end":
            self.row["services"] = self._services
            for key in ("outcome", "error", "hint", "took_s"):
                if event.get(key):
                    self.row[key] = event[key]


class Results:
    """`results.json` in `directory`. Several threads may add."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "results.json"
        self._lock = threading.Lock()

    def read(self, section: str | None = None) -> list[Row]:
        """Oldest first; those of this section, if one is named. A file that is missing or damaged
        says nothing."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            rows = json.loads(self._file.read_text(encoding="utf-8"))
            found = [row for row in rows if isinstance(row, dict)]
            return [row for row in found if section is None or section in row.get("sections", {})]
        return []

    def add(self, row: Row) -> None:
        """Blocking. A file that cannot be written is told, and hinders nothing; it is not synced: a
        power cut may cost what is known of it, no configuration."""
        with self._lock:
            self._add(self.read(), row)

    def decided(self, peer: str, outcome: str, *, error: str = "", number: str = "") -> None:
        """What waited with this peer does so no more: a row that says whose it was, and of what.
        With a `number`, only if that change is what waits. Blocking."""
        with self._lock:
            rows = self.read()
            last = next((row for row in reversed(rows) if row.get("peer") == peer), {})
            if last.get("outcome") != WAITING:
                last = {}
            if number and last.get("number") != number:
                return
            row: Row = {"when": clock.wall_iso(), "peer": peer, "outcome": outcome}
            row |= {key: last[key] for key in ("by", "reason", "sections") if key in last}
            self._add(rows, row | ({"error": error} if error else {}))

    def _add(self, rows: list[Row], row: Row) -> None:
        try:
            write_whole(self._file, [*rows, row][-KEPT_MAX:], sync=False)
        except KernelError as error:
            say(f"agent: {error.message}")
