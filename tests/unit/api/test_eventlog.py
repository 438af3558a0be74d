"""The events of a node: those of all its processes in the order in which they happened."""

from __future__ import annotations

import json
from pathlib import Path

from carpool.api.eventlog import events
from tests.unit.api.process import process, saying


def row(at_s: float | None, text: str) -> dict[str, object]:
    return {"monotonic_s": at_s, "text": text}


def texts(rows: list[object]) -> list[object]:
    return [one["text"] for one in rows if isinstance(one, dict)]


def test_all_processes_in_order_and_no_more_than_asked_for(tmp_path: Path) -> None:
    agents = "".join(json.dumps(row(at_s, f"hook {at_s}")) + "\n" for at_s in (1.5, 3.5))
    (tmp_path / "agent.events").write_text(agents)
    (tmp_path / "states.events").write_text(json.dumps(row(3.2, "MASTER with 7 entries")) + "\n")
    told = {"ok": True, "events": [row(1.0, "up"), row(2.0, "down"), row(3.0, "up again")]}
    with process(tmp_path / "failover.sock", saying(json.dumps(told).encode() + b"\n")):
        found = events(tmp_path, 5)
    assert found.error is None
    assert texts(found.rows) == [
        "hook 1.5",
        "down",
        "up again",
        "MASTER with 7 entries",
        "hook 3.5",
    ]


def test_without_the_process_its_file_tells_them(tmp_path: Path) -> None:
    odd = [row(2.0, "b"), row(1.0, "a"), row(None, "no time"), {"monotonic_s": "x", "text": "odd"}]
    (tmp_path / "failover.events").write_text("".join(json.dumps(one) + "\n" for one in odd))
    found = events(tmp_path, 10)
    assert found.error is not None
    assert texts(found.rows) == ["no time", "odd", "a", "b"]
