"""BFD packets: what FRR and BIRD sent, every bound of RFC 5880, 6.8.6, and any bytes at all."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import bfd
from carpool.proto.bfd import BfdReject, Key, Packet, SessionState, Verifier

GOLDEN = Path(__file__).parents[2] / "golden"
KEY = Key(7, b"open sesame")
UP = Packet(SessionState.UP, 0, 3, 0x11223344, 0x55667788, 50_000, 40_000)
PLAIN = bfd.build(UP)


def golden(name: str) -> list[bytes]:
    lines = (GOLDEN / name).read_text().splitlines()
    return [bytes.fromhex(line) for line in lines if not line.startswith("#")]


def changed(payload: bytes, at: int, value: int) -> bytes:
    return payload[:at] + bytes([value]) + payload[at + 1 :]


def packets() -> st.SearchStrategy[Packet]:
    number = st.integers(0, 2**32 - 1)
    fields = st.tuples(
        *(st.sampled_from(SessionState), st.integers(0, 31), st.integers(1, 255)),
        *(st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1)),
        *(number, number, number, st.booleans(), st.booleans(), st.booleans()),
    )
    return fields.map(lambda drawn: Packet(*drawn))


# ------------------------------------------------------------------------------- golden


def test_every_packet_of_frr_is_read_and_built_again() -> None:
    read = []
    for payload in golden("bfdd-8.4.4.hex"):
        packet = bfd.parse(payload, 255)
        assert isinstance(packet, Packet)
        assert bfd.build(packet) == payload
        read.append((packet.state.text, packet.diag, packet.poll, packet.final))
    assert read == [
        ("Down", 0, False, False),
        ("Init", 0, False, False),
        ("Up", 0, True, False),
        ("Up", 0, False, True),
        ("Up", 0, False, False),
        ("AdminDown", 0, False, False),
        ("Down", 3, False, False),
        ("Down", 1, False, False),
    ]


def test_every_signature_of_bird_is_right_and_made_again() -> None:
    key = Key(77, b"open sesame")
    verifier = Verifier((key,))
    for payload in golden("bird-2.0.12.hex"):
        packet = bfd.parse(payload, 255)
        assert isinstance(packet, Packet) and packet.authenticated
        assert verifier.check(payload, packet.detect_mult) is None
        assert bfd.build(packet, key, verifier.sequence) == payload
    assert verifier.sequence == 0x6C49FD2F


def test_a_signature_is_the_hash_of_the_packet_with_the_key_in_its_place() -> None:
    """RFC 5880, 6.7.4: "The Authentication Key value ... is placed into the Auth Key/Hash field",
    padded with trailing zeros, and "A SHA1 hash MUST be calculated over the entire BFD Control
    packet"."""
    section = bytes([5, 28, 7, 0]) + (9).to_bytes(4, "big")
    with_key = changed(changed(PLAIN, 1, 0xC4), 3, 52) + section + b"open sesame" + bytes(9)

    made = bfd.build(UP, KEY, 9)

    assert made[:32] == with_key[:32]
    assert made[32:] == hashlib.sha1(with_key, usedforsecurity=False).digest()


# ------------------------------------------------------------- 6.8.6, up to discriminators


@pytest.mark.parametrize(
    ("payload", "reject"),
    [
        (PLAIN[:23], BfdReject.TRUNCATED),
        (b"", BfdReject.TRUNCATED),
        (changed(PLAIN, 0, 0), BfdReject.VERSION),
        (changed(PLAIN, 0, 2 << 5), BfdReject.VERSION),
        (changed(PLAIN, 3, 23), BfdReject.LENGTH),
        (changed(changed(PLAIN, 1, 0xC4), 3, 25) + bytes(9), BfdReject.LENGTH),
        (changed(PLAIN, 3, 25), BfdReject.BEYOND),
        (changed(PLAIN, 2, 0), BfdReject.DETECT_MULT),
        (changed(PLAIN, 1, 0xC1), BfdReject.MULTIPOINT),
        (PLAIN[:4] + bytes(4) + PLAIN[8:], BfdReject.MY_DISCRIMINATOR),
        (PLAIN[:8] + bytes(4) + PLAIN[12:], BfdReject.YOUR_DISCRIMINATOR),
        (changed(PLAIN[:8] + bytes(4) + PLAIN[12:], 1, 0x80), BfdReject.YOUR_DISCRIMINATOR),
    ],
)
def test_each_bound_has_its_reason(payload: bytes, reject: BfdReject) -> None:
    assert bfd.parse(payload, 255) is reject


