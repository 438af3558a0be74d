"""Both sides of a pairing, as they judge each other; names and certificates are stand-ins."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from carpool.machine.pairing import Initiator, Joiner, Me, Partner, look, objection
from carpool.proto import pairing as pr

SECRET = 12345
FW1 = Me("fw1", "edge", b"certificate of fw1", frozenset({"fw2", "fw3"}), {})
FW2 = Me("fw2", "edge", b"certificate of fw2", frozenset({"fw1", "fw3"}), {})


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def joined(me: Me = FW2, secret: int = SECRET, hello: pr.Hello | None = None) -> pr.Join:
    """What the node `me` says to fw1 when it was given this secret."""
    joiner = Joiner(me, secret, FW1.certificate, "fw1")
    said = joiner.on_hello(hello or Initiator(FW1, SECRET).hello())
    assert isinstance(said, pr.Join), said
    return said


def named(name: str) -> Callable[[bytes], str]:
    """Reads this name in any certificate."""
    return lambda _certificate: name


def refusal(answer: object) -> str:
    assert isinstance(answer, pr.Refuse), answer
    return answer.reason


def test_each_ends_with_the_other() -> None:
    initiator = Initiator(FW1, SECRET)
    joiner = Joiner(FW2, SECRET, FW1.certificate, "fw1")
    join = joiner.on_hello(initiator.hello())
    assert isinstance(join, pr.Join)
    answer = initiator.on_join(join, named("fw2"))
    assert isinstance(answer, tuple)
    welcome, partner = answer
    assert partner == Partner("fw2", FW2.certificate)
    assert joiner.on_welcome(welcome) == Partner("fw1", FW1.certificate)
    assert (initiator.wrong_guesses, initiator.over) == (0, False)


def test_three_wrong_codes_and_it_is_over_even_for_the_right_one() -> None:
    initiator = Initiator(FW1, SECRET)
    for left in (2, 1, 0):
        reason = refusal(initiator.on_join(joined(secret=1), named("fw2")))
        assert reason == f"that is not the code that fw1 shows; guesses left: {left}"
        assert initiator.over is (left == 0)
    assert "guesses left: 0" in refusal(initiator.on_join(joined(), named("fw2")))


def test_who_does_not_know_the_code_learns_nothing_else() -> None:
    wrong = replace(joined(secret=1), node="nobody", group="other")
    reason = refusal(Initiator(FW1, SECRET).on_join(wrong, not_looked_into))
    assert reason.startswith("that is not the code")


def not_looked_into(certificate: bytes) -> str:
    raise AssertionError(certificate)


def test_a_proof_is_good_for_its_certificate_and_name_only() -> None:
    for changed in (
        replace(joined(), certificate=b"another"),
        replace(joined(), node="fw3"),
        replace(joined(), group="other"),
    ):
        assert "that is not the code" in refusal(
            Initiator(FW1, SECRET).on_join(changed, named("fw2"))
        )


def test_its_own_proof_sent_back_is_worth_nothing() -> None:
    joiner = Joiner(FW2, SECRET, FW1.certificate, "fw1")
    join = joiner.on_hello(Initiator(FW1, SECRET).hello())
    assert isinstance(join, pr.Join)
    assert refusal(joiner.on_welcome(pr.Welcome(join.proof))) == "fw1 does not know the code"
    fresh = Joiner(FW2, SECRET, FW1.certificate, "fw1")
    assert "does not know" in refusal(fresh.on_welcome(pr.Welcome(b"")))  # before any question


@pytest.mark.parametrize(
    ("me", "words"),
    [
        (replace(FW2, group="other"), "'fw2' is of group 'other', fw1 of 'edge'"),
        (replace(FW2, node="fw1", peers=frozenset({"fw1"})), "both nodes are called fw1"),
        (replace(FW2, node="fw9"), "'fw9' is no peer in node.toml of fw1, which names: fw2, fw3"),
        (replace(FW2, certificate=FW1.certificate), "fw2 has the identity of fw1: it was copied"),
    ],
    ids=["group", "own-name", "unknown", "copied"],
)
def test_who_knows_the_code_is_told_what_does_not_fit(me: Me, words: str) -> None:
    parties = pr.Parties(
        me.group,
        "fw1",
        sha256(FW1.certificate),
        me.node,
        sha256(me.certificate),
    )
    proof = pr.proof(SECRET, pr.Role.JOINER, parties)
    join = pr.Join(me.node, me.group, me.certificate, proof)
    initiator = Initiator(FW1, SECRET)
    assert refusal(initiator.on_join(join, named(me.node))).startswith(words)
    assert initiator.wrong_guesses == 0


def test_a_certificate_in_another_name_is_refused() -> None:
    reason = refusal(Initiator(FW1, SECRET).on_join(joined(), named("fw7")))
    assert reason == "the certificate of 'fw2' is in the name of 'fw7'"
    joiner = Joiner(FW2, SECRET, FW1.certificate, "fw7")
    reason = refusal(joiner.on_hello(pr.Hello("fw1", "edge")))
    assert reason == "the certificate of 'fw1' is in the name of 'fw7'"


def test_the_joiner_objects_before_it_proves_anything() -> None:
    joiner = Joiner(FW2, SECRET, FW1.certificate, "fw1")
    reason = refusal(joiner.on_hello(pr.Hello("fw1", "other")))
    assert reason == "'fw1' is of group 'other', fw2 of 'edge': name in group.toml"
    reason = refusal(joiner.on_hello(pr.Hello("fw1", "edge", version=9)))
    assert reason.startswith("fw1 pairs by version 9, fw2 by 1")


def test_nothing_is_replaced_unless_it_is_said() -> None:
    known = replace(FW1, pinned={"fw2": FW2.certificate})
    assert objection(known, "fw2", "edge", FW2.certificate) == ""  # the same again
    reason = objection(known, "fw2", "edge", b"another")
    assert reason.startswith("fw1 is paired with fw2 already, by another certificate (SHA-256 ")
    assert reason.endswith("if fw2 has a new identity, say --replace on fw1")
    assert objection(replace(known, replace=True), "fw2", "edge", b"another") == ""


def test_who_looks_proves_the_code_and_a_wrong_one_is_a_guess() -> None:
    initiator = Initiator(FW1, SECRET)
    for secret, guesses in ((SECRET, 0), (1, 1)):
        asked = look(initiator.hello(), FW1.certificate, "fw1", secret)
        assert isinstance(asked, pr.Look)
        refused = initiator.on_look(asked)
        assert (refused is None, initiator.wrong_guesses) == (not guesses, guesses)
    assert "in the name of" in refusal(look(initiator.hello(), FW1.certificate, "fw9", SECRET))
    other = replace(initiator.hello(), version=9)
    assert "by version 9" in refusal(look(other, FW1.certificate, "fw1", SECRET))
    joiner = joined()
    assert refusal(initiator.on_look(pr.Look(joiner.proof))), "a proof is good for one thing"
