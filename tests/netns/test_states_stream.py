"""The stream between two states processes: breaks, strangers, hostile peers, the hold."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from carpool.api.identity import keys_of
from carpool.kernel import conntrack
from carpool.kernel.ctevents import RECEIVE_BUFFER_BYTES
from carpool.kernel.tls import pinning
from carpool.proto import ctmessage as ct
from carpool.proto import statecheck as sc
from carpool.proto import statestream as ss
from carpool.proto.statestream import Broken, Frame, Kind
from tests.netns.lab import holds_for, wait_until
from tests.netns.pair import GROUP, SERVER, SYNC, WAN_VIP, Pair, StatesNode, flow, packed
from tests.unit.proto.test_ctexpect import CREATE as EXPECTATION
from tests.unit.proto.test_ctexpect import DELETE as DELETION

TCP = socket.SOCK_STREAM
PORT = 3782
FLUSH = bytes.fromhex("14000000 0201 0100 00000000 00000000 02000000")  # a delete without a tuple


def many(count: int, *, first: int = 0) -> list[bytes]:
    """Create requests of so many assured UDP flows through the firewall, each another one."""
    orig = ct.Tuple(bytes(4), packed(SERVER), ct.IP_UDP, 0, 53)
    template = ct.create_request(ct.Entry(orig, orig.inverted(), 0xE, ct.QUIET_TIMEOUT_S))
    found = ct.fields(template)
    assert found is not None
    names = ("orig.ip.src", "orig.proto.sport", "reply.ip.dst", "reply.proto.dport")
    spots = [slice(at, at + length) for at, length in (found[name] for name in names)]
    requests = []
    for number in range(first, first + count):
        client = (0x0A010100 + number // 50_000).to_bytes(4, "big")
        port = (1024 + number % 50_000).to_bytes(2, "big")
        request = bytearray(template)
        for spot, value in zip(spots, (client, port, client, port), strict=True):
            request[spot] = value
        requests.append(bytes(request))
    return requests


def fill(node: StatesNode, requests: list[bytes]) -> None:
    for at in range(0, len(requests), 300):
        node.inject(*requests[at : at + 300])


def count(node: StatesNode) -> int:
    with node.namespace.entered():
        return conntrack.entries()


def made_up(node: StatesNode) -> int:
    """How many of `many` it has, beside those of its own streams."""
    return sum(entry.orig.dport == 53 for entry in node.entries())


# ------------------------------------------------------------------------------------- breaks


def test_a_killed_process_takes_the_whole_table_when_it_is_back(pair: Pair) -> None:
    pair.start()
    assert pair.fw2.failover is not None
    pair.fw2.stop(signal.SIGKILL)
    wait_until(pair.fw1.lost_peer, 5, "fw1 notices")
    with (
        flow(TCP, pair.client, pair.server, (SERVER, 80)) as one,
        flow(TCP, pair.client, pair.server, (SERVER, 81)) as other,
    ):
        assert one.echoes() and other.echoes()
        fill(pair.fw1, many(2000))
        assert pair.fw2.find(6, 80) is None
        told = len(pair.fw2.failover.bulks)
        pair.fw2.start()
        pair.synchronised()
        for dport in (80, 81):
            here, there = pair.fw1.find(6, dport), pair.fw2.find(6, dport)
            assert here is not None and there is not None
            assert (here.orig, here.reply, here.tcp is None) == (there.orig, there.reply, False)
        assert made_up(pair.fw2) == 2000
        wait_until(lambda: not pair.fw2.failover or not pair.fw2.failover.bulks[-1][0], 5)
        assert (True, "taking the table of fw1") in pair.fw2.failover.bulks[told:]
        assert pair.fw2.failover.bulks[-1] == (False, "the table of fw1 is complete")


def test_a_table_that_is_there_already_is_kept_by_the_master_and_renewed_on_the_backup(
    pair: Pair,
) -> None:
    pair.start()
    fill(pair.fw1, many(500))
    wait_until(lambda: made_up(pair.fw2) == 500, 5, "500 entries on fw2")
    kept, settled = pair.fw1.counter("kept_own"), pair.fw2.counter("settled")
    pair.fw1.stop()
    pair.fw1.start()  # it takes a table, for who knows what ended meanwhile
    pair.synchronised()
    assert pair.fw1.counter("kept_own") >= 500 > kept
    pair.fw2.stop()
    pair.fw2.start()  # its table is worth nothing to a master who has had one
    pair.synchronised()
    assert pair.fw1.counter("kept_own") < 1000
    assert pair.fw2.counter("settled") >= 500 >= settled
    for node in pair.nodes:
        assert node.peer_status()["errors"] == 0
        assert made_up(node) == 500


def test_a_cut_cable_is_noticed_and_mended(pair: Pair) -> None:
    pair.start()
    switch = pair.network.hosts["sync"]
    switch.run("ip", "link", "set", "br0", "down")
    for node in pair.nodes:
        wait_until(node.lost_peer, 7, "the cut is noticed")
        why = node.peer_status()["last_error"].lower()
        # fw1 dials at once: 2 s later what came of that is its last error.
        assert any(words in why for words in ("silent for 5 s", "timed out", "connect: ")), why
    fill(pair.fw1, many(100))
    switch.run("ip", "link", "set", "br0", "up")
    pair.synchronised()
    assert made_up(pair.fw2) == 100


@pytest.mark.timeout(120)
def test_an_overflow_is_counted_and_answered_by_the_whole_table(pair: Pair) -> None:
    """The process stands still while more happens than its socket can hold."""
    pair.start()
    assert pair.fw1.process is not None
    requests = many(RECEIVE_BUFFER_BYTES // 400)
    pair.fw1.process.send_signal(signal.SIGSTOP)
    try:
        fill(pair.fw1, requests)
    finally:
        pair.fw1.process.send_signal(signal.SIGCONT)
    wait_until(lambda: pair.fw1.counter("overflows") >= 1, 20, "the overflow is counted")
    wait_until(lambda: pair.fw1.counter("bulks") >= 2, 20, "a bulk answers it")
    wait_until(lambda: count(pair.fw2) >= len(requests), 40, "all are on fw2")
    wait_until(lambda: pair.fw2.peer_status()["bulk"] == "complete", 20, "the bulk ends")
    assert pair.fw2.peer_status()["errors"] == 0
    assert pair.fw1.stop() == 0
    assert "the kernel dropped some (ENOBUFS)" in pair.fw1.output


def test_a_flushed_ruleset_is_noticed(pair: Pair) -> None:
    """`flush ruleset`, as every /etc/nftables.conf does, takes our table too."""
    pair.start()
    pair.fw1.namespace.nft("flush ruleset")
    wait_until(lambda: pair.fw1.counter("table_restored") == 1, 5, "the table is back")
    tables = pair.fw1.namespace.run("nft", "list", "tables").stdout
    assert "table inet carpool_states" in tables


def test_a_clean_stop_leaves_nothing_behind(pair: Pair) -> None:
    pair.start()
    assert pair.fw1.failover is not None
    assert pair.fw1.stop() == 0
    assert "carpool_states" not in pair.fw1.namespace.run("nft", "list", "tables").stdout
    assert not (pair.fw1.run_dir / "states.sock").exists()
    wait_until(
        lambda: (
            pair.fw1.failover and pair.fw1.failover.bulks[-1] == (False, "the states process stops")
        ),
        5,
        "failover is told",
    )
    wait_until(pair.fw2.lost_peer, 5, "fw2 notices")


def test_a_node_alone_does_not_wait_for_ever(pair: Pair) -> None:
    pair.fw1.start_failover(master=False)
    pair.fw1.start()
    assert pair.fw1.failover is not None
    bulks = pair.fw1.failover.bulks
    wait_until(lambda: bulks, 5, "failover is told")
    assert bulks[0] == (True, "looking for fw2 to take a table from")
    wait_until(lambda: not bulks[-1][0], 13, "preemption is free")
    assert bulks[-1] == (False, "no peer reachable: nothing to take")
    assert pair.fw1.process is not None
    stat = Path(f"/proc/{pair.fw1.process.pid}/stat")

    def cpu_ticks() -> int:
        user, system = stat.read_text().rpartition(")")[2].split()[11:13]
        return int(user) + int(system)

    before = cpu_ticks()
    holds_for(lambda: pair.fw1.process, 1.0)
    assert cpu_ticks() - before <= 10  # hundredths of a second: alone, there is nothing to do


def test_a_master_whose_failover_was_gone_renews_the_copies_when_it_is_back(pair: Pair) -> None:
    """And not in between: what it has may be dead, if somebody else is master."""
    pair.start()
    bulks = pair.fw1.counter("bulks")
    assert pair.fw1.failover is not None
    pair.fw1.failover.close()
    wait_until(lambda: not pair.fw1.status()["master"], 5, "nobody says that it is master")
    pair.fw1.start_failover(master=True)
    wait_until(lambda: pair.fw1.counter("bulks") > bulks, 8, "the table goes to fw2 once more")


# ------------------------------------------------------------------------- who may talk to us


class Stranger:
    """Somebody who connects from a namespace and says what a test likes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def say(self, *frames: bytes) -> None:
        self.sock.sendall(b"".join(frames))

    def hears(self) -> list[Frame]:
        """All frames until the other side closes."""
        parser, found = ss.Parser(), list[Frame]()
        parser.trust()
        while data := self._read():
            parser.feed(data)
            while (frame := parser.next()) is not None:
                assert not isinstance(frame, Broken), frame
                found.append(frame)
        return found

    def _read(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            return b""


@contextmanager
def connected(pair: Pair, host: str, source: str | None = None) -> Iterator[Stranger]:
    """Connected to the states port of fw1; from the address of a peer, with that peer's keys."""
    with pair.network.hosts[host].entered():
        sock = socket.socket()
    with sock:
        sock.settimeout(20)  # it hangs up, not we
        if source is not None:
            sock.bind((source, 0))
        with suppress(ConnectionResetError):  # reset before we looked: `hears` tells
            sock.connect((SYNC["fw1"], PORT))
        if source is None:
            yield Stranger(sock)
            return
        keys = keys_of(pair.fw2.directory, "fw2")
        with pinning(keys.credentials("fw1"), server=False).wrap_socket(sock) as secured:
            yield Stranger(secured)


def test_a_stranger_is_refused_counted_and_told_once(pair: Pair) -> None:
    pair.start()
    for _ in range(3):
        with connected(pair, "server") as stranger:
            assert stranger.hears() == []
    assert pair.fw1.counter("strangers") == 3
    assert pair.fw1.peer_status()["connected"]
    assert pair.fw1.stop() == 0
    assert pair.fw1.output.count("refused 10.3.0.77") == 1


HELLO = ss.build_hello("test", "fw2")
EXPECTED = "a deletion or an expectation among the entries to be compared"


def check(*requests: bytes) -> bytes:
    question = sc.Check(1, 0, first=True, last=True, requests=b"".join(requests))
    return ss.build(Kind.CHECK, sc.build_check(question))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([b"GET / HTTP/1.0\r\n\r\n"], "no frame starts with"),
        ([ss.build_hello("other", "fw2")], "fw2 is of group 'other', fw1 of 'test'"),
        ([ss.build_hello("test", "fw9")], "calls itself 'fw9'"),
        ([ss.build(Kind.EVENTS, FLUSH)], "EVENTS before HELLO"),
        ([HELLO, ss.build(Kind.EVENTS, FLUSH)], "a deletion of nothing certain"),
        ([HELLO, ss.build(Kind.EVENTS, many(1)[0] + FLUSH)], "request 2: a deletion of nothing"),
        ([HELLO, ss.build(Kind.EVENTS, b"\xff" * 500)], "request 1 claims"),
        ([HELLO, bytes.fromhex("7fffffff 03 000000")], "EVENTS of 2147483647 bytes"),
        ([HELLO, check(EXPECTATION)], EXPECTED),
        ([HELLO, check(many(1)[0], DELETION)], EXPECTED),
        ([HELLO, check(FLUSH)], "a deletion of nothing certain"),
        ([HELLO, check(many(1)[0][:-4])], "request 1 claims"),
        ([HELLO, ss.build(Kind.CHECK, b"\xff" * 7)], "a CHECK of 7 bytes"),
    ],
    ids=[
        *("http", "group", "name", "early", "flush", "flush-second", "garbage", "endless"),
        *("check-expectation", "check-delete", "check-flush", "check-cut", "check-short"),
    ],
)
def test_a_hostile_peer_gets_a_reason_and_no_entry_is_lost(
    pair: Pair, said: list[bytes], reason: str
) -> None:
    """From the peer's own address, past every check of who he is."""
    pair.fw1.start_failover(master=True)
    pair.fw1.start()
    fill(pair.fw1, many(10, first=100))
    with connected(pair, "fw2", SYNC["fw2"]) as hostile:
        hostile.say(*said)
        last = hostile.hears()[-1]
    assert last.kind is Kind.REFUSE and reason in last.payload.decode()
    assert made_up(pair.fw1) == 10
    pair.fw2.start_failover(master=False)
    pair.fw2.start()
    pair.synchronised()  # and the real one is welcome


