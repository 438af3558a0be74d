"""One BFD session at a time, told by hand; two of them are in test_bfdpaths.py."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from itertools import count
from math import inf

import pytest

from carpool.machine.bfd import (
    Authentication,
    BfdEffect,
    Path,
    PathDown,
    PathUp,
    SendControl,
    Session,
    Timing,
    Word,
)
from carpool.proto import bfd
from carpool.proto.bfd import BfdReject, Diag, Key, Packet, SessionState

PATH = Path("lan", ip_address("10.1.1.3"))
FAST = Timing(tx_us=50_000, rx_us=50_000)
THEIRS = 0xBEEF
KEY_A, KEY_B = Key(1, b"ours"), Key(2, b"theirs")
ADMIN_DOWN, DOWN, INIT, UP = SessionState


def session(
    timing: Timing = FAST, *, chance: float = 0.0, authentication: Authentication | None = None
) -> Session:
    numbers = count(0x1001)
    return Session(
        *(PATH, timing),
        draw=lambda: next(numbers),
        chance=lambda: chance,
        now_s=0.0,
        authentication=authentication,
    )


def says(state: SessionState, **fields: int) -> Packet:
    """What the peer says, as usual but for these."""
    names = {"yours": "your_discriminator", "mult": "detect_mult"}
    names |= {"tx_us": "desired_min_tx_us", "rx_us": "required_min_rx_us"}
    usual = Packet(state, 0, 3, THEIRS, 0x1001, 50_000, 50_000)
    return usual._replace(**{names.get(name, name): value for name, value in fields.items()})  # type: ignore[arg-type]


def hear(one: Session, packet: Packet, now_s: float) -> list[BfdEffect]:
    done = one.on_packet(packet, bfd.build(packet), now_s)
    assert not isinstance(done, BfdReject), done
    return done


def sent(effects: Sequence[BfdEffect] | BfdReject) -> list[Packet]:
    assert not isinstance(effects, BfdReject)
    read = [bfd.parse(e.payload, 255) for e in effects if isinstance(e, SendControl)]
    return [packet for packet in read if isinstance(packet, Packet)]


def moves(effects: Sequence[BfdEffect]) -> list[BfdEffect]:
    return [effect for effect in effects if not isinstance(effect, SendControl)]


def word(one: Session) -> Word:
    return one.word


def up(timing: Timing = FAST, *, chance: float = 0.0, polling: bool = False) -> Session:
    """A session that came up at 1.0 and heard the final of its poll then."""
    one = session(timing, chance=chance)
    one.on_tick(0.0)
    hear(one, says(INIT), 1.0)
    if not polling:
        hear(one, says(UP, final=True), 1.0)
    return one


# ------------------------------------------------------------------ 6.8.6: the table of states


@pytest.mark.parametrize(
    ("ours", "heard", "becomes", "diag"),
    [
        (DOWN, DOWN, INIT, Diag.NONE),
        (DOWN, INIT, UP, Diag.NONE),
        (DOWN, UP, DOWN, Diag.NONE),
        (DOWN, ADMIN_DOWN, DOWN, Diag.NONE),
        (INIT, DOWN, INIT, Diag.NONE),
        (INIT, INIT, UP, Diag.NONE),
        (INIT, UP, UP, Diag.NONE),
        (INIT, ADMIN_DOWN, DOWN, Diag.SIGNALED),
        (UP, INIT, UP, Diag.NONE),
        (UP, UP, UP, Diag.NONE),
        (UP, DOWN, DOWN, Diag.SIGNALED),
        (UP, ADMIN_DOWN, DOWN, Diag.SIGNALED),
    ],
)
def test_the_table(
    ours: SessionState, heard: SessionState, becomes: SessionState, diag: Diag
) -> None:
    one = session()
    for state in {DOWN: (), INIT: (DOWN,), UP: (INIT,)}[ours]:
        hear(one, says(state), 0.5)
    assert one.state is ours

    effects = hear(one, says(heard), 0.6)

    assert (one.state, one.diag) == (becomes, diag)
    told = sent(effects)
    if becomes is ours:
        assert told == []
    else:
        assert [(packet.state, packet.diag) for packet in told] == [(becomes, diag)]
        assert told[0].your_discriminator == THEIRS
    if UP in (ours, becomes) and ours is not becomes:
        down = PathDown(PATH, diag, heard, 0, pytest.approx(0.1))  # type: ignore[arg-type]
        assert moves(effects) == [PathUp(PATH) if becomes is UP else down]
    else:
        assert moves(effects) == []


def test_an_administratively_down_end_learns_and_refuses() -> None:
    one = up()
    effects = one.set_admin_down(True, 2.0)
    assert [(p.state, p.diag) for p in sent(effects)] == [(ADMIN_DOWN, Diag.ADMIN_DOWN)]
    assert moves(effects) == [PathDown(PATH, Diag.ADMIN_DOWN, UP, 0, 1.0)]

    packet = says(DOWN, poll=True)
    assert one.on_packet(packet, b"", 2.1) is BfdReject.ADMIN_DOWN
    assert (one.state, one.remote_state) == (ADMIN_DOWN, DOWN)
    assert word(one) is Word.HEARD
    assert one.set_admin_down(True, 2.2) == []

    assert [p.state for p in sent(one.set_admin_down(False, 3.0))] == [DOWN]
    hear(one, says(INIT), 3.1)
    assert one.state is UP


def test_an_administratively_down_end_goes_on_saying_so_once_a_second() -> None:
    """6.8.16: "for at least a Detection Time after transitioning to AdminDown"."""
    one = up()
    one.set_admin_down(True, 2.0)
    assert one.on_tick(2.15) == []  # the peer is silent: its discriminator is forgotten
    assert one.deadline_s == 3.0
    assert [p.state for p in sent(one.on_tick(3.0))] == [ADMIN_DOWN]


# ------------------------------------------------------------------------ 6.8.7: sending


def test_the_first_packet_goes_at_once_and_then_one_a_second() -> None:
    one = session()
    assert one.deadline_s == -inf
    first = sent(one.on_tick(0.0))
    assert first == [Packet(DOWN, 0, 3, 0x1001, 0, 1_000_000, 50_000)]
    assert one.deadline_s == 1.0
    assert one.on_tick(0.999) == []
    assert len(sent(one.on_tick(1.0))) == 1


@pytest.mark.parametrize(
    ("mult", "chance", "factor"),
    [(3, 0.0, 1.0), (3, 0.5, 0.875), (3, 0.999999, 0.75), (1, 0.0, 0.9), (1, 0.999999, 0.75)],
)
def test_jitter(mult: int, chance: float, factor: float) -> None:
    """ "...reduced by a random value of 0 to 25% ... If bfd.DetectMult is equal to 1, the interval
    ... MUST be no more than 90% of the negotiated transmission interval, and MUST be no less than
    75%"."""
    one = up(Timing(50_000, 50_000, mult), chance=chance)
    one.on_tick(1.05)
    assert one.deadline_s == pytest.approx(1.05 + 0.05 * factor, abs=1e-6)


