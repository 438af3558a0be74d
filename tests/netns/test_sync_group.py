"""`carpool sync` brings a changed group.toml to a running pair: nothing moves, nothing is lost."""

from __future__ import annotations

import hashlib
import secrets
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from carpool.lab import processes, shell
from carpool.lab.firewall import PASSWORD, ROLES, Firewall
from carpool.lab.lab import Lab
from carpool.lab.topology import SERVER_IPV4
from tests.netns.lab import wait_until

pytestmark = pytest.mark.timeout(180)

MORE = """
[[vip]]
interface = "lan"
vhid = 77
password = "of the new one"
addresses = ["{address}"]
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab(f"cpl-{secrets.token_hex(3)}")
    with made.held():
        try:
            made.up(with_agent=True)
            yield made
        finally:
            made.down()


def carpool(firewall: Firewall, *words: str) -> subprocess.CompletedProcess[str]:
    argv = shell.inside(firewall.namespace, firewall.carpool(*words))
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)


def status(firewall: Firewall) -> dict[str, Any]:
    return firewall.ask("failover", "status")


def transitions(firewall: Firewall) -> list[str]:
    events = firewall.ask("failover", "events", limit=1000)["events"]
    return [f"{one['vhost']} {one['new']}" for one in events if one["kind"] == "transition"]


def addresses(firewall: Firewall, vhid: int) -> list[str]:
    vhosts = status(firewall)["vhosts"]
    return [one for row in vhosts if row["vhid"] == vhid for one in row["addresses"]]


def test_a_group_changes_on_both_nodes_with_one_command(lab: Lab) -> None:
    fw1, fw2 = lab.firewalls["fw1"], lab.firewalls["fw2"]
    group = fw1.config_dir / "group.toml"
    lan = next(row for row in status(fw1)["vhosts"] if row["interface"] == "lan")
    subnet = next(one for one in lan["addresses"] if "." in one)
    new, alias = (f"{subnet.rpartition('.')[0]}.{host}/24" for host in (201, 202))
    before = transitions(fw1), transitions(fw2)
    pids = [one.ask(role, "status")["pid"] for one in (fw1, fw2) for role in ROLES]
    text = group.read_text().replace(PASSWORD, "another password", 1)
    text = text.replace(f'"{subnet}"', f'"{subnet}", "{alias}"', 1)
    head, states = text.split("[states]")
    group.write_text(f'{head}{MORE.format(address=new)}[states]{states}scope = "all"\n')

    argv = ["ping", "-q", "-i", "0.01", str(SERVER_IPV4)]
    ping = subprocess.Popen(
        shell.inside(lab.network.namespace("client"), argv), stdout=subprocess.PIPE, text=True
    )
    try:
        done = carpool(fw1, "sync", "carpool")
        assert done.returncode == 0, done.stdout + done.stderr
        assert alias in done.stdout and "another password" in done.stdout
        assert "of the new one" not in done.stdout
    finally:
        ping.send_signal(signal.SIGINT)
        said = ping.communicate(timeout=10)[0]
    assert " 0% packet loss" in said

    for firewall in (fw1, fw2):
        told = status(firewall)
        assert told["change"] is None, "it is settled on all nodes"
        assert told["group_digest"] == status(fw1)["group_digest"]
        assert addresses(firewall, 77) == [new] and alias in addresses(firewall, lan["vhid"])
    assert transitions(fw1)[len(before[0]) :] == ["77@lan BACKUP", "77@lan MASTER"]
    assert transitions(fw2)[len(before[1]) :] == ["77@lan BACKUP"]
    wait_until(lambda: lab.troubles() == [], 20, "replication goes on, of all connections")
    assert fw2.ask("states", "status")["scope"] == "all"
    after = [one.ask(role, "status")["pid"] for one in (fw1, fw2) for role in ROLES]
    assert after == pids, "nobody has to start anything again"
    again = carpool(fw1, "sync", "carpool")
    assert again.returncode == 0 and "nothing to do" in again.stdout


def test_a_peer_that_is_away_gets_it_when_it_is_back_and_the_group_waits_for_it(lab: Lab) -> None:
    fw1, fw2 = lab.firewalls["fw1"], lab.firewalls["fw2"]
    agent = lab.tracked("fw2", "agent")
    assert agent is not None
    group = fw1.config_dir / "group.toml"
    group.write_text(group.read_text().replace(PASSWORD, "another password", 1))
    before = transitions(fw2)
    carpool(fw2, "maintenance", "on")  # it is no better master than it was
    processes.end([agent])
    done = carpool(fw1, "sync", "carpool")
    assert done.returncode != 0
    assert status(fw1)["change"]["changes"], "who has the old one is heard"
    assert transitions(fw2) == before
    told = carpool(fw1, "status").stdout
    assert "Group is changing" in told and "another password" in told
    lab.start_missing("fw2")
    wait_until(lambda: carpool(fw1, "sync", "carpool").returncode == 0, 20, "it is back")
    assert status(fw1)["change"] is None and status(fw2)["change"] is None
    assert transitions(fw2) == before


def test_what_fails_after_the_change_of_the_group_is_put_back_on_the_wire_too(lab: Lab) -> None:
    """A service of another section does not do its reload."""
    fw1, fw2 = lab.firewalls["fw1"], lab.firewalls["fw2"]
    section = '[section.web]\npaths = ["/etc/web.conf"]\nservices = ["webd"]\n'
    for firewall in (fw1, fw2):
        node, group = firewall.config_dir / "node.toml", firewall.config_dir / "group.toml"
        command = firewall.root / "act"
        command.write_text("#!/bin/sh\ntest $1 = status || { echo no licence; exit 1; }\n")
        command.chmod(0o755)
        with node.open("a") as file:
            file.write(f'[services]\ncommand = ["{command}", "{{action}}", "{{service}}"]\n')
        group.write_text(group.read_text().replace("[states]", f"{section}[states]"))
        agent = lab.tracked(firewall.name, "agent")
        assert agent is not None
        processes.end([agent])
        lab.start_missing(firewall.name)
    wait_until(lambda: lab.troubles() == [], 20)
    (fw1.files / "etc" / "web.conf").write_text("new")
    group = fw1.config_dir / "group.toml"
    group.write_text(group.read_text().replace(PASSWORD, "another password", 1))
    old = (fw2.config_dir / "group.toml").read_bytes()
    before = transitions(fw1), transitions(fw2)
    done = carpool(fw1, "sync", "carpool", "web")
    assert done.returncode != 0 and "no licence" in done.stdout + done.stderr
    assert (fw2.config_dir / "group.toml").read_bytes() == old
    assert status(fw2)["group_digest"] == hashlib.sha256(old).hexdigest()
    assert (transitions(fw1), transitions(fw2)) == before, "either is heard, as both sign twice"
