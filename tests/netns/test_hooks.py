"""Hooks run on transitions, in a lab with real failovers."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carpool.agent.localclient import LocalClient
from carpool.errors import CarpoolError
from carpool.lab import processes
from carpool.lab.firewall import AGENT, ROLES, Firewall, agent_troubles
from carpool.lab.lab import Lab
from carpool.lab.topology import FIREWALLS
from tests.netns.lab import wait_until
from tests.netns.labs import held_lab

SETTINGS = """
[hooks.hangs]
timeout = "1s"

[hooks.vips]
events = ["vip"]
"""
# $DIR is where all of them write. Those that meet wait until the other one runs, too.
SCRIPTS = {
    "note": 'cat >>"$DIR/note"; echo "$1 $2 $CARPOOL_KIND $CARPOOL_FROM" >>"$DIR/words"; '
    "echo moved; exit 3",
    "meets-a": 'touch "$DIR/a.$2"; until [ -e "$DIR/b.$2" ]; do sleep 0.02; done; echo met b',
    "meets-b": 'touch "$DIR/b.$2"; until [ -e "$DIR/a.$2" ]; do sleep 0.02; done; echo met a',
    "hangs": 'echo $$ >>"$DIR/pids"; trap "" TERM; sleep 1000 & echo $! >>"$DIR/pids"; wait; wait',
    "vips": 'cat >>"$DIR/vips"; echo "$1 $2" >>"$DIR/vipwords"',
    # Holds on while a file says so.
    "slow": 'cat >>"$DIR/slow"; while [ -e "$DIR/hold" ]; do sleep 0.02; done',
}


def directory(firewall: Firewall) -> Path:
    return firewall.root / "seen"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Healthy, with agents that began when fw1 was MASTER already, and hooks."""
    with held_lab() as made:
        made.roles = (*ROLES, AGENT)
        for name, firewall in made.firewalls.items():
            directory(firewall).mkdir()
            hooks = firewall.config_dir / "hooks.d"
            hooks.mkdir()
            for script, text in SCRIPTS.items():
                (hooks / script).write_text(
                    f"#!/bin/sh\nDIR={directory(firewall)}\n{text}\n", encoding="utf-8"
                )
                (hooks / script).chmod(0o755)
            (hooks / "note.dpkg-old").write_text("#!/bin/sh\ntouch /dev/null\n")
            with (firewall.config_dir / "group.toml").open("a") as file:
                file.write(SETTINGS)
            made.start_missing(name)
        yield made


def noted(firewall: Firewall, name: str) -> list[dict[str, Any]]:
    try:
        lines = (directory(firewall) / name).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def moves(firewall: Firewall, name: str) -> list[tuple[str, str | None, str]]:
    return [(each["event"], each["from"], each["to"]) for each in noted(firewall, name)]


def rows(firewall: Firewall) -> dict[str, dict[str, Any]]:
    with LocalClient(firewall.run_dir) as agent:
        found: list[dict[str, Any]] = agent.get("/v1/hooks")["hooks"]  # type: ignore[assignment]
    return {row["name"]: row for row in found}


def results(firewall: Firewall, to: str) -> dict[str, str]:
    """Of those that were run for this role last, how they ended."""
    last = {name: row["last"] for name, row in rows(firewall).items()}
    return {name: row["result"] for name, row in last.items() if row and row["to"] == to}


def events(firewall: Firewall) -> list[str]:
    lines = (firewall.run_dir / "agent.events").read_text().splitlines()
    return [json.loads(line)["text"] for line in lines]


def is_busy(row: dict[str, Any]) -> bool:
    return bool(row["running"] or row["waiting"])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_hooks_are_told_how_it_is_as_the_agent_starts(lab: Lab) -> None:
    fw1, fw2 = (lab.firewalls[name] for name in FIREWALLS)
    wait_until(lambda: moves(fw1, "note") == [("start", None, "MASTER")], 30, "fw1 is told")
    wait_until(lambda: moves(fw2, "note") == [("start", None, "BACKUP")], 30, "fw2 is told")
    (text,) = {one for one in events(fw1) if "dpkg-old" in one}
    assert "is not run: found a name that is none of a script" in text


