"""Walks over two real tables that nobody forwards through, by a clock that tests turn on.

Frames wait in `Node.frames` until `Tables.run` delivers them: a test stops between any two.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest

from carpool.errors import KernelError
from carpool.kernel.clock import sleep_s
from carpool.kernel.conntrack import Injector
from carpool.kernel.ctevents import EventSocket
from carpool.machine import walk
from carpool.proto import ctmessage as ct
from carpool.proto import statecheck as sc
from carpool.proto import statestream as ss
from carpool.proto.ctpatch import Patcher
from carpool.proto.statecheck import Found, Mode
from carpool.proto.statestream import Kind
from carpool.service.statescompare import Comparison, Look
from carpool.service.statesflow import Inflow, Outflow
from carpool.service.statestable import Table
from tests.netns.lab import Namespace, Network
from tests.netns.pair import entries_of
from tests.netns.test_states_drift import Flows, made_up

ENTRIES = 3000
DRIFT = 1000
ROUNDS_MAX = 20_000
JUMP_S = 5.0  # whoever waits longer does not wait for the kernel


class ShortOfMemory(Table):
    """A table that cannot be read to its end while `fails`."""

    fails = False

    def pieces(self, *, every: bool) -> Iterator[tuple[int, list[bytes]]]:
        for piece in super().pieces(every=every):
            yield piece
            if self.fails:
                raise KernelError("read the connection table: ENOBUFS")


class Node:
    """A firewall's table, and all of its states process that comparing needs. It is its own link to
    the peer, and so has the peer's name: what it sends waits in `frames`."""

    received = injected = errors = queued_bytes = 0
    up = False

    def __init__(self, namespace: Namespace, peer: str) -> None:
        self.namespace = namespace
        self.name = peer
        self.frames: deque[ss.Frame] = deque()
        self.sent: Counter[Kind] = Counter()
        self.asked_again = 0  # questions for the second time
        self.given: list[str] = []  # by greeting
        self.told: list[str] = []
        self.counters: Counter[str] = Counter()
        self._parser = ss.Parser()
        self._parser.trust()
        with namespace.entered():
            self.own, self.other = Injector(), Injector()
            self.events = EventSocket(self.own.port, every=False)
        patcher = Patcher(ct.Rules(every=False))
        self.outflow = Outflow(
            self.events, patcher, [self], self.counters, self.own.ask, self._tell
        )
        self.inflow = Inflow(self.own, self.counters, self._tell, lambda _peer, payload: payload)
        self.table = ShortOfMemory(self.own, lambda: patcher.rules, self.outflow.drain)
        self.comparison = Comparison(peer, self, self.table, self, self.counters, self._tell)

    def _tell(self, _kind: str, words: str) -> None:
        self.told.append(words)

    def send(self, frame: bytes, requests: int = 0) -> None:
        self._parser.feed(frame)
        read = self._parser.next()
        assert isinstance(read, ss.Frame)
        if self.up:
            self.frames.append(read)
            self.sent[read.kind] += 1
            check = sc.parse_check(read.payload) if read.kind is Kind.CHECK else ""
            self.asked_again += isinstance(check, sc.Check) and check.last

    def bulk_begins(self, entries: int) -> None:
        pass

    def bulk_ends(self) -> None:
        pass

    def give_bulk(self, peer: str) -> None:
        self.given.append("table")
        self.outflow.want_bulk(self)

    def give_no_bulk(self, peer: str) -> None:
        self.given.append("nothing")

    def owes_bulk(self, peer: str) -> bool:
        return self.outflow.owes_bulk(self)

    def rival_heard(self) -> None:
        pass  # nobody judges windows here

    def rival_gone(self) -> None:
        pass  # nobody renews here

    def be_master(self, master: bool) -> None:
        self.outflow.master = self.inflow.master = master
        self.comparison.be_master(master)

    def hear(self, frame: ss.Frame, now_s: float) -> None:
        if frame.kind in (Kind.EVENTS, Kind.BULK):
            assert self.inflow.take(self, frame.payload) is None
        elif frame.kind not in (Kind.BULK_BEGIN, Kind.BULK_END):
            assert self.comparison.on_frame(frame, now_s) is None

    def change(self, requests: Iterable[bytes]) -> None:
        """By hand, which a backup tells nobody."""
        for payload, _count in ss.payloads(list(requests)):
            assert self.other.inject(payload) == []

    def entries(self) -> list[ct.Entry]:
        return entries_of(self.namespace)

    def flows(self) -> Flows:
        return frozenset((entry.orig, entry.reply) for entry in self.entries())

    def close(self) -> None:
        for part in (self.comparison, self.inflow, self.outflow, self.other):
            part.close()


