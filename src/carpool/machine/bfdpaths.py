"""All BFD sessions of a node: which packet is whose, what is due, and what they prove.

Room: machine. No sockets, no clock, no chance of its own: same inputs and same draws, same effects.

Rule 1: a packet that is refused moves a counter and nothing else.
Rule 2: a packet is a session's by discriminator once there is one, and even then only on the
        session's interface and from its peer's address: a path proves nothing about another.
Rule 3: sessions speak together: when one is due, all go whose jitter (6.8.7) lets them. To wake up
        costs more than to send, here and at the peer.
Rule 4: time in which this process did not run is nobody's silence: who ticks late judges later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf

from carpool.machine.bfd import Authentication, BfdEffect, Path, Session, Timing, Word
from carpool.model.config import Address
from carpool.proto import bfd
from carpool.proto.bfd import BfdReject, Diag

DRAWS_MAX = 64  # for a discriminator that is free
LATE_S = 0.002  # a busy machine is late by less


@dataclass(frozen=True, slots=True)
class Wanted:
    """A session that there is to be."""

    path: Path
    timing: Timing
    authentication: Authentication | None = None


class BfdPaths:
    """See the module. `draw`: a random number of 32 bits; `chance`: one of [0, 1)."""

    def __init__(self, draw: Callable[[], int], chance: Callable[[], float]) -> None:
        self.sessions: dict[Path, Session] = {}
        self.counters: Counter[str] = Counter()
        self._concatenated = False
        self._draw = draw
        self._chance = chance
        self._by_discriminator: dict[int, Session] = {}

    # ------------------------------------------------------------------------------- asking

    @property
    def deadline_s(self) -> float | None:
        """When `tick` is due; None: only an input can change anything."""
        due_s = min((session.deadline_s for session in self.sessions.values()), default=inf)
        return None if due_s == inf else due_s

    def words(self, addresses: Mapping[str, Iterable[Address]]) -> dict[str, Word]:
        """What is known of a peer by interface, given its addresses by interface. Of several
        addresses on one interface the best word counts: one family that works proves the link."""
        found = {}
        for interface, known in addresses.items():
            paths = [Path(interface, address) for address in known]
            words = [self.sessions[path].word for path in paths if path in self.sessions]
            if words:
                found[interface] = min(words, key=_BEST.index)
        return found

    # ------------------------------------------------------------------------------- inputs

    def follow(self, wanted: Iterable[Wanted], now_s: float) -> list[BfdEffect]:
        """These sessions and no others; those that are there go on, with these intervals. Whoever
        changes keys makes a session anew: both ends fall to Down, and no word of it says GONE."""
        done: list[BfdEffect] = []
        asked = {one.path: one for one in wanted}
        for path in [path for path in self.sessions if path not in asked]:
            done += self.sessions.pop(path).set_admin_down(True, now_s)  # the last word
        for path, one in asked.items():
            known = self.sessions.get(path)
            if known is not None and known.authentication == one.authentication:
                done += known.change(one.timing, now_s)
                continue
            if known is not None:
                done += known.set_admin_down(True, now_s)
            self.sessions[path] = Session(
                path,
                one.timing,
                draw=self._discriminator,
                chance=self._chance,
                now_s=now_s,
                authentication=one.authentication,
            )
            self.sessions[path].set_concatenated(self._concatenated, now_s)
        self._index()
        return done

    def receive(
        self, interface: str, source: Address, hop_limit: int, payload: bytes, now_s: float
    ) -> list[BfdEffect]:
        """A UDP payload that came to port 3784; nothing in it has been checked."""
        packet = bfd.parse(payload, hop_limit)
        if isinstance(packet, BfdReject):
            return self._refuse(packet)
        path = Path(interface, source)
        if packet.your_discriminator:
            session = self._by_discriminator.get(packet.your_discriminator)
            if session is None:
                return self._refuse(BfdReject.SESSION)
            if session.path != path:
                return self._refuse(BfdReject.SENDER)
        else:
            found = self.sessions.get(path)
            if found is None:
                return self._refuse(BfdReject.PEER)
            session = found
        before = session.discriminator
        done = session.on_packet(packet, payload, now_s)
        if isinstance(done, BfdReject):
            return self._refuse(done)
        self.counters["accepted"] += 1
        if session.discriminator != before:
            self._index()
        return done

    def speak(self, now_s: float) -> list[BfdEffect]:
        """Send what is due, and judge nobody: amid work that takes its time."""
        if not any(now_s >= session.deadline_s for session in self.sessions.values()):
            return []
        return [effect for session in self.sessions.values() for effect in session.speak(now_s)]

    def expires_by(self, now_s: float) -> bool:
        """Whether a tick would find somebody silent: what came in is to be read first."""
        return any(session.expires_by(now_s) for session in self.sessions.values())

    def tick(self, now_s: float) -> list[BfdEffect]:
        """Do what is due (early and spurious ticks do no harm); Rules 3 and 4."""
        done: list[BfdEffect] = []
        due_s = min((session.deadline_s for session in self.sessions.values()), default=inf)
        if LATE_S < now_s - due_s < inf:
            for session in self.sessions.values():
                if now_s >= session.missed_at_s:
                    # The peer has given the session up, and speaks slowly now.
                    done += session.reset(now_s, Diag.PATH_DOWN)
                session.excuse(due_s, now_s)
            self._index()
        for session in self.sessions.values() if now_s >= due_s else ():
            if now_s >= min(session.deadline_s, session.early_s):
                before = session.discriminator
                done += session.on_tick(now_s, early=True)
                if session.discriminator != before:
                    self._index()
        return done

    def link(self, interface: str, ready: bool, now_s: float) -> list[BfdEffect]:
        """The interface can be used, or not."""
        done: list[BfdEffect] = []
        for session in self.sessions.values():
            if session.path.interface == interface:
                done += session.on_link(ready, now_s)
        self._index()
        return done

    def concatenated(self, on: bool, now_s: float) -> list[BfdEffect]:
        """A link that a VIP is on is down here, or none is: say so on all paths, new ones too."""
        if on == self._concatenated:
            return []
        self._concatenated = on
        return [e for one in self.sessions.values() for e in one.set_concatenated(on, now_s)]

    def reset(self, now_s: float) -> list[BfdEffect]:
        """Say on all paths that this node gave up whatever it was master of."""
        done = [effect for one in self.sessions.values() for effect in one.reset(now_s)]
        self._index()
        return done

    def missed_at_s(self, peers: Mapping[Path, str]) -> float | None:
        """When a peer may take this node for dead if it sends nothing more: one that hears it on
        two paths or more (detect.py)."""
        by_peer: dict[str, list[float]] = {}
        for path, session in self.sessions.items():
            if session.word is Word.ALIVE and path in peers:
                by_peer.setdefault(peers[path], []).append(session.missed_at_s)
        return min((max(times) for times in by_peer.values() if len(times) > 1), default=None)

    def leave(self, on: bool, now_s: float) -> list[BfdEffect]:
        """Say goodbye on all paths, or come back."""
        return [e for one in self.sessions.values() for e in one.set_admin_down(on, now_s)]

    # ---------------------------------------------------------------------------- internals

    def _refuse(self, reject: BfdReject) -> list[BfdEffect]:
        self.counters[reject] += 1
        return []

    def _discriminator(self) -> int:
        """Random (6.8.1), not zero, and nobody else's here."""
        taken = {session.discriminator for session in self.sessions.values()}
        for _draw in range(DRAWS_MAX):
            drawn = self._draw()
            if drawn and drawn not in taken:
                return drawn
        raise AssertionError(f"{DRAWS_MAX} draws without a free discriminator: no chance in it")

    def _index(self) -> None:
        self._by_discriminator = {one.discriminator: one for one in self.sessions.values()}


_BEST = (Word.ALIVE, Word.HEARD, Word.LEFT, Word.GONE, Word.UNKNOWN)
