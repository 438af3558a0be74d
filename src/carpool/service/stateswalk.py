"""A walk over our table for one peer: what has it not just so, and what is done about it.

Room: service. Asks the peer by frames and our kernel by `statestable.py`; what the answers mean is
decided by `machine/walk.py`. Refuses to know when to walk, and who wants to see what was found.

An entry that the peer has not may be on its way there, or its end on the way here. So whatever
differs is looked at again in our own kernel, and the peer is asked once more: what it was sent
before that question, it has by then. Nothing is remembered of entries that are as they should be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from carpool.errors import KernelError
from carpool.machine import walk
from carpool.machine.walk import Action
from carpool.proto import statecheck as sc
from carpool.proto import statestream as ss
from carpool.proto.statecheck import Found, Mode, Verdict
from carpool.service.statestable import Table

OPEN_MAX = 4  # questions that wait for an answer, of 60 kB at most
QUEUE_MAX_BYTES = 1024 * 1024  # a walk waits while more than this waits for the peer
QUEUE_LOOK_S = 0.05

# When to go on, or None: with the next answer. Is told the time.
Steps = Generator[float | None, float, None]


class Peer(Protocol):
    """Whom we compare with (`stateslink.Link`)."""

    @property
    def queued_bytes(self) -> int: ...

    def send(self, frame: bytes, requests: int = 0) -> None: ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What a walk is for, and the number of the WALK by which we or the peer asked for it."""

    mode: Mode
    ours: int = 0  # 0: not at all
    theirs: int = 0

    @property
    def kind(self) -> tuple[Mode, bool]:
        """Of those of one kind, nobody waits for any but the newest."""
        return self.mode, self.ours > 0


class Walk:
    """One walk, from its start to `ended`. Until then `step` whenever `deadline_s` has come."""

    def __init__(
        self,
        table: Table,
        peer: Peer,
        wish: Wish,
        numbers: Iterator[int],
        counters: Counter[str],
        *,
        master: bool,
    ) -> None:
        self.wish = wish
        self.found = Found()
        self.missing: list[bytes] = []  # which these are, up to LISTED_MAX; in mode LOOK only
        self.ended = False
        self.error: str | None = None  # of the kernel: it ended early
        self.deadline_s: float | None = 0.0
        self._table = table
        self._peer = peer
        self._counters = counters
        self._master = master
        self._numbers = numbers  # of questions; those of a walk that was given up do not come back
        self._open: dict[int, Sequence[bytes]] = {}  # questions without an answer yet
        self._first = True  # nothing has been asked yet
        self._last = False  # the open ones are the second time
        self._suspects: list[bytes] = []
        self._alive: frozenset[bytes] = frozenset()
        self._steps = self._walk()
        next(self._steps)  # to where it is told the time first

    def step(self, now_s: float) -> None:
        """Go on, if it is time."""
        if self.ended or self.deadline_s is None or now_s < self.deadline_s:
            return
        try:
            self.deadline_s = self._steps.send(now_s)
        except StopIteration:
            self.ended = True
        except KernelError as error:
            self.error = str(error)
            self.close()

    def answered(self, answer: sc.Checked) -> str | None:
        """What the peer says to a question; or what is wrong with that."""
        creates = self._open.pop(answer.number, None)
        if creates is None:
            return None  # of a walk that was given up
        if any(place >= len(creates) for place, _ in answer.results):
            return f"CHECKED tells of more than the {len(creates)} entries of its question"
        results = [(creates[place], verdict) for place, verdict in answer.results]
        if self._last:
            self._settle(results, their_master=answer.master)
        else:
            self._suspects += (create for create, _verdict in results)
        if self.deadline_s is None:
            self.deadline_s = 0.0
        return None

    def close(self) -> None:
        """Give up."""
        self._steps.close()
        self.ended = True

    # -------------------------------------------------------------------------------- private

    def _walk(self) -> Steps:
        """A backup shows all that it has, for what has no original may be anything."""
        now_s = yield 0.0
        for read, creates in self._table.pieces(every=not self._master):
            self.found += Found(entries=len(creates))
            self._ask(creates)
            now_s = yield now_s + self._pause_s(read)
            while self._peer.queued_bytes > QUEUE_MAX_BYTES:
                now_s = yield now_s + QUEUE_LOOK_S
            while len(self._open) >= OPEN_MAX:
                now_s = yield None
            if len(self._suspects) >= walk.SUSPECTS_MAX:
                now_s = yield from self._ask_again(now_s)
        now_s = yield from self._ask_again(now_s)

    def _pause_s(self, entries: int) -> float:
        return entries / walk.PACE_PER_S if self.wish.mode is Mode.REPAIR else 0.0

    def _ask_again(self, now_s: float) -> Generator[float | None, float, float]:
        """What differed: is it still here, and does it still differ?"""
        while self._open:
            now_s = yield None
        suspects, self._suspects = self._suspects, []
        here = self._table.look(suspects)
        if here and not self._master:
            end_s = now_s + walk.SETTLE_S
            while now_s < end_s:
                now_s = yield end_s
            first, here = here, self._table.look(list(here))
            self._alive = frozenset(
                create for create in here if walk.refreshed(first[create], here[create])
            )
        self._table.drain()
        self._last = True
        self._ask(list(here))
        while self._open:
            now_s = yield None
        self._last = False
        return now_s

    def _ask(self, creates: Sequence[bytes]) -> None:
        for part in ss.batches(creates):
            number = next(self._numbers)
            self._open[number] = part
            check = sc.Check(number, self.wish.theirs, self._first, self._last, b"".join(part))
            self._peer.send(ss.build(ss.Kind.CHECK, sc.build_check(check)))
            self._first = False

    def _settle(self, results: Iterable[tuple[bytes, Verdict]], *, their_master: bool) -> None:
        """At once: the next frame of the peer may change what is right."""
        send: list[bytes] = []
        remove: list[bytes] = []
        for create, verdict in results:
            action = walk.judge(
                verdict,
                master=self._master,
                their_master=their_master,
                alive=create in self._alive,
            )
            if self.wish.mode is Mode.LOOK:
                self._count(verdict, Action.SEND)
                if verdict is Verdict.MISSING and len(self.missing) < walk.LISTED_MAX:
                    self.missing.append(create)
            elif action is Action.SEND:
                send.append(create)
                self._count(verdict, action)
            elif action is Action.REMOVE:
                remove.append(create)
                self._count(verdict, action)
        for payload, count in ss.payloads(list(self._table.look(send))):
            self._peer.send(ss.build(ss.Kind.EVENTS, payload), count)
        self._table.remove(remove, self._counters)

    def _count(self, verdict: Verdict, action: Action) -> None:
        if action is Action.REMOVE:
            self.found += Found(extra=1)
        elif verdict is Verdict.MISSING:
            self.found += Found(missing=1)
        else:
            self.found += Found(different=1)
