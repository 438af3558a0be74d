"""Hooks, checks and services of the master on two machines that boot, outside of the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from carpool.agent.localclient import LocalClient
from carpool.errors import CarpoolError
from carpool.lab import container, image
from carpool.lab.lab import Lab
from carpool.lab.machine import Machine, unit
from carpool.lab.topology import HOST_NUMBER, LAN
from tests.netns.lab import wait_until
from tests.netns.labs import held_lab

pytestmark = pytest.mark.timeout(800)  # the first one makes the package and its image

SECONDS = 40.0  # at most, where others are busy: a failover, a second that it must last, a start
BOOT_S = 90.0
CLIENT = LAN.ipv4(HOST_NUMBER).ip
# What the agent's own unit may not: write to /usr and to the kernel's settings.
FORBIDDEN = "touch /usr/share/{0} && sysctl -q -w net.ipv4.conf.lan0.log_martians=1"
PING = f"ping -n -q -c 1 -W 1 -I lan0 {CLIENT}"
HOOK = f"""#!/bin/sh -e
cat >>/var/log/hook
{FORBIDDEN.format("hooked")}
{PING} >/dev/null
echo all of it done
"""
CHECK = f"""#!/bin/sh
test ! -e /run/bad || {{ echo it is bad; exit 1; }}
{PING} >/dev/null
"""
GROUP = f"""
[checks]
interval = "2s"
timeout = "2s"

[section.dnsmasq]
role = "master"

