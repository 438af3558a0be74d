"""A running group takes up another group.toml under traffic, and never has a second master."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.netns.lab import Namespace, Network, holds_for, wait_until
from tests.netns.node import CarpNode, running, vip

LAN, ALIAS, OTHER, GOING, COMING = "10.10.1.1", "10.10.1.5", "10.10.1.6", "10.10.1.7", "10.20.1.1"
LAN6 = "fd00:10:1::1"
DOWN_S = 4.0  # more than any master-down interval here: who is going to take over has done so
PEERS = {
    "fw1": {"lan": "10.10.1.2", "dmz": "10.20.1.2"},
    "fw2": {"lan": "10.10.1.3", "dmz": "10.20.1.3"},
}
OLD = (
    vip(addresses=(f"{LAN}/24", f"{ALIAS}/24", f"{LAN6}/64")),
    vip(vhid=53, addresses=(f"{GOING}/24",)),
)
# Another password, an alias more and one less, a VHID less, and one on a link that had none.
NEW = (
    vip(addresses=(f"{LAN}/24", f"{OTHER}/24", f"{LAN6}/64"), password="another"),
    vip("dmz", 54, (f"{COMING}/24",)),
)


@dataclass
class Pair:
    fw1: CarpNode
    fw2: CarpNode
    client: Namespace

    @property
    def nodes(self) -> tuple[CarpNode, CarpNode]:
        return self.fw1, self.fw2

    def write(self, node: CarpNode, *vips: str, preempt: bool = True) -> None:
        peers = {name: addresses for name, addresses in PEERS.items() if name != node.name}
        node.configure(*vips, peers=peers, interfaces=("lan", "dmz"), preempt=preempt)

    def states(self) -> dict[str, dict[str, str]]:
        """By VHID and node."""
        found: dict[str, dict[str, str]] = {}
        for node in self.nodes:
            for one in node.status()["vhosts"]:
                key = f"{one['vhid']}@{one['interface']}"
                found.setdefault(key, {})[node.name] = one["state"]
        return found

    def masters_are(self, name: str) -> bool:
        """Of each VHID `name`, and nobody else."""
        return all(
            [node for node, state in by.items() if state == "MASTER"] == [name]
            for by in self.states().values()
        )

    def owners(self, address: str) -> list[str]:
        return [node.name for node in self.nodes if node.owns(address)]


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> Pair:
    one, two = (network.host(name, forwarding=True) for name in ("fw1", "fw2"))
    client = network.host("client")
    network.bridge(
        "switch",
        [
            (one, "lan0", (f"{PEERS['fw1']['lan']}/24", "fd00:10:1::2/64")),
            (two, "lan0", (f"{PEERS['fw2']['lan']}/24", "fd00:10:1::3/64")),
            (client, "eth0", ("10.10.1.10/24", "fd00:10:1::10/64")),
        ],
    )
    network.bridge(
        "dmz",
        [
            (one, "dmz0", (f"{PEERS['fw1']['dmz']}/24",)),
            (two, "dmz0", (f"{PEERS['fw2']['dmz']}/24",)),
            (client, "dmz0", ("10.20.1.10/24",)),
        ],
    )
    return Pair(CarpNode(one, tmp_path, "fw1", 0), CarpNode(two, tmp_path, "fw2", 100), client)


@contextmanager
def started(pair: Pair, *vips: str, preempt: bool = True) -> Iterator[None]:
    """fw1 is master."""
    for node in pair.nodes:
        pair.write(node, *vips, preempt=preempt)
    with running(*pair.nodes):
        pair.fw1.becomes("MASTER")
        pair.fw2.becomes("BACKUP")
        yield


@contextmanager
def pinged(client: Namespace, *addresses: str) -> Iterator[None]:
    """Every 10 ms, without a loss."""
    with TemporaryDirectory() as directory:
        files = [Path(directory, str(number)) for number in range(len(addresses))]
        script = 'exec ping -n -i 0.01 "$1" >"$2"'
        pings = [
            client.start("sh", "-c", script, "sh", address, str(file))
            for address, file in zip(addresses, files, strict=True)
        ]
        try:
            yield
            for ping, file in zip(pings, files, strict=True):
                ping.send_signal(signal.SIGINT)
                ping.communicate(timeout=30)
                assert lost(file.read_text()) == set()
        finally:
            for ping in pings:
                if ping.poll() is None:
                    ping.kill()
                    ping.communicate()


def lost(said: str) -> set[int]:
    """Which pings had no answer; ping does not wait for the one that it has just sent."""
    sent = re.search(r"(\d+) packets transmitted", said)
    assert sent is not None and int(sent[1]) > 1, said[-300:]
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl=", said)}
    return set(range(1, int(sent[1]))) - answered


def apply(node: CarpNode, *arguments: str) -> str:
    done = node.carpool("apply", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def follows(pair: Pair, *keys: str) -> bool:
    """Whether fw2 follows fw1 there."""
    states = pair.states()
    return all(states[key] == {"fw1": "MASTER", "fw2": "BACKUP"} for key in keys)


def change_of(node: CarpNode) -> Any:
    return node.status()["change"]


def taken_up(node: CarpNode) -> list[str]:
    """Each time that it began to go by other files, in words."""
    events = node.ask("events", limit=100)["events"]
    return [one["text"] for one in events if "counts from now on" in one["text"]]


@pytest.mark.parametrize(
    ("order", "preempt"),
    [((0, 1), True), ((1, 0), False)],
    ids=["master first", "backup first, no preemption"],
)
def test_everything_changes_under_traffic_and_nobody_takes_over(
    pair: Pair, order: tuple[int, int], preempt: bool
) -> None:
    with started(pair, *OLD, preempt=preempt):
        before = [node.transitions() for node in pair.nodes]
        first, second = (pair.nodes[index] for index in order)
        with pinged(pair.client, LAN, LAN6):
            pair.write(first, *NEW, preempt=preempt)
            told = apply(first)
            assert "51@lan: 10.10.1.6/24 added" in told and "another password" in told
            assert "53@lan goes" in told and "54@dmz comes" in told and "secret" not in told
            holds_for(
                lambda: follows(pair, "51@lan", "53@lan"), DOWN_S, "who has the old file, too"
            )
            pair.write(second, *NEW, preempt=preempt)
            apply(second)
            wait_until(lambda: pair.masters_are("fw1"), 20, "the new VIP is on fw1 alone")
            for node in pair.nodes:
                assert change_of(node)["changes"], "until it is settled"
                assert "nothing to settle" not in apply(node, "--settle")
                assert change_of(node) is None
            holds_for(lambda: pair.masters_are("fw1"), DOWN_S, "and it stays so")
        after = [node.transitions() for node in pair.nodes]
        assert after[0][len(before[0]) :] == ["54@dmz INIT BACKUP", "54@dmz BACKUP MASTER"]
        assert after[1][len(before[1]) :] == ["54@dmz INIT BACKUP"]
        assert set(pair.states()) == {"51@lan", "54@dmz"}
        for address in (LAN, OTHER, COMING):
            assert pair.owners(address) == ["fw1"]
        for address in (ALIAS, GOING):
            assert pair.owners(address) == []
        assert pair.client.pings(OTHER) and pair.client.pings(COMING)
        pair.fw1.stop()  # the new one is the one that counts
        assert pair.fw2.role == "MASTER"
        assert pair.client.pings(OTHER) and pair.client.pings(COMING)


MORE = (vip(addresses=(f"{LAN}/24", f"{ALIAS}/24", f"{OTHER}/24", f"{LAN6}/64")), OLD[1])


def test_what_nobody_confirms_is_put_back_with_the_file(pair: Pair) -> None:
    with started(pair, *OLD):
        group = pair.fw1.directory / "group.toml"
        old = group.read_text()
        pair.write(pair.fw1, *MORE)
        new = group.read_text()
        assert "unless `carpool confirm`" in apply(pair.fw1, "--confirm-within", "1s")
        wait_until(lambda: group.read_text() == old, 20, "it is put back")
        assert len(taken_up(pair.fw1)) == 2, "it, and what was before"
        assert not pair.fw1.owns(OTHER) and pair.fw1.owns(ALIAS)
        assert group.with_name("group.toml.not-confirmed").read_text() == new
        pair.write(pair.fw1, *MORE)
        apply(pair.fw1, "--confirm-within", "1m")
        assert pair.fw1.owns(OTHER)
        assert change_of(pair.fw1)["confirm_left_s"] > 30
        refused = pair.fw1.carpool("apply")
        assert refused.returncode != 0 and "waits to be confirmed" in refused.stderr
        kept = pair.fw1.carpool("confirm")
        assert kept.returncode == 0 and "is kept" in kept.stdout
        assert change_of(pair.fw1)["confirm_left_s"] is None
        assert pair.fw1.owns(OTHER) and pair.masters_are("fw1")
        pair.write(pair.fw1, *OLD)
        apply(pair.fw1, "--confirm-within", "1m")
        assert not pair.fw1.owns(OTHER)
        assert pair.fw1.carpool("rollback", "--pending").returncode == 0
        assert pair.fw1.owns(OTHER) and group.read_text() == new


def test_an_edit_that_is_not_failovers_waits_to_be_confirmed_too(
    network: Network, tmp_path: Path
) -> None:
    host = network.host("fw1", forwarding=True)
    network.bridge("switch", [(host, "lan0", (f"{PEERS['fw1']['lan']}/24",))])
    node = CarpNode(host, tmp_path, "fw1", 0)
    node.configure(vip(addresses=(f"{LAN}/24",)))
    with running(node):
        group = node.directory / "group.toml"
        old = group.read_text()
        new = old + '[section.mine]\npaths = ["/etc/mine"]\n'
        group.write_text(new)
        told = apply(node, "--confirm-within", "1s")
        assert "nothing changes for failover" in told and "is said in 1 s" in told
        wait_until(lambda: group.read_text() == old, 20, "it is put back")
        assert group.with_name("group.toml.not-confirmed").read_text() == new
        assert "is said in" not in apply(node, "--confirm-within", "1s"), "nothing differs"


def test_a_process_that_ends_unconfirmed_puts_it_back(pair: Pair) -> None:
    with started(pair, *OLD):
        group = pair.fw1.directory / "group.toml"
        old = group.read_text()
        pair.write(pair.fw1, *MORE)
        apply(pair.fw1, "--confirm-within", "1h")
        killed = pair.fw1.worker_pid()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: group.read_text() == old, 20, "the next one puts it back")
        wait_until(lambda: pair.fw1.answers() and pair.fw1.worker_pid() != killed, 20)
        pair.fw2.becomes("MASTER")  # of a node that crashed
        wait_until(lambda: pair.owners(LAN) == ["fw2"], 20)
        assert pair.owners(OTHER) == []


def test_processes_that_are_started_again_go_on_within_the_change(pair: Pair) -> None:
    with started(pair, *OLD):
        pair.write(pair.fw1, *NEW)
        apply(pair.fw1)
        killed = pair.fw1.worker_pid()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: pair.fw1.answers() and pair.fw1.worker_pid() != killed, 20)
        assert change_of(pair.fw1)["changes"]
        pair.fw2.becomes("MASTER")
        follows_fw2 = lambda: pair.states()["51@lan"] == {"fw1": "BACKUP", "fw2": "MASTER"}  # noqa: E731
        wait_until(follows_fw2, 20)
        pair.fw2.stop()
        pair.fw1.becomes("MASTER")
        pair.write(pair.fw2, *NEW)
        pair.fw2.start()  # with another file than before, as after a copy and a restart
        assert "51@lan: 10.10.1.6/24 added" in change_of(pair.fw2)["changes"]
        # Who comes back within a second of the kill is still handed what the dead process had.
        wait_until(lambda: pair.masters_are("fw1") or pair.masters_are("fw2"), 20)


def test_mac_and_transport_change_while_it_runs(pair: Pair) -> None:
    new = (vip(addresses=(f"{LAN}/24",), mac="interface", transport="unicast"),)
    with started(pair, vip(addresses=(f"{LAN}/24",))):
        before = [node.transitions() for node in pair.nodes]
        pair.write(pair.fw1, *new)
        apply(pair.fw1)
        holds_for(lambda: follows(pair, "51@lan"), DOWN_S, "who still has the old file, too")
        pair.write(pair.fw2, *new)
        apply(pair.fw2)
        for node in pair.nodes:
            apply(node, "--settle")
        wait_until(lambda: pair.client.pings(LAN), 20)
        holds_for(lambda: follows(pair, "51@lan"), DOWN_S)
        assert [node.transitions() for node in pair.nodes] == before
        assert pair.client.neighbour_mac(LAN) == pair.fw1.namespace.mac("lan0")


def test_what_would_harm_is_refused_and_changes_nothing(pair: Pair) -> None:
    with started(pair, *OLD):
        before = pair.fw1.status()["vhosts"][0]["addresses"]

        def refused(*arguments: str) -> str:
            done = pair.fw1.carpool("apply", *arguments)
            assert done.returncode != 0 and done.stdout == ""
            assert pair.fw1.status()["vhosts"][0]["addresses"] == before
            assert change_of(pair.fw1) is None
            return done.stderr

        group = pair.fw1.directory / "group.toml"
        group.write_text(group.read_text() + "vhid = 0\n[[vip]]\n")
        assert "group.toml:" in refused()
        assert not pair.fw1.ask("reload")["ok"]  # whoever asks
        pair.fw1.namespace.run("ip", "link", "set", "dmz0", "down")
        pair.write(pair.fw1, *NEW)
        assert "which is set down" in refused()
        pair.fw1.namespace.run("ip", "link", "set", "dmz0", "up")
        index = pair.fw1.namespace.run("cat", "/sys/class/net/dmz0/ifindex").stdout.strip()
        taken = f"carp54-{index}"  # the name that the macvlan of the new VIP is to have
        pair.fw1.namespace.run("ip", "link", "add", taken, "type", "bridge")
        assert "is not the macvlan" in (told := refused()) and "everything is as it was" in told
        pair.fw1.namespace.run("ip", "link", "del", taken)
        node = pair.fw1.directory / "node.toml"
        node.write_text(node.read_text().replace('lan = "lan0"', 'lan = "eth9"'))
        assert "only a restart takes up: device of lan: lan0 -> eth9" in refused()
        assert pair.masters_are("fw1")


def test_a_dry_run_shows_it_and_changes_nothing(pair: Pair) -> None:
    with started(pair, *OLD):
        pair.write(pair.fw1, *NEW)
        assert "54@dmz comes" in apply(pair.fw1, "--dry-run")
        assert change_of(pair.fw1) is None
        assert set(pair.states()) == {"51@lan", "53@lan"}
