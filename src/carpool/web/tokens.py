"""Tokens of programs: what one is, who may have it, and when it ends.

Room: web. Pure. What is kept is a digest: 256 bits of chance need no slow one (argon2 is for what
people think of). Refuses to know accounts and HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from carpool.errors import CarpoolError
from carpool.web.role import Role

PREFIX = "carpool_"  # so that who finds one, a person or a scanner of secrets, knows what it is
DAY_S = 24 * 3600
DAYS_MIN, DAYS_MAX, DAYS = 1, 365, 90
TOKENS_MAX = 20  # of one account
NAME_MAX = 64
USED_EVERY_S = 3600  # how exactly the file knows when one was used: each time is a write


@dataclass(frozen=True, slots=True)
class Token:
    """Times are seconds since 1970: they outlive a process."""

    name: str
    digest: str
    role: Role  # at most; never more than its account has
    made_s: int
    until_s: int
    used_s: int = 0  # 0: never

    def is_over(self, wall_s: float) -> bool:
        return wall_s >= self.until_s


def digest_of(text: str) -> str:
    return sha256(text.encode(errors="replace")).hexdigest()


def made(name: str, role: Role, days: str, text: str, wall_s: float) -> Token:
    """As a form asks for it; `text` is the token itself. Raises CarpoolError."""
    name = name.strip()
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise CarpoolError(
            "a token wants a name", hint=f"what it is for, in 1 to {NAME_MAX} characters"
        )
    if not (re.fullmatch("[0-9]{1,3}", days) and DAYS_MIN <= int(days) <= DAYS_MAX):
        raise CarpoolError(
            f"{days[:16]!r} is no number of days", hint=f"{DAYS_MIN} to {DAYS_MAX} are expected"
        )
    return Token(name, digest_of(text), role, int(wall_s), int(wall_s) + int(days) * DAY_S)


def added(tokens: tuple[Token, ...], fresh: Token, wall_s: float) -> tuple[Token, ...]:
    """With one more; those that are over make room. Raises CarpoolError."""
    if any(one.name == fresh.name for one in tokens):
        raise CarpoolError(f"there is a token {fresh.name} already", hint="remove it first")
    if len(tokens) >= TOKENS_MAX:
        tokens = tuple(one for one in tokens if not one.is_over(wall_s))
    if len(tokens) >= TOKENS_MAX:
        raise CarpoolError(f"there are {TOKENS_MAX} tokens already", hint="remove one")
    return (*tokens, fresh)


def found(tokens: Iterable[Token], digest: str, wall_s: float) -> Token | None:
    """The one that counts now."""
    for one in tokens:
        if one.digest == digest and not one.is_over(wall_s):
            return one
    return None


def read(row: Mapping[str, object]) -> Token:
    """Of the file of accounts. Raises KeyError, ValueError or TypeError."""
    return Token(
        str(row["name"]),
        str(row["digest"]),
        Role[str(row["role"]).upper()],
        int(str(row["made_s"])),
        int(str(row["until_s"])),
        int(str(row["used_s"])),
    )
