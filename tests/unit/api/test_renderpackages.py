"""Packages on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from carpool.api import renderpackages

ANSWER: dict[str, Any] = {
    "node": "fw2",
    "packages": [
        {"name": "bash", "old": "1", "new": "2", "origins": ["Debian:13/stable"]},
        {"name": "curl", "old": "", "new": "8", "origins": ["\x1b[2J"], "security": True},
    ],
    "left": ["tar"],
    "lists_s": 7200.0,
    "reboot": "a package asks for it",
    "masters": ["51@lan"],
    "last": {"number": "1", "phase": "ended", "by": "ann", "when": "2026-11-23T05:41:21Z"},
}


def shown(answer: dict[str, Any]) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(renderpackages.packages(answer))
    return capture.get()


def test_what_could_be_updated_security_first() -> None:
    text = shown(ANSWER)
    assert "fw2: 2 packages could be updated, 1 of them for security" in text
    assert text.index("curl") < text.index("bash") and "comes anew" in text
    assert "left as they are: tar" in text and "a reboot is needed" in text
    assert "MASTER of 51@lan" in text and "05:41:21 by ann: went well" in text
    assert "\x1b" not in text


def test_little_is_told_of_little() -> None:
    assert shown({"node": "fw2"}) == "fw2: up to date; it never fetched lists of packages\n"


def test_how_the_last_one_went() -> None:
    last = ANSWER["last"]
    assert "went well" in renderpackages.last_update(last)
    told = renderpackages.last_update(last | {"error": "no\nroom", "install": False})
    assert told.startswith("the last reboot") and "failed: no" in told
    assert "--follow" in renderpackages.last_update(last | {"phase": "installing"})