class Tables:
    """fw1 and fw2, and the stream between them."""

    def __init__(self, network: Network) -> None:
        self.fw1 = Node(network.host("fw1", forwarding=True), "fw2")
        self.fw2 = Node(network.host("fw2", forwarding=True), "fw1")
        self.nodes = (self.fw1, self.fw2)
        self.now_s = 1000.0
        self.meanwhile: Callable[[], None] | None = None  # what happens while a walk waits

    def connect(self) -> None:
        for node in self.nodes:
            node.up = True
            node.comparison.up(self.now_s)
            table = sc.Table(node.outflow.master, True, 0, 0)
            node.send(ss.build(Kind.TABLE, sc.build_table(table)))

    def cut(self) -> None:
        """And what is on its way is lost."""
        for node in self.nodes:
            node.up = False
            node.frames.clear()
            node.outflow.forget(node)
            node.comparison.down("cut")

    def start(self) -> None:
        """fw1 is master and has given its table."""
        self.fw1.be_master(True)
        self.connect()
        self.run(lambda: self.quiet and not any(node.owes_bulk("") for node in self.nodes))
        assert self.fw1.flows() == self.fw2.flows()

    @property
    def quiet(self) -> bool:
        return not any(node.frames for node in self.nodes)

    def run(self, until: Callable[[], object]) -> None:
        """Frame by frame."""
        for _ in range(ROUNDS_MAX):
            for node, peer in (self.nodes, self.nodes[::-1]):
                with node.namespace.entered():
                    node.outflow.drain()
                    node.outflow.step_bulk(self.now_s)
                    node.comparison.step(self.now_s)
                if peer.frames:
                    node.hear(peer.frames.popleft(), self.now_s)
            if until():
                return
            if self.quiet:
                self._wait()
        raise AssertionError(f"not within {ROUNDS_MAX} rounds")

    def _wait(self) -> None:
        due = [
            due_s
            for node in self.nodes
            for due_s in (node.comparison.deadline_s, node.outflow.bulk_deadline_s(self.now_s))
            if due_s is not None
        ]
        pause_s = min(due) - self.now_s
        if pause_s > 0:
            if self.meanwhile is not None and pause_s < JUMP_S:  # entries age by the kernel's clock
                sleep_s(pause_s)
                self.meanwhile()
            self.now_s += pause_s

    def look(self, node: Node) -> list[Look]:
        """What a person asks for: empty until it is answered."""
        answers: list[Look] = []
        assert node.comparison.look(Mode.LOOK, answers.append, self.now_s) is None
        return answers

    def half_seen(self) -> bool:
        """Whether fw1 has heard some of the differences that fw2 has found, but not all."""
        return 0 < len(self.fw2.frames) < self.fw2.asked_again


@pytest.fixture
def tables(network: Network) -> Iterator[Tables]:
    made = Tables(network)
    yield made
    for node in made.nodes:
        node.close()


def creates(entries: Iterable[ct.Entry]) -> list[bytes]:
    return [ct.create_request(entry) for entry in entries]


def false(count: int) -> list[ct.Entry]:
    """Entries of no connection."""
    return [made_up(number, "10.8", 40_000) for number in range(count)]


# ------------------------------------------------------------------------------- by the clock