def test_half_a_table_is_none_however_often_it_is_sent(pair: Pair) -> None:
    pair.fw1.start_failover(master=False)
    pair.fw1.start()
    assert pair.fw1.failover is not None
    bulks = pair.fw1.failover.bulks
    looking = (True, "looking for fw2 to take a table from")
    for _ in range(3):
        wait_until(lambda: bulks and bulks[-1] == looking, 5, "it looks for a table")
        with connected(pair, "fw2", SYNC["fw2"]) as flapping:
            payload = b"".join(many(100))
            flapping.say(HELLO, ss.build(Kind.BULK_BEGIN), ss.build(Kind.BULK, payload))
            wait_until(lambda: bulks[-1] == (True, "taking the table of fw2"), 5, "it takes one")
    pair.fw2.start_failover(master=True)
    pair.fw2.start()
    pair.synchronised()
    wait_until(lambda: not bulks[-1][0], 5, "preemption is free")
    assert bulks[-1] == (False, "the table of fw2 is complete")
    assert all(on for on, _reason in bulks[:-1])


def knows_why(node: StatesNode) -> bool:
    return "group" in str(node.peer_status()["last_error"])


def test_two_groups_tell_each_other_that_they_do_not_fit(pair: Pair) -> None:
    pair.fw2.configure(group=GROUP.replace('name = "test"', 'name = "other"'))
    for node in pair.nodes:
        node.start_failover(master=False)
        node.start()
    for node in pair.nodes:
        wait_until(partial(knows_why, node), 5, f"{node.name} knows why")
        assert not node.peer_status()["connected"]


