"""CARP bytes: layout, checksum and digest against independent computations and a real peer."""

from __future__ import annotations

import hashlib
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.model.config import Address
from carpool.model.reject import Reject
from carpool.proto import carp
from carpool.proto.carp import Advert, Signer

GOLDEN = Path(__file__).parents[2] / "golden" / "ucarp-1.5.2.hex"
ADDRESSES: tuple[Address, ...] = tuple(
    ip_address(text)
    for text in ("10.1.0.20", "10.1.0.3", "2001:db8::2", "2001:db8::10", "fe80::9", "9.255.255.255")
)
SIGNER = Signer(51, b"secret", ADDRESSES)
VALID = carp.build(SIGNER, vhid=51, advbase_s=1, advskew=100, demote=0, counter=0x0102030405060708)


def independent_digest(vhid: int, password: bytes, addresses: bytes, counter: bytes) -> bytes:
    """HMAC-SHA1 written out as in RFC 2104."""
    key = (password[:20] + bytes(20))[:20] + bytes(44)
    inner = bytes(byte ^ 0x36 for byte in key) + bytes([2, 1, vhid]) + addresses + counter
    outer = bytes(byte ^ 0x5C for byte in key) + hashlib.sha1(inner).digest()
    return hashlib.sha1(outer).digest()


def independent_checksum(data: bytes) -> int:
    """RFC 1071, one 16-bit word after the other."""
    total = 0
    for offset in range(0, len(data), 2):
        total += data[offset] * 256 + data[offset + 1]
        total = total % 65536 + total // 65536
    return 65535 - total


def sealed(payload: bytes) -> bytes:
    """The packet with its checksum made right again."""
    blank = payload[:6] + b"\0\0" + payload[8:]
    return blank[:6] + independent_checksum(blank).to_bytes(2, "big") + blank[8:]


def changed(offset: int, value: int) -> bytes:
    return sealed(VALID[:offset] + bytes([value]) + VALID[offset + 1 :])


# ----------------------------------------------------------------------------------- build


def test_every_byte_of_an_advert() -> None:
    ordered = bytes.fromhex(
        "09ffffff 0a010003 0a010014"
        "20010db8000000000000000000000002 20010db8000000000000000000000010"
        "fe800000000000000000000000000009"
    )
    counter = bytes(range(1, 9))
    digest = independent_digest(51, b"secret", ordered, counter)
    blank = bytes.fromhex("21 33 64 07 00 01 0000") + counter + digest
    assert sealed(blank) == VALID
    assert len(VALID) == carp.LENGTH


@given(
    vhid=st.integers(1, 255),
    advbase_s=st.integers(1, 255),
    advskew=st.integers(0, 255),
    demote=st.integers(0, 255),
    counter=st.integers(0, 2**64 - 1),
    password=st.binary(min_size=1, max_size=20),
    addresses=st.sets(st.ip_addresses(), max_size=5),
)
def test_what_is_built_is_parsed_and_verifies(
    vhid: int,
    advbase_s: int,
    advskew: int,
    demote: int,
    counter: int,
    password: bytes,
    addresses: set[IPv4Address | IPv6Address],
) -> None:
    signer = Signer(vhid, password, addresses)
    payload = carp.build(
        signer, vhid=vhid, advbase_s=advbase_s, advskew=advskew, demote=demote, counter=counter
    )
    advert = carp.parse(payload, 255)
    assert advert == Advert(vhid, advbase_s, advskew, demote, counter, payload[16:])
    assert signer.verify(advert)
    assert advert.leaving == (advskew == 255)


# ---------------------------------------------------------------------------------- digest


def test_the_digest_does_not_depend_on_the_order_of_the_addresses_nor_on_repetition() -> None:
    backwards = Signer(51, b"secret", (*reversed(ADDRESSES), ADDRESSES[0]))
    assert backwards.digest(7) == SIGNER.digest(7)


def test_a_zone_index_is_not_signed() -> None:
    assert carp.signed_addresses([ip_address("fe80::1%eth0")]) == ip_address("fe80::1").packed


def test_the_key_is_the_first_twenty_bytes_of_the_password() -> None:
    assert Signer(1, b"x" * 20, ()).digest(1) == Signer(1, b"x" * 20 + b"more", ()).digest(1)
    assert Signer(1, b"x" * 19, ()).digest(1) != Signer(1, b"x" * 20, ()).digest(1)


@pytest.mark.parametrize(
    "other",
    [
        Signer(52, b"secret", ADDRESSES),
        Signer(51, b"secreT", ADDRESSES),
        Signer(51, b"secret", ADDRESSES[1:]),
        Signer(51, b"secret", (*ADDRESSES, ip_address("10.1.0.4"))),
    ],
    ids=["vhid", "password", "address lacking", "address added"],
)
def test_another_vhid_password_or_address_set_does_not_verify(other: Signer) -> None:
    advert = carp.parse(VALID, 255)
    assert isinstance(advert, Advert)
    assert SIGNER.verify(advert)
    assert not other.verify(advert)


# -------------------------------------------------------------------------------- checksum


