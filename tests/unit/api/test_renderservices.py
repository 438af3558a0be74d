"""Services as a person reads them; answers of a peer are not believed."""

from __future__ import annotations

from io import StringIO

from rich.console import Console, RenderableType

from carpool.api import renderservices

ROW = {
    "name": "wg-quick@wg0",
    "installed": True,
    "active": True,
    "enabled": False,
    "since": "2026-11-23T05:41:21Z",
    "memory_bytes": 3 * 2**20,
    "sub": "running",
    "sections": ["wireguard"],
    "role": "master",
}


def shown(what: RenderableType) -> str:
    console = Console(file=StringIO(), width=120)
    console.print(what)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_line_for_each() -> None:
    idle = {**ROW, "name": "radvd", "active": False, "sub": "failed", "memory_bytes": None}
    head, first, second = shown(
        renderservices.services({"node": "fw2", "services": [ROW, idle]})
    ).splitlines()
    assert head.split()[:2] == ["SERVICE", "STATE"]
    assert first.split() == [
        *("wg-quick@wg0", "active", "disabled", "2026-11-23", "05:41:21"),
        *("3.0", "MiB", "wireguard", "master"),
    ]
    assert "not active (failed)" in second and " - " in second


def test_what_is_not_known_and_what_would_steer_a_terminal() -> None:
    text = shown(
        renderservices.services(
            {"services": [{"name": "a\x1b[2J", "enabled": None, "sections": 7}, "nonsense"]}
        )
    )
    assert "a?[2J" in text and "\x1b" not in text
    assert "no section" in shown(renderservices.services({"node": "fw1", "services": []}))


def test_one_that_was_acted_on() -> None:
    told = shown(renderservices.service({"node": "fw2", "service": ROW}))
    assert told.startswith("fw2: wg-quick@wg0 is active (runs on the master only")
    told = shown(renderservices.service({"node": "fw2", "service": {**ROW, "role": "both"}}))
    assert told == "fw2: wg-quick@wg0 is active\n"
