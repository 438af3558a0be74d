"""A service of the master alone goes where the addresses go, in a lab with real failovers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from carpool.agent.localclient import LocalClient
from carpool.lab import processes
from carpool.lab.firewall import AGENT, ROLES, Firewall, agent_troubles
from carpool.lab.lab import Lab
from carpool.lab.topology import FIREWALLS
from tests.netns.lab import wait_until
from tests.netns.labs import held_lab

SELECTED = '[sync]\nsections = ["tunnel"]'
ALONE = """
[section.tunnel]
paths = ["/etc/tunnel.conf"]
role = "master"
follows = "lan"

[[section.tunnel.services]]
name = "tunneld"
follows = "52@wan"

[[section.tunnel.services]]
name = "ospfd"
on_master = ["sh", "-c", "echo $(readlink /proc/self/ns/net) master >>{log}"]
on_backup = ["sh", "-c", "echo $(readlink /proc/self/ns/net) backup >>{log}"]
"""
SERVICE = """#!/bin/sh
cd "$(dirname "$0")"
test "$1" = status || echo "$1 $2" >>log
case "$1" in
status) test "$2" = ospfd || test -e "$2.runs" || exit 3 ;;
start) touch "$2.runs" ;;
stop) rm -f "$2.runs" ;;
esac
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Healthy, with agents that began when fw1 was MASTER already, and a service by them."""
    with held_lab() as made:
        made.roles = (*ROLES, AGENT)
        for name, firewall in made.firewalls.items():
            script = firewall.root / "act"
            script.write_text(SERVICE)
            script.chmod(0o755)
            group = firewall.config_dir / "group.toml"
            alone = ALONE.replace("{log}", str(made.firewalls["fw1"].root / "switched"))
            group.write_text(group.read_text().replace("[sync]", SELECTED) + alone)
            with (firewall.config_dir / "node.toml").open("a") as file:
                file.write(f'[services]\ncommand = ["{script}", "{{action}}", "{{service}}"]\n')
            if name == "fw2":  # as a boot may leave it: started, and not known to anybody
                (firewall.root / "tunneld.runs").touch()
            made.start_missing(name)
        yield made


def running(lab: Lab) -> list[str]:
    return [name for name in FIREWALLS if (lab.firewalls[name].root / "tunneld.runs").exists()]


def switched(lab: Lab) -> dict[str, str]:
    """By network namespace, what the other service was switched to last."""
    log = lab.firewalls["fw1"].root / "switched"
    lines = log.read_text().splitlines() if log.exists() else []
    return dict((line.split()[0], line.split()[1]) for line in lines)


def events(firewall: Firewall) -> str:
    return (firewall.run_dir / "agent.events").read_text()


def switches(lab: Lab) -> int:
    """How often it was switched, on both."""
    return len((lab.firewalls["fw1"].root / "switched").read_text().splitlines())


def test_services_move_with_the_mastership(lab: Lab) -> None:
    wait_until(lambda: running(lab) == ["fw1"], 30, "it runs on the master, and there only")
    wait_until(lambda: len(switched(lab)) == 2, 30, "the other one is switched on both")
    before = switched(lab)
    assert sorted(before.values()) == ["backup", "master"]
    wait_until(lambda: not any(map(agent_troubles, lab.firewalls.values())), 30, "agents answer")
    fw1 = lab.firewalls["fw1"]
    fw1.ask("failover", "switchover")
    wait_until(lambda: running(lab) == ["fw2"], 30, "it runs on the new master, and there only")
    other = {"backup": "master", "master": "backup"}
    after = {node: other[role] for node, role in before.items()}
    wait_until(lambda: switched(lab) == after, 30, "the other one is switched the other way")
    for words in (  # written after the deed
        "this node is MASTER: start tunneld took",
        "this node is not MASTER: stop tunneld took",
    ):
        wait_until(lambda: words in events(fw1), 30, words)  # noqa: B023
    times = switches(lab)
    with LocalClient(fw1.run_dir) as agent:
        agent.post("/v1/services/ospfd/reload", {"by": "the test"})
        wait_until(lambda: switches(lab) == times + 1, 30, "what a reload forgets is said again")
        assert switched(lab) == after
        found: list[dict[str, Any]] = [
            row
            for params in (None, {"peer": "fw2"})
            for row in agent.get("/v1/services", params)["services"]  # type: ignore[attr-defined]
        ]
    told = [(row["name"], row["role"], row["active"], row["moved"]["did"]) for row in found]
    assert told == [
        ("ospfd", "both", True, "switch"),
        ("tunneld", "master", False, "stop"),
        ("ospfd", "both", True, "switch"),
        ("tunneld", "master", True, "start"),
    ]
    assert [(row["follows"], row["moved"]["error"]) for row in found] == [
        ("lan", ""),
        ("52@wan", ""),
    ] * 2
    check_a_failover_without_an_agent(lab)


def check_a_failover_without_an_agent(lab: Lab) -> None:
    """It goes on where it was, beside the one on the new master, until the agent is back."""
    agent = lab.tracked("fw2", AGENT)
    assert agent is not None
    processes.send([agent], signal.SIGKILL)
    assert processes.wait_gone([agent], 30)
    lab.firewalls["fw2"].ask("failover", "switchover")
    wait_until(lambda: running(lab) == ["fw1", "fw2"], 30, "the new master starts it")
    lab.start_missing("fw2")
    wait_until(lambda: running(lab) == ["fw1"], 30, "the agent puts it right as soon as it is back")