def test_the_slower_of_both_wishes_counts() -> None:
    """ "MUST NOT transmit ... less than the larger of bfd.DesiredMinTxInterval and
    bfd.RemoteMinRxInterval"."""
    one = up()
    hear(one, says(UP, rx_us=80_000), 1.01)
    assert one.interval_s == 0.08
    hear(one, says(UP, rx_us=20_000), 1.02)
    assert one.interval_s == 0.05


def test_a_peer_that_wants_no_packets_gets_none_but_answers() -> None:
    """ "MUST NOT periodically transmit BFD Control packets if bfd.RemoteMinRxInterval is zero"."""
    one = up()
    hear(one, says(UP, rx_us=0), 1.01)
    assert one.deadline_s == pytest.approx(1.16)
    assert sent(one.on_tick(1.10)) == []
    [answer] = sent(hear(one, says(UP, rx_us=0, poll=True), 1.11))
    assert (answer.final, answer.poll) == (True, False)


def test_a_peer_in_demand_mode_gets_no_periodic_packets_while_both_are_up() -> None:
    one = up()
    hear(one, says(UP, demand=True), 1.01)
    assert one.deadline_s == pytest.approx(1.16)
    [first] = sent(one.change(Timing(20_000, 50_000), 1.02))  # but polls
    assert first.poll
    assert sent(one.on_tick(1.08))[0].poll
    hear(one, says(UP, demand=True, final=True), 1.09)
    assert one.on_tick(1.2) == []


def test_a_poll_is_answered_at_once_in_every_state_and_moves_no_timer() -> None:
    """ "without respect to the transmission timer ... without regard to the session state"."""
    one = session()
    one.on_tick(0.0)
    due_s = one.deadline_s
    [answer] = sent(hear(one, says(UP, poll=True, tx_us=1_000_000), 0.3))  # DOWN stays so
    assert (answer.state, answer.final, answer.poll) == (DOWN, True, False)
    assert one.deadline_s == due_s == 1.0

    running = up(polling=True)
    [answer] = sent(hear(running, says(UP, poll=True), 1.01))
    assert (answer.final, answer.poll) == (True, False)
    assert running.polling