def test_what_has_come_apart_is_mended_by_the_clock_and_counted(tables: Tables) -> None:
    fw1, fw2 = tables.nodes
    real = [made_up(number) for number in range(ENTRIES)]
    fw1.change(creates(real))
    tables.start()
    started_s = tables.now_s
    lost, moved = real[:DRIFT], real[DRIFT]
    extra, living = false(DRIFT), false(10)
    fw2.change(ct.delete_request(entry) for entry in (*lost, moved))
    elsewhere = replace(moved, reply=replace(moved.reply, dport=7))
    fw2.change(creates([elsewhere, *extra]))
    # Packets pass over the backup, while it waits before it looks again.
    tables.meanwhile = lambda: fw2.change(ct.update_request(entry) for entry in living)

    def both_walked() -> bool:
        drifts = [node.comparison.drift for node in tables.nodes]
        return tables.quiet and all(d.ours.entries and d.theirs.entries for d in drifts)

    tables.run(both_walked)
    assert tables.now_s >= started_s + walk.WALK_FIRST_S
    wanted = frozenset((entry.orig, entry.reply) for entry in (*real, *living))
    assert fw1.flows() == wanted
    assert fw2.flows() == wanted
    for node in tables.nodes:
        last = node.comparison.drift.last
        assert (last.missing, last.different, last.extra) == (DRIFT + 10, 1, DRIFT - 10)
        assert node.errors == 0 and node.told == []


def test_a_walk_that_nobody_waits_for_goes_slowly_over_what_does_not_travel_too(
    tables: Tables,
) -> None:
    """A flood of half-open connections must not be read at full speed each time."""
    tables.start()
    half_open = replace(made_up(0), status=0, tcp=ct.Tcp(ct.TCP_ESTABLISHED))
    ports = range(1024, 1024 + ENTRIES)
    flood = [
        replace(
            half_open,
            orig=replace(half_open.orig, sport=port),
            reply=replace(half_open.reply, dport=port),
        )
        for port in ports
    ]
    tables.fw1.change(creates(flood))
    rounds_s = tables.fw1.comparison.deadline_s
    assert rounds_s is not None
    tables.run(lambda: tables.fw1.comparison.drift.ours.entries or tables.fw1.sent[Kind.WALKED])
    took_s = tables.now_s - rounds_s
    assert took_s >= ENTRIES / walk.PACE_PER_S
    assert tables.fw1.comparison.drift.ours == Found()


# --------------------------------------------------------------------------------------- cuts


def test_a_table_that_a_cut_kept_from_its_peer_is_given_again(tables: Tables) -> None:
    """Connections that were made on both nodes in a split."""
    fw1, fw2 = tables.nodes
    fw2.change(creates(made_up(number) for number in range(ENTRIES)))
    for node in tables.nodes:
        node.be_master(True)
    fw2.be_master(False)
    tables.connect()
    tables.run(lambda: fw2.sent[Kind.BULK] >= 2)
    tables.cut()
    assert len(fw1.flows()) < ENTRIES
    tables.connect()
    tables.run(lambda: fw2.sent[Kind.BULK_END] and tables.quiet)
    assert len(fw1.flows()) == len(fw2.flows()) == ENTRIES
    # And once it has all, it is told of no dead.
    tables.run(lambda: fw2.sent[Kind.WALKED] and tables.quiet)
    tables.cut()
    tables.connect()
    tables.run(lambda: len(fw2.given) == 3)
    assert fw2.given == ["table", "table", "nothing"]


# ----------------------------------------------------------------------------- what is believed


