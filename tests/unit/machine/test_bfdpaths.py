"""All sessions of a node: whose packet it is, what a stranger can do, and two nodes in time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from heapq import heappop, heappush
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.machine.bfd import (
    Authentication,
    BfdEffect,
    Path,
    PathDown,
    PathUp,
    SendControl,
    Timing,
    Word,
)
from carpool.machine.bfdpaths import BfdPaths, Wanted
from carpool.proto import bfd
from carpool.proto.bfd import BfdReject, Diag, SessionState

A, B = ip_address("10.1.1.2"), ip_address("10.1.1.3")
A6, B6 = ip_address("fd00::2"), ip_address("fd00::3")
FAST = Timing(10_000, 10_000)
KEY_A, KEY_B = bfd.Key(1, b"of a"), bfd.Key(2, b"of b")
DELAY_S = 0.0005


def paths(seed: int = 1) -> BfdPaths:
    dice = random.Random(seed)
    return BfdPaths(lambda: dice.getrandbits(32), dice.random)


def wanted(peer: object = B, interface: str = "lan", timing: Timing = FAST) -> Wanted:
    return Wanted(Path(interface, ip_address(str(peer))), timing)


def states(node: BfdPaths) -> list[SessionState]:
    return [session.state for session in node.sessions.values()]


@dataclass
class World:
    """Two nodes and a wire between them, in virtual time."""

    a: BfdPaths
    b: BfdPaths
    dice: random.Random
    now_s: float = 0.0
    loss: float = 0.0
    cut: set[str] = field(default_factory=set)  # whose packets are lost
    told: list[tuple[float, str, BfdEffect]] = field(default_factory=list)
    record: list[tuple[str, bytes]] = field(default_factory=list)
    wire: list[tuple[float, int, str, bytes]] = field(default_factory=list)
    count: int = 0

    def perform(self, who: str, effects: list[BfdEffect]) -> None:
        for effect in effects:
            if not isinstance(effect, SendControl):
                self.told.append((self.now_s, who, effect))
                continue
            self.record.append((who, effect.payload))
            if who in self.cut or self.dice.random() < self.loss:
                continue
            self.count += 1
            heappush(self.wire, (self.now_s + DELAY_S, self.count, who, effect.payload))

    def run(self, until_s: float) -> None:
        while True:
            due = [node.deadline_s for node in (self.a, self.b)]
            next_s = min([at_s for at_s in due if at_s is not None] + [e[0] for e in self.wire[:1]])
            if next_s > until_s:
                self.now_s = until_s
                return
            self.now_s = max(self.now_s, next_s)
            while self.wire and self.wire[0][0] <= self.now_s:
                _at_s, _count, who, payload = heappop(self.wire)
                self.deliver(who, payload)
            self.perform("a", self.a.tick(self.now_s))
            self.perform("b", self.b.tick(self.now_s))

    def deliver(self, who: str, payload: bytes) -> None:
        if who == "a":
            self.perform("b", self.b.receive("lan", A, 255, payload, self.now_s))
        else:
            self.perform("a", self.a.receive("lan", B, 255, payload, self.now_s))

    def word(self, who: str) -> Word:
        node, address = (self.a, B) if who == "a" else (self.b, A)
        return node.words({"lan": [address]})["lan"]


def world(seed: int = 1, *, signed: bool = False, timing: Timing = FAST) -> World:
    made = World(paths(seed), paths(seed + 1000), random.Random(seed))
    for node, peer, ours, theirs in ((made.a, B, KEY_A, KEY_B), (made.b, A, KEY_B, KEY_A)):
        auth = Authentication(ours, (theirs,), 2**32 - 5) if signed else None
        node.follow([Wanted(Path("lan", peer), timing, auth)], 0.0)
    return made


# ------------------------------------------------------------------------ two of them


@pytest.mark.parametrize("signed", [False, True])
def test_two_nodes_come_up_within_a_second_and_go_fast(signed: bool) -> None:
    here = world(signed=signed)
    here.run(1.1)
    assert states(here.a) == states(here.b) == [SessionState.UP]
    ups = {who: effect for _at, who, effect in here.told}
    assert ups == {"a": PathUp(Path("lan", B)), "b": PathUp(Path("lan", A))}
    assert not any(one.polling for node in (here.a, here.b) for one in node.sessions.values())
    before = len(here.record)
    here.run(2.1)
    assert 200 <= len(here.record) - before <= 2 / 0.0075  # two nodes, each 7.5 to 10 ms
    assert set(here.a.counters) == set(here.b.counters) == {"accepted"}


@pytest.mark.parametrize("signed", [False, True])
def test_a_dead_peer_is_gone_within_the_detection_time(signed: bool) -> None:
    here = world(signed=signed)
    here.run(2.0)
    here.told.clear()
    here.cut = {"a"}
    here.run(2.5)
    at_s, who, effect = here.told[0]
    assert who == "b" and isinstance(effect, PathDown) and effect.diag is Diag.EXPIRED
    assert 0.02 <= at_s - 2.0 <= 0.0301 + 2 * DELAY_S
    assert here.word("b") is Word.GONE


def test_of_a_link_that_works_one_way_only_each_end_has_its_word() -> None:
    """b hears nothing of a any more: it says so, and a, which is well, hears that."""
    here = world()
    here.run(2.0)
    here.told.clear()
    here.cut = {"a"}
    here.run(4.0)
    assert here.word("b") is Word.GONE
    assert here.word("a") is Word.HEARD
    assert [
        (who, effect.diag, effect.remote_diag)
        for _at, who, effect in here.told
        if isinstance(effect, PathDown)
    ] == [("b", Diag.EXPIRED, Diag.NONE), ("a", Diag.SIGNALED, Diag.EXPIRED)]
    here.cut = set()
    here.run(6.0)
    assert here.word("a") is here.word("b") is Word.ALIVE


def test_a_goodbye_is_no_silence() -> None:
    here = world()
    here.run(2.0)
    here.perform("a", here.a.leave(True, here.now_s))
    here.run(2.1)
    assert here.word("b") is Word.LEFT
    here.cut = {"a", "b"}
    here.run(10.0)
    assert here.word("b") is Word.UNKNOWN
    here.cut = set()
    here.perform("a", here.a.leave(False, here.now_s))
    here.run(12.0)
    assert here.word("a") is here.word("b") is Word.ALIVE


def test_a_process_that_begins_anew_is_heard_not_gone() -> None:
    here = world()
    here.run(2.0)
    here.a = paths(77)
    here.a.follow([wanted(B)], here.now_s)
    here.run(3.5)
    [down] = [e for _at, who, e in here.told if who == "b" and isinstance(e, PathDown)]
    assert (down.diag, down.remote_state) == (Diag.SIGNALED, SessionState.DOWN)
    assert here.word("b") is Word.ALIVE


def test_intervals_change_on_the_fly_without_a_flap() -> None:
    here = world()
    here.run(2.0)
    here.told.clear()
    for tx_us, rx_us in ((200_000, 10_000), (200_000, 200_000), (10_000, 10_000)):
        asked = Wanted(Path("lan", B), Timing(tx_us, rx_us))
        here.perform("a", here.a.follow([asked], here.now_s))
        here.run(here.now_s + 2.0)
        assert here.a.sessions[Path("lan", B)].interval_s == tx_us / 1e6
    assert here.told == []


def test_what_a_dead_peer_said_brings_no_signed_session_up() -> None:
    """Everything recorded, played back faithfully and more than once, to the one who is left."""
    here = world(signed=True)
    here.run(2.0)
    here.cut = {"a"}
    here.run(3.0)
    assert here.word("b") is Word.GONE
    here.told.clear()
    recorded = [payload for who, payload in here.record if who == "a"]
    here.cut = {"a", "b"}
    for _again in range(2):
        for payload in recorded:
            here.run(here.now_s + 0.01)
            here.deliver("a", payload)
    assert not [effect for _at, _who, effect in here.told if isinstance(effect, PathUp)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.data())
def test_whatever_happened_two_nodes_find_each_other_again(
    seed: int, signed: bool, data: st.DataObject
) -> None:
    here = world(seed, signed=signed, timing=Timing(50_000, 50_000))
    for _step in range(data.draw(st.integers(1, 5))):
        here.loss = data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.9]))
        here.cut = data.draw(st.sampled_from([set(), {"a"}, {"b"}, {"a", "b"}]))
        what = data.draw(st.sampled_from(["nothing", "link", "admin", "timing"]))
        if what == "link":
            here.perform("a", here.a.link("lan", False, here.now_s))
        elif what == "admin":
            here.perform("b", here.b.leave(True, here.now_s))
        elif what == "timing":
            for one in here.a.sessions.values():
                tx_us = data.draw(st.sampled_from([10_000, 50_000, 300_000]))
                here.perform("a", one.change(Timing(tx_us, tx_us, 3), here.now_s))
        here.run(here.now_s + data.draw(st.floats(0.0, 2.0)))
        here.perform("a", here.a.link("lan", True, here.now_s))
        here.perform("b", here.b.leave(False, here.now_s))
    here.loss, here.cut = 0.0, set()
    here.run(here.now_s + 5.0)
    assert here.word("a") is here.word("b") is Word.ALIVE
    here.told.clear()
    here.run(here.now_s + 1.0)
    assert here.told == []
    for node in (here.a, here.b):
        assert not any(one.polling for one in node.sessions.values())


# ------------------------------------------------------------------------- whose is it


def running() -> tuple[BfdPaths, bfd.Packet]:
    """A node with a session that is up, and a packet of its peer."""
    here = world()
    here.run(2.0)
    own = here.b.sessions[Path("lan", A)]
    packet = bfd.parse(here.record[-1][1], 255)
    assert isinstance(packet, bfd.Packet)
    mine, yours = own.remote_discriminator, own.discriminator
    return here.b, packet._replace(my_discriminator=mine, your_discriminator=yours)


@pytest.mark.parametrize(
    ("interface", "source", "hop_limit", "changes", "reject"),
    [
        ("lan", A, 254, {}, BfdReject.TTL),
        ("lan", A, 255, {"your_discriminator": 99}, BfdReject.SESSION),
        ("wan", A, 255, {}, BfdReject.SENDER),
        ("lan", B, 255, {}, BfdReject.SENDER),
        (
            *("lan", B, 255, {"your_discriminator": 0, "state": SessionState.DOWN}),
            BfdReject.PEER,
        ),
        (
            *("wan", A, 255, {"your_discriminator": 0, "state": SessionState.DOWN}),
            BfdReject.PEER,
        ),
        ("lan", A, 255, {"my_discriminator": 0}, BfdReject.MY_DISCRIMINATOR),
    ],
)
def test_what_is_nobodys_is_counted_and_changes_nothing(
    interface: str,
    source: object,
    hop_limit: int,
    changes: dict[str, object],
    reject: BfdReject,
) -> None:
    node, packet = running()
    before = node.deadline_s
    payload = bfd.build(packet._replace(**changes))  # type: ignore[arg-type]

    done = node.receive(interface, ip_address(str(source)), hop_limit, payload, 2.0)

    assert done == []
    assert node.counters[reject] == 1
    assert (states(node), node.deadline_s) == ([SessionState.UP], before)


def test_what_is_the_sessions_is_heard() -> None:
    node, packet = running()
    counted = node.counters["accepted"]
    assert node.receive("lan", A, 255, bfd.build(packet), 2.0) == []
    assert node.counters["accepted"] == counted + 1


@given(st.binary(max_size=80), st.sampled_from([255, 255, 255, 1]), st.booleans())
def test_any_bytes_from_anybody_are_counted_once_and_move_nothing(
    payload: bytes, hop_limit: int, signed: bool
) -> None:
    node = BfdPaths(lambda: 7, lambda: 0.5)
    auth = Authentication(KEY_A, (KEY_B,), 0)
    node.follow([Wanted(Path("lan", A), FAST, auth if signed else None)], 0.0)
    node.tick(0.0)
    done = node.receive("lan", A, hop_limit, payload, 0.1)
    assert sum(node.counters.values()) == 1
    if signed or "accepted" not in node.counters:
        assert done == [] and states(node) == [SessionState.DOWN]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.data())
def test_no_altered_packet_of_a_signed_session_does_any_harm(
    seed: int, data: st.DataObject
) -> None:
    """Somebody on the wire flips, cuts, repeats and delays; the session stays up beside it."""
    here = world(seed, signed=True)
    here.run(1.5)
    here.told.clear()
    for _step in range(20):
        payload = bytearray(data.draw(st.sampled_from(here.record[-20:]))[1])
        payload[data.draw(st.integers(0, 51))] ^= data.draw(st.integers(0, 255))
        cut = data.draw(st.sampled_from([None, None, 24, 32, 51]))
        here.deliver("a", bytes(payload[:cut]))
        here.run(here.now_s + 0.005)
    assert here.told == []
    assert here.word("a") is here.word("b") is Word.ALIVE


# ------------------------------------------------------------------------------ many


def test_sessions_are_followed_and_the_others_go_on() -> None:
    node, _packet = running()
    lan = node.sessions[Path("lan", A)]
    both = [wanted(A), wanted(A6), wanted("10.2.1.2", "wan")]
    assert node.follow(both, 3.0) == []
    assert node.sessions[Path("lan", A)] is lan and lan.state is SessionState.UP
    assert len({one.discriminator for one in node.sessions.values()}) == 3

    effects = node.follow([wanted(A6)], 3.1)

    assert list(node.sessions) == [Path("lan", A6)]
    said = [bfd.parse(e.payload, 255) for e in effects if isinstance(e, SendControl)]
    assert [p.state for p in said if isinstance(p, bfd.Packet)] == [SessionState.ADMIN_DOWN] * 2
    assert [e.path for e in effects if isinstance(e, PathDown)] == [Path("lan", A)]


def test_another_key_is_another_session_and_a_goodbye_to_the_old_one() -> None:
    here = world(signed=True)
    here.run(2.0)
    fresh = Authentication(KEY_A, (KEY_B,), 5)
    effects = here.a.follow([Wanted(Path("lan", B), FAST, fresh)], 2.0)
    assert [e.diag for e in effects if isinstance(e, PathDown)] == [Diag.ADMIN_DOWN]
    here.perform("a", effects)
    here.run(2.05)
    assert here.word("b") in (Word.LEFT, Word.HEARD)


def test_of_two_families_on_a_link_the_best_word_counts() -> None:
    node, _packet = running()
    node.follow([wanted(A), wanted(A6)], 2.0)
    assert node.words({"lan": [A6]}) == {"lan": Word.UNKNOWN}
    assert node.words({"lan": [A6, A], "wan": [A], "dmz": []}) == {"lan": Word.ALIVE}


def test_a_link_is_told_to_its_sessions_only() -> None:
    node = paths()
    node.follow([wanted(A), wanted("10.2.1.2", "wan")], 0.0)
    node.tick(0.0)
    node.link("wan", False, 0.1)
    assert [one.ready for one in node.sessions.values()] == [True, False]
    assert node.deadline_s is not None


def test_nothing_is_due_without_sessions_or_links() -> None:
    node = paths()
    assert node.deadline_s is None
    node.follow([wanted(A)], 0.0)
    assert node.tick(0.0) != []
    node.link("lan", False, 0.1)
    assert node.deadline_s is None


def test_a_discriminator_is_never_zero_and_never_taken() -> None:
    drawn = iter([0, 5, 5, 0, 6])
    node = BfdPaths(lambda: next(drawn), lambda: 0.0)
    node.follow([wanted(A), wanted(B)], 0.0)
    assert [one.discriminator for one in node.sessions.values()] == [5, 6]
    with pytest.raises(AssertionError, match="no chance"):
        BfdPaths(lambda: 0, lambda: 0.0).follow([wanted(A)], 0.0)