def test_the_checks_come_in_the_order_of_the_rfc() -> None:
    """All is wrong at once; one after the other is mended."""
    payload = bytes([0, 0xC5, 0, 10]) + bytes(20)
    order = [bfd.parse(payload, 254), bfd.parse(payload[:20], 255), bfd.parse(payload, 255)]
    mends = (0, 0x20), (3, 30), (3, 24), (1, 0xC1), (2, 1), (1, 0xC0), (7, 1), (11, 1)
    for at, value in mends:
        payload = changed(payload, at, value)
        order.append(bfd.parse(payload, 255))
    assert order == [
        *(BfdReject.TTL, BfdReject.TRUNCATED, BfdReject.VERSION, BfdReject.LENGTH),
        *(BfdReject.BEYOND, BfdReject.LENGTH),  # 24 is too short for a section
        *(BfdReject.DETECT_MULT, BfdReject.MULTIPOINT, BfdReject.MY_DISCRIMINATOR),
        *(BfdReject.YOUR_DISCRIMINATOR, Packet(SessionState.UP, 0, 1, 1, 1, 0, 0)),
    ]


@pytest.mark.parametrize("hop_limit", [254, 64, 0, -1, 256])
def test_what_crossed_a_router_is_refused(hop_limit: int) -> None:
    assert bfd.parse(PLAIN, hop_limit) is BfdReject.TTL


def test_bytes_behind_the_packet_are_not_of_it() -> None:
    assert bfd.parse(PLAIN + b"rest", 255) == UP


@pytest.mark.parametrize("state", [SessionState.DOWN, SessionState.ADMIN_DOWN])
def test_who_is_down_need_not_know_our_discriminator(state: SessionState) -> None:
    packet = UP._replace(state=state, your_discriminator=0)
    assert bfd.parse(bfd.build(packet), 255) == packet


# ----------------------------------------------------------------------- authentication


def signed(sequence: int, key: Key = KEY, auth_type: int = bfd.METICULOUS_SHA1) -> bytes:
    return bfd.build(UP, key, sequence, auth_type)


@pytest.mark.parametrize(
    ("payload", "reject"),
    [
        (signed(9, auth_type=bfd.KEYED_SHA1), BfdReject.AUTH_TYPE),
        (changed(signed(9), 24, 1), BfdReject.AUTH_TYPE),
        (signed(9, Key(8, KEY.secret)), BfdReject.AUTH_KEY),
        (changed(signed(9), 25, 27), BfdReject.AUTH_LENGTH),
        (changed(signed(9), 25, 255), BfdReject.AUTH_LENGTH),
        (changed(signed(9), 3, 51), BfdReject.AUTH_LENGTH),
        (changed(signed(9), 3, 26)[:26], BfdReject.AUTH_LENGTH),
        (changed(signed(9) + b"\0", 3, 53), BfdReject.AUTH_LENGTH),
        (signed(9, Key(7, b"Open sesame")), BfdReject.AUTH_DIGEST),
        *((changed(signed(9), at, 0x77), BfdReject.AUTH_DIGEST) for at in (2, 8, 15, 27, 31, 51)),
    ],
)
def test_a_signature_that_is_not_right_is_refused_and_changes_nothing(
    payload: bytes, reject: BfdReject
) -> None:
    verifier = Verifier((KEY,))
    assert isinstance(bfd.parse(payload, 255), Packet)
    assert verifier.check(payload, 3) is reject
    assert (verifier.known, verifier.sequence) == (False, 0)


@pytest.mark.parametrize("first", [1000, 2**32 - 3])
def test_meticulous_sequence_numbers_have_a_window_of_three_detect_multipliers(first: int) -> None:
    """6.7.4: "outside of the range of bfd.RcvAuthSeq+1 to bfd.RcvAuthSeq+(3*Detect Mult) inclusive
    (when treated as an unsigned 32-bit circular number space)"."""

    def judged(ahead: int) -> BfdReject | None:
        verifier = Verifier((KEY,))
        assert verifier.check(signed(first), 3) is None
        return verifier.check(signed((first + ahead) % 2**32), 3)

    assert {ahead for ahead in range(-12, 13) if judged(ahead) is None} == set(range(1, 10))
    assert judged(0) is BfdReject.AUTH_SEQUENCE


