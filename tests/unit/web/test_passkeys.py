"""Passkeys: where there are any, challenges that are good once, and answers of others."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from carpool.errors import CarpoolError
from carpool.web.passkeys import (
    ANSWER_MAX,
    WAIT_S,
    Challenges,
    Passkey,
    count_of,
    decoded,
    encoded,
    id_of,
    made,
    read,
    to_ask,
    to_make,
    why_not,
)
from tests.unit.web.clock import Clock

HOST, ORIGIN = "fw1.example", "https://fw1.example"
KEY = Passkey("phone", "aWQ", "a2V5", HOST, 3, 5)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ours(clock: Clock) -> Challenges:
    return Challenges(b"k" * 32, clock, clock.random_hex)


def answer(challenge: str, **response: object) -> str:
    client = {"type": "webauthn.get", "challenge": challenge, "origin": ORIGIN}
    told = {"clientDataJSON": encoded(json.dumps(client).encode()), **response}
    return json.dumps({"id": "aWQ", "rawId": "aWQ", "type": "public-key", "response": told})


@pytest.mark.parametrize("host", ["10.0.0.1", "[2001:db8::1]", "", "a b", "[", "fw1.example/", "é"])
def test_an_address_has_none(host: str) -> None:
    assert why_not(host)


@pytest.mark.parametrize("host", ["localhost", "fw1", "fw-1.example"])
def test_a_name_has_some(host: str) -> None:
    assert not why_not(host)


def test_a_challenge_is_good_once_and_for_a_while(ours: Challenges, clock: Clock) -> None:
    first, second = decoded(ours.fresh()), decoded(ours.fresh())
    assert ours.take(first) and not ours.take(first)
    clock.now_s += WAIT_S
    assert ours.take(second)
    third = decoded(ours.fresh())
    clock.now_s += WAIT_S + 1
    assert not ours.take(third), "too late"
    late = int(clock.now_s + 1e6).to_bytes(8, "big")
    for forged in (b"", b"x", third[:16] + late + third[24:], b"\0" * 40, third + b"\0"):
        assert not ours.take(forged)


def test_a_browser_is_asked_for_a_key_that_knows_its_owner(ours: Challenges) -> None:
    told = json.loads(to_make("anna", HOST, ours.fresh(), (KEY,)))
    assert told["rp"]["id"] == HOST and told["excludeCredentials"][0]["id"] == KEY.id
    assert told["authenticatorSelection"]["userVerification"] == "required"
    assert len(decoded(told["user"]["id"])) <= 64
    elsewhere = json.loads(to_make("anna", "fw2.example", ours.fresh(), (KEY,)))
    assert elsewhere["excludeCredentials"] == []
    told = json.loads(to_ask(HOST, ours.fresh()))
    assert (told["rpId"], told["userVerification"]) == (HOST, "required")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 9999,
        '{"response": []}',
        '{"response": {"clientDataJSON": "W10"}}',
        '{"response": {"clientDataJSON": "!"}}',
        '{"response": {"clientDataJSON": "é"}}',
        '"' + "x" * ANSWER_MAX + '"',
    ],
)
def test_what_is_no_answer_is_refused(ours: Challenges, text: str) -> None:
    for judge in (
        lambda: count_of(KEY, text, ORIGIN, ours),
        lambda: made("phone", text, ORIGIN, HOST, 0, ours),
    ):
        with pytest.raises(CarpoolError, match="is no answer of a passkey"):
            judge()


def test_an_answer_of_somebody_else_is_refused(ours: Challenges) -> None:
    for response in ({}, {"authenticatorData": "", "signature": ""}, {"authenticatorData": "AA"}):
        with pytest.raises(CarpoolError, match="was not accepted"):
            count_of(KEY, answer(ours.fresh(), **response), ORIGIN, ours)
    for response in ({}, {"attestationObject": ""}, {"attestationObject": "oWE"}):
        with pytest.raises(CarpoolError, match="was not accepted"):
            made("phone", answer(ours.fresh(), **response), ORIGIN, HOST, 0, ours)
    told = answer(ours.fresh())
    with pytest.raises(CarpoolError, match="was not accepted"):
        count_of(KEY, told, ORIGIN, ours)
    with pytest.raises(CarpoolError, match="took too long"):
        count_of(KEY, told, ORIGIN, ours)
    assert id_of(told) == "aWQ" and id_of("{}") == ""


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 65])
def test_a_name_is_a_line(ours: Challenges, name: str) -> None:
    with pytest.raises(CarpoolError, match="wants a name"):
        made(name, "{}", ORIGIN, HOST, 0, ours)


def test_it_is_read_as_it_was_written() -> None:
    assert read(asdict(KEY)) == KEY
    with pytest.raises((KeyError, ValueError, TypeError)):
        read({"name": "x"})
