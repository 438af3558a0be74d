"""Who may be paired with whom, and why not: both sides of `carpool init` and `carpool join`.

Room: machine. Decides on messages and values that it is handed; refuses to know sockets, files,
clocks, and what a certificate looks like inside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from carpool.proto import pairing as pr

GUESSES_MAX = 3
_SHOWN_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Me:
    """This node: what its files say."""

    node: str
    group: str
    certificate: bytes  # DER
    peers: frozenset[str]  # of node.toml
    pinned: Mapping[str, bytes]  # DER, by name
    replace: bool = False  # the operator said that a pinned certificate may be replaced


@dataclass(frozen=True, slots=True)
class Partner:
    """The other node, which has proven that it knows the code."""

    node: str
    certificate: bytes  # DER


class Initiator:
    """The node that made the code. One for all who try: they share the guesses."""

    def __init__(self, me: Me, secret: int) -> None:
        self._me = me
        self._secret = secret
        self.wrong_guesses = 0

    @property
    def over(self) -> bool:
        """Nobody may guess again."""
        return self.wrong_guesses >= GUESSES_MAX

    def hello(self) -> pr.Hello:
        return pr.Hello(self._me.node, self._me.group)

    def on_look(self, look: pr.Look) -> pr.Refuse | None:
        """None: it knows the code, and may see what group this is. A wrong code is a guess."""
        me = self._me
        parties = _parties_of_look(me.group, me.node, me.certificate)
        if not self.over and pr.same(look.proof, pr.proof(self._secret, pr.Role.LOOKER, parties)):
            return None
        return self._wrong_guess()

    def _wrong_guess(self) -> pr.Refuse:
        self.wrong_guesses += 1
        left = max(GUESSES_MAX - self.wrong_guesses, 0)
        return pr.Refuse(f"that is not the code that {self._me.node} shows; guesses left: {left}")

    def on_join(
        self, join: pr.Join, name_in: Callable[[bytes], str]
    ) -> tuple[pr.Welcome, Partner] | pr.Refuse:
        """`name_in` reads the name in a certificate, and what it raises comes out. Who does not
        know the code learns nothing but that, and his certificate is not looked into."""
        me, fingerprint = self._me, _fingerprint(join.certificate)
        parties = pr.Parties(
            join.group, me.node, _fingerprint(me.certificate), join.node, fingerprint
        )
        if self.over or not pr.same(join.proof, pr.proof(self._secret, pr.Role.JOINER, parties)):
            return self._wrong_guess()
        name = name_in(join.certificate)
        if name != join.node:
            return pr.Refuse(f"the certificate of {join.node!a} is in the name of {name!a}")
        reason = objection(me, join.node, join.group, join.certificate)
        if reason:
            return pr.Refuse(reason)
        welcome = pr.Welcome(pr.proof(self._secret, pr.Role.INITIATOR, parties))
        return welcome, Partner(join.node, join.certificate)


def look(hello: pr.Hello, certificate: bytes, name: str, secret: int) -> pr.Look | pr.Refuse:
    """What a node asks that knows the code and no group yet. The initiator's certificate, in this
    name, fits the code."""
    if hello.version != pr.VERSION:
        return pr.Refuse(f"{hello.node} pairs by version {hello.version}, expected {pr.VERSION}")
    if hello.node != name:
        return pr.Refuse(f"the certificate of {hello.node!a} is in the name of {name!a}")
    parties = _parties_of_look(hello.group, hello.node, certificate)
    return pr.Look(pr.proof(secret, pr.Role.LOOKER, parties))


def _parties_of_look(group: str, node: str, certificate: bytes) -> pr.Parties:
    return pr.Parties(group, node, _fingerprint(certificate), "", b"")


class Joiner:
    """The node on which the code was typed; the initiator's certificate fits the code."""

    def __init__(self, me: Me, secret: int, certificate: bytes, name: str) -> None:
        self._me = me
        self._secret = secret
        self._certificate = certificate
        self._name = name  # in that certificate
        self._expected = b""

    def on_hello(self, hello: pr.Hello) -> pr.Join | pr.Refuse:
        me = self._me
        if hello.version != pr.VERSION:
            return pr.Refuse(
                f"{hello.node} pairs by version {hello.version}, {me.node} by {pr.VERSION}: "
                "install the same carpool on both"
            )
        if hello.node != self._name:
            return pr.Refuse(f"the certificate of {hello.node!a} is in the name of {self._name!a}")
        reason = objection(me, hello.node, hello.group, self._certificate)
        if reason:
            return pr.Refuse(reason)
        parties = pr.Parties(
            me.group,
            hello.node,
            _fingerprint(self._certificate),
            me.node,
            _fingerprint(me.certificate),
        )
        self._expected = pr.proof(self._secret, pr.Role.INITIATOR, parties)
        ours = pr.proof(self._secret, pr.Role.JOINER, parties)
        return pr.Join(me.node, me.group, me.certificate, ours)

    def on_welcome(self, welcome: pr.Welcome) -> Partner | pr.Refuse:
        """The partner may be pinned now."""
        if not self._expected or not pr.same(welcome.proof, self._expected):
            return pr.Refuse(f"{self._name} does not know the code")
        return Partner(self._name, self._certificate)


def objection(me: Me, node: str, group: str, certificate: bytes) -> str:
    """Why this node cannot pair with that one; empty if it can."""
    if group != me.group:
        return f"{node!a} is of group {group!a}, {me.node} of {me.group!a}: name in group.toml"
    if node == me.node:
        return f"both nodes are called {me.node}: name in node.toml must differ"
    if node not in me.peers:
        peers = ", ".join(sorted(me.peers)) or "none"
        return f"{node!a} is no peer in node.toml of {me.node}, which names: {peers}"
    if certificate == me.certificate:
        return f"{node} has the identity of {me.node}: it was copied; remove it on one of them"
    pinned = me.pinned.get(node)
    if pinned is not None and pinned != certificate and not me.replace:
        digits = _fingerprint(pinned).hex()[:_SHOWN_DIGITS]
        return (
            f"{me.node} is paired with {node} already, by another certificate (SHA-256 "
            f"{digits}...): if {node} has a new identity, say --replace on {me.node}"
        )
    return ""


def _fingerprint(certificate: bytes) -> bytes:
    return hashlib.sha256(certificate).digest()