# ------------------------------------------------------------------- 6.8.3: other intervals


def test_coming_up_is_a_change_of_interval_and_polls_until_the_final() -> None:
    one = up(polling=True)
    assert (one.polling, one.interval_s) == (True, 0.05)
    assert [p.poll for p in sent(one.on_tick(1.05)) + sent(one.on_tick(1.10))] == [True, True]
    hear(one, says(UP, final=True), 1.11)
    assert one.polling is False
    assert [p.poll for p in sent(one.on_tick(1.16))] == [False]


def test_a_final_before_any_poll_ends_nothing() -> None:
    one = up()
    hear(one, says(UP, rx_us=0), 1.01)  # so that the change itself is not told
    one.change(Timing(20_000, 50_000), 1.02)
    hear(one, says(UP, rx_us=0, final=True), 1.03)
    assert one.polling


def test_sending_less_often_waits_for_the_end_of_the_poll() -> None:
    """ "If bfd.DesiredMinTxInterval is increased and bfd.SessionState is Up, the actual
    transmission interval used MUST NOT change until the Poll Sequence ... has terminated"."""
    one = up()
    [told] = sent(one.change(Timing(200_000, 50_000), 1.01))
    assert (told.desired_min_tx_us, told.poll) == (200_000, True)
    assert one.interval_s == 0.05
    hear(one, says(UP, final=True), 1.02)
    assert one.interval_s == 0.2


def test_sending_more_often_does_not_wait() -> None:
    one = up()
    one.change(Timing(20_000, 50_000), 1.01)
    hear(one, says(UP, rx_us=10_000), 1.02)
    assert one.interval_s == 0.02


def test_hearing_more_often_detects_no_faster_before_the_end_of_the_poll() -> None:
    """ "If bfd.RequiredMinRxInterval is reduced and bfd.SessionState is Up, the previous value ...
    MUST be used when calculating the Detection Time ... until the Poll Sequence ... has
    terminated"."""
    one = up()
    hear(one, says(UP, tx_us=10_000), 1.01)
    [told] = sent(one.change(Timing(50_000, 10_000), 1.02))
    assert (told.required_min_rx_us, told.poll) == (10_000, True)
    assert one.detection_s == pytest.approx(0.15)
    hear(one, says(UP, tx_us=10_000, final=True), 1.03)
    assert one.detection_s == pytest.approx(0.03)


def test_hearing_less_often_detects_slower_at_once() -> None:
    one = up()
    one.change(Timing(50_000, 100_000), 1.01)
    assert one.detection_s == pytest.approx(0.3)


def test_another_multiplier_needs_no_poll() -> None:
    """6.8.3 asks for one for the two intervals only."""
    one = up()
    [told] = sent(one.change(Timing(50_000, 50_000, 5), 1.01))
    assert (told.detect_mult, told.poll) == (5, False)
    assert one.change(one.timing, 1.02) == []


# --------------------------------------------------------------------- 6.8.4: detection


def test_the_detection_time_is_of_the_remote_multiplier_and_the_slower_wish() -> None:
    one = up()
    for tx_us, mult, expected_s in ((50_000, 3, 0.15), (80_000, 4, 0.32), (10_000, 5, 0.25)):
        hear(one, says(UP, tx_us=tx_us, mult=mult), 1.01)
        assert one.detection_s == pytest.approx(expected_s)


def test_silence_is_detected_when_it_is_due_and_not_before() -> None:
    one = up()
    assert word(one) is Word.ALIVE
    assert moves(one.on_tick(1.149)) == []
    effects = one.on_tick(1.15)
    assert moves(effects) == [PathDown(PATH, Diag.EXPIRED, UP, 0, pytest.approx(0.15))]  # type: ignore[arg-type]
    assert sent(effects) == [Packet(DOWN, Diag.EXPIRED, 3, 0x1001, 0, 1_000_000, 50_000, poll=True)]
    assert word(one) is Word.GONE
    assert one.deadline_s == 2.15  # slow again


def test_silence_in_init_is_no_word_about_a_peer_that_was_never_up() -> None:
    one = session()
    hear(one, says(DOWN, tx_us=1_000_000), 0.5)
    assert one.deadline_s == 1.5
    one.on_tick(1.5)
    assert moves(one.on_tick(3.5)) == []
    assert (one.state, one.diag, one.word) == (DOWN, Diag.EXPIRED, Word.UNKNOWN)


# ---------------------------------------------------------------------- words, and the link


def test_who_says_goodbye_is_not_gone_when_it_falls_silent() -> None:
    one = up()
    hear(one, says(ADMIN_DOWN), 1.02)
    assert word(one) is Word.LEFT
    one.on_tick(1.2)
    assert word(one) is Word.UNKNOWN