@given(st.binary(max_size=64).filter(lambda data: len(data) % 2 == 0))
def test_the_checksum_is_that_of_rfc_1071(data: bytes) -> None:
    assert carp.checksum(data) == independent_checksum(data)


def test_the_checksum_pads_an_odd_byte_on_the_right() -> None:
    assert carp.checksum(b"\x12\x34\x56") == carp.checksum(b"\x12\x34\x56\x00")


@given(st.binary(min_size=36, max_size=36))
def test_the_checksum_over_a_sealed_packet_is_zero(data: bytes) -> None:
    assert carp.checksum(sealed(data)) == 0


# ----------------------------------------------------------------------------------- parse


@pytest.mark.parametrize(
    ("payload", "hop_limit", "reject"),
    [
        (VALID, 254, Reject.TTL),
        (VALID, 0, Reject.TTL),
        (b"", 254, Reject.TTL),
        (b"", 255, Reject.LENGTH),
        (VALID[:-1], 255, Reject.LENGTH),
        (VALID + b"\0", 255, Reject.LENGTH),
        (VALID[:6] + b"\0\0" + VALID[8:], 255, Reject.CHECKSUM),
        (bytes(36), 255, Reject.CHECKSUM),  # all zero carries 0 where 0xffff belongs
        (changed(0, 0x31), 255, Reject.VERSION),  # VRRPv3
        (changed(0, 0x22), 255, Reject.VERSION),  # a type that is no advertisement
        (changed(3, 6), 255, Reject.LENGTH),
        (changed(3, 8), 255, Reject.LENGTH),
        (changed(1, 0), 255, Reject.VHID),
        (changed(5, 0), 255, Reject.ADVBASE),
    ],
)
def test_what_is_refused_and_why(payload: bytes, hop_limit: int, reject: Reject) -> None:
    assert carp.parse(payload, hop_limit) is reject


def test_checks_run_in_the_order_of_the_reject_members() -> None:
    """A packet that is wrong in every way is refused for the first, and so on, one by one."""
    vrrp = bytes([0x31, 0, 1, 8, 0, 0, 0, 1]) + bytes(28)
    assert carp.parse(vrrp[:20], 1) is Reject.TTL
    assert carp.parse(vrrp[:20], 255) is Reject.LENGTH
    assert carp.parse(vrrp, 255) is Reject.CHECKSUM
    assert carp.parse(sealed(vrrp), 255) is Reject.VERSION
    assert carp.parse(sealed(b"\x21" + vrrp[1:]), 255) is Reject.LENGTH  # the authentication's
    assert carp.parse(sealed(b"\x21\x00\x01\x07" + vrrp[4:]), 255) is Reject.VHID
    assert carp.parse(sealed(b"\x21\x33\x01\x07" + vrrp[4:]), 255) is Reject.ADVBASE


@given(st.binary(max_size=80), st.integers(0, 255))
def test_any_bytes_are_an_advert_or_a_reject(payload: bytes, hop_limit: int) -> None:
    assert isinstance(carp.parse(payload, hop_limit), Advert | Reject)


@given(st.binary(min_size=36, max_size=36))
def test_any_36_bytes_with_a_right_checksum_are_an_advert_or_a_reject(payload: bytes) -> None:
    parsed = carp.parse(sealed(payload), 255)
    assert isinstance(parsed, Advert | Reject)
    assert parsed is not Reject.CHECKSUM


@pytest.mark.parametrize("length", range(36))
def test_a_truncated_advert_is_refused(length: int) -> None:
    assert carp.parse(VALID[:length], 255) is Reject.LENGTH


@pytest.mark.parametrize("bit", range(36 * 8))
def test_each_single_flipped_bit_is_refused(bit: int) -> None:
    flipped = bytearray(VALID)
    flipped[bit // 8] ^= 0x80 >> bit % 8
    assert carp.parse(bytes(flipped), 255) is Reject.CHECKSUM


# --------------------------------------------------------------------------- a real peer's


def golden() -> list[bytes]:
    lines = GOLDEN.read_text().splitlines()
    return [bytes.fromhex(line) for line in lines if not line.startswith("#")]


def test_captured_adverts_of_ucarp_are_understood() -> None:
    signer = Signer(42, b"open sesame", [ip_address("10.9.0.100")])
    frames = golden()
    assert len(frames) == 3
    for frame in frames:
        advert = carp.parse(frame[34:], frame[22])
        assert isinstance(advert, Advert)
        assert (advert.vhid, advert.advbase_s, advert.advskew, advert.demote) == (42, 1, 7, 0)
        assert signer.verify(advert)


def test_we_build_what_ucarp_built() -> None:
    signer = Signer(42, b"open sesame", [ip_address("10.9.0.100")])
    for frame in golden():
        (counter,) = struct.unpack("!Q", frame[42:50])
        ours = carp.build(signer, vhid=42, advbase_s=1, advskew=7, demote=0, counter=counter)
        assert ours == frame[34:]


def test_ucarp_draws_its_counters_at_random() -> None:
    """Why a counter that jumps back proves nothing against a peer that never was monotonic."""
    counters = [int.from_bytes(frame[42:50], "big") for frame in golden()]
    assert counters != sorted(counters)
