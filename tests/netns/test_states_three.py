"""Three nodes that replicate states: everybody gets everything once, from whoever is master."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from carpool.proto import ctmessage as ct
from tests.netns.lab import Network, holds_for, wait_until
from tests.netns.pair import SERVER, SERVER6, TRIO, Pair, StatesNode, arrives, flow

TCP = socket.SOCK_STREAM
FLOWS = 20


@pytest.fixture
def trio(network: Network, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(network, tmp_path, TRIO)
    yield made
    made.close()


def table(node: StatesNode) -> set[tuple[ct.Tuple, ct.Tuple, int]]:
    """What replication is about: forwarded TCP flows, with translation and mark."""
    return {
        (entry.orig, entry.reply, entry.mark)
        for entry in node.entries()
        if entry.orig.protocol == ct.IP_TCP and 1000 <= entry.orig.dport < 2000
    }


def same_tables(backup: StatesNode, master: StatesNode) -> None:
    wait_until(lambda: table(backup) == table(master), 10, f"{backup.name} has all")


def open_flows(trio: Pair, stack: ExitStack, first: int) -> None:
    for number in range(FLOWS):
        to = SERVER6 if number % 4 == 0 else SERVER
        made = flow(TCP, trio.client, trio.server, (to, first + number))
        assert stack.enter_context(made).echoes()


Counts = dict[tuple[str, str], tuple[int, ...]]


def counts(trio: Pair) -> Counts:
    """By node and peer: requests sent, received, injected, refused."""
    return {
        (node.name, peer["name"]): tuple(
            int(peer[key]) for key in ("sent", "received", "injected", "errors")
        )
        for node in trio.nodes
        for peer in node.status()["peers"]
    }


def test_everybody_gets_everything_once(trio: Pair) -> None:
    trio.start()
    before = counts(trio)
    with ExitStack() as stack:
        open_flows(trio, stack, 1000)
        master = trio.fw1
        for backup in trio.nodes[1:]:
            same_tables(backup, master)
        assert len(table(master)) == FLOWS

        def news() -> Counts:
            after = counts(trio)
            return {
                link: tuple(a - b for a, b in zip(after[link], before[link], strict=True))
                for link in after
            }

        once = {
            **{("fw1", peer): (FLOWS, 0, 0, 0) for peer in ("fw2", "fw3")},
            **{(node, "fw1"): (0, FLOWS, FLOWS, 0) for node in ("fw2", "fw3")},
            **{("fw2", "fw3"): (0, 0, 0, 0), ("fw3", "fw2"): (0, 0, 0, 0)},
        }
        wait_until(lambda: news() == once, 5, f"each entry once: {once}")
        holds_for(lambda: news() == once, 0.5, "no echo")


def test_who_joins_late_gets_the_full_table(trio: Pair) -> None:
    fw1, fw2, fw3 = trio.nodes
    for node in (fw1, fw2):
        node.start_failover(master=node is fw1)
        node.start()
    wait_until(lambda: "complete" in {p["bulk"] for p in fw2.status()["peers"]}, 10, "fw2 has it")
    with ExitStack() as stack:
        open_flows(trio, stack, 1000)
        same_tables(fw2, fw1)
        fw3.start_failover(master=False)
        fw3.start()
        trio.synchronised()
        assert table(fw3) == table(fw1)
        assert len(table(fw3)) == FLOWS
        # Both told it the same: the second time that is no error.
        assert {peer["errors"] for peer in fw3.status()["peers"]} == {0}


def test_the_death_of_the_master_leaves_the_others_equal(trio: Pair) -> None:
    """Without a word; and its successor's news reach the third."""
    trio.start()
    fw1, fw2, fw3 = trio.nodes
    assert fw2.failover is not None
    with ExitStack() as stack:
        open_flows(trio, stack, 1000)
        same_tables(fw2, fw1)  # an event of the last millisecond would die with it
        fw1.stop(signal.SIGKILL)
        assert fw1.failover is not None
        fw1.failover.close()
        trio.fail_over()
        fw2.failover.be(True)
        wait_until(lambda: fw2.status()["master"], 5, "fw2 is master")
        open_flows(trio, stack, 1500)
        wait_until(lambda: len(table(fw2)) == 2 * FLOWS, 5, "fw2 has the old and the new")
        same_tables(fw3, fw2)
        assert {entry[0].dport for entry in table(fw3)} >= set(range(1500, 1500 + FLOWS))


def give_table(giver: StatesNode, taker: StatesNode, entries: int) -> None:
    """All that a node has, from one backup to another; the walk after it is not waited for. The
    taker stands still until all of it is on its way: it would give its own table at the same time,
    and where no master is known, the later one of the two is right."""

    def count(node: StatesNode, peer: StatesNode, key: str) -> int:
        return next(int(one[key]) for one in node.status()["peers"] if one["name"] == peer.name)

    sent = count(giver, taker, "sent") + entries
    received = count(taker, giver, "received") + entries
    assert taker.process is not None
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(giver.run_dir / "states.sock"))
        os.kill(taker.process.pid, signal.SIGSTOP)
        try:
            client.sendall(json.dumps({"command": "resync", "peer": taker.name}).encode() + b"\n")
            wait_until(lambda: count(giver, taker, "sent") >= sent, 5, f"{giver.name} has sent all")
        finally:
            os.kill(taker.process.pid, signal.SIGCONT)
        wait_until(lambda: count(taker, giver, "received") >= received, 5, f"{taker.name} has all")


@pytest.mark.parametrize("known", [True, False])
def test_the_dead_of_a_backup_push_out_nothing_that_the_master_gave(
    trio: Pair, known: bool
) -> None:
    """fw3 was away while a port of the VIP was given to another connection, and tells fw2 what it
    has. Only if nobody is known as master, who comes last is right."""
    trio.start()
    fw1, fw2, fw3 = trio.nodes
    assert fw1.failover is not None and fw2.failover is not None
    with flow(TCP, trio.client, trio.server, (SERVER, 81)) as living:
        assert living.echoes()
        entry, copy = (arrives(node, ct.IP_TCP, 81) for node in (fw2, fw3))
        dead = replace(copy, orig=replace(copy.orig, sport=copy.orig.sport ^ 1))
        other = replace(copy, orig=replace(copy.orig, sport=9), reply=replace(copy.reply, dport=9))
        fw3.inject(ct.delete_request(copy), *map(ct.create_request, (dead, other)))
        if not known:
            fw1.failover.be(False)
            wait_until(lambda: not any(map(knows_master, (fw2, fw3))), 5, "nobody is master")
        give_table(fw3, fw2, 2)
        found = {(one.orig, one.reply) for one in fw2.entries() if one.orig.dport == 81}
        assert found == {(one.orig, one.reply) for one in (entry if known else dead, other)}
        assert fw2.counter("kept_masters") == int(known)
        if known:
            trio.fail_over()
            fw2.failover.be(True)
            assert living.echoes()


def knows_master(node: StatesNode) -> bool:
    return any(peer["master"] for peer in node.status()["peers"])
