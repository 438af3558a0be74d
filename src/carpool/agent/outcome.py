"""What became of the last change that a peer sent: it may ask when this agent has died meanwhile.

Room: agent. One file of JSON in the state directory, written whole or not at all. The journal of
the transaction says whether a change is put back at the next start; this, which change that was.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from carpool.agent.job import Event
from carpool.agent.record import Agreed, write_whole
from carpool.errors import KernelError

LAPSED: Event = {"step": "end", "outcome": "put back (nobody confirmed)"}
_ANEW = "the agent was started anew meanwhile"
_AS_BEFORE = "everything is as it was before"


class Outcomes:
    """`outcome.json` in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "outcome.json"
        self._last: dict[str, object] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):
            self._last = dict(json.loads(self._file.read_text(encoding="utf-8")))

    def begin(self, number: str, what: str) -> None:
        """Nothing is changed yet. Raises KernelError."""
        self._write({"number": number, "what": what})

    def keep(self, agreed: Mapping[str, Agreed]) -> None:
        """From the end of the transaction on, these count. Raises KernelError."""
        kept = {name: asdict(one) for name, one in agreed.items()}
        self._write({**self._last, "end": None, "agreed": kept})

    def end(self, event: Event | None) -> None:
        """The last event; None: there is none yet, and nothing is kept. What cannot be written is
        known until the agent ends."""
        with contextlib.suppress(KernelError):
            end = None if event is None else dict(event)
            self._write({**self._last, "agreed": {}, "end": end})

    def recover(self, *, put_back: bool, stuck: str = "") -> dict[str, Agreed]:
        """After the start: what counts, of a change that was kept and not written down any more.
        `put_back`: a change was cut short and put back just now, or `stuck` says why not all."""
        found: dict[str, Agreed] = {}
        end = self._last.get("end")
        waited = isinstance(end, dict) and end.get("outcome") == "waiting"
        if waited and not put_back:  # its time was up before this agent began
            self.end(LAPSED)
        if not self._last or (end and not (waited and put_back)):
            return found
        if not put_back:
            with contextlib.suppress(TypeError, AttributeError):
                kept = self._last.get("agreed") or {}
                found = {str(name): Agreed(**fields) for name, fields in kept.items()}  # type: ignore[attr-defined]
        if found:
            self.end({"step": "end", "outcome": "applied"})
        else:
            error = f"{_ANEW}: {f'not all could be put back: {stuck}' if stuck else _AS_BEFORE}"
            self.end({"step": "end", "outcome": "failed", "error": error, "hint": ""})
        return found

    def of(self, number: str) -> Event | None:
        """The last event of this change, if it was the last one and has ended."""
        end = self._last.get("end")
        return end if self._last.get("number") == number and isinstance(end, dict) else None

    def since(self, number: str, waiting: Event, stuck: str) -> Event:
        """What became of a change that ended as `waiting`, and waits no more. `stuck`: why it is
        neither kept nor put back."""
        if stuck:
            return {"step": "end", "outcome": "failed", "error": stuck}
        end = self.of(number)
        if end is None:  # it is being kept at this moment
            return waiting
        return LAPSED if end == waiting else end

    def _write(self, content: dict[str, object]) -> None:
        self._last = content
        write_whole(self._file, content)  # before the journal is removed: it must not be the older
