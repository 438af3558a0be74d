"""CARP and VRRP told apart, and what the doctor sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto.carp import Signer, build
from carpool.proto.routers import CARP, PROBE_BYTES, VRRP, probe, speaker

ADVERT = build(Signer(51, b"x", ()), vhid=51, advbase_s=1, advskew=0, demote=0, counter=7)
VRRP_2 = bytes.fromhex("21 07 64 05 00 01 0000") + bytes(4 * 5 + 8)  # as long as CARP's
VRRP_3 = bytes.fromhex("31 0a 64 01 0064 0000 0a010001")


@pytest.mark.parametrize(
    ("payload", "who"),
    [
        (ADVERT, (CARP, 51)),
        (VRRP_2, (VRRP, 7)),
        (VRRP_3, (VRRP, 10)),
        (ADVERT[:7], None),
        (b"", None),
        (b"\x22" + ADVERT[1:], None),
        (b"\x21\0" + ADVERT[2:], None),
    ],
)
def test_who_speaks(payload: bytes, who: tuple[str, int] | None) -> None:
    assert len(VRRP_2) == len(ADVERT)
    assert speaker(payload) == who


@given(st.binary(max_size=60))
def test_nothing_raises(payload: bytes) -> None:
    speaker(payload)


def test_a_probe_has_its_number() -> None:
    nonce = bytes(range(PROBE_BYTES))
    assert probe(nonce).endswith(nonce)
