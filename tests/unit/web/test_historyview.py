"""What the History pages make of revisions and of past synchronisations."""

from __future__ import annotations

from carpool.web.historyview import results_of, revisions_of, shown

ROW = {
    "id": "ab" * 20,
    "short": "abababab",
    "when_iso": "2026-11-23T05:41:21Z",
    "kind": "received",
    "sections": ["web", "d\x1bns"],
    "author": "ann from 192.0.2.1",
    "node": "fw1",
    "reason": "r\x07",
}


def test_a_revision_says_who_when_and_what() -> None:
    (one,) = revisions_of({"revisions": [ROW, 3]})
    assert (one.when, one.kind, one.author) == (
        "2026-11-23 05:41:21",
        "received",
        "ann from 192.0.2.1",
    )
    assert (one.sections, one.reason) == (["web", "d?ns"], "r?")
    found = shown({"revision": ROW, "sections": [{"name": "web", "files": []}]})
    assert found.revision == one and [part.name for part in found.sections] == ["web"]
    assert shown({}).revision.sections == []


def test_a_result_says_what_came_of_it() -> None:
    rows: list[dict[str, object]] = [
        {"peer": "fw2", "outcome": "applied", "sections": {"web": {"changed": 2}}, "took_s": 1.5},
        {"peer": "fw2", "outcome": "waiting", "services": ["reload webd"]},
        {"peer": "fw2", "outcome": "failed", "error": "no answer", "hint": "look"},
        {"peer": "fw2", "outcome": "put back (nobody confirmed)", "sections": 3},
        {},
    ]
    found = results_of({"results": rows})
    assert [(one.outcome, one.tone) for one in found] == [
        ("applied", "good"),
        ("waiting", "warn"),
        ("failed", "bad"),
        ("put back (nobody confirmed)", "warn"),
        ("not over", "warn"),
    ]
    assert found[0].sections == [("web", "2 changed")] and found[0].took_s == 1.5
    assert found[1].services == ["reload webd"]
    assert (found[2].error, found[2].hint) == ("no answer", "look")
