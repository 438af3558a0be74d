"""What a synchronisation, its diffs and its past look like."""

from __future__ import annotations

from io import StringIO

from rich.console import Console, RenderableType

from carpool.api import rendersync


def lines(what: RenderableType | None, width: int = 80) -> list[str]:
    assert what is not None
    console = Console(file=StringIO(), width=width)
    console.print(what)
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_what_a_check_said_is_shown_as_it_said_it() -> None:
    said = "rules.nft:7:2-4: Error: syntax error\n\tdrpo\n\t^^^^\x1b[2J\r\n1 error"
    error = f"the check `nft` failed (1); nothing was changed. It said:\n{said}"
    shown = [
        "the check `nft` failed (1); nothing was changed. It said:",
        "  rules.nft:7:2-4: Error: syntax error",
        "          drpo",
        "          ^^^^?[2J",
        "  1 error",
    ]
    end = {"step": "end", "peer": "fw2", "outcome": "failed", "error": error, "hint": "mend it"}
    assert lines(rendersync.step(end)) == [f"fw2: failed: {shown[0]}", *shown[1:], "  mend it"]
    table = lines(rendersync.results([{"peer": "fw2", "outcome": "failed", "error": error}]), 200)
    assert [row.strip() for row in table[2:]] == [row.strip() for row in shown[1:]]


def test_who_says_it_is_named_once() -> None:
    why = "fw2: section new is unknown there"
    end = {"step": "end", "peer": "fw2", "outcome": "failed", "error": why}
    assert lines(rendersync.step(end)) == ["fw2: failed: section new is unknown there"]
    assert lines(rendersync.diff({"fw2": {"error": why}})) == [why]
    first = {"step": "first", "peer": "fw2", "why": why}
    assert lines(rendersync.step(first)) == [
        "fw2: group.toml goes first, the rest after it: section new is unknown there"
    ]
    silent = {"error": "cannot connect to fw2"}
    assert lines(rendersync.diff({"fw2": silent})) == ["fw2: cannot connect to fw2"]


def test_the_past_fits_80_columns() -> None:
    row = {
        "short": "6ee7907754",
        "when_iso": "2026-11-23T11:34:33Z",
        "kind": "rolled back",
        "sections": ["carpool", "keepy", "nftables", "tunnel", "web"],
        "author": "administrator@fw1",
        "reason": "the first one of them",
    }
    found = lines(rendersync.revisions([row]))
    assert found[1].startswith("6ee7907754  2026-11-23 11:34:33  rolled back  carpool,")
    assert max(map(len, found)) <= 80
    assert lines(rendersync.revisions([], "wbe")) == ["no revision of section wbe"]
    none = lines(rendersync.results([], "wbe"))
    assert none == ["section wbe was not synchronised from this node yet"]


def test_what_waits_is_in_place() -> None:
    waiting = {"step": "end", "peer": "fw2", "outcome": "waiting", "took_s": 0.3}
    assert lines(rendersync.step(waiting)) == ["fw2: waiting: the new files are in place"]
