"""Who is logged in: sessions with an idle and an absolute limit, and the token of their forms.

Room: web. Time and chance are handed in; refuses to know HTTP and passwords. They live in memory:
a process that starts again asks everybody for the password again.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

IDLE_MAX_S = 30 * 60.0  # without a request of a person
LIFE_MAX_S = 12 * 3600.0
SESSIONS_MAX = 256  # of all accounts; the one that is idle longest makes room
TOKEN_BYTES = 32


@dataclass(slots=True)
class Session:
    """`token` goes with every form: another site cannot know it."""

    account: str
    token: str
    source: str  # the address that it came from
    begun_s: float
    seen_s: float


class Sessions:
    """All of them. A browser is given a key; what is kept here is its digest."""

    def __init__(self, now_s: Callable[[], float], random_hex: Callable[[int], str]) -> None:
        self._now_s = now_s
        self._random_hex = random_hex
        self._by_digest: dict[str, Session] = {}

    def begin(self, account: str, source: str) -> str:
        """Of an account whose password was right; the key for its browser."""
        self._sweep()
        if len(self._by_digest) >= SESSIONS_MAX:
            idlest = min(self._by_digest, key=lambda one: self._by_digest[one].seen_s)
            del self._by_digest[idlest]
        key, now_s = self._random_hex(TOKEN_BYTES), self._now_s()
        token = self._random_hex(TOKEN_BYTES)
        self._by_digest[_digest(key)] = Session(account, token, source, now_s, now_s)
        return key

    def find(self, key: str, *, by_hand: bool) -> Session | None:
        """Whose key it is. `by_hand`: a page that renews itself keeps no session alive."""
        session = self._by_digest.get(_digest(key))
        if session is None or self._is_over(session):
            self.end(key)
            return None
        if by_hand:
            session.seen_s = self._now_s()
        return session

    def end(self, key: str) -> None:
        self._by_digest.pop(_digest(key), None)

    def end_all(self, account: str) -> None:
        """Of an account that was removed, or has another password or role now."""
        mine = [digest for digest, one in self._by_digest.items() if one.account == account]
        for digest in mine:
            del self._by_digest[digest]

    def sources(self, account: str) -> list[str]:
        """Where somebody is logged in with it."""
        mine = (one for one in self._by_digest.values() if one.account == account)
        return sorted({one.source for one in mine if not self._is_over(one)})

    def _is_over(self, session: Session) -> bool:
        now_s = self._now_s()
        return now_s - session.seen_s > IDLE_MAX_S or now_s - session.begun_s > LIFE_MAX_S

    def _sweep(self) -> None:
        over = [digest for digest, one in self._by_digest.items() if self._is_over(one)]
        for digest in over:
            del self._by_digest[digest]


def is_token_of(session: Session, token: str) -> bool:
    """Whether a form came from a page of this session; takes as long for any answer."""
    return hmac.compare_digest(session.token.encode(), token.encode())


def _digest(key: str) -> str:
    return sha256(key.encode(errors="replace")).hexdigest()