def test_a_walk_that_the_kernel_cut_short_is_no_result(tables: Tables) -> None:
    fw1, fw2 = tables.nodes
    fw1.change(creates(made_up(number) for number in range(500)))
    tables.start()
    fw2.change(creates(false(500)))
    fw2.table.fails = True
    for asker, words in (
        (fw1, "fw2 could not read all of its table: its log tells why"),
        (fw2, "read the connection table: ENOBUFS"),
    ):
        answers = tables.look(asker)
        tables.run(lambda: answers and tables.quiet)  # noqa: B023 # run ends before the next round
        assert answers[0].error == words
    assert fw2.counters["walk_errors"] == 2
    assert set(fw2.told) == {
        "the comparison with fw1 ended early: read the connection table: ENOBUFS"
    }
    tables.run(lambda: fw1.comparison.drift.at_s and fw2.counters["walk_errors"] == 3)
    tables.run(lambda: tables.quiet)
    assert fw1.comparison.drift.theirs == fw2.comparison.drift.ours == Found()
    assert len(fw2.flows()) == 1000


def test_a_result_is_made_of_the_walks_that_were_asked_for(tables: Tables) -> None:
    """Of an earlier one, that ended for want of memory here, the peer's walk goes on."""
    fw1, fw2 = tables.nodes
    fw1.change(creates(made_up(number) for number in range(500)))
    tables.start()
    fw2.change(creates(false(DRIFT)))
    fw1.table.fails = True
    first = tables.look(fw1)
    tables.run(lambda: first)
    assert first[0].error is not None
    fw1.table.fails = False
    tables.run(tables.half_seen)
    second = tables.look(fw1)
    tables.run(lambda: second)
    assert second[0].error is None
    assert second[0].counts == {"missing": DRIFT}
    assert len(second[0].extra) == DRIFT


def test_both_may_ask_at_once(tables: Tables) -> None:
    fw1, fw2 = tables.nodes
    fw1.change(creates(made_up(number) for number in range(500)))
    tables.start()
    fw2.change(creates(false(DRIFT)))
    answers = tables.look(fw1), tables.look(fw2)
    tables.run(lambda: all(answers))
    (by_fw1,), (by_fw2,) = answers
    assert (by_fw1.error, by_fw1.counts, by_fw1.missing) == (None, {"missing": DRIFT}, [])
    assert (by_fw2.error, by_fw2.counts, len(by_fw2.missing)) == (None, {}, DRIFT)


def test_what_the_peer_found_for_itself_is_no_answer_to_us(tables: Tables) -> None:
    fw1, fw2 = tables.nodes
    tables.start()
    fw2.change(creates(false(DRIFT)))
    of_fw2 = tables.look(fw2)
    tables.run(lambda: fw2.sent[Kind.CHECK])
    of_fw1 = tables.look(fw1)
    tables.run(tables.half_seen)
    fw2.change(ct.delete_request(entry) for entry in false(DRIFT))
    tables.run(lambda: of_fw1 and of_fw2)
    assert (of_fw1[0].error, of_fw1[0].counts, of_fw1[0].extra) == (None, {}, [])


def test_what_we_found_for_the_peer_is_no_answer_to_us(tables: Tables) -> None:
    fw1, fw2 = tables.nodes
    lost = [made_up(number) for number in range(DRIFT)]
    fw1.change(creates(lost))
    tables.start()
    fw2.change(ct.delete_request(entry) for entry in lost)
    of_fw2 = tables.look(fw2)
    tables.run(lambda: fw1.sent[Kind.CHECK])
    of_fw1 = tables.look(fw1)
    tables.run(lambda: fw1.asked_again)
    fw1.change(ct.delete_request(entry) for entry in lost)
    tables.run(lambda: of_fw1 and of_fw2)
    assert (of_fw1[0].error, of_fw1[0].ours, of_fw1[0].missing) == (None, Found(), [])
    assert of_fw2[0].counts == {"missing": DRIFT}


def test_what_a_walk_found_before_it_was_begun_anew_is_not_counted_twice(tables: Tables) -> None:
    fw1, fw2 = tables.nodes
    fw1.change(creates(made_up(number) for number in range(500)))
    tables.start()
    fw2.change(creates(false(DRIFT)))
    answers = tables.look(fw1)
    tables.run(tables.half_seen)
    fw2.be_master(True)
    tables.run(lambda: answers)
    assert answers[0].counts == {"missing": DRIFT} and len(answers[0].extra) == DRIFT