def test_a_second_stream_of_the_peer_replaces_the_first_only_once_it_has_greeted(
    pair: Pair,
) -> None:
    pair.start()
    since = pair.fw1.peer_status()["since_s"]
    with connected(pair, "fw2", SYNC["fw2"]) as silent:
        silent.hears()  # fw1's greeting, and its patience ends after 3 s
    status = pair.fw1.peer_status()
    assert status["connected"] and status["since_s"] > since + 2.5
    with connected(pair, "fw2", SYNC["fw2"]) as newer:
        newer.say(HELLO)
        wait_until(lambda: pair.fw1.counter("streams_lost") >= 1, 5, "the old one is dropped")
    wait_until(lambda: pair.fw1.counter("streams_lost") >= 2, 5, "the new one is gone")
    pair.synchronised()


def test_a_peer_that_does_not_read_costs_its_stream_and_no_memory(pair: Pair) -> None:
    """32 MiB wait for it at most; then it may come back and take the table."""
    pair.fw1.start_failover(master=True)
    pair.fw1.start()
    queued: list[int] = []

    def dropped() -> bool:
        status = pair.fw1.peer_status()
        queued.append(status["queued_bytes"])
        if status["connected"]:
            with suppress(OSError):
                deaf.say(ss.build(Kind.KEEPALIVE))  # deaf, not dead
        return not status["connected"]

    requests = many(60_000)
    with connected(pair, "fw2", SYNC["fw2"]) as deaf:
        deaf.say(HELLO + ss.build(Kind.TABLE, sc.build_table(sc.Table(False, False, 0, 0))))
        wait_until(lambda: pair.fw1.peer_status()["connected"], 5, "connected")
        for at in range(0, len(requests), 3000):
            fill(pair.fw1, requests[at : at + 3000])
            if dropped():
                break
        wait_until(dropped, 25, "the deaf one is dropped")
    assert 0 < max(queued) <= 33 * 1024 * 1024
    assert "silent" not in pair.fw1.peer_status()["last_error"]
    assert pair.fw1.status()["ok"]


