"""Messages of a pairing, and the proof of the code: nothing that is said can be used otherwise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import pairing as pr
from carpool.proto.pairing import Broken, Done, Hello, Join, Message, Refuse, Role, Welcome

PARTIES = pr.Parties("edge", "fw1", b"\1" * 32, "fw2", b"\2" * 32)
GOOD: list[Message] = [
    Hello("fw1", "edge"),
    Join("fw2", "edge", b"\x30\0", b"\xff" * 32),
    Welcome(b"\0" * 32),
    Done(),
    Refuse("no"),
]


@pytest.mark.parametrize("message", GOOD, ids=str)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    data = pr.build(message)
    assert pr.LENGTH.unpack_from(data)[0] == len(data) - 4
    assert pr.parse(data[4:]) == message


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 10_000,
        b'{"say": "hello"}',
        b'{"say": ["hello"]}',
        b'{"say": "hello", "node": "a", "group": "b", "version": true}',
        b'{"say": "hello", "node": 1, "group": "b", "version": 1}',
        b'{"say": "welcome", "proof": "no base 64!"}',
        b'{"say": "welcome", "proof": "\xc3\xa9"}',
        b'{"say": "refuse", "reason": null}',
    ],
)
def test_what_is_no_message_is_broken(text: bytes) -> None:
    assert isinstance(pr.parse(text), Broken)


@given(st.binary(max_size=200))
def test_garbage_never_raises(garbage: bytes) -> None:
    assert isinstance(pr.parse(garbage), Broken | Message)


def test_a_reason_is_short_and_steers_no_terminal() -> None:
    read = pr.parse(pr.build(Refuse("\x1b[2J" + "x" * 10**6))[4:])
    assert read == Refuse("?[2J" + "x" * 996)
    text = json.dumps({"say": "refuse", "reason": "y" * 5000, "more": 1}).encode()
    assert pr.parse(text) == Refuse("y" * 1000)


def test_a_proof_is_of_everything_that_is_agreed() -> None:
    proof = pr.proof(1, Role.JOINER, PARTIES)
    others = [
        pr.proof(2, Role.JOINER, PARTIES),
        pr.proof(1, Role.INITIATOR, PARTIES),  # it cannot be reflected
        pr.proof(1, Role.JOINER, replace(PARTIES, group="edg")),
        pr.proof(1, Role.JOINER, replace(PARTIES, initiator="fw3")),
        pr.proof(1, Role.JOINER, replace(PARTIES, initiator_fingerprint=b"\3" * 32)),
        pr.proof(1, Role.JOINER, replace(PARTIES, joiner="fw3")),
        pr.proof(1, Role.JOINER, replace(PARTIES, joiner_fingerprint=b"\3" * 32)),
        pr.proof(1, Role.JOINER, replace(PARTIES, group="edgef", initiator="w1")),  # moved borders
    ]
    assert len({proof, *others}) == 9
    assert pr.same(proof, pr.proof(1, Role.JOINER, PARTIES))
    assert not any(pr.same(proof, other) for other in (*others, b"", proof[:-1]))
