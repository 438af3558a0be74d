"""Who did what by the pages, and what came of it: among the events of this node and of its peers.

Room: agent. Plain ASGI around the application, so that no route can forget it, and the telling of
peers, which nobody waits for. Refuses to know what the routes do, and what a body holds: passwords
are in some.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from carpool.agent.client import PeerClient
from carpool.agent.doorman import SCOPE_PEER, SCOPE_WEB
from carpool.agent.localclient import BY_HEADER
from carpool.agent.refusals import Refusals
from carpool.agent.scriptlog import Clocks, event_of
from carpool.api.clean import clean
from carpool.errors import CarpoolError, PeerError
from carpool.kernel.journal import Journal, say
from carpool.machine.bucket import Bucket

KIND = "web"  # of the events
NOTE_PATH, PEER_PATH = "/v1/web/note", "/v1/peer/deeds"
CHANGE_NOTHING = (
    "/v1/diff",
    "/v1/pull/diff",
    "/v1/group/preview",
    NOTE_PATH,
)  # the last one is told by its route
BY_MAX, WHAT_MAX, TEXT_MAX = 100, 300, 1000  # letters
TAIL_MAX_BYTES = 64 * 1024  # of an answer: its last line says what came of it
TELLING_MAX = 64  # peers that are being told at once
TELL_WAIT_S = 5.0
HEARD_PER_S, HEARD_BURST = 1.0, 60  # of one peer: it cannot push all others out of the journal


class Deeds:
    """Of one node. Texts come from other processes and other nodes: bounded, and of one line."""

    def __init__(
        self,
        node: str,
        peers: Mapping[str, PeerClient],
        journal: Journal,
        clocks: Clocks,
        refusals: Refusals,
    ) -> None:
        self._node = node
        self._peers = peers
        self._journal = journal
        self._clocks = clocks
        self._refusals = refusals
        self._telling: set[asyncio.Task[None]] = set()
        self._buckets: dict[str, Bucket] = {}

    def note(self, by: str, text: str) -> None:
        """An event of this node, told to its peers if that can be."""
        whole = _line(f"{_line(by, BY_MAX)}: {text}", TEXT_MAX)
        self._add(whole)
        for peer in self._peers.values():
            if len(self._telling) >= TELLING_MAX:
                say(f"agent: {peer.name} is not told: {whole}")
                continue
            task = asyncio.create_task(self._tell(peer, whole))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    def hear(self, peer: str, text: str) -> None:
        """What was done on a peer. Raises PeerError when it tells too much."""
        now_s = self._clocks.now_s()
        bucket = self._buckets.setdefault(peer, Bucket(HEARD_PER_S, HEARD_BURST, now_s))
        if not bucket.take(now_s):
            self._refusals.add(
                "too_often", peer, f"it tells more than {HEARD_BURST} deeds a minute"
            )
            raise PeerError("too many deeds are told", hint="they are among its own events")
        self._add(_line(f"on {peer}, {text}", TEXT_MAX))

    def close(self) -> None:
        for task in self._telling:
            task.cancel()

    async def _tell(self, peer: PeerClient, text: str) -> None:
        try:
            await peer.post(PEER_PATH, {"text": text}, timeout_s=TELL_WAIT_S)
        except CarpoolError as error:
            say(f"agent: {peer.name} was not told what was done here: {error.message}")

    def _add(self, text: str) -> None:
        say(f"agent: {KIND} {text}")
        self._journal.add(event_of(KIND, text, self._clocks))


class Noted:
    """The application behind it; what the pages have it do is noted when it is over."""

    def __init__(self, app: ASGIApp, deeds: Deeds) -> None:
        self._app = app
        self._deeds = deeds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        by = by_of(scope)
        if not by or scope["method"] in ("GET", "HEAD") or scope["path"] in CHANGE_NOTHING:
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            query = scope["query_string"].decode(errors="replace")
            target = f"{scope['path']}?{query}" if query else str(scope["path"])
            what = _line(f"{scope['method']} {target}", WHAT_MAX)
            self._deeds.note(by, f"{what}: {answer.outcome()}")


def by_of(scope: Scope) -> str:
    """For whom the pages ask; "" when it is not the pages that do. Root alone comes by another
    socket, and may say what it likes."""
    if scope[SCOPE_PEER] is not None:
        return ""
    said = [value for name, value in scope["headers"] if name == BY_HEADER.encode()]
    if said:
        return _line(said[0].decode(errors="replace"), BY_MAX) or "somebody"
    return "somebody" if scope.get(SCOPE_WEB) else ""


class _Answer:
    """What is said of a request, on its way."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._status = 0
        self._tail = b""
        self._complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
        else:
            self._tail = (self._tail + message.get("body", b""))[-TAIL_MAX_BYTES:]
            self._complete = not message.get("more_body", False)
        await self._send(message)

    def outcome(self) -> str:
        """In a few words."""
        if not self._complete:
            return "nobody waited for its end" if self._status else "broke off: the log tells more"
        try:
            last = json.loads(self._tail.strip().rpartition(b"\n")[2])
        except ValueError:
            last = None
        told = last if isinstance(last, dict) else {}
        if self._status >= 400 or told.keys() == {"error", "hint"}:
            return f"failed: {told.get('error') or f'HTTP status {self._status}'}"
        failed = told.get("failed")
        if isinstance(failed, list) and failed:
            return f"failed on {', '.join(map(str, failed))}"
        return "done"


def _line(text: str, most: int) -> str:
    return clean(text if len(text) <= most else f"{text[: most - 3]}...")