def test_keyed_sha1_may_repeat_a_number() -> None:
    verifier = Verifier((KEY,), bfd.KEYED_SHA1)
    same = signed(5, auth_type=bfd.KEYED_SHA1)
    assert [verifier.check(same, 3) for _ in range(3)] == [None] * 3
    assert verifier.check(signed(4, auth_type=bfd.KEYED_SHA1), 3) is BfdReject.AUTH_SEQUENCE


def test_after_forgetting_any_number_begins() -> None:
    verifier = Verifier((KEY,))
    assert verifier.check(signed(500), 3) is None
    assert verifier.check(signed(3), 3) is BfdReject.AUTH_SEQUENCE
    verifier.forget()
    assert verifier.check(signed(3), 3) is None


def test_a_forged_number_does_not_move_the_window() -> None:
    verifier = Verifier((KEY,))
    assert verifier.check(signed(500), 3) is None
    assert verifier.check(changed(signed(508), 51, 0), 3) is BfdReject.AUTH_DIGEST
    assert verifier.check(signed(501), 3) is None


def test_two_keys_count_while_one_gives_way_even_with_one_number() -> None:
    old, new = Key(7, b"old"), Key(7, b"new")
    verifier = Verifier((old, new))
    assert verifier.check(signed(1, old), 3) is None
    assert verifier.check(signed(2, new), 3) is None


def test_keys_differ_by_group_link_and_direction() -> None:
    told = [
        ("home", "lan", "fw1"),
        ("home", "lan", "fw2"),
        ("home", "wan", "fw1"),
        ("ho", "me", ""),
    ]
    keys = [bfd.derive_key(b"secret", *names) for names in told]
    assert len({key.secret for key in keys}) == len(keys)
    assert {len(key.secret) for key in keys} == {20}
    assert bfd.derive_key(b"secret", "home", "lan", "fw1") == keys[0]
    assert bfd.derive_key(b"Secret", "home", "lan", "fw1") != keys[0]


def test_a_key_is_drawn_by_hkdf() -> None:
    """RFC 5869: extract with the salt, expand by one round; `openssl kdf` says the same."""
    info = b"\x00\x04home\x00\x03lan\x00\x03fw1"
    drawn = hmac.new(b"carpool bfd sha1", b"secret", hashlib.sha256).digest()
    made = hmac.new(drawn, info + b"\x01", hashlib.sha256).digest()
    assert bfd.derive_key(b"secret", "home", "lan", "fw1") == Key(made[20], made[:20])


def test_words() -> None:
    assert [state.text for state in SessionState] == ["AdminDown", "Down", "Init", "Up"]
    assert bfd.diag_text(1) == "control detection time expired"
    assert bfd.diag_text(bfd.Diag.REVERSE_CONCATENATED_DOWN) == "reverse concatenated path down"
    assert bfd.diag_text(31) == "diagnostic 31"


# ------------------------------------------------------------------------------ anything


@given(packets())
def test_what_is_built_is_read(packet: Packet) -> None:
    assert bfd.parse(bfd.build(packet), 255) == packet


@given(packets(), st.integers(0, 2**32 - 1), st.binary(min_size=1, max_size=20))
def test_what_is_signed_is_read_and_right(packet: Packet, sequence: int, secret: bytes) -> None:
    payload = bfd.build(packet, Key(0, secret), sequence)
    assert bfd.parse(payload, 255) == packet._replace(authenticated=True)
    assert Verifier((Key(0, secret),)).check(payload, packet.detect_mult) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_a_packet_or_a_reason(payload: bytes) -> None:
    packet = bfd.parse(payload, 255)
    if isinstance(packet, Packet) and packet.authenticated:
        assert Verifier((KEY,)).check(payload, packet.detect_mult) in list(BfdReject)


@given(st.data(), st.integers(0, 51), st.integers(1, 255))
def test_no_byte_of_a_signed_packet_can_be_altered(data: st.DataObject, at: int, by: int) -> None:
    payload = bfd.build(data.draw(packets()), KEY, 9)
    altered = changed(payload, at, payload[at] ^ by)
    packet = bfd.parse(altered, 255)
    if not isinstance(packet, Packet):
        return
    if packet.authenticated:
        assert Verifier((KEY,)).check(altered, packet.detect_mult) in list(BfdReject)
    else:
        assert altered[1] & 0x04 == 0  # and a session with a key drops it as AUTH_MISSING
