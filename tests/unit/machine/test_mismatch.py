"""A digest that fails: which address set explains it, at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from carpool.machine.mismatch import SEARCH_EVERY_S, Explanation, MismatchFinder
from carpool.model.config import VhostKey, Vip
from carpool.proto import carp

TEXTS = ("10.1.0.100/24", "10.1.0.101/24", "2001:db8:1::100/64", "2001:db8:1::101/64")
UNEXPLAINED = Explanation(
    False,
    "signs another set of addresses or uses another password: compare group.toml on both nodes",
)


def vip(texts: Sequence[str] = TEXTS, password: bytes = b"secret") -> Vip:
    return Vip("lan", 51, password, tuple(ip_interface(text) for text in texts))


def advert(of: Vip, counter: int = 1) -> carp.Advert:
    signer = carp.Signer(of.vhid, of.password, (a.ip for a in of.addresses))
    payload = carp.build(signer, vhid=of.vhid, advbase_s=1, advskew=0, demote=0, counter=counter)
    parsed = carp.parse(payload, 255)
    assert isinstance(parsed, carp.Advert)
    return parsed


@pytest.mark.parametrize(
    ("theirs", "lacking"),
    [
        (TEXTS[1:], TEXTS[:1]),
        (TEXTS[:3], TEXTS[3:]),
        (TEXTS[:2], TEXTS[2:]),
        (TEXTS[2:], TEXTS[:2]),
        (TEXTS[:1], TEXTS[1:]),
        ((), TEXTS),
    ],
    ids=["no first", "no last", "IPv4 only", "IPv6 only", "one only, as UCarp", "none"],
)
def test_what_a_peer_lacks_is_told_exactly(theirs: Sequence[str], lacking: Sequence[str]) -> None:
    found = MismatchFinder().explain(vip(), advert(vip(theirs)), 0.0)
    assert found == Explanation(
        True,
        f"has another address set for VHID 51 on lan: it lacks {', '.join(lacking)}, which this "
        "node has; make group.toml the same on both nodes",
    )


@pytest.mark.parametrize(
    "theirs",
    [
        vip((*TEXTS, "10.1.0.102/24")),
        vip((TEXTS[0], TEXTS[3])),
        vip(TEXTS, b"other"),
        replace(vip(), vhid=52),
    ],
    ids=["one more", "two fewer across families", "password", "vhid"],
)
def test_what_cannot_be_explained_is_not_authentic(theirs: Vip) -> None:
    assert MismatchFinder().explain(vip(), advert(theirs), 0.0) == UNEXPLAINED


def test_a_search_is_made_once_a_second_at_most() -> None:
    """A forger must not buy our CPU: until then the digest stays unexplained."""
    finder = MismatchFinder()
    assert finder.explain(vip(), advert(vip(TEXTS, b"forged")), 0.0) == UNEXPLAINED
    lacking = advert(vip(TEXTS[1:]))
    assert finder.explain(vip(), lacking, 0.9 * SEARCH_EVERY_S) == UNEXPLAINED
    assert finder.explain(vip(), lacking, SEARCH_EVERY_S).authentic


def test_what_was_found_once_is_known_without_a_search() -> None:
    finder = MismatchFinder()
    found = finder.explain(vip(), advert(vip(TEXTS[1:]), 1), 0.0)
    for counter in range(2, 10):
        assert finder.explain(vip(), advert(vip(TEXTS[1:]), counter), counter / 100) == found


def test_two_peers_that_lack_different_addresses_are_both_known() -> None:
    """What explained one was forgotten for the other, and every second advert was refused."""
    finder = MismatchFinder()
    for tenth in range(0, 100, 5):
        without_first = finder.explain(vip(), advert(vip(TEXTS[1:])), tenth / 10)
        without_last = finder.explain(vip(), advert(vip(TEXTS[:-1])), tenth / 10 + 0.1)
        if tenth >= 2 * 10 * SEARCH_EVERY_S:
            assert without_first.authentic
            assert without_last.authentic


def test_each_vhid_is_searched_by_itself() -> None:
    finder = MismatchFinder()
    other = replace(vip(), vhid=52)
    assert other.key == VhostKey("lan", 52)
    assert finder.explain(vip(), advert(vip(TEXTS[1:])), 0.0).authentic
    theirs = replace(vip(TEXTS[1:]), vhid=52)
    assert finder.explain(other, advert(theirs), 0.0).authentic


def test_hundreds_of_addresses_are_searched_within_bounds() -> None:
    """In some hundredths of a second; it was 1.5 s, once a second, at a forger's will."""
    many = [f"10.1.{n // 250}.{n % 250 + 1}/16" for n in range(700)]
    theirs = vip(many[1:])
    assert MismatchFinder().explain(vip(many), advert(theirs), 0.0).authentic
    assert not MismatchFinder().explain(vip(many), advert(vip(many[:-1])), 0.0).authentic
