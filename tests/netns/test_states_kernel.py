"""The hands of the states process on a real connection table, without a peer."""

from __future__ import annotations

import ctypes
import platform
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from errno import EMFILE, ENOBUFS, ENOENT, ENOMEM, EPERM
from ipaddress import ip_address
from pathlib import Path

import pytest

from carpool.kernel import conntrack, sysctl
from carpool.kernel.conntrack import Failure, Injector
from carpool.kernel.ctevents import ALL_EVENTS, EventMask, EventSocket
from carpool.kernel.leftover import take_states
from carpool.model.config import EXCLUSIONS_MAX
from carpool.proto import ctgate, ctpatch
from carpool.proto import ctmessage as ct
from carpool.proto import statestream as ss
from carpool.proto.ctexclude import MarkFilter
from carpool.service.statesflow import Inflow, Outflow
from tests.netns.lab import Namespace, Network
from tests.netns.pair import entries_of
from tests.unit.proto.test_ctexpect import CREATE as EXPECTATION

SERVER, VIP = bytes((10, 2, 0, 10)), bytes((10, 2, 0, 100))


def udp(number: int, status: int = 0xE) -> ct.Entry:
    """One of 60,000 flows of a client."""
    client = (0x0A010000 + number // 50_000).to_bytes(4, "big")
    orig = ct.Tuple(client, SERVER, ct.IP_UDP, 1024 + number % 50_000, 53)
    return ct.Entry(orig, orig.inverted(), status, ct.QUIET_TIMEOUT_S)


def told_nothing(kind: str, words: str) -> None:
    raise AssertionError(f"{kind}: {words}")


def translated(number: int) -> ct.Entry:
    """The same flow, all of them to one port of the VIP."""
    plain = udp(number)
    return replace(plain, reply=replace(plain.reply, dst=VIP, dport=5000))


@dataclass
class Hands:
    """Both sockets of a process, and the injector of somebody else, in one namespace."""

    namespace: Namespace
    own: Injector
    other: Injector
    events: EventSocket

    def entries(self) -> list[ct.Entry]:
        return entries_of(self.namespace)


@pytest.fixture
def hands(network: Network) -> Iterator[Hands]:
    namespace = network.host("fw", forwarding=True)
    with namespace.entered():
        own, other = Injector(), Injector()
        made = Hands(namespace, own, other, EventSocket(own.port, every=False))
    yield made
    for part in (own, other, made.events):
        part.close()


def test_what_we_inject_makes_no_event_and_what_others_do_makes_one(hands: Hands) -> None:
    create, delete = ct.create_request(udp(1)), ct.delete_request(udp(1))
    assert hands.own.inject(create) == []
    assert hands.own.inject(delete) == []
    assert hands.events.drain(100) == []
    assert hands.other.inject(create) == []
    assert hands.other.inject(delete) == []
    new, destroy = hands.events.drain(100)
    assert not ctpatch.is_delete(new) and ctpatch.is_delete(destroy)


@pytest.mark.parametrize(("status", "told"), [(0x8, 0), (0xA, 0), (0xE, 1)])
def test_the_end_of_what_was_never_assured_is_not_told(
    hands: Hands, status: int, told: int
) -> None:
    hands.other.inject(ct.create_request(udp(1, status)))
    hands.events.drain(100)
    hands.other.inject(ct.delete_request(udp(1, status)))
    assert len(hands.events.drain(100)) == told


def test_as_many_marks_as_may_be_excluded_fit_the_kernels_filter(hands: Hands) -> None:
    marks = [MarkFilter(number, 0xFF) for number in range(1, EXCLUSIONS_MAX + 2)]
    with hands.namespace.entered():
        events = EventSocket(hands.own.port, every=False, marks=marks)
    for mark in (marks[0].value, marks[-1].value, marks[-1].value + 1):
        hands.other.inject(ct.create_request(replace(udp(1), mark=mark)))
        hands.other.inject(ct.delete_request(udp(1)))
    gone = [ct.parse(event) for event in events.drain(100) if ctpatch.is_delete(event)]
    events.close()
    assert [entry.mark for entry in gone if isinstance(entry, ct.Entry)] == [marks[-1].value + 1]


def test_every_refusal_comes_back_with_its_request(hands: Hands) -> None:
    there, new, gone = (ct.create_request(udp(n)) for n in (1, 2, 3))
    assert hands.own.inject(there) == []
    missing = ct.delete_request(udp(3))
    failures = hands.own.inject(there + new + missing + gone)
    assert [(failure.name, failure.request) for failure in failures] == [
        ("EEXIST", there),
        ("ENOENT", missing),
    ]
    assert sorted(entry.orig.sport for entry in hands.entries()) == [1025, 1026, 1027]


def test_a_full_frame_of_refusals_fits_the_buffer(hands: Hands) -> None:
    requests = [ct.create_request(udp(n)) for n in range(ss.FRAME_MAX_BYTES // 156)]
    frame = b"".join(requests)
    assert len(frame) <= ss.FRAME_MAX_BYTES
    assert hands.own.inject(frame) == []
    failures = hands.own.inject(frame)
    assert [failure.request for failure in failures] == requests
    assert hands.own.lost_answers == 0
    # And as many questions with their answers.
    with_number = [
        request[:4] + ct.MSG_GET.to_bytes(2, "little") + b"\1\0" + n.to_bytes(4, "little")
        for n, request in enumerate(requests)
    ]
    questions = [head + request[12:] for head, request in zip(with_number, requests, strict=True)]
    assert all(hands.own.ask(questions))
    assert hands.own.lost_answers == 0


def test_a_dump_tells_every_entry_once(hands: Hands) -> None:
    for start in range(0, 3000, 300):
        frame = b"".join(ct.create_request(udp(n)) for n in range(start, start + 300))
        assert hands.own.inject(frame) == []
    assert sorted(entry.orig.sport for entry in hands.entries()) == list(range(1024, 4024))
    with hands.namespace.entered():
        assert conntrack.entries() == 3000


def test_the_table_of_masks_comes_and_goes(hands: Hands) -> None:
    with hands.namespace.entered():
        mask = EventMask(every=False)
        assert not mask.present()
        for _ in range(2):  # putting it there again replaces it
            mask.install()
            assert mask.present()
        mask.remove()
        assert not mask.present()
        mask.remove()
    mask.close()


def test_entries_are_prepared_for_events_until_carpool_goes(hands: Hands, tmp_path: Path) -> None:
    """Over a restart of the process they are: otherwise those that begin meanwhile never end."""
    process, lasting = tmp_path / "process.json", tmp_path / "lasting.json"
    with hands.namespace.entered():
        for meanwhile, afterwards in ((1, 2), (0, 0)):  # 0: somebody's choice
            sysctl.write(ALL_EVENTS, 2)
            for _ in range(2):
                mask = EventMask(every=False, settings=sysctl.Sysctls(lasting))
                mask.install()
                mask.remove()
                mask.close()
                assert take_states(process) == []
                assert sysctl.read(ALL_EVENTS) == 1
            sysctl.write(ALL_EVENTS, meanwhile)
            assert take_states(process, lasting) == []
            assert sysctl.read(ALL_EVENTS) == afterwards
            assert not lasting.exists()


def test_addresses_with_and_without_vips(hands: Hands) -> None:
    run = hands.namespace.run
    run("ip", "address", "add", "10.9.0.1/24", "dev", "lo")
    run("ip", "address", "add", "fd09::2/64", "dev", "lo")
    with hands.namespace.entered():
        addresses = conntrack.Addresses()
    present, unmarked = addresses.read()
    addresses.close()
    expected = {ip_address(text).packed for text in ("127.0.0.1", "10.9.0.1", "::1", "fd09::2")}
    assert present == unmarked == expected


# --------------------------------------------------------------------------------- bulk and news


@dataclass
class FakePeer:
    """A peer that keeps its table as it is told to, in the order in which it is told."""

    name: str = "fw2"
    received: int = 0
    injected: int = 0
    errors: int = 0
    queued_bytes: int = 0
    up: bool = True
    frames: list[ss.Kind] = field(default_factory=list)
    table: dict[tuple[bytes, int], int] = field(default_factory=dict)  # with their marks

    def bulk_begins(self, entries: int) -> None:
        pass

    def bulk_ends(self) -> None:
        pass

    def send(self, frame: bytes, requests: int = 0) -> None:
        parser = ss.Parser()
        parser.trust()
        parser.feed(frame)
        read = parser.next()
        assert isinstance(read, ss.Frame)
        self.frames.append(read.kind)
        assert len(read.payload) <= ss.EVENTS_MAX_BYTES
        for request in ctgate.requests(read.payload):
            entry = ct.parse_create(request)
            if isinstance(entry, ct.Entry):
                self.table[entry.orig.src, entry.orig.sport] = entry.mark
            else:
                found = ct.fields(request)
                assert found is not None and ctpatch.is_delete(request)
                orig = ct.parse_tuple(request, found, "orig")
                assert orig is not None
                self.table.pop((orig.src, orig.sport), None)


class Racing(Injector):
    """Somebody else removes an entry right after it was asked for."""

    def __init__(self, other: Injector) -> None:
        super().__init__()
        self._other = other

    def ask(self, requests: Sequence[bytes]) -> list[bytes | None]:
        found = super().ask(requests)
        self._other.inject(ct.delete_request(udp(1)))
        return found


def test_an_entry_that_ends_while_it_is_brought_up_to_date_is_made_anew(hands: Hands) -> None:
    for number in (1, 2):
        hands.other.inject(ct.create_request(udp(number)))
    with hands.namespace.entered():
        injector = Racing(hands.other)
    counters: Counter[str] = Counter()
    inflow = Inflow(injector, counters, lambda _kind, _words: None, lambda _peer, payload: payload)
    peer = FakePeer()
    news = b"".join(ct.create_request(replace(udp(number), mark=7)) for number in (1, 2))
    assert inflow.take(peer, news) is None
    inflow.close()
    assert {entry.orig.sport: entry.mark for entry in hands.entries()} == {1025: 7, 1026: 7}
    assert (peer.injected, peer.errors, counters["settled"]) == (2, 0, 2)


def test_what_this_kernel_cannot_take_is_left_out_and_told(hands: Hands) -> None:
    """A helper on a port that it has none for, and a master that is not here; twice, the second
    time as news of an entry that is here already."""
    counters: Counter[str] = Counter()
    told: list[str] = []
    inflow = Inflow(
        hands.own, counters, lambda _kind, words: told.append(words), lambda _peer, payload: payload
    )
    peer = FakePeer()
    helped = replace(udp(1), helper="tftp-6969", labels=bytes(15) + b"\1")
    child = replace(udp(2), master=udp(9).orig)
    for mark in (7, 8):
        news = (ct.create_request(replace(entry, mark=mark)) for entry in (helped, child, udp(3)))
        assert inflow.take(peer, b"".join(news)) is None
        found = {entry.orig.sport: entry for entry in hands.entries()}
        assert {port: entry.mark for port, entry in found.items()} == dict.fromkeys(found, mark)
        assert sorted(found) == [1025, 1026, 1027]
        assert all(not entry.helper and entry.master is None for entry in found.values())
    assert (peer.injected, peer.errors) == (6, 0)
    assert counters["taken_without_help"] >= 1 and counters["taken_without_master"] >= 1
    assert any("load its module" in words for words in told)
    assert any("came before those that they belong to" in words for words in told)


class Refusing(Injector):
    """A kernel that refuses all that it is given, for one reason."""

    code = 0

    def inject(self, requests: bytes) -> list[Failure]:
        return [Failure(self.code, request) for request in ctgate.requests(requests)]


@pytest.mark.parametrize(
    ("code", "refused", "words"),
    [
        (ENOMEM, ct.create_request(udp(1)), "ENOMEM: is net.netfilter.nf_conntrack_max reached?"),
        (EPERM, ct.create_request(udp(1)), "the kernel refuses entries of fw2: EPERM"),
        (ENOENT, EXPECTATION, "has no connection with a helper here (ENOENT)"),
        (EMFILE, EXPECTATION, "is refused by the kernel (EMFILE)"),
    ],
)
def test_what_the_kernel_refuses_is_told_with_what_to_do(
    hands: Hands, code: int, refused: bytes, words: str
) -> None:
    told: list[str] = []
    with hands.namespace.entered():
        injector = Refusing()
    injector.code = code
    inflow = Inflow(
        injector, Counter(), lambda _kind, text: told.append(text), lambda _peer, payload: payload
    )
    assert inflow.take(FakePeer(), refused) is None
    inflow.close()
    assert len(told) == 1 and words in told[0]


def test_a_master_keeps_its_own_whatever_is_left_out_of_the_peers(hands: Hands) -> None:
    """In a split both gave one port of the VIP away; and the peer's flow has a helper that is not
    here."""
    assert hands.other.inject(ct.create_request(translated(1))) == []
    counters: Counter[str] = Counter()
    inflow = Inflow(hands.own, counters, lambda *_: None, lambda _peer, payload: payload)
    inflow.master = True
    peer = FakePeer()
    theirs = replace(translated(2), helper="tftp-6969")
    assert inflow.take(peer, ct.create_request(theirs)) is None
    assert [entry.orig for entry in hands.entries()] == [translated(1).orig]
    assert (peer.injected, peer.errors, counters["kept_own"]) == (1, 0, 1)


@pytest.mark.parametrize("masters", [("fw1",), ("fw2",), ()])
def test_what_a_backup_sends_takes_no_place_of_what_the_master_gave(
    hands: Hands, masters: tuple[str, ...]
) -> None:
    """The dead of fw2: a flow with the reply tuple of another, one with another translation. News
    of the same flow are taken from anybody."""
    living = [translated(1), udp(3), udp(4)]
    for one in living:
        assert hands.other.inject(ct.create_request(one)) == []
    dead = [translated(2), replace(translated(3), reply=replace(translated(3).reply, dport=5003))]
    counters: Counter[str] = Counter()
    inflow = Inflow(hands.own, counters, told_nothing, lambda _peer, payload: payload)
    peer = FakePeer()
    sent = [*dead, replace(udp(4), mark=7), udp(5)]
    assert inflow.take(peer, b"".join(map(ct.create_request, sent)), masters) is None
    found = {(entry.orig, entry.reply): entry.mark for entry in hands.entries()}
    kept = masters == ("fw1",)
    expected = [*(living[:2] if kept else dead), udp(4), udp(5)]
    assert found.keys() == {(entry.orig, entry.reply) for entry in expected}
    assert found[udp(4).orig, udp(4).reply] == 7
    assert (peer.injected, peer.errors) == (4, 0)
    assert (counters["kept_masters"], counters["settled"]) == ((2, 1) if kept else (0, 3))


def test_what_made_way_does_so_for_a_child_whose_master_is_not_here_too(hands: Hands) -> None:
    assert hands.other.inject(ct.create_request(translated(1))) == []
    counters: Counter[str] = Counter()
    inflow = Inflow(hands.own, counters, lambda *_: None, lambda _peer, payload: payload)
    peer = FakePeer()
    assert inflow.take(peer, ct.create_request(replace(udp(1), master=udp(9).orig))) is None
    assert [entry.reply for entry in hands.entries()] == [udp(1).reply]
    assert (peer.injected, peer.errors, counters["taken_without_master"]) == (1, 0, 1)


def without_memory(namespace: Namespace, act: Callable[[], object]) -> None:
    """While the kernel takes no message (ENOBUFS): a filter of system calls, on a thread that ends
    with this."""
    sendto = {"x86_64": 44, "aarch64": 206}[platform.machine()]
    load, if_equal, end = 0x20, 0x15, 0x06
    errno, allow = 0x00050000 | ENOBUFS, 0x7FFF0000  # SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW
    steps = [(load, 0, 0, 0), (if_equal, 0, 1, sendto), (end, 0, 0, errno), (end, 0, 0, allow)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    fprog = struct.pack("@HP", len(steps), ctypes.addressof(program))

    def run() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(22, 2, fprog) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        with namespace.entered():
            act()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(run).result()


def test_what_the_kernel_does_not_tell_now_is_told_by_a_table_in_the_end(hands: Hands) -> None:
    """Events that need a question, the dump of entries, and that of expectations: none may end the
    process, or be forgotten."""
    peer, told, counters = FakePeer(), list[str](), Counter[str]()
    patcher = ctpatch.Patcher(ct.Rules(every=False))
    patcher.labels = True
    outflow = Outflow(
        hands.events,
        patcher,
        [peer],
        counters,
        hands.own.ask,
        lambda _kind, words: told.append(words),
    )
    outflow.master = True
    for number in (1, 2):
        hands.other.inject(ct.create_request(udp(number)))
    outflow.drain()
    assert len(peer.table) == 2
    hands.other.inject(ct.delete_request(udp(1)))
    hands.other.inject(ct.create_request(udp(3)))
    without_memory(hands.namespace, outflow.drain)
    assert list(peer.table) == [(udp(2).orig.src, udp(2).orig.sport)]
    assert counters["ask_errors"] == 1 and outflow.owes_bulk(peer)
    without_memory(hands.namespace, lambda: outflow.step_bulk(100.0))
    assert counters["bulk_errors"] == 1 and outflow.owes_bulk(peer)
    with hands.namespace.entered():
        outflow.step_bulk(102.0)
    for _ in range(2):  # the one piece of entries, and what comes after it
        without_memory(hands.namespace, lambda: outflow.step_bulk(102.0))
    assert counters["bulk_errors"] == 2 and outflow.owes_bulk(peer)
    assert ss.Kind.BULK_END not in peer.frames and len(told) == 3
    with hands.namespace.entered():
        while outflow.owes_bulk(peer):
            outflow.step_bulk(104.0)
    assert peer.frames[-1] is ss.Kind.BULK_END
    assert set(peer.table) == {(udp(n).orig.src, udp(n).orig.sport) for n in (2, 3)}


@pytest.mark.parametrize("seed", range(4))
def test_a_bulk_among_news_ends_with_the_right_table(hands: Hands, seed: int) -> None:
    """Entries come, change and go between any two pieces of the dump, and while it waits for a
    peer; the kernel filled the piece that is read next long before: no dead entry may be left, and
    none as it was."""
    dice = random.Random(seed)
    peer = FakePeer()
    counters: Counter[str] = Counter()
    patcher = ctpatch.Patcher(ct.Rules(every=False))
    outflow = Outflow(hands.events, patcher, [peer], counters, hands.own.ask, told_nothing)
    outflow.master = True
    alive = set(range(2000))
    for start in range(0, 2000, 250):
        hands.own.inject(b"".join(ct.create_request(udp(n)) for n in range(start, start + 250)))
    outflow.want_bulk(peer)
    now_s, rounds = 100.0, 0
    with hands.namespace.entered():
        outflow.step_bulk(now_s)
    while outflow.bulk_deadline_s(now_s) is not None or peer.queued_bytes:
        dead = set(dice.sample(sorted(alive), dice.randrange(60)))
        again = set(dice.sample(sorted(dead), len(dead) // 2))  # their ports are used again at once
        born = {dice.randrange(2500) for _ in range(dice.randrange(40))} - alive | again
        for number in dead:
            hands.other.inject(ct.delete_request(udp(number)))
        for number in born:
            hands.other.inject(ct.create_request(replace(udp(number), mark=rounds + 1)))
        for number in dice.sample(sorted(alive - dead), dice.randrange(60)):
            hands.other.inject(ct.update_request(replace(udp(number), mark=rounds + 1)))
        alive = alive - dead | born
        peer.queued_bytes = dice.choice([0, 0, 0, 100 * 1024 * 1024])
        if dice.random() < 0.5:
            outflow.drain()
        outflow.step_bulk(now_s)
        rounds += 1
        assert rounds < 1000
    outflow.drain()
    assert rounds > 5 and peer.frames[0] is ss.Kind.BULK_BEGIN
    assert peer.frames.count(ss.Kind.BULK_END) == 1
    assert set(peer.table) == {(udp(n).orig.src, udp(n).orig.sport) for n in alive}
    assert peer.table == {(e.orig.src, e.orig.sport): e.mark for e in hands.entries()}


def test_a_backup_sends_no_deletion_and_nothing_that_is_made_by_hand(hands: Hands) -> None:
    peer = FakePeer()
    counters: Counter[str] = Counter()
    outflow = Outflow(
        hands.events,
        ctpatch.Patcher(ct.Rules(every=False)),
        [peer],
        counters,
        hands.own.ask,
        told_nothing,
    )
    hands.other.inject(ct.create_request(udp(1)))
    hands.other.inject(ct.delete_request(udp(1)))
    outflow.drain()
    assert not peer.table
    assert (counters["changes_not_master"], counters["deletes_not_master"]) == (1, 1)
    outflow.master = True
    hands.other.inject(ct.create_request(udp(1)))
    hands.other.inject(ct.delete_request(udp(1)))
    outflow.drain()
    assert not peer.table