[[section.nginx.services]]
name = "nginx"
on_master = ["sh", "-c", "{FORBIDDEN.format("switched")} && r=master && echo $r >>/var/log/role"]
on_backup = ["sh", "-c", "echo backup >>/var/log/role"]
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Healthy, with a hook, a check, a service of the master and one that is switched."""
    container.require_tools()
    with held_lab(image=image.made(print)) as chosen:
        for name in chosen.firewalls:
            on = machine(chosen, name)
            on.run(["mkdir", "-p", "/etc/carpool/hooks.d", "/etc/carpool/checks.d"])
            for path, text in (("hooks.d/10-all", HOOK), ("checks.d/client", CHECK)):
                on.run(["tee", f"/etc/carpool/{path}"], text)
                on.run(["chmod", "755", f"/etc/carpool/{path}"])
            on.run(["tee", "-a", "/etc/carpool/group.toml"], GROUP)
            on.run(["carpool", "check"])
            on.run(["systemctl", "restart", unit("agent")])
        wait_until(lambda: in_place(chosen, "fw1", "fw2"), BOOT_S, "services are in place")
        yield chosen


def machine(lab: Lab, name: str) -> Machine:
    found = lab.firewalls[name]
    assert isinstance(found, Machine)
    return found


def show(on: Machine, name: str, key: str) -> str:
    return on.run(["systemctl", "show", "--value", f"--property={key}", name]).strip()


def role(on: Machine) -> str:
    return str(on.ask("failover", "status")["role"])


def has_taken_up(on: Machine, wanted: str) -> bool:
    """What its services are, and what the commands of one of them were for last."""
    active = {"MASTER": "active", "BACKUP": "inactive"}[wanted]
    written = on.files / "var/log/role"
    roles = written.read_text().split() if written.exists() else [""]
    return show(on, "dnsmasq", "ActiveState") == active and roles[-1] == wanted.lower()


def in_place(lab: Lab, master: str, backup: str) -> bool:
    found = machine(lab, master), machine(lab, backup)
    return has_taken_up(found[0], "MASTER") and has_taken_up(found[1], "BACKUP")


def told(on: Machine) -> list[dict[str, Any]]:
    """The documents that its hook was given."""
    return [json.loads(line) for line in (on.files / "var/log/hook").read_text().splitlines()]


def events(on: Machine) -> list[str]:
    """As its administrator reads them."""
    rows = json.loads(on.run(["carpool", "events", "--json"]))["events"]
    return [row["text"] for row in rows]


def hooked(on: Machine) -> int:
    """How often its hook has made it a master, and all went well."""
    texts = [text for text in events(on) if text.startswith("10-all, group MASTER: exit status 0")]
    return sum(text.endswith(": all of it done") for text in texts)


def failing(on: Machine) -> bool | None:
    try:
        with LocalClient(on.run_dir) as agent:
            rows: list[dict[str, Any]] = agent.get("/v1/checks")["checks"]  # type: ignore[assignment]
    except CarpoolError:
        return None
    return next((row["failing"] for row in rows), None)


def test_all_of_it_runs_outside_of_the_sandbox(lab: Lab) -> None:
    on = machine(lab, "fw1")
    assert show(on, unit("agent"), "ProtectSystem") == "yes"
    on.run(["test", "-e", "/usr/share/switched"])  # by on_master
    wait_until(lambda: hooked(on) == 1, SECONDS, "its hook has done all that the agent may not")
    on.run(["test", "-e", "/usr/share/hooked"])
    (start,) = told(on)
    assert (start["event"], start["to"], start["node"]) == ("start", "MASTER", "fw1")
    wait_until(lambda: failing(on) is False, SECONDS, "a ping is well")


def test_a_failing_check_moves_the_group_and_back(lab: Lab) -> None:
    fw1, fw2 = machine(lab, "fw1"), machine(lab, "fw2")
    fw1.run(["touch", "/run/bad"])
    try:
        wait_until(lambda: (role(fw1), role(fw2)) == ("BACKUP", "MASTER"), SECONDS, "it moves")
        wait_until(lambda: in_place(lab, "fw2", "fw1"), SECONDS, "services follow")
        assert "client fails, which demotes by 240: it is bad" in events(fw1)
    finally:
        fw1.run(["rm", "/run/bad"])
    wait_until(lambda: (role(fw1), role(fw2)) == ("MASTER", "BACKUP"), SECONDS, "and back")
    wait_until(lambda: in_place(lab, "fw1", "fw2"), SECONDS, "services follow")


def test_a_pulled_plug_moves_what_runs_on_the_master_alone(lab: Lab) -> None:
    fw2 = machine(lab, "fw2")
    wait_until(lambda: told(fw2)[-1]["to"] == "BACKUP", SECONDS, "its hook knows what it is")
    known = hooked(fw2)
    for one in ("fw1", "fw2"):
        assert show(machine(lab, one), "dnsmasq", "UnitFileState") == "disabled"

    lab.power_off("fw1")
    wait_until(lambda: has_taken_up(fw2, "MASTER"), SECONDS, "fw2 serves")
    wait_until(lambda: told(fw2)[-1]["to"] == "MASTER", SECONDS, "its hook runs")
    moved = told(fw2)[-1]
    whole = {key: moved[key] for key in ("event", "kind", "node", "role", "from", "to")}
    assert whole == {
        **{"event": "transition", "kind": "group", "node": "fw2"},
        **{"role": "MASTER", "from": "BACKUP", "to": "MASTER"},
    }
    assert {vip["state"] for vip in moved["vips"]} == {"MASTER"}
    wait_until(lambda: hooked(fw2) > known, SECONDS, "what came of it is told")

    lab.power_on("fw1")
    lab.wait_healthy(BOOT_S)
    wait_until(lambda: in_place(lab, "fw1", "fw2"), SECONDS, "fw1 serves again")
    fw1 = machine(lab, "fw1")
    said = fw1.run(["journalctl", "--boot", "--output=cat", "--unit=dnsmasq"])
    assert said.count("Started dnsmasq") == 1, "neither at its boot, nor while it was backup"
    began_us = int(show(fw1, "dnsmasq", "InactiveExitTimestampMonotonic"))
    changes = fw1.ask("failover", "events", limit=500)["events"]
    became_s = max(one["monotonic_s"] for one in changes if one["vhost"] and one["new"] == "MASTER")
    assert began_us / 1e6 > became_s