def test_what_was_made_while_nobody_listened_is_deleted_like_the_rest(pair: Pair) -> None:
    pair.start()
    # The kernel prepares all entries for events, and not only while somebody listens.
    assert pair.fw1.namespace.read_sysctl("net/netfilter/nf_conntrack_events") == "1"
    assert pair.fw1.stop() == 0
    with flow(TCP, pair.client, pair.server, (SERVER, 80)) as made:
        assert made.echoes()
        pair.fw1.start()
        pair.synchronised()
        here = pair.fw1.find(6, 80)
        assert here is not None and pair.fw2.find(6, 80) is not None
        pair.fw1.delete(here)
        wait_until(lambda: pair.fw2.find(6, 80) is None, 5, "deleted on fw2")


def test_a_new_master_renews_the_copies_of_the_old_one(pair: Pair) -> None:
    """A UDP flow whose original on fw1 is left to expire while it lives on at fw2."""
    pair.start()
    server = packed(SERVER)
    orig = ct.Tuple(packed("10.1.0.10"), server, ct.IP_UDP, 4000, 53)
    create = ct.create_request(ct.Entry(orig, orig.inverted(), 0xE, ct.QUIET_TIMEOUT_S))
    pair.fw1.inject(create)
    wait_until(lambda: pair.fw2.find(17, 53), 5, "the copy is on fw2")
    found = ct.fields(create)
    assert found is not None
    at, _length = found["timeout"]
    short = create[:at] + (120).to_bytes(4, "big") + create[at + 4 :]
    pair.fw1.delete(ct.Entry(orig, orig.inverted(), 0xE))
    pair.fw1.inject(short)
    here = pair.fw1.find(17, 53)
    assert here is not None and here.timeout_s <= 120
    assert pair.fw1.failover is not None and pair.fw2.failover is not None
    pair.fw1.failover.be(False)
    pair.fw2.failover.be(True)

    def renewed() -> bool:
        entry = pair.fw1.find(17, 53)
        return entry is not None and entry.timeout_s > 3000

    wait_until(renewed, 8, "the old master keeps it as a copy now")


