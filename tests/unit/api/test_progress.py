"""The line that a terminal shows meanwhile, and what stays."""

from __future__ import annotations

from io import StringIO

from rich.console import Console, RenderableType

from carpool.api.progress import Board


def text(what: RenderableType | None, width: int = 80) -> str:
    assert what is not None
    console = Console(file=StringIO(), width=width)
    console.print(what)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_line_says_how_far_it_is() -> None:
    now_s = 0.0
    board = Board(lambda: now_s)
    assert text(board).strip() == ""
    board.take({"step": "look"})
    assert "looking at the files here" in text(board)
    assert board.take({"step": "offer", "peer": "fw2", "sections": ["web"]}) is None
    assert "fw2 comparing" in text(board)
    now_s = 12.0
    half = {"files": 1000, "files_all": 2000, "bytes": 1_000_000, "bytes_all": 2_000_000}
    board.take({"step": "sending", "peer": "fw2", **half})
    line = text(board)
    assert "fw2 1,000 of 2,000 files, 1.0 of 2.0 MB" in line
    assert "━━━" in line and "12 s" in line
    for event, words in (
        ({"step": "sent", "files": 2000, "bytes": 2}, "it works out what changes"),
        ({"step": "plan", "changes": 12}, "12 changes"),
        ({"step": "plan", "changes": float("nan")}, "0 changes"),
        ({"step": "plan", "changes": float("inf")}, "0 changes"),
        ({"step": "keeping", "files": 10**400}, "keeping 0 files"),
        ({"step": "checking", "section": "ng\x1b[2Jinx"}, "checking ng?[2Jinx"),
        ({"step": "keeping", "files": 12}, "keeping 12 files as they were"),
        ({"step": "snapshot", "files": 1}, "putting 1 file in place"),
        ({"step": "reloading", "services": ["a", "b"]}, "reloading a, b"),
    ):
        assert board.take(event) is None
        assert words in text(board)
        assert "━" not in text(board)
    assert text(board, width=20).count("\n") == 1  # never more lines than one


def test_what_was_done_to_services_is_what_it_was() -> None:
    board = Board(lambda: 0.0)
    board.take({"step": "offer", "peer": "fw2"})
    for step, service in (("reload", "a"), ("restart", "b"), ("reload", "c"), ("load", "nft")):
        board.take({"step": step, "service": service})
    end = board.take({"step": "end", "peer": "fw2", "outcome": "applied"})
    done = ["  reloaded a, c", "  restarted b", "  loaded the rules of nft"]
    assert text(end).splitlines()[1:] == done


def test_group_toml_that_goes_first_is_among_what_came_of_it() -> None:
    board = Board(lambda: 0.0)
    board.take({"step": "offer", "peer": "fw2"})
    why = "unknown here: section new"
    assert f"the rest after it: {why}" in text(board.take({"step": "first", "why": why}))
    for name in ("carpool", "new"):
        board.take({"step": "offer", "peer": "fw2"})
        board.take({"step": "plan", "changes": 1, "sections": {name: {"changed": 1}}})
    end = board.take({"step": "end", "peer": "fw2", "outcome": "applied"})
    assert text(end).splitlines()[1:] == ["  carpool  1 changed", "  new      1 changed"]
    board.take({"step": "offer", "peer": "fw3"})
    end = board.take({"step": "end", "peer": "fw3", "outcome": "nothing to do"})
    assert len(text(end).splitlines()) == 1


def test_what_came_of_it_stays_section_by_section() -> None:
    board = Board(lambda: 0.0)
    board.take({"step": "offer", "peer": "fw2"})
    counts = {"added": 1, "changed": 2, "removed": 0}
    board.take({"step": "plan", "changes": 3, "sections": {"nginx": counts, "dns": {}}})
    board.take({"step": "reload", "service": "nginx", "took_s": 0.1})
    assert "! fw2 is odd" in text(board.take({"step": "warning", "text": "fw2 is odd"}))
    end = board.take({"step": "end", "peer": "fw2", "outcome": "applied", "took_s": 1.5})
    assert text(end).splitlines() == [
        "fw2: applied in 1.50 s",
        "  nginx  2 changed, 1 added",
        "  dns    as it was",
        "  reloaded nginx",
    ]
    assert text(board).strip() == ""
    board.take({"step": "offer", "peer": "fw3"})
    end = board.take(
        {"step": "end", "peer": "fw3", "outcome": "failed", "error": "no", "hint": "x"}
    )
    assert text(end).splitlines() == ["fw3: failed: no", "  x"]


def test_a_service_that_does_not_run_is_told_and_stays() -> None:
    board = Board(lambda: 0.0)
    event = {"step": "skipped", "service": "nftables", "deed": "load", "why": "it does not run"}
    told = text(board.take(event)).strip()
    assert told == "! did not load the rules of nftables: it does not run"
    told = text(board.take({**event, "service": "dns\x1b[2J", "deed": "restart"})).strip()
    assert told == "! did not restart dns?[2J: it does not run"


def test_what_becomes_of_the_group_stays_to_be_read() -> None:
    """Above all that it is not over, and for whom it waits."""
    board = Board(lambda: 0.0)
    changes = ["51@lan: another password"]
    assert "another password" in text(board.take({"step": "group", "changes": changes}))
    assert "all 2 nodes" in text(board.take({"step": "settled", "nodes": 2}))
    waits = {"step": "unsettled", "without": {"fw3": "it does not answer"}}
    assert "fw3: it does not answer" in text(board.take(waits), width=200)
