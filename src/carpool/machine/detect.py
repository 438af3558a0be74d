"""What a peer's silence on a link means, by what is heard of it on the others.

Room: machine. Reads BFD's sessions, and keeps which silences are not judged yet; knows nothing of
who is master (detected.py) and of the clock.

Rule 1: one silence proves nothing. DEAD is a peer that fell silent on two paths at once, and is
        heard on none.
Rule 2: what was heard before a path was found silent says nothing about what came after: another
        path is waited for, until it is heard again or is silent, too.
Rule 3: where several nodes may take over, who waits for more in CARP waits for more here, and
        hears the first one meanwhile.
Rule 4: a peer that woke too late to be believed says so itself: RESET is as good as its death.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from carpool.machine.bfd import Path, PathDown, Session, Word
from carpool.machine.bfdpaths import BfdPaths
from carpool.machine.effects import Detected, Verdict

WAIT_DETECTIONS = 2.0  # for advskew 256, where there are more than two nodes
# One that dies just before its next packet was due may have sent an advert until then.
ADVERT_DETECTIONS = 2 / 3
_SPEAKS = (Word.ALIVE, Word.HEARD, Word.LEFT)


class Detector:
    """See the module. `peers`: whose each path is, by name."""

    def __init__(self, paths: BfdPaths) -> None:
        self.peers: Mapping[Path, str] = {}
        self.deadline_s: float | None = None  # when `look` is due without an input
        self._paths = paths
        self._asked: set[Path] = set()
        self._reset: dict[Path, float] = {}  # when it was said
        self._seen: dict[Path, float] = {}

    def on_down(self, down: PathDown) -> None:
        """A session went down; what it means, `look` says once that is known."""
        path = down.path
        session = self._paths.sessions.get(path)
        if session is None or path not in self.peers:
            return
        if session.word is Word.GONE:
            self._asked.add(path)

    def look(self, now_s: float, advskew: int) -> list[Detected]:
        """What is known by now. `advskew`: how long this node waits in CARP."""
        self.deadline_s = None
        for path, one in self._paths.sessions.items():
            if one.reset_s > self._seen.get(path, -inf) and path in self.peers:
                self._seen[path] = self._reset[path] = one.reset_s
        if not self._asked and not self._reset:
            return []
        found = self._resets(now_s, advskew)
        for path in sorted(self._asked, key=str):
            session = self._paths.sessions.get(path)
            peer = self.peers.get(path)
            if session is None or peer is None or session.word is not Word.GONE:
                self._asked.discard(path)  # it came back, or said something
                continue
            others = self._others(path, peer)
            verdict = _judge(session, others)
            if verdict is Verdict.DEAD and now_s < (
                at_s := self._wait_until_s(session.since_s, session, advskew)
            ):
                self.deadline_s = min(self.deadline_s or at_s, at_s)
            elif verdict is not None:
                self._asked.discard(path)
                found.append(_told(session, peer, verdict, others, now_s))
        return found

    def _resets(self, now_s: float, advskew: int) -> list[Detected]:
        """Rule 4."""
        found = []
        for path, since_s in sorted(self._reset.items(), key=str):
            session, peer = self._paths.sessions.get(path), self.peers.get(path)
            if session is not None and peer is not None:
                at_s = self._wait_until_s(since_s, session, advskew)
                if now_s < at_s:
                    self.deadline_s = min(self.deadline_s or at_s, at_s)
                    continue
                text = f"{peer} says on {path.interface} that it stood still and gave up"
                told = Detected(peer, path.interface, Verdict.RESET, since_s, text)
                found.append(told)
            del self._reset[path]
        return found

    def _others(self, path: Path, peer: str) -> list[Session]:
        return [
            session
            for other, session in self._paths.sessions.items()
            if other.interface != path.interface and self.peers.get(other) == peer
        ]

    def _wait_until_s(self, since_s: float, session: Session, advskew: int) -> float:
        """Rule 3."""
        several = len(set(self.peers.values())) > 1
        wait_s = WAIT_DETECTIONS * session.detection_s * advskew / 256 if several else 0.0
        return since_s + wait_s


def _judge(silent: Session, others: Sequence[Session]) -> Verdict | None:
    """None: Rule 2."""
    speaking = [other for other in others if other.word in _SPEAKS]
    heard = [other for other in speaking if other.heard_s > silent.since_s]
    if any(other.says_link_down for other in heard):
        return Verdict.LINK
    if heard:
        return Verdict.WELL
    if speaking:
        return None
    together = any(
        other.word is Word.GONE
        and abs(other.heard_s - silent.heard_s) <= max(other.detection_s, silent.detection_s)
        for other in others
    )
    return Verdict.DEAD if together else Verdict.ALONE


def _told(
    silent: Session, peer: str, verdict: Verdict, others: Sequence[Session], now_s: float
) -> Detected:
    interface = silent.path.interface
    names = " and ".join(other.path.interface for other in others if other.word in _SPEAKS)
    text = f"{peer} is silent on {interface} for {(now_s - silent.heard_s) * 1000:.0f} ms"
    match verdict:
        case Verdict.DEAD:
            text += " and on every other link"
        case Verdict.LINK:
            text += f", and says over {names} that a link of its is down"
        case Verdict.WELL:
            text += f", and is heard over {names}: adverts decide"
        case Verdict.ALONE:
            text += ", and no other link tells more: adverts decide"
        case Verdict.RESET:
            raise AssertionError("that one is told, and not found")
    alive_s = silent.heard_s + ADVERT_DETECTIONS * silent.detection_s
    return Detected(peer, interface, verdict, alive_s, text)
