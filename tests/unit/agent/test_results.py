"""What came of a synchronisation is there later, file by file."""

from __future__ import annotations

from pathlib import Path

from carpool.agent.plan import Plan
from carpool.agent.results import FILES_MAX, KEPT_MAX, Results, Tally, summary
from carpool.model.manifest import Entry, Kind, manifest
from carpool.model.section import Section

SECTION = Section("web", ("/etc/web/",))


def entries(*paths: str, mode: int = 0o644) -> dict[str, Entry]:
    return manifest(Entry(f"/etc/web/{path}", Kind.FILE, mode, sha256="5" * 64) for path in paths)


def plan(have: dict[str, Entry], want: dict[str, Entry]) -> Plan:
    return Plan.of(SECTION, have, want, lambda entry: Path(entry.path))


def test_what_becomes_of_each_file() -> None:
    found = summary([plan(entries("a", "gone"), entries("new") | entries("a", mode=0o600))])
    assert found["web"] == {
        "added": 1,
        "changed": 1,
        "removed": 1,
        "files": [
            ["removed", "/etc/web/gone"],
            ["attributes", "/etc/web/a"],
            ["added", "/etc/web/new"],
        ],
    }
    many = summary([plan({}, entries(*map(str, range(FILES_MAX + 1))))])["web"]
    assert many["added"] == FILES_MAX + 1
    assert isinstance(many["files"], list)
    assert len(many["files"]) == FILES_MAX


def test_what_goes_before_the_others_is_in_the_row_too() -> None:
    tally = Tally("fw2", "alice", "")
    for event in (
        {"step": "offer", "sections": ["carpool", "web"]},
        {"step": "offer", "sections": ["carpool"]},
        {"step": "plan", "sections": {"carpool": {"changed": 1}}},
        {"step": "offer", "sections": ["web"]},
        {"step": "end", "outcome": "failed", "error": "no"},
    ):
        tally.take(event)
    assert tally.row["sections"] == {"carpool": {"changed": 1}, "web": {}}


def test_a_row_is_made_of_events() -> None:
    tally = Tally("fw2", "alice", "why")
    tally.take({"step": "offer", "sections": [["of a peer"]]})
    tally.take({"step": "offer", "sections": ["web", "dns"]})
    assert tally.row["sections"] == {"web": {}, "dns": {}}
    tally.take({"step": "plan", "sections": {"web": {"added": 1}}})
    tally.take({"step": "reload", "service": "webd", "took_s": 0.1})
    tally.take({"step": "end", "outcome": "failed", "error": "no", "hint": "", "took_s": 1.5})
    when = tally.row.pop("when")
    assert str(when).endswith("Z")
    assert tally.row == {
        "peer": "fw2",
        "by": "alice",
        "reason": "why",
        "sections": {"web": {"added": 1}},
        "services": ["reload webd"],
        "outcome": "failed",
        "error": "no",
        "took_s": 1.5,
    }


def test_who_decides_first_has_the_last_word(tmp_path: Path) -> None:
    results = Results(tmp_path)
    row = {"peer": "fw2", "by": "alice", "reason": "why", "sections": {"web": {"added": 1}}}
    results.add({**row, "outcome": "waiting", "number": "1", "within_s": 60.0})
    results.add({**row, "peer": "fw3", "outcome": "applied"})
    results.decided("fw2", "put back", number="2")
    results.decided("fw3", "put back", number="1")
    assert len(results.read()) == 2
    results.decided("fw2", "failed", error="no", number="1")
    results.decided("fw2", "confirmed", number="1")
    (last,) = results.read("web")[2:]
    assert str(last.pop("when")).endswith("Z")
    assert last == {**row, "outcome": "failed", "error": "no"}
    results.decided("fw2", "confirmed")  # nobody knows of what any more
    assert results.read()[-1].keys() == {"when", "peer", "outcome"}


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    results = Results(tmp_path / "sync")
    assert results.read() == []
    for number in range(KEPT_MAX + 2):
        results.add({"peer": str(number), "sections": {"web": {}} if number % 2 else {}})
    rows = Results(tmp_path / "sync").read()
    assert [rows[0]["peer"], rows[-1]["peer"]] == ["2", str(KEPT_MAX + 1)]
    assert len(Results(tmp_path / "sync").read("web")) == KEPT_MAX // 2
    (tmp_path / "sync/results.json").write_text('[7, {"peer": "x"}]')
    assert results.read() == [{"peer": "x"}]
    (tmp_path / "sync/results.json").write_text("{")
    assert results.read() == []