def test_what_a_rival_kept_as_its_own_is_the_masters_once_it_is_none(pair: Pair) -> None:
    """A split: each has another flow with the same tuple, and neither takes the other's."""
    pair.start()
    assert pair.fw1.failover is not None and pair.fw2.failover is not None
    orig = ct.Tuple(packed("10.1.0.10"), packed(SERVER), ct.IP_UDP, 4000, 53)
    lost, living = (
        ct.Entry(orig, replace(orig.inverted(), dst=packed(WAN_VIP), dport=port), 0xE, 3600)
        for port in (5000, 5001)
    )
    pair.fw2.failover.be(True)
    wait_until(lambda: pair.fw1.peer_status()["master"], 5, "fw1 knows that fw2 is master too")
    bulks = pair.fw2.counter("bulks")
    wait_until(lambda: pair.fw2.counter("bulks") > bulks, 5, "fw2 has told all that it had")
    assert pair.fw2.process is not None
    os.kill(pair.fw2.process.pid, signal.SIGSTOP)  # or the first would reach it before the second
    try:
        for node, entry in ((pair.fw1, lost), (pair.fw2, living)):
            node.inject(ct.create_request(entry))
    finally:
        os.kill(pair.fw2.process.pid, signal.SIGCONT)
    wait_until(lambda: pair.fw1.counter("kept_own"), 5, "fw1 keeps its own")
    pair.fw1.failover.be(False)

    def right() -> bool:
        entry = pair.fw1.find(17, 53)
        return entry is not None and entry.reply == living.reply

    wait_until(right, 8, "fw1 has the flow of the master")
