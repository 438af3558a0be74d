"""One peer's table and ours: walks by the clock, at a peer's wish and at a person's.

Room: service. One walk (`stateswalk.py`) at a time for each peer; answers the questions of the
peer's own. Refuses to know sockets and who is master why.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from carpool.errors import KernelError
from carpool.machine import walk
from carpool.proto import statecheck as sc
from carpool.proto import statestream as ss
from carpool.proto.statecheck import Found, Mode
from carpool.service.statestable import Difference, Table
from carpool.service.stateswalk import Peer, Walk, Wish


class Owner(Protocol):
    """Who has the links and the events."""

    def give_bulk(self, peer: str) -> None: ...

    def give_no_bulk(self, peer: str) -> None:
        """Say that there is nothing in our table that this peer has not."""

    def owes_bulk(self, peer: str) -> bool: ...

    def rival_heard(self) -> None:
        """The peer is MASTER from now on, whatever we are."""

    def rival_gone(self) -> None:
        """A peer that was MASTER is none any more, as far as is known."""


@dataclass
class Look:
    """What a person asked for: a walk of ours and one of the peer, and what they found. Whatever
    the peer's walk asks twice and we have otherwise, differs."""

    number: int  # of the WALK that the peer was sent for it
    mode: Mode
    on_end: Callable[[Look], None]
    started_s: float
    ours: Found | None = None
    theirs: Found | None = None
    error: str | None = None
    missing: list[bytes] = field(default_factory=list)  # create requests: ours, not there
    extra: list[bytes] = field(default_factory=list)  # theirs, not here
    different: list[tuple[bytes, bytes]] = field(
        default_factory=list
    )  # our message, their create request
    counts: Counter[str] = field(default_factory=Counter)
    took_s: float = 0.0

    def see(self, results: list[Difference]) -> None:
        """What of the peer's entries is not here just so."""
        for one in results:
            self.counts[one.verdict.name.lower()] += 1
            if one.ours is None:
                if len(self.extra) < walk.LISTED_MAX:
                    self.extra.append(one.theirs)
            elif len(self.different) < walk.LISTED_MAX:
                self.different.append((one.ours, one.theirs))

    def forget(self) -> None:
        """The peer's walk is begun anew."""
        for seen in (self.counts, self.extra, self.different):
            seen.clear()


