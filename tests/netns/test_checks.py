"""Checks of the operator's demote a node while they fail, in a lab with real failovers."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from carpool.agent.localclient import LocalClient
from carpool.errors import UnreachableError
from carpool.kernel.clock import monotonic_s
from carpool.lab import processes
from carpool.lab.firewall import AGENT, ROLES, Firewall
from carpool.lab.lab import Lab
from tests.netns.lab import holds_for, wait_until
from tests.netns.labs import held_lab

SETTINGS = """
[checks]
interval = "1s"
timeout = "1s"

[checks.quiet]
weight = 0
"""
SCRIPT = """#!/bin/sh
test -e {bad} || exit 0
cat {bad}
exit 1
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Healthy, with agents, and a check on each that fails while there is a file."""
    with held_lab() as made:
        made.roles = (*ROLES, AGENT)
        for name, firewall in made.firewalls.items():
            (firewall.config_dir / "checks.d").mkdir()
            for check in ("disk", "quiet"):
                script = firewall.config_dir / "checks.d" / check
                script.write_text(SCRIPT.format(bad=firewall.root / f"bad.{check}"))
                script.chmod(0o755)
            with (firewall.config_dir / "group.toml").open("a") as file:
                file.write(SETTINGS)
            made.start_missing(name)
        for firewall in made.firewalls.values():
            wait_until(lambda: stands(firewall, "disk") is False, 30, "checked")  # noqa: B023
        yield made


def stands(firewall: Firewall, check: str) -> bool | None:
    """Whether it is failing; None before its first result."""
    try:
        with LocalClient(firewall.run_dir) as agent:
            rows: list[dict[str, Any]] = agent.get("/v1/checks")["checks"]  # type: ignore[assignment]
    except UnreachableError:
        return None
    return next((row["failing"] for row in rows if row["name"] == check), None)


def demotion(firewall: Firewall) -> list[tuple[str, int, str]]:
    rows = firewall.ask("failover", "status")["demotion"]
    return [(row["reason"], row["weight"], row["text"]) for row in rows]


def role(firewall: Firewall) -> str:
    return str(firewall.ask("failover", "status")["role"])


def bad(firewall: Firewall, check: str = "disk") -> None:
    (firewall.root / f"bad.{check}").write_text("looking\n/var is full\n")


def good(firewall: Firewall, check: str = "disk") -> None:
    (firewall.root / f"bad.{check}").unlink()


def test_a_failing_check_moves_the_group_and_back(lab: Lab) -> None:
    fw1, fw2 = lab.firewalls.values()
    bad(fw1, "quiet")
    wait_until(lambda: stands(fw1, "quiet"), 30, "it fails")
    assert demotion(fw1) == [], "its weight is 0"
    bad(fw1)
    wait_until(lambda: demotion(fw1) == [("check disk", 240, "/var is full")], 30, "it is demoted")
    wait_until(lambda: (role(fw1), role(fw2)) == ("BACKUP", "MASTER"), 30, "the group moves")
    good(fw1)
    wait_until(lambda: (role(fw1), role(fw2)) == ("MASTER", "BACKUP"), 30, "it comes back")
    assert demotion(fw1) == []
    lines = (fw1.run_dir / "agent.events").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    assert "disk fails, which demotes by 240: /var is full" in texts
    assert "disk is well again" in texts


def test_what_fails_on_all_nodes_moves_nothing(lab: Lab) -> None:
    fw1, fw2 = lab.firewalls.values()
    since = fw1.ask("failover", "status")["vhosts"][0]["since_s"]
    began_s = monotonic_s()
    for firewall in (fw2, fw1):  # a check that runs between the two moves nothing either
        bad(firewall)
    wait_until(lambda: demotion(fw1) and demotion(fw2), 30, "both are demoted")
    holds_for(lambda: (role(fw1), role(fw2)) == ("MASTER", "BACKUP"), 1.0, "nothing moves")
    for firewall in (fw1, fw2):
        good(firewall)
    wait_until(lambda: not demotion(fw1) and not demotion(fw2), 30, "neither is")
    after = fw1.ask("failover", "status")["vhosts"][0]["since_s"]
    assert after >= since + monotonic_s() - began_s - 1, "nothing has moved in between"


def test_a_dead_agent_leaves_nothing_behind(lab: Lab) -> None:
    """Its reason goes with its lease; an agent that comes back in time goes on with it."""
    fw1, fw2 = lab.firewalls.values()
    bad(fw2)
    wait_until(lambda: demotion(fw2), 30, "demoted")
    kill_agent(lab, "fw2")
    lab.start_missing("fw2")
    wait_until(lambda: stands(fw2, "disk"), 30, "the new agent took it over")
    assert demotion(fw2), "it was never forgotten"
    notes = fw2.ask("failover", "events", limit=100)["events"]
    kill_agent(lab, "fw2")
    # A lease is too long for a suite: shorten it as the agent would have written it.
    failing = [{"name": "disk", "weight": 240, "text": "/var is full"}]
    fw2.ask("failover", "checks", failing=failing, lease_s=3)
    holds_for(lambda: demotion(fw2), 0.5, "it is not forgotten at once")
    wait_until(lambda: not demotion(fw2), 30, "it is forgotten")
    (note,) = [
        one["text"]
        for one in fw2.ask("failover", "events", limit=100)["events"]
        if one["kind"] == "check" and one not in notes
    ]
    assert note.startswith("check disk is forgotten: the agent has not said so again")
    assert role(fw1) == "MASTER"


def kill_agent(lab: Lab, name: str) -> None:
    agent = lab.tracked(name, AGENT)
    assert agent is not None
    processes.send([agent], signal.SIGKILL)
    assert processes.wait_gone([agent], 20)
