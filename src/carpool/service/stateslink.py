"""One peer of the states process: connecting, greeting, and the stream that is in use.

Room: service. Carries frames between `machine/replica.py` and `kernel/stream.py`; refuses to know
what is in them, which is the business of its owner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from carpool.errors import KernelError
from carpool.kernel.poller import Poller
from carpool.kernel.stream import Dial, Stream, Wire
from carpool.machine import replica
from carpool.model.config import Address
from carpool.proto import statestream as ss
from carpool.service.statesmeter import Meter

if TYPE_CHECKING:
    from socket import socket as Socket

DIAL_EVERY_S = 1.0
DEAF_MAX_S = 10.0  # one that is busy reads now and then
DIAL_MAX_S = 2.0
ACCEPTED_MAX = 10  # in a second: a peer needs one, and each costs a TLS handshake


class Owner(Protocol):
    """Who is told what happens on a link."""

    def now_s(self) -> float: ...

    def link_up(self, link: Link) -> None: ...

    def link_down(self, link: Link, reason: str, *, was_up: bool, cause: str = "") -> None:
        """`cause` is one word for reasons that differ in details only, or empty."""

    def refused(self, cause: str) -> None:
        """Count a stream that ended for this cause."""

    def inject(self, link: Link, payload: bytes) -> str | None:
        """Give requests to the kernel; or why these are none that a peer may send."""

    def compare(self, link: Link, frame: ss.Frame) -> str | None:
        """A frame of those that compare the tables; or what is wrong with it."""

    def bulk_began(self, link: Link) -> None: ...

    def bulk_ended(self, link: Link) -> None: ...


class Link:
    """Everything about one peer. `name` comes from node.toml, `source` and `target` too."""

    def __init__(
        self,
        owner: Owner,
        poller: Poller,
        *,
        group: str,
        names: tuple[str, str],
        ends: tuple[Address, Address],
        port: int,
        wire: Wire,
    ) -> None:
        self.node, self.name = names
        self.source, self.target = ends
        self.port = port
        self.wire = wire
        self.group = group
        self.owner = owner
        self.poller = poller
        self.since_s = owner.now_s()  # of being connected, or not
        self.last_error: str | None = None
        self.was_up = False  # ever
        self.meter = Meter(self, self.since_s)
        self.sent = self.received = self.injected = self.errors = 0  # requests, since the start
        self._dial: Dial | None = None
        self._dial_until_s = 0.0
        self._dial_at_s = 0.0
        self._obstacle = ""  # why there can be no stream at all
        self._accepted = (0.0, 0)  # since when, how many
        self._current: _Connection | None = None
        self._greeting: _Connection | None = None  # the newest that has not said who it is
        self._bytes = [0, 0]  # sent and received, of streams that are gone
        self._heard_s: float | None = None  # the last word of such a stream

    @property
    def up(self) -> bool:
        return self._current is not None

    def bulk_begins(self, entries: int) -> None:
        """It is being given the table of so many."""
        self.meter.sending.begin(self.sent, entries, self.owner.now_s())

    def bulk_ends(self) -> None:
        self.meter.sending.end(self.sent, self.owner.now_s())

    @property
    def heard_s(self) -> float | None:
        """When the peer said something last; None: never."""
        return self._current.session.heard_s if self._current else self._heard_s

    @property
    def sent_bytes(self) -> int:
        return self._bytes[0] + (self._current.stream.sent_bytes if self._current else 0)

    @property
    def received_bytes(self) -> int:
        return self._bytes[1] + (self._current.stream.received_bytes if self._current else 0)

    @property
    def queued_bytes(self) -> int:
        return self._current.stream.queued_bytes if self._current else 0

    @property
    def bulk(self) -> replica.Bulk:
        """The word for status: what is going on, else how far it got."""
        if self.meter.sending.total is not None:
            return replica.Bulk.SENDING
        session = self._current.session if self._current else None
        if session is not None and session.receiving:
            return replica.Bulk.RECEIVING
        done = session is not None and session.received
        return replica.Bulk.COMPLETE if done else replica.Bulk.IDLE

    @property
    def deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        wanted = [
            connection.session.deadline_s
            for connection in (self._current, self._greeting)
            if connection is not None
        ]
        if self._dial is not None:
            wanted.append(self._dial_until_s)
        elif self._wants_to_dial:
            wanted.append(self._dial_at_s)
        return min((deadline_s for deadline_s in wanted if deadline_s is not None), default=None)

    def tick(self, now_s: float) -> None:
        """Connect, keep alive, give up: whatever is due."""
        for connection in (self._current, self._greeting):
            if connection is not None:
                connection.perform(connection.session.on_tick(now_s))
        if self._dial is not None and now_s >= self._dial_until_s:
            self._dial.give_up()
            self._dial = None
            self._failed(f"connect: no answer within {DIAL_MAX_S:g} s")
        if self._dial is None and self._wants_to_dial and now_s >= self._dial_at_s:
            self._start_dial(now_s)

    def check(self) -> None:
        """Look again whether the peer may be spoken with: it may have been paired, or unpaired."""
        open_now = [each for each in (self._current, self._greeting) if each is not None]
        try:
            self.wire.check(self.name, *(connection.stream for connection in open_now))
        except KernelError as error:
            self._obstacle = str(error)
            for connection in open_now:
                connection.close()
                self.ended(connection, self._obstacle)
            self._failed(self._obstacle)
            return
        if self._obstacle and self.last_error == self._obstacle:
            self.last_error = None  # it is out of the way
        self._obstacle = ""

    def give_up_on_deaf(self, now_s: float) -> None:
        """End a stream that the peer keeps alive and reads nothing from. TCP itself may never do
        so: each sign of life puts off its question whether there is room again."""
        for connection in (self._current, self._greeting):
            if connection is not None and (reason := connection.deaf(now_s)):
                connection.close()
                self.ended(connection, reason)

    def accept(self, sock: Socket) -> None:
        """A connection that came from the peer's address."""
        now_s, (since_s, count) = self.owner.now_s(), self._accepted
        self._accepted = (since_s, count + 1) if now_s < since_s + 1.0 else (now_s, 1)
        if self._accepted[1] > ACCEPTED_MAX:
            sock.close()
            self._failed("it connects again and again", "too_often")
        else:
            self.adopt(sock)

    def adopt(self, sock: Socket, *, dialled: bool = False) -> None:
        """A connection to the peer's address or from there. The one in use stays in use until the
        new one has greeted: only then it is the old one that must be dead."""
        if self._greeting is not None:
            self._greeting.close()
            self._greeting = None
        try:
            self._greeting = _Connection(self, sock, dialled=dialled)
        except KernelError as error:
            sock.close()
            self._failed(str(error), getattr(error, "cause", ""))
            return
        self._greeting.perform(self._greeting.session.start())

    def send(self, frame: bytes, requests: int = 0) -> None:
        """Queue a frame for the peer; nothing happens while there is no stream."""
        if self._current is not None:
            self.sent += requests
            self._current.stream.send(frame)

    def close(self) -> None:
        """For good, without a word to the owner."""
        if self._dial is not None:
            self._dial.give_up()
        for connection in (self._current, self._greeting):
            if connection is not None:
                connection.close()
        self._dial = self._current = self._greeting = None

    # -------------------------------------------------------------------------------- private

    @property
    def _wants_to_dial(self) -> bool:
        idle = self._current is None and self._greeting is None
        return idle and replica.dials(self.node, self.name)

    def _start_dial(self, now_s: float) -> None:
        self._dial_at_s = now_s + DIAL_EVERY_S
        self._dial_until_s = now_s + DIAL_MAX_S
        try:
            self.wire.check(self.name)
            self._dial = Dial(self.source, self.target, self.port, self.poller, self._dialled)
        except KernelError as error:
            self._failed(str(error))

    def _dialled(self, sock: Socket | None, reason: str) -> None:
        self._dial = None
        if sock is None:
            self._failed(reason)
        else:
            self.adopt(sock, dialled=True)

    def _failed(self, reason: str, cause: str = "") -> None:
        """An attempt that led to nothing: told when it is another reason than last time."""
        news = reason != self.last_error
        self.last_error = reason
        if cause:
            self.owner.refused(cause)
        if news:
            self.owner.link_down(self, reason, was_up=False, cause=cause)

    def greeted(self, connection: _Connection) -> None:
        """The peer has said who it is."""
        old, self._current, self._greeting = self._current, connection, None
        if old is not None:
            old.close()
            self._down(old, "replaced by a newer stream of the same peer")
        self.since_s = self.owner.now_s()
        self.was_up = True
        self.owner.link_up(self)

    def ended(self, connection: _Connection, reason: str) -> None:
        """A connection is closed already."""
        if connection is self._current:
            self._current = None
            self._down(connection, reason)
        elif connection is self._greeting:
            self._greeting = None
            self._failed(reason, connection.stream.cause)

    def _down(self, connection: _Connection, reason: str) -> None:
        self._bytes[0] += connection.stream.sent_bytes
        self._bytes[1] += connection.stream.received_bytes
        self._heard_s = connection.session.heard_s
        self.meter.lost()
        self.last_error = reason
        self.since_s = self.owner.now_s()
        cause = connection.stream.cause
        if cause:
            self.owner.refused(cause)
        self.owner.link_down(self, reason, was_up=True, cause=cause)