class Comparison:
    """With one peer, over as many streams as it takes."""

    def __init__(
        self,
        name: str,
        peer: Peer,
        table: Table,
        owner: Owner,
        counters: Counter[str],
        tell: Callable[[str, str], None],
    ) -> None:
        self.name = name
        self.drift = walk.Drift()
        self.their_table: sc.Table | None = None
        self._peer = peer
        self._table = table
        self._owner = owner
        self._counters = counters
        self._tell = tell  # what kind of trouble, and its words
        self._master = False
        self._was_master = False  # since the peer last had all of our table
        self._rounds = walk.Rounds()
        self._walk: Walk | None = None
        self._wanted: deque[Wish] = deque()
        self._look: Look | None = None
        self._numbers = count(1)
        self._up = False
        self._frames: dict[ss.Kind, tuple[Callable[[bytes], Any], Callable[..., str | None]]] = {
            ss.Kind.WALK: (sc.parse_walk, self._on_walk),
            ss.Kind.CHECK: (sc.parse_check, self._on_check),
            ss.Kind.CHECKED: (sc.parse_checked, self._on_checked),
            ss.Kind.WALKED: (sc.parse_walked, self._on_walked),
            ss.Kind.TABLE: (sc.parse_table, self._on_table),
        }

    def up(self, now_s: float) -> None:
        """A stream is there."""
        self._up = True
        self._rounds.up(now_s)

    def down(self, reason: str) -> None:
        """It is gone, and every question with it."""
        self._up = False
        self._rounds.down()
        self._wanted.clear()
        self._hear(None)
        self._stop_walk()
        if self._look is not None:
            self._end_look(self._look, error=reason)

    def be_master(self, master: bool) -> None:
        """Another one's table is right from now on: a walk that has begun is begun anew."""
        if master != self._master and self._walk is not None:
            self._wanted.appendleft(self._walk.wish)
            self._stop_walk()
        self._master = master
        self._was_master |= master

    @property
    def their_master(self) -> bool:
        """Whether the peer says that it is MASTER; not while there is no stream."""
        return self.their_table is not None and self.their_table.master

    def look(self, mode: Mode, on_end: Callable[[Look], None], now_s: float) -> str | None:
        """Walk on both sides, then call `on_end`; or why not."""
        if not self._up:
            return "no stream with it"
        if self._look is not None:
            return "somebody is comparing already"
        self._look = Look(next(self._numbers), mode, on_end, now_s)
        wish = sc.build_walk(sc.Walk(self._look.number, mode))
        self._peer.send(ss.build(ss.Kind.WALK, wish))
        self._want(Wish(mode, ours=self._look.number))
        return None

    @property
    def deadline_s(self) -> float | None:
        """When `step` has something to do."""
        if self._walk is not None:
            return self._walk.deadline_s
        if self._wanted:
            return 0.0 if self._ready else None
        return self._rounds.deadline_s

    def step(self, now_s: float) -> None:
        """Go on with the walk, or begin one."""
        if self._rounds.due(now_s) and self._walk is None and not self._wanted:
            self._wanted.append(Wish(Mode.REPAIR))
        if self._walk is None and self._wanted and self._ready:
            self._walk = Walk(
                self._table,
                self._peer,
                self._wanted.popleft(),
                self._numbers,
                self._counters,
                master=self._master,
            )
        if self._walk is not None:
            self._walk.step(now_s)
            if self._walk.ended:
                self._walked(self._walk, now_s)

    def on_frame(self, frame: ss.Frame, now_s: float) -> str | None:
        """What the peer asks or answers; or what is wrong with it."""
        parse, act = self._frames[frame.kind]
        said = parse(frame.payload)
        try:
            return said if isinstance(said, str) else act(said, now_s)
        except KernelError as error:  # an answer would be a guess: a fresh stream begins anew
            return str(error)

    def close(self) -> None:
        self._stop_walk()

    # -------------------------------------------------------------------------------- private

    @property
    def _ready(self) -> bool:
        """Whether we have met, and the peer has got all of our table that it is to get."""
        return self.their_table is not None and not self._owner.owes_bulk(self.name)

    def _want(self, wish: Wish) -> None:
        """Only the newest of each kind waits: a peer that asks on and on gets no longer queue. A
        table is given before a RESYNC, but not to a master by who is none: it would learn of the
        dead."""
        if wish.mode is Mode.RESYNC and (self._master or not self.their_master):
            self._owner.give_bulk(self.name)
        others = [one for one in self._wanted if one.kind != wish.kind]
        self._wanted = deque([*others, wish])

    def _on_walk(self, asked: sc.Walk, _now_s: float) -> None:
        self._want(Wish(asked.mode, theirs=asked.number))

    def _on_check(self, check: sc.Check, _now_s: float) -> str | None:
        results = self._table.compare(check.requests)
        if isinstance(results, str):
            return results
        told = [(one.place, one.verdict) for one in results]
        answer = sc.build_checked(check.number, told, master=self._master)
        self._peer.send(ss.build(ss.Kind.CHECKED, answer))
        if self._look is not None and check.walk == self._look.number:
            if check.first:
                self._look.forget()
            if check.last:
                self._look.see(results)
        return None

    def _on_checked(self, answer: sc.Checked, _now_s: float) -> str | None:
        return self._walk.answered(answer) if self._walk is not None else None

    def _on_walked(self, walked: sc.Walked, now_s: float) -> None:
        if walked.mode is not Mode.LOOK and not walked.failed:
            self.drift = self.drift.walked(walked.found, now_s, by_us=False)
        if self._look is not None and self._look.number == walked.walk:
            self._look.theirs = walked.found
            failed = f"{self.name} could not read all of its table: its log tells why"
            self._end_look(self._look, now_s, error=failed if walked.failed else None)

    def _on_table(self, table: sc.Table, _now_s: float) -> None:
        greeting = self.their_table is None
        self._hear(table)
        if not greeting:
            return
        if walk.gives_table(master=self._master, was_master=self._was_master, theirs=table):
            self._owner.give_bulk(self.name)
        else:
            self._owner.give_no_bulk(self.name)

    def _hear(self, table: sc.Table | None) -> None:
        was_master, self.their_table = self.their_master, table
        if was_master and not self.their_master:
            self._owner.rival_gone()
        elif self.their_master and not was_master:
            self._owner.rival_heard()

    def _walked(self, ended: Walk, now_s: float) -> None:
        """Its questions came after all that we gave, and have been answered: the peer has it."""
        self._walk = None
        wish, failed = ended.wish, ended.error is not None
        if failed:
            self._counters["walk_errors"] += 1
            self._tell("walk", f"the comparison with {self.name} ended early: {ended.error}")
        else:
            self._was_master = self._master
            if wish.mode is not Mode.LOOK:
                self.drift = self.drift.walked(ended.found, now_s, by_us=True)
        walked = sc.Walked(wish.theirs, wish.mode, failed, ended.found)
        self._peer.send(ss.build(ss.Kind.WALKED, sc.build_walked(walked)))
        if self._look is not None and self._look.number == wish.ours:
            self._look.ours, self._look.missing = ended.found, ended.missing
            self._end_look(self._look, now_s, error=ended.error)

    def _end_look(self, look: Look, now_s: float | None = None, error: str | None = None) -> None:
        """If both sides are done, or there is no going on."""
        if error is None and (look.ours is None or look.theirs is None):
            return
        look.error = error
        look.took_s = now_s - look.started_s if now_s is not None else 0.0
        self._look = None
        look.on_end(look)

    def _stop_walk(self) -> None:
        if self._walk is not None:
            self._walk.close()
            self._walk = None


def masters(comparisons: Iterable[Comparison]) -> list[str]:
    """The peers that say so, over streams that are up."""
    return [one.name for one in comparisons if one.their_master]