def test_who_does_not_hear_us_is_heard() -> None:
    one = up()
    [effect] = moves(hear(one, says(DOWN, diag=Diag.EXPIRED, yours=0), 1.02))
    assert isinstance(effect, PathDown)
    assert (effect.diag, effect.remote_diag) == (Diag.SIGNALED, Diag.EXPIRED)
    assert word(one) is Word.HEARD


def test_whoever_is_gone_stays_so_until_it_is_heard() -> None:
    one = up()
    one.on_tick(1.15)
    one.on_tick(500.0)
    assert word(one) is Word.GONE
    hear(one, says(DOWN, yours=0), 501.0)
    assert word(one) is Word.HEARD


def test_a_link_that_goes_down_is_a_path_down_at_once() -> None:
    one = up()
    assert one.on_link(True, 1.01) == []
    effects = one.on_link(False, 1.02)
    assert effects == [PathDown(PATH, Diag.PATH_DOWN, UP, 0, pytest.approx(0.02))]  # type: ignore[arg-type]
    assert one.deadline_s == inf
    assert word(one) is Word.UNKNOWN  # our own end proves nothing about the peer
    one.on_link(True, 5.0)
    assert one.deadline_s == -inf
    [told] = sent(one.on_tick(5.0))
    assert (told.state, told.diag) == (DOWN, Diag.PATH_DOWN)


# ------------------------------------------------------------------------ authentication


def signed_session(sequence: int = 2**32 - 1) -> Session:
    return session(authentication=Authentication(KEY_A, (KEY_B,), sequence))


def signed(packet: Packet, sequence: int, key: Key = KEY_B) -> tuple[Packet, bytes]:
    return packet._replace(authenticated=True), bfd.build(packet, key, sequence)


def test_every_packet_has_a_number_of_its_own() -> None:
    one = signed_session()
    payloads = [
        e.payload for t in (0.0, 1.0, 2.0) for e in one.on_tick(t) if isinstance(e, SendControl)
    ]
    verifier = bfd.Verifier((KEY_A,))
    numbers = []
    for payload in payloads:
        assert verifier.check(payload, 3) is None
        numbers.append(verifier.sequence)
    assert numbers == [0, 1, 2]  # the number space is a circle


def test_signed_and_unsigned_sessions_refuse_each_other() -> None:
    packet, payload = signed(says(DOWN), 1)
    assert session().on_packet(packet, payload, 0.1) is BfdReject.AUTH_UNWANTED
    plain = says(DOWN)
    assert signed_session().on_packet(plain, bfd.build(plain), 0.1) is BfdReject.AUTH_MISSING


def test_our_own_packets_are_not_the_peers() -> None:
    """Each direction has its key: what is sent back is refused."""
    one = signed_session()
    packet, payload = signed(says(DOWN), 1, KEY_A)
    assert one.on_packet(packet, payload, 0.1) is BfdReject.AUTH_KEY
    assert one.state is DOWN


def test_sequence_numbers_begin_anew_after_twice_the_detection_time() -> None:
    """6.8.1, bfd.AuthSeqKnown: "after no packets have been received on this session for at least
    twice the Detection Time"."""
    one = signed_session()
    one.on_packet(*signed(says(INIT), 100), 1.0)
    one.on_packet(*signed(says(UP, final=True), 101), 1.0)
    verifier = one.verifier
    assert verifier is not None and one.state is UP
    assert one.on_packet(*signed(says(UP), 101), 1.1) is BfdReject.AUTH_SEQUENCE
    one.on_tick(1.15)
    assert one.state is DOWN and verifier.known
    assert one.deadline_s == pytest.approx(1.3)
    one.on_tick(1.3)
    assert not verifier.known


def test_a_recorded_session_does_not_come_up_again() -> None:
    """Rule 5: all that a dead peer ever said, in order, after its numbers were forgotten."""
    one = signed_session()
    record = [signed(says(DOWN, yours=0), 1), signed(says(INIT), 2), signed(says(UP), 3)]
    for packet, payload in record:
        one.on_packet(packet, payload, 1.0)
    assert one.state is UP
    one.on_tick(10.0)
    assert word(one) is Word.GONE
    assert one.discriminator == 0x1002

    # The first needs no discriminator; the others name one that is nobody's any more
    # (bfdpaths.py), so they never come here.
    assert sent(one.on_packet(*record[0], 11.0))[0].state is INIT
    one.on_tick(30.0)
    assert (one.state, one.word) == (DOWN, Word.GONE)
