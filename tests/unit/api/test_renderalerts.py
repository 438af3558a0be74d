"""How the targets of alerts look on a terminal."""

from __future__ import annotations

from datetime import UTC

from rich.console import Console

from carpool.api.renderalerts import alerts, is_well, tried


def text_of(shown: object) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as caught:
        console.print(shown)
    return caught.get()


def test_targets_and_how_the_last_message_went() -> None:
    last = {"time": "2026-11-23T03:00:00.5Z", "title": "x", "ok": False, "result": "refused\x1b"}
    ops = {"name": "ops", "url": "json://host/****", "on": ["failover"], "last": last, "waiting": 0}
    duty = {"name": "duty", "url": "tgram://****", "on": ["sync"], "last": None, "waiting": 0}
    wait = {**duty, "name": "slow", "waiting": 3}
    shown = text_of(alerts({"alerts": [ops, duty, wait], "problems": ["line 3"]}, UTC))
    for word in ("ops", "json://host/****", "11-23 03:00:00", "refused?", "nothing sent yet"):
        assert word in shown
    assert "3 waiting" in shown and "line 3" in shown


def test_nobody_is_told() -> None:
    shown = text_of(alerts({"alerts": [], "file": "/etc/carpool/alerts.toml", "problems": []}))
    assert "no target in /etc/carpool/alerts.toml" in shown


def test_tries() -> None:
    good, bad = {"name": "a", "ok": True}, {"name": "b", "ok": False, "result": "HTTP 500"}
    assert "a: sent" in text_of(tried({"tried": [good]})) and is_well({"tried": [good]})
    assert "b: HTTP 500" in text_of(tried({"tried": [bad]})) and not is_well({"tried": [good, bad]})
