"""Who showed the right password a moment ago: pollers, which show it with every request.

Room: web. Pure. Argon2 takes 35 ms and 12 MiB by intent, which is too much each 15 s. Kept are
digests under a key that lives in memory, each for one address: from elsewhere, and after one that
was wrong, a password goes the long way, on which tries are counted (throttle.py).
"""

from __future__ import annotations

import hmac
from hashlib import sha256

KNOWN_MAX = 64  # pairs of account and address; the oldest makes room


class Known:
    """`key` is chance."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._digests: dict[tuple[str, str], bytes] = {}

    def has(self, account: str, source: str, password: str, kept: str) -> bool:
        """`kept`: what accounts.py keeps of the password; after a change of it nobody is known."""
        digest = self._digests.pop((account, source), b"")
        if not hmac.compare_digest(digest, self._digest(password, kept)):
            return False
        self._digests[account, source] = digest
        return True

    def add(self, account: str, source: str, password: str, kept: str) -> None:
        self._digests[account, source] = self._digest(password, kept)
        while len(self._digests) > KNOWN_MAX:
            del self._digests[next(iter(self._digests))]

    def _digest(self, password: str, kept: str) -> bytes:
        text = f"{len(kept)} {kept}{password}".encode(errors="surrogatepass")
        return hmac.digest(self._key, text, sha256)