class _Connection:
    """A stream, the parser of its bytes and the session that judges its frames."""

    def __init__(self, link: Link, sock: Socket, *, dialled: bool) -> None:
        self.link = link
        self.session = replica.Session(link.group, link.node, link.name, link.owner.now_s())
        self.parser = ss.Parser()
        self.stream: Stream = link.wire.stream(
            sock, link.poller, self._on_data, self._on_close, peer=link.name, dialled=dialled
        )

        self._sent = (0, link.owner.now_s())  # bytes, and since when no more

    def close(self) -> None:
        self.stream.close()

    def deaf(self, now_s: float) -> str:
        """Why it is given up, if nothing of what waits has left for DEAF_MAX_S."""
        count, since_s = self._sent
        if not self.stream.queued_bytes or self.stream.sent_bytes != count:
            self._sent = (self.stream.sent_bytes, now_s)
        elif now_s > since_s + DEAF_MAX_S:
            return f"reads nothing: {self.stream.queued_bytes} bytes wait for it"
        return ""

    def _on_close(self, reason: str) -> None:
        self.link.ended(self, reason)

    def _on_data(self, data: bytes) -> None:
        self.parser.feed(data)
        now_s = self.link.owner.now_s()
        while not self.stream.closed and (frame := self.parser.next()) is not None:
            if isinstance(frame, ss.Broken):
                self.perform(self.session.refuse(frame.reason))
            else:
                self.perform(self.session.on_frame(frame, now_s))

    def perform(self, effects: list[replica.Effect]) -> None:
        """In order; nothing after a Close."""
        for effect in effects:
            if self.stream.closed:
                return
            self._perform(effect)

    def _perform(self, effect: replica.Effect) -> None:
        owner, link = self.link.owner, self.link
        match effect:
            case replica.Send(data):
                self.stream.send(data)
            case replica.Inject(payload):
                reason = owner.inject(link, payload)
                if reason is not None:
                    self.perform(self.session.refuse(reason))
            case replica.Up():
                self.parser.trust()
                link.greeted(self)
            case replica.Pass(frame):
                reason = owner.compare(link, frame)
                if reason is not None:
                    self.perform(self.session.refuse(reason))
            case replica.Acknowledged(question):
                link.meter.acknowledged(question, owner.now_s())
            case replica.BulkBegan():
                owner.bulk_began(link)
            case replica.BulkEnded():
                owner.bulk_ended(link)
            case replica.Close(reason):
                self.stream.close()
                link.ended(self, reason)
