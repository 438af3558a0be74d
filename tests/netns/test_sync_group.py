"""`carpool sync` brings a changed group.toml to a running pair: nothing moves, nothing is lost."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carpool.errors import UnreachableError
from carpool.lab import processes, shell
from carpool.lab.firewall import PASSWORD, ROLES, Firewall
from carpool.lab.lab import Lab
from carpool.lab.topology import SERVER_IPV4
from tests.netns.lab import wait_until
from tests.netns.labs import held_lab

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
    with held_lab(with_agent=True) as made:
        yield made


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


def test_a_group_changes_on_both_nodes_with_one_command(lab: Lab, tmp_path: Path) -> None:
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

    argv = shell.inside(lab.network.namespace("client"), ["ping", "-i", "0.01", str(SERVER_IPV4)])
    with (tmp_path / "pings").open("w") as pings:
        ping = subprocess.Popen(argv, stdout=pings)
    try:
        done = carpool(fw1, "sync", "carpool")
        assert done.returncode == 0, done.stdout + done.stderr
        assert alias in done.stdout and "another password" in done.stdout
        assert "of the new one" not in done.stdout
    finally:
        ping.send_signal(signal.SIGINT)
        ping.wait(30)
    check_nothing_was_lost((tmp_path / "pings").read_text())

    for firewall in (fw1, fw2):
        told = status(firewall)
        assert told["change"] is None, "it is settled on all nodes"
        assert told["group_digest"] == status(fw1)["group_digest"]
        assert addresses(firewall, 77) == [new] and alias in addresses(firewall, lan["vhid"])
    moved = ["77@lan BACKUP", "77@lan MASTER"]
    wait_until(lambda: transitions(fw1)[len(before[0]) :] == moved, 10, "fw1 is master of it")
    assert transitions(fw2)[len(before[1]) :] == ["77@lan BACKUP"]
    wait_until(lambda: lab.troubles() == [], 20, "replication goes on, of all connections")
    assert fw2.ask("states", "status")["scope"] == "all"
    after = [one.ask(role, "status")["pid"] for one in (fw1, fw2) for role in ROLES]
    assert after == pids, "nobody has to start anything again"
    again = carpool(fw1, "sync", "carpool")
    assert again.returncode == 0 and "nothing to do" in again.stdout


def check_nothing_was_lost(said: str) -> None:
    """Of what ping sent; of the last ones the answers may have been on their way."""
    came = sorted({int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", said)})
    assert came == list(range(1, len(came) + 1)), said[-300:]
    sent = re.search(r"(\d+) packets transmitted", said)
    assert sent and 0 <= int(sent[1]) - len(came) < 10, said[-300:]


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


def edited(firewall: Firewall) -> str:
    """An edit that waits to be synchronised: another password and a VIP more; the file before."""
    group = firewall.config_dir / "group.toml"
    old = group.read_text()
    text = old.replace(PASSWORD, "another password", 1)
    lan = next(row for row in status(firewall)["vhosts"] if row["interface"] == "lan")
    subnet = next(one for one in lan["addresses"] if "." in one)
    more = MORE.format(address=f"{subnet.rpartition('.')[0]}.201/24")
    group.write_text(text.replace("[states]", f"{more}[states]"))
    return old


def one_form(lab: Lab) -> str:
    """The group.toml that all go by, and no other; empty while that is not so."""
    told = [status(one) for one in lab.firewalls.values()]
    digests = {one["group_digest"] for one in told}
    files = {(one.config_dir / "group.toml").read_bytes() for one in lab.firewalls.values()}
    one = len(digests) == len(files) == 1 and not any(row["change"] for row in told)
    return files.pop().decode() if one else ""


def test_a_group_that_nobody_confirms_is_put_back_on_all_nodes(lab: Lab) -> None:
    """And one that somebody does, or takes back himself, ends as one, too."""
    fw1, fw2 = lab.firewalls["fw1"], lab.firewalls["fw2"]
    group = fw1.config_dir / "group.toml"
    before = transitions(fw1), transitions(fw2)
    old = edited(fw1)
    new = group.read_text()
    done = carpool(fw1, "sync", "--confirm-within", "6s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "77@lan comes" in done.stdout
    assert addresses(fw1, 77) and addresses(fw2, 77)
    wait_until(lambda: one_form(lab) == old, 30, "all nodes put it back, and agree")
    assert not addresses(fw1, 77) and not addresses(fw2, 77)
    assert group.with_name("group.toml.not-confirmed").read_text() == new
    masters = [one for one in transitions(fw2)[len(before[1]) :] if "MASTER" in one]
    assert not masters, "nobody took over"

    group.write_text(new)
    assert carpool(fw1, "sync", "--confirm-within", "1h").returncode == 0
    assert "put back in" in " ".join(carpool(fw1, "status").stdout.split())
    assert not one_form(lab)
    done = carpool(fw1, "rollback", "--pending")
    assert done.returncode == 0 and "fw1: " in done.stdout and "fw2: " in done.stdout
    assert one_form(lab) == old, "at once"
    group.write_text(new)
    assert carpool(fw1, "sync", "--confirm-within", "1h").returncode == 0
    done = carpool(fw1, "confirm")
    assert done.returncode == 0 and "fw1: " in done.stdout and "fw2: " in done.stdout
    assert one_form(lab) == new
    group.write_text(old)
    assert carpool(fw1, "sync", "--confirm-within", "1h").returncode == 0
    assert carpool(fw2, "confirm").returncode == 0, "said where it waits"
    assert one_form(lab) == old
    masters = [one for one in transitions(fw2)[len(before[1]) :] if "MASTER" in one]
    assert not masters, "nobody took over"


def test_a_primary_that_put_it_back_by_itself_keeps_the_peers_from_the_new_one(lab: Lab) -> None:
    """Its failover process was killed meanwhile."""
    fw1 = lab.firewalls["fw1"]
    old = edited(fw1)
    assert carpool(fw1, "sync", "--confirm-within", "1h").returncode == 0
    os.kill(status(fw1)["pid"], signal.SIGKILL)
    group = fw1.config_dir / "group.toml"
    wait_until(lambda: group.read_text() == old, 10, "the next one puts it back")
    done = carpool(fw1, "confirm")
    assert done.returncode != 0 and "has put its group.toml back meanwhile" in done.stdout
    wait_until(lambda: one_form(lab) == old, 60, "so do the peers")


def test_who_went_by_it_before_says_that_only_the_peers_put_it_back(lab: Lab) -> None:
    fw1 = lab.firewalls["fw1"]
    edited(fw1)
    assert carpool(fw1, "apply").returncode == 0
    done = carpool(fw1, "sync", "--confirm-within", "1h")
    assert done.returncode == 0 and "only the peers put it back" in done.stdout
    assert carpool(fw1, "rollback", "--pending").returncode == 0
    assert status(fw1)["change"]["changes"], "both forms count"
    assert carpool(fw1, "sync").returncode == 0 and one_form(lab)


def test_what_the_primary_cannot_take_up_the_peers_put_back(lab: Lab) -> None:
    fw1, fw2 = lab.firewalls["fw1"], lab.firewalls["fw2"]
    old = edited(fw1)
    applied = fw1.state_dir / "applied.json"
    applied.unlink()
    applied.mkdir()  # it could not put it back after a crash, so it takes nothing up
    done = carpool(fw1, "sync", "--confirm-within", "1h")
    assert done.returncode != 0 and "the peers were told to put it back" in done.stdout
    assert (fw2.config_dir / "group.toml").read_text() == old and not addresses(fw2, 77)
    applied.rmdir()
    assert carpool(fw1, "sync").returncode == 0 and one_form(lab) not in ("", old)


@pytest.mark.long
def test_a_failover_process_that_hangs_has_the_peer_put_the_files_back(lab: Lab) -> None:
    """Whether it heard of them nobody knows; when it goes on, it goes by what is there."""
    fw1, fw2 = lab.firewalls["fw1"], lab.firewalls["fw2"]
    before, pid = transitions(fw2), status(fw2)["pid"]
    old = edited(fw1)
    os.kill(pid, signal.SIGSTOP)
    try:
        done = carpool(fw1, "sync", "carpool")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.returncode != 0
    assert "put back as it was, but: taking up group.toml: " in " ".join(done.stdout.split())
    assert (fw2.config_dir / "group.toml").read_text() == old
    digest = hashlib.sha256(old.encode()).hexdigest()
    wait_until(lambda: status(fw2)["group_digest"] == digest, 10, "it goes by the old one")
    assert carpool(fw1, "sync", "carpool").returncode == 0 and one_form(lab) not in ("", old)
    assert not [one for one in transitions(fw2)[len(before) :] if one.endswith(" MASTER")]


def test_a_pull_that_demotes_this_node_is_for_who_insists(lab: Lab) -> None:
    """A VIP on a link that is down here, and up where it comes from."""
    fw1, fw2 = lab.firewalls["fw1"], lab.firewalls["fw2"]
    for number, firewall in enumerate((fw1, fw2), 2):
        run = lab.network.namespace(firewall.name)
        for words in (
            "link add dmz0 type veth peer name dmz1",
            f"address add 10.66.0.{number}/24 dev dmz0",
        ):
            subprocess.run(shell.inside(run, ["ip", *words.split()]), check=True)
        node = firewall.config_dir / "node.toml"
        node.write_text(node.read_text().replace("[interface]\n", '[interface]\ndmz = "dmz0"\n', 1))
    for device in ("dmz0", "dmz1"):
        up = ["ip", "link", "set", device, "up"]
        subprocess.run(shell.inside(lab.network.namespace("fw2"), up), check=True)
    assert carpool(fw1, "sync", "carpool").returncode == 0
    group = fw2.config_dir / "group.toml"
    more = MORE.format(address="10.66.0.1/24").replace('"lan"', '"dmz"')
    group.write_text(group.read_text().replace("[states]", f"{more}[states]"))
    old = (fw1.config_dir / "group.toml").read_text()
    assert carpool(fw2, "apply").returncode == 0
    refused = carpool(fw1, "pull", "fw2", "carpool")
    assert refused.returncode != 0 and "would make this node, or a peer, fail" in refused.stdout
    assert (fw1.config_dir / "group.toml").read_text() == old and not addresses(fw1, 77)
    done = carpool(fw1, "pull", "fw2", "carpool", "--force")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (fw1.config_dir / "group.toml").read_text() == group.read_text()
    assert "dmz" in str(status(fw1)["demotion"])
    wait_until(
        lambda: {row["state"] for row in status(fw2)["vhosts"]} == {"MASTER"}, 15, "fw2 is better"
    )
    assert one_form(lab)


def test_a_peer_whose_file_was_damaged_gets_it_back_by_a_sync(lab: Lab) -> None:
    fw1, fw2 = lab.firewalls["fw1"], lab.firewalls["fw2"]
    before = transitions(fw1)
    ending = [one for role in (*ROLES, "agent") if (one := lab.tracked("fw2", role))]
    processes.end(ending)
    text = (fw2.config_dir / "group.toml").read_text()
    (fw2.config_dir / "group.toml").write_text("")
    lab.start_missing("fw2")
    wait_until(lambda: "files" in keys_of_troubles(fw2), 20, "it goes by what counted before")
    assert transitions(fw1) == before

    wait_until(lambda: "fw2" in carpool(fw1, "diff", "carpool").stdout, 20, "its agent is there")
    wait_until(lambda: "cannot connect" not in carpool(fw1, "diff", "carpool").stdout, 20)
    done = carpool(fw1, "sync", "carpool")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (fw2.config_dir / "group.toml").read_text() == text
    wait_until(lambda: "files" not in keys_of_troubles(fw2), 10, "it is mended")
    assert transitions(fw1) == before
    wait_until(lambda: lab.troubles() == [], 30, "the group is whole")


def keys_of_troubles(firewall: Firewall) -> list[str]:
    try:
        return [row["key"] for row in status(firewall)["troubles"]]
    except UnreachableError:
        return ["it starts"]
