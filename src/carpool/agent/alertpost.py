"""Takes messages to their targets: one after the other for each, tried again for some minutes.

Room: agent. A queue for each target, bounded; each try is a process of its own that may nothing
(alertsend.py). Nothing waits for it. Texts of others are cleaned here, and of what the process says
the secrets are taken out.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from carpool.agent.alertsend import SENT, USELESS
from carpool.agent.scriptrun import Call, Ran, Runner
from carpool.api.clean import clean
from carpool.machine.alerturl import masked, scrubbed
from carpool.model.alerts import Message, Target

PROGRAM = (sys.executable, "-I", str(Path(__file__).with_name("alertsend.py")))
TRY_S = 20.0  # for one try
AGAIN_S = (5.0, 30.0, 120.0)  # after the first try, the second...
QUEUE_MAX = 16  # messages for one target
TITLE_MAX, BODY_MAX = 200, 6000  # characters
SAID_MAX = 200

Row = dict[str, object]


@dataclass(slots=True)
class _Box:
    """Of one target."""

    target: Target
    waiting: deque[Message] = field(default_factory=deque)
    work: asyncio.Task[None] | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    done: Counter[str] = field(default_factory=Counter)  # sent, failed, dropped
    last: Row | None = None


class Post:
    """`tell` makes a line of the log and an event."""

    def __init__(
        self,
        runner: Runner,
        tell: Callable[[str], None],
        wall_iso: Callable[[], str],
        again_s: Sequence[float] = AGAIN_S,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._runner = runner
        self._tell = tell
        self._wall_iso = wall_iso
        self._again_s = again_s
        self._program = program
        self._boxes: dict[str, _Box] = {}

    def meet(self, targets: Iterable[Target]) -> None:
        """These, and no others; one that is there already keeps its counts."""
        found = {}
        for target in targets:
            box = found[target.name] = self._boxes.pop(target.name, _Box(target))
            box.target = target
        for gone in self._boxes.values():
            if gone.work is not None:
                gone.work.cancel()
        self._boxes = found

    def offer(self, message: Message) -> None:
        """To every target that wants it."""
        for box in self._boxes.values():
            if message.kind not in box.target.on:
                continue
            if len(box.waiting) >= QUEUE_MAX:
                box.waiting.popleft()  # the newest says how it stands
                box.done["dropped"] += 1
                self._tell(f"{box.target.name}: more than {QUEUE_MAX} wait: the oldest is dropped")
            box.waiting.append(message)
            if box.work is None or box.work.done():
                box.work = asyncio.create_task(self._work(box))

    async def attempt(self, name: str, message: Message) -> Row:
        """Once, now, for who waits for it."""
        box = self._boxes[name]
        await self._deliver(box, message, ())
        assert box.last is not None
        return {"name": name, **box.last}

    def rows(self) -> list[Row]:
        """The URLs are masked."""
        return [
            {
                "name": name,
                "url": masked(box.target.url),
                "on": [str(one) for one in box.target.on],
                "waiting": len(box.waiting) + (box.work is not None and not box.work.done()),
                "messages": {one: box.done[one] for one in ("sent", "failed", "dropped")},
                "last": box.last,
            }
            for name, box in self._boxes.items()
        ]

    def close(self) -> None:
        """What was not sent is lost: the next agent looks anew."""
        for box in self._boxes.values():
            if box.work is not None:
                box.work.cancel()

    # ---------------------------------------------------------------------------------- work

    async def _work(self, box: _Box) -> None:
        while box.waiting:
            await self._deliver(box, box.waiting.popleft(), self._again_s)

    async def _deliver(self, box: _Box, message: Message, again_s: Sequence[float]) -> None:
        async with box.turn:
            ran = await self._run(box.target, message)
        tries = 1
        for pause_s in again_s:
            if ran.status in (SENT, USELESS):
                break
            self._tell(f"{box.target.name}: not sent yet: {_why(ran, box.target)}")
            await asyncio.sleep(pause_s)
            async with box.turn:
                ran = await self._run(box.target, message)
            tries += 1
        why = "" if ran.ok else _why(ran, box.target)
        box.done["sent" if ran.ok else "failed"] += 1
        box.last = {
            "time": self._wall_iso(),
            "title": _line(message.title),
            "ok": ran.ok,
            "result": why or "sent",
            "tries": tries,
            "took_s": round(ran.took_s, 3),
        }
        how = "sent" if ran.ok else f"not sent, tried {_times(tries)}: {why}"
        self._tell(f"{box.target.name}: {_line(message.title)}: {how}")

    async def _run(self, target: Target, message: Message) -> Ran:
        body = "\n".join(clean(line) for line in message.body[:BODY_MAX].split("\n"))
        told = {
            "url": target.url,
            "title": _line(message.title),
            "body": body,
            "level": str(message.level),
        }
        document = json.dumps(told).encode()
        return await self._runner.run(
            Call(
                f"carpool-alert-{target.name}",
                self._program,
                {"HOME": "/"},
                document,
                TRY_S,
                outlives=False,
                unprivileged=True,
            )
        )


def _line(text: str) -> str:
    return clean(text)[:TITLE_MAX]


def _times(tries: int) -> str:
    return "once" if tries == 1 else f"{tries} times"


def _why(ran: Ran, target: Target) -> str:
    return scrubbed(ran.said, target.url)[:SAID_MAX]
