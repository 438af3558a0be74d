"""Decisions of the states process: sessions over a fake wire, the hold, single entries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.machine import replica
from carpool.machine.replica import (
    BulkBegan,
    BulkEnded,
    Close,
    Effect,
    Hold,
    Inject,
    Phase,
    Send,
    Session,
    Told,
    Up,
)
from carpool.proto import ctmessage as ct
from carpool.proto import statestream as ss
from carpool.proto.statestream import Frame, Kind

T0 = 1000.0


def frame_of(effect: Effect) -> Frame:
    """The frame that a Send carries."""
    assert isinstance(effect, Send)
    parser = ss.Parser()
    parser.trust()
    parser.feed(effect.data)
    frame = parser.next()
    assert isinstance(frame, Frame)
    return frame


def hello(group: str = "g", node: str = "fw2") -> Frame:
    return frame_of(Send(ss.build_hello(group, node)))


def session(phase: Phase = Phase.UP) -> Session:
    made = Session("g", "fw1", "fw2", T0)
    assert [frame_of(effect) for effect in made.start()] == [hello(node="fw1")]
    if phase is Phase.UP:
        assert made.on_frame(hello(), T0) == [Up()]
    return made


def refusal(effects: list[Effect]) -> str:
    """The words of a refusal, which must be the same for the peer and for us."""
    send, close = effects
    assert isinstance(close, Close)
    frame = frame_of(send)
    assert (frame.kind, frame.payload.decode()) == (Kind.REFUSE, close.reason)
    return close.reason


# ------------------------------------------------------------------------------------- session


def test_two_sessions_greet_each_other() -> None:
    one, two = Session("g", "fw1", "fw2", T0), Session("g", "fw2", "fw1", T0)
    assert two.on_frame(frame_of(one.start()[0]), T0) == [Up()]
    assert one.on_frame(frame_of(two.start()[0]), T0) == [Up()]
    assert one.phase is two.phase is Phase.UP
    assert one.deadline_s == T0 + replica.KEEPALIVE_S


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (hello(group="other"), "group 'other', fw1 of 'g'"),
        (hello(node="fw3"), "calls itself 'fw3'"),
        (Frame(Kind.HELLO, b"junk"), "HELLO of 4 bytes"),
        (Frame(Kind.HELLO, b"x" * 40), "not a carpool states process"),
        (Frame(Kind.HELLO, hello().payload[:8] + b"\0\x09" + hello().payload[10:]), "version 9"),
        (
            Frame(Kind.HELLO, hello().payload[:10] + hello().payload[13:9:-1] + b"\1g\3fw2"),
            "different byte order",
        ),
        (Frame(Kind.EVENTS, b""), "EVENTS before HELLO"),
        (Frame(Kind.BULK_BEGIN), "BULK_BEGIN before HELLO"),
        (Frame(Kind.KEEPALIVE), "KEEPALIVE before HELLO"),
    ],
)
def test_who_does_not_fit_is_refused_and_told_why(greeting: Frame, words: str) -> None:
    made = session(Phase.GREETING)
    assert words in refusal(made.on_frame(greeting, T0))
    assert made.phase is Phase.CLOSED and made.deadline_s is None
    assert made.on_frame(hello(), T0) == []


def test_a_refusal_is_kept_in_printable_words() -> None:
    made = session(Phase.GREETING)
    assert made.on_frame(Frame(Kind.REFUSE, b"wrong \x1b[31mgroup\n"), T0) == [
        Close("refused us: wrong ?[31mgroup?")
    ]


def test_who_does_not_greet_is_given_up() -> None:
    made = session(Phase.GREETING)
    end_s = T0 + replica.GREETING_MAX_S
    assert made.deadline_s == end_s
    assert made.on_tick(end_s - 0.001) == []
    assert made.on_tick(end_s) == [Close("no HELLO within 3 s")]


def test_a_quiet_stream_is_kept_alive_and_a_silent_peer_given_up() -> None:
    made = session()
    said = [s for s in range(1, 5) if made.on_tick(T0 + s) == [Send(ss.build(Kind.KEEPALIVE))]]
    assert said == [1, 2, 3, 4]
    assert made.on_tick(T0 + 4.5) == [] and made.deadline_s == T0 + 5.0
    assert made.on_tick(T0 + 5.0) == [Close("silent for 5 s")]
    assert made.on_tick(T0 + 9.0) == []


def test_any_frame_is_a_sign_of_life() -> None:
    made = session()
    assert [frame_of(effect).kind for effect in made.on_tick(T0 + 4.9)] == [Kind.KEEPALIVE]
    assert made.on_frame(Frame(Kind.KEEPALIVE), T0 + 4.9) == []
    assert made.on_tick(T0 + 5.5) == [] and made.phase is Phase.UP
    assert made.deadline_s == T0 + 5.9  # the next keepalive; silence counts from 4.9


def test_events_are_for_the_kernel_and_a_bulk_has_a_begin_and_an_end() -> None:
    made = session()
    assert made.on_frame(Frame(Kind.EVENTS, b"e"), T0) == [Inject(b"e")]
    assert made.on_frame(Frame(Kind.BULK_BEGIN), T0) == [BulkBegan()]
    assert (made.receiving, made.received) == (True, False)
    assert made.on_frame(Frame(Kind.BULK, b"b"), T0) == [Inject(b"b")]
    assert made.on_frame(Frame(Kind.EVENTS, b"e"), T0) == [Inject(b"e")]
    assert made.on_frame(Frame(Kind.BULK_END), T0) == [BulkEnded()]
    assert (made.receiving, made.received) == (False, True)


def test_a_bulk_may_start_anew_in_the_middle() -> None:
    made = session()
    for _ in range(2):
        assert made.on_frame(Frame(Kind.BULK_BEGIN), T0) == [BulkBegan()]
    assert made.on_frame(Frame(Kind.BULK_END), T0) == [BulkEnded()]


@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.BULK, Kind.BULK_END])
def test_a_frame_out_of_turn_ends_the_stream(kind: Kind) -> None:
    made = session()
    assert made.on_frame(Frame(kind, hello().payload), T0) == [Close(f"{kind.name} out of turn")]
    assert made.phase is Phase.CLOSED


def test_what_must_not_reach_the_kernel_is_refused_once() -> None:
    made = session()
    assert refusal(made.refuse("a flush")) == "a flush"
    assert made.refuse("again") == []


@given(st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=40)), max_size=20))
def test_no_order_of_frames_raises_or_speaks_after_the_end(
    frames: list[tuple[Kind, bytes]],
) -> None:
    made = session()
    for number, (kind, payload) in enumerate(frames):
        closed = made.phase is Phase.CLOSED
        effects = made.on_frame(Frame(kind, payload), T0 + number / 100)
        if closed:
            assert effects == []
        if any(isinstance(effect, Close) for effect in effects):
            assert isinstance(effects[-1], Close)
            assert made.phase is Phase.CLOSED


def test_the_first_in_the_alphabet_dials() -> None:
    assert replica.dials("fw1", "fw2") and not replica.dials("fw2", "fw1")


# ---------------------------------------------------------------------------------------- hold


def test_a_fresh_node_waits_for_a_peer_and_then_gives_up() -> None:
    hold = Hold(["fw2"], T0)
    assert hold.now(T0) == Told(True, "looking for fw2 to take a table from")
    end_s = T0 + replica.PEER_WAIT_S
    assert hold.deadline_s(T0) == end_s
    assert hold.now(end_s - 0.001).on
    assert hold.now(end_s) == Told(False, "no peer reachable: nothing to take")
    assert hold.deadline_s(end_s) is None  # a deadline that has passed would keep the loop awake


def test_preemption_is_held_until_the_table_is_here() -> None:
    hold = Hold(["fw2"], T0)
    hold.bulk_began("fw2", T0 + 1)
    assert hold.now(T0 + 100) == Told(True, "taking the table of fw2")
    assert hold.deadline_s(T0 + 100) == T0 + replica.HOLD_MAX_S
    hold.bulk_ended("fw2")
    assert hold.now(T0 + 100) == Told(False, "the table of fw2 is complete")
    assert hold.deadline_s(T0 + 100) is None


def test_a_renewed_table_holds_nothing() -> None:
    hold = Hold(["fw2"], T0)
    hold.bulk_began("fw2", T0)
    hold.bulk_ended("fw2")
    hold.bulk_began("fw2", T0 + 100)
    assert hold.now(T0 + 100) == Told(False, "the table of fw2 is complete")
    hold.peer_lost("fw2", T0 + 101)
    hold.bulk_began("fw2", T0 + 102)  # another stream: much may have happened in between
    assert hold.now(T0 + 102) == Told(True, "taking the table of fw2")


def test_a_table_that_never_ends_is_not_waited_for_without_end() -> None:
    hold = Hold(["fw2"], T0)
    hold.bulk_began("fw2", T0)
    hold.bulk_began("fw2", T0 + 200)  # started anew: counts from the first
    assert hold.deadline_s(T0 + replica.HOLD_MAX_S) is None
    told = hold.now(T0 + replica.HOLD_MAX_S)
    assert told == Told(False, "taking the table of fw2: not complete after 300 s")


def test_streams_that_break_again_and_again_hold_preemption_no_longer_than_one() -> None:
    hold = Hold(["fw2"], T0)
    end_s = T0 + replica.HOLD_MAX_S
    for began_s in range(1, 600, 6):
        for on, now_s in (("taking", T0 + began_s), ("looking", T0 + began_s + 1)):
            if on == "taking":
                hold.bulk_began("fw2", now_s)
            else:
                hold.peer_lost("fw2", now_s)
            told = hold.now(now_s)
            assert told.reason.startswith(on)
            assert told.on is (now_s < end_s) and ("not complete" in told.reason) is not told.on
            assert (hold.deadline_s(now_s) is not None) is told.on
    hold.bulk_began("fw2", T0 + 700)  # after a while without anybody: another hold
    assert hold.now(T0 + 700).on and hold.deadline_s(T0 + 700) == T0 + 700 + replica.HOLD_MAX_S
    hold.bulk_ended("fw2")
    hold.peer_lost("fw2", T0 + 710)
    hold.bulk_began("fw2", T0 + 711)
    assert hold.deadline_s(T0 + 711) == T0 + 711 + replica.HOLD_MAX_S


def test_half_a_table_is_none() -> None:
    hold = Hold(["fw2"], T0)
    hold.bulk_began("fw2", T0 + 8)
    hold.peer_lost("fw2", T0 + 9)
    assert hold.now(T0 + 12).on  # looks for another, 10 s from now on
    assert not hold.now(T0 + 9 + replica.PEER_WAIT_S).on


def test_one_whole_table_is_enough_to_lose_a_peer() -> None:
    hold = Hold(["fw2", "fw3"], T0)
    hold.bulk_began("fw2", T0)
    hold.bulk_began("fw3", T0)
    assert hold.now(T0) == Told(True, "taking the table of fw2, fw3")
    hold.bulk_ended("fw2")
    assert hold.now(T0) == Told(True, "taking the table of fw3")
    hold.peer_lost("fw3", T0 + 1)
    assert hold.now(T0 + 1) == Told(False, "the table of fw2 is complete")


def test_nobody_to_wait_for() -> None:
    assert not Hold([], T0).now(T0).on


# ------------------------------------------------------------------------------------- renewal


def test_a_new_master_renews_its_peers_soon_and_then_now_and_again() -> None:
    renewal = replica.Renewal()
    assert not renewal.due(T0)
    renewal.heard(False, T0)
    assert not renewal.due(T0 + 5)
    renewal.heard(True, T0 + 10)
    assert not renewal.due(T0 + 11.9)
    assert renewal.due(T0 + 12) and not renewal.due(T0 + 12)
    renewal.heard(True, T0 + 13)  # said again
    assert not renewal.due(T0 + 12 + replica.RENEW_EVERY_S - 1)
    assert renewal.due(T0 + 12 + replica.RENEW_EVERY_S)
    renewal.heard(False, T0 + 2000)
    assert not renewal.due(T0 + 9999)


def test_who_is_master_at_the_start_has_just_told_all() -> None:
    renewal = replica.Renewal()
    renewal.heard(True, T0)
    assert renewal.deadline_s == T0 + replica.RENEW_EVERY_S


def test_what_another_master_kept_as_its_own_is_given_again_when_it_is_none() -> None:
    renewal = replica.Renewal()
    renewal.rival_gone(T0)  # who is none has nothing to give
    assert not renewal.due(T0 + 9999)
    renewal.heard(True, T0)
    assert renewal.due(T0 + replica.RENEW_EVERY_S)
    renewal.rival_gone(T0 + 1000)
    assert not renewal.due(T0 + 1000) and renewal.due(T0 + 1000 + replica.RENEW_AFTER_S)
    assert not renewal.due(T0 + 1010)


def test_a_planned_move_renews_once() -> None:
    """The old master says that it is none just after the new one says that it is."""
    renewal = replica.Renewal()
    renewal.heard(False, T0)
    renewal.heard(True, T0)
    renewal.rival_gone(T0 + 0.1)
    assert renewal.deadline_s == T0 + replica.RENEW_AFTER_S


def test_copies_are_renewed_long_before_they_end() -> None:
    assert replica.RENEW_EVERY_S <= ct.QUIET_TIMEOUT_S / 3


# ------------------------------------------------------------------------------------- entries

A, B, VIP = bytes((10, 1, 0, 10)), bytes((10, 2, 0, 10)), bytes((10, 2, 0, 100))


def entry(port: int = 4000, nat_port: int = 4000, status: int = 0xE) -> ct.Entry:
    orig = ct.Tuple(A, B, ct.IP_TCP, port, 80)
    reply = ct.Tuple(B, VIP, ct.IP_TCP, 80, nat_port)
    return ct.Entry(orig, reply, status, 100, tcp=ct.Tcp(3))


def test_the_same_entry_takes_the_new_state() -> None:
    wanted, found = entry(status=0x8), entry(status=0x19E)
    # Bits that are set cannot be taken back: the kernel would refuse the whole update.
    update = ct.update_request(replace(wanted, status=0x19E))
    for evict in (True, False):
        assert replica.settle(wanted, found, evict=evict) == [update]


def test_an_entry_with_another_translation_makes_way() -> None:
    wanted, found = entry(), entry(nat_port=5000)
    requests = [ct.delete_request(found), ct.create_request(wanted)]
    assert replica.settle(wanted, found, evict=True) == requests
    assert replica.settle(wanted, found, evict=False) == []


def test_another_flow_with_the_same_reply_makes_way() -> None:
    wanted = entry()
    assert replica.settle(wanted, None, evict=True) == [
        ct.delete_by_reply_request(wanted),
        ct.create_request(wanted),
    ]
    assert replica.settle(wanted, None, evict=False) == []


def test_an_entry_in_the_other_direction_makes_way() -> None:
    wanted = entry()
    found = replace(wanted, orig=wanted.reply, reply=wanted.orig)
    requests = [ct.delete_request(found), ct.create_request(wanted)]
    assert replica.settle(wanted, found, evict=True) == requests
    assert replica.settle(wanted, found, evict=False) == []


@pytest.mark.parametrize(
    ("masters", "evicts"),
    [((), True), (("fw3",), True), (("fw1", "fw3"), True), (("fw1",), False)],
)
def test_a_backup_evicts_nothing_while_a_master_is_known(
    masters: tuple[str, ...], evicts: bool
) -> None:
    assert replica.evicts("fw3", masters) is evicts


def test_a_part_is_given_without_what_was_told_since_it_was_filled() -> None:
    """The dead would live again, and the living be as they were."""
    news = replica.News()
    dead, changed, quiet = (entry(port=port) for port in (1, 2, 3))
    zoned = replace(dead, zone=5)
    part = [ct.create_request(one) for one in (dead, changed, zoned, quiet)]
    assert news.rest_of(part) == part
    news.told([ct.delete_request(dead), ct.create_request(replace(changed, mark=7))])
    assert news.rest_of(part) == part[2:]
    assert news.rest_of(part) == part  # the next one was filled after that
    news.told([ct.delete_request(zoned)])
    assert news.rest_of(iter(part)) == [*part[:2], part[3]]


def test_news_are_remembered_up_to_a_limit() -> None:
    few, many = replica.News(), replica.News()
    request = ct.delete_request(entry())
    at = ct.fields(request)["orig.ip.src"][0]  # type: ignore[index] # a request of ours is whole

    def numbered(count: int) -> Iterator[bytes]:
        for number in range(count):
            yield request[:at] + number.to_bytes(4, "big") + request[at + 4 :]

    few.told(numbered(replica.NEWS_MAX - 1))
    few.told(numbered(2))  # the same again
    assert not few.overflowed
    many.told(numbered(replica.NEWS_MAX))
    assert many.overflowed
    one_more = ct.create_request(entry(port=1))
    many.told([one_more])
    assert many.rest_of([one_more]) == [one_more]


def test_a_question_is_answered_with_itself_after_what_came_before_it() -> None:
    made = session()
    assert made.on_frame(Frame(Kind.ASK, b"12345678"), T0) == [
        Send(ss.build(Kind.ACK, b"12345678"))
    ]
    assert made.on_frame(Frame(Kind.ACK, b"1"), T0) == [replica.Acknowledged(b"1")]
    assert made.on_frame(Frame(Kind.ASK, bytes(9)), T0) == [Close("ASK out of turn")]


@pytest.mark.parametrize("kind", [Kind.WALK, Kind.CHECK, Kind.CHECKED, Kind.WALKED, Kind.TABLE])
def test_what_compares_the_tables_is_passed_on_once_both_have_greeted(kind: Kind) -> None:
    frame = Frame(kind, b"payload")
    assert session().on_frame(frame, T0) == [replica.Pass(frame)]
    assert "before HELLO" in refusal(session(Phase.GREETING).on_frame(frame, T0))
