"""How often somebody may try to log in: by account, and by the address that they come from.

Room: web. Time is handed in; refuses to know passwords. Nobody is locked out for good: who waits
may try again; and who has logged in from an address before waits for what came from there alone, so
that an attack on an account does not keep its owner out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

FREE = 5  # wrong tries before anybody has to wait
WAIT_S, WAIT_MAX_S = 1.0, 300.0  # doubled by each further one
FORGET_S = 3600.0  # after the last wrong one
KEPT_MAX = 4096  # names and addresses that are remembered
KNOWN_MAX = 256  # pairs of account and address that were right


@dataclass(slots=True)
class _Tries:
    wrong: int
    last_s: float

    @property
    def until_s(self) -> float:
        if self.wrong < FREE:
            return self.last_s
        return self.last_s + min(WAIT_S * 2.0 ** min(self.wrong - FREE, 20), WAIT_MAX_S)


class Throttle:
    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._tries: dict[str, _Tries] = {}
        self._known: dict[tuple[str, str], None] = {}  # oldest first

    def wait_s(self, account: str, source: str) -> float:
        """How long until the next try; 0.0: now."""
        by_account, by_source = _keys(account, source)
        keys = [by_source] if (by_account, by_source) in self._known else [by_account, by_source]
        found = [self._tries[key] for key in keys if key in self._tries]
        return max([0.0, *(one.until_s - self._now_s() for one in found)])

    def wrong(self, account: str, source: str) -> None:
        now_s = self._now_s()
        self._forget(now_s)
        for key in _keys(account, source):
            tries = self._tries.setdefault(key, _Tries(0, now_s))
            tries.wrong, tries.last_s = tries.wrong + 1, now_s

    def right(self, account: str, source: str) -> None:
        keys = _keys(account, source)
        for key in keys:
            self._tries.pop(key, None)
        self._known.pop(keys, None)
        self._known[keys] = None
        while len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def _forget(self, now_s: float) -> None:
        old = [key for key, one in self._tries.items() if now_s - one.last_s > FORGET_S]
        for key in old:
            del self._tries[key]
        while len(self._tries) >= KEPT_MAX:
            del self._tries[min(self._tries, key=lambda one: self._tries[one].last_s)]


def _keys(account: str, source: str) -> tuple[str, str]:
    return f"account {account[:64]}", f"address {network_of(source)}"


def network_of(source: str) -> str:
    """Of IPv6 the /64: whoever has one address there has all of them."""
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source
    return str(ip_network((address, 64), strict=False)) if address.version == 6 else source