def test_the_newest_state_wins(lab: Lab) -> None:
    """What moved while a hook was running is given to it once, as it is when the hook has ended."""
    fw2 = lab.firewalls["fw2"]
    wait_until(lambda: results(fw2, "BACKUP").get("slow"), 30, "it has ended at the start")
    before = len(noted(fw2, "slow"))
    hold = directory(fw2) / "hold"
    hold.touch()
    for number, (master, role) in enumerate(
        (("fw1", "MASTER"), ("fw2", "BACKUP"), ("fw1", "MASTER"))
    ):
        lab.firewalls[master].ask("failover", "switchover")
        wait_until(lambda: fw2.ask("failover", "status")["role"] == role, 30, role)  # noqa: B023
        wait_until(lambda: results(fw2, role).get("note"), 30, "others go on")  # noqa: B023
        assert rows(fw2)["slow"]["waiting"] == min(number, 1)
    assert [each["to"] for each in noted(fw2, "slow")[before:]] == ["MASTER"]
    hold.unlink()
    wait_until(lambda: len(noted(fw2, "slow")) == before + 2, 30, "it is told the rest")
    last = noted(fw2, "slow")[-1]
    assert (last["from"], last["to"], last["overtaken"]) == ("BACKUP", "MASTER", 1)


def test_one_is_tried_by_hand(lab: Lab) -> None:
    fw1 = lab.firewalls["fw1"]
    vip = next(iter(noted(fw1, "vips")))
    name = f"{vip['vhid']}@{vip['interface']}"
    with LocalClient(fw1.run_dir) as agent:
        told = agent.post("/v1/hooks/vips/run", {"role": "INIT", "vip": name})
        with pytest.raises(CarpoolError, match=r"there is no hook 'note\.dpkg-old'"):
            agent.post("/v1/hooks/note.dpkg-old/run", {"role": "INIT"})
    assert (told["ok"], told["event"], told["to"]) == (True, "try", "INIT")
    (tried,) = [each for each in noted(fw1, "vips") if each["event"] == "try"]
    assert (tried["to"], tried["reason"], tried["vhid"]) == ("INIT", "by hand", vip["vhid"])


def test_what_a_dead_agent_missed_is_made_up_for(lab: Lab) -> None:
    fw2 = lab.firewalls["fw2"]
    wait_until(lambda: not any(map(is_busy, rows(fw2).values())), 30, "all have ended")
    agent = lab.tracked("fw2", AGENT)
    assert agent is not None
    processes.send([agent], signal.SIGKILL)
    assert processes.wait_gone([agent], 5)
    before = len(noted(fw2, "note"))
    fw2.ask("failover", "switchover")
    wait_until(lambda: fw2.ask("failover", "status")["role"] == "BACKUP", 30, "it moved")
    lab.start_missing("fw2")
    wait_until(lambda: len(noted(fw2, "note")) == before + 1, 30, "told at the start")
    assert moves(fw2, "note")[-1] == ("start", None, "BACKUP")


def test_a_crash_of_the_master_runs_them_on_the_backup_at_once(lab: Lab) -> None:
    """Two that wait for each other; one that hangs is ended with its child, and delays nobody."""
    fw2 = lab.firewalls["fw2"]
    wait_until(lambda: not any(map(agent_troubles, lab.firewalls.values())), 30, "agents answer")
    lab.power_off("fw1")
    wait_until(lambda: results(fw2, "MASTER").get("meets-a") == "exit status 0", 30, "they met")
    wait_until(lambda: results(fw2, "MASTER").get("meets-b") == "exit status 0", 30, "they met")
    wait_until(lambda: len(results(fw2, "MASTER")) == len(SCRIPTS), 30, "all of them ended")
    wait_until(lambda: not any(map(is_busy, rows(fw2).values())), 30, "for each VIP, too")
    document = noted(fw2, "note")[-1]
    told = {key: document[key] for key in ("version", "event", "kind", "node", "role", "from")}
    assert told == {
        **{"version": 1, "event": "transition", "kind": "group", "node": "fw2"},
        **{"role": "MASTER", "from": "BACKUP"},
    }
    assert re.search(r"BFD: fw1 is silent on lan for \d+ ms", document["reason"])
    assert {vip["state"] for vip in document["vips"]} == {"MASTER"}
    assert (directory(fw2) / "words").read_text().endswith("group MASTER group BACKUP\n")
    vips = noted(fw2, "vips")[-len(document["vips"]) :]
    told_of = {(one["kind"], one["to"], one["vhid"]) for one in vips}
    assert told_of == {("vip", "MASTER", vip["vhid"]) for vip in document["vips"]}
    assert (
        f"{vips[0]['vhid']}@{vips[0]['interface']} MASTER"
        in (directory(fw2) / "vipwords").read_text().splitlines()
    )
    pids = [int(line) for line in (directory(fw2) / "pids").read_text().split()]
    assert len(pids) >= 4
    wait_until(lambda: not any(map(is_alive, pids)), what="what was killed is gone")
    assert any(text.startswith("hangs, group MASTER: did not end in 1 s") for text in events(fw2))
    assert any(
        text.startswith("note, group MASTER: exit status 3 after") and text.endswith(": moved")
        for text in events(fw2)
    )
