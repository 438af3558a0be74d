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


def test_how_services_follow_the_role_and_how_they_took_it_up() -> None:
    moved = {"master": True, "did": "start", "at": "2026-11-23T05:41:21.123Z", "took_s": 0.2}
    well = {**ROW, "follows": "52@wan", "moved": {**moved, "after_s": 1.234, "error": ""}}
    ill = {**ROW, "name": "frr", "role": "both", "switched": True, "follows": "lan"}
    ill["moved"] = {**moved, "master": False, "error": "switch of frr failed:\nno \x1b[2Jarea"}
    told = shown(renderservices.services({"node": "fw2", "services": [well, ill]}))
    assert "master of 52@wan" in told and "both, switched by lan" in told
    assert (
        "wg-quick@wg0: MASTER at 2026-11-23 05:41:21: start took 0.20 s, done 1.23 s after" in told
    )
    assert "frr: not MASTER at 2026-11-23 05:41:21, but switch of frr failed:\n" in told
    assert "\x1b" not in told
    pulled = {**ROW, "wanted_by": ["openvpn.service"]}
    assert "by openvpn.service" in shown(renderservices.services({"services": [pulled]}))


def test_what_is_not_known_and_what_would_steer_a_terminal() -> None:
    text = shown(
        renderservices.services(
            {
                "services": [
                    {"name": "a\x1b[2J", "enabled": None, "sections": 7, "moved": {}},
                    "nonsense",
                ]
            }
        )
    )
    assert "a?[2J" in text and "\x1b" not in text
    assert "no section" in shown(renderservices.services({"node": "fw1", "services": []}))


def test_one_that_was_acted_on() -> None:
    told = shown(renderservices.service({"node": "fw2", "service": ROW}))
    assert told.startswith("fw2: wg-quick@wg0 is active (runs on the master only")
    told = shown(renderservices.service({"node": "fw2", "service": {**ROW, "role": "both"}}))
    assert told == "fw2: wg-quick@wg0 is active\n"
