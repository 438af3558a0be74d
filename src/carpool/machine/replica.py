"""What the states process decides: whom to talk with, what a frame may do, when a table is whole.

Room: machine. Knows no socket, no kernel and no clock (`now_s` is an argument, monotonic seconds).
A `Session` is one stream with one peer; `Hold` is what failover is told about our own table; the
rest decides single entries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from carpool.proto import ctmessage as ct
from carpool.proto import ctpatch
from carpool.proto import statestream as ss

KEEPALIVE_S = 1.0
SILENCE_MAX_S = 5.0  # a peer that says nothing for so long is gone
GREETING_MAX_S = 3.0  # from connected to both HELLOs
PEER_WAIT_S = 10.0  # how long a fresh node looks for somebody to take a table from
HOLD_MAX_S = 300.0  # no table complete by then: there will be none, and preemption is held no more
RENEW_AFTER_S = 2.0
RENEW_EVERY_S = ct.QUIET_TIMEOUT_S / 4
NEWS_MAX = 100_000  # flows told of between two reads of a dump, some 150 bytes each


# -------------------------------------------------------------------------------------- session


_PASSED_ON = frozenset(
    {ss.Kind.WALK, ss.Kind.CHECK, ss.Kind.CHECKED, ss.Kind.WALKED, ss.Kind.TABLE, ss.Kind.LABELS}
)


class Phase(StrEnum):
    GREETING = "greeting"
    UP = "up"
    CLOSED = "closed"


class Bulk(StrEnum):
    """How far the two tables of a session are; the words of `carpool states`."""

    IDLE = "idle"
    SENDING = "sending"
    RECEIVING = "receiving"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Send:
    """Queue these bytes for the peer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Inject:
    """Check these requests and give them to the kernel."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Up:
    """The greeting is over: send this peer a bulk, and events from now on."""


@dataclass(frozen=True, slots=True)
class BulkBegan:
    """The peer starts to send its table."""


@dataclass(frozen=True, slots=True)
class BulkEnded:
    """The peer's table is here."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A frame for whoever compares the tables, or translates labels."""

    frame: ss.Frame


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """All that was sent before this question is in the peer's kernel."""

    question: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """End the stream, after what has been sent."""

    reason: str


Effect = Send | Inject | Up | BulkBegan | BulkEnded | Pass | Acknowledged | Close


class Session:
    """One stream with one peer, from connected to closed. Frames may come in any order from
    anybody: what does not fit closes the stream and says why."""

    def __init__(self, group: str, node: str, peer: str, now_s: float) -> None:
        self.peer = peer
        self.phase = Phase.GREETING
        self.receiving = False  # between BULK_BEGIN and BULK_END
        self.received = False  # a whole table of the peer came over this stream
        self._group = group
        self._node = node
        self._since_s = now_s
        self._heard_s = now_s
        self._said_s = now_s

    @property
    def heard_s(self) -> float:
        """When the peer said something last."""
        return self._heard_s

    def start(self) -> list[Effect]:
        """Both sides greet at once."""
        return [Send(ss.build_hello(self._group, self._node))]

    @property
    def deadline_s(self) -> float | None:
        """When `on_tick` has something to do."""
        match self.phase:
            case Phase.GREETING:
                return self._since_s + GREETING_MAX_S
            case Phase.UP:
                return min(self._heard_s + SILENCE_MAX_S, self._said_s + KEEPALIVE_S)
            case Phase.CLOSED:
                return None

    def on_tick(self, now_s: float) -> list[Effect]:
        """Keep the stream alive, or give it up."""
        if self.phase is Phase.GREETING and now_s >= self._since_s + GREETING_MAX_S:
            return self._close(f"no HELLO within {GREETING_MAX_S:g} s")
        if self.phase is not Phase.UP:
            return []
        if now_s >= self._heard_s + SILENCE_MAX_S:
            return self._close(f"silent for {SILENCE_MAX_S:g} s")
        if now_s < self._said_s + KEEPALIVE_S:
            return []
        self._said_s = now_s
        return [Send(ss.build(ss.Kind.KEEPALIVE))]

    def on_frame(self, frame: ss.Frame, now_s: float) -> list[Effect]:
        """A whole frame from the peer."""
        self._heard_s = now_s
        if self.phase is Phase.CLOSED:
            return []
        if frame.kind is ss.Kind.REFUSE:
            return self._close(f"refused us: {_printable(frame.payload)}")
        if self.phase is Phase.GREETING:
            return self._on_greeting(frame)
        match frame.kind:
            case ss.Kind.EVENTS:
                return [Inject(frame.payload)]
            case ss.Kind.BULK if self.receiving:
                return [Inject(frame.payload)]
            case ss.Kind.BULK_BEGIN:  # also in the middle of one: it starts anew
                self.receiving = True
                return [BulkBegan()]
            case ss.Kind.BULK_END if self.receiving:
                self.receiving, self.received = False, True
                return [BulkEnded()]
            case ss.Kind.KEEPALIVE:
                return []
            case ss.Kind.ASK if len(frame.payload) <= ss.ASK_MAX_BYTES:
                return [Send(ss.build(ss.Kind.ACK, frame.payload))]
            case ss.Kind.ACK:
                return [Acknowledged(frame.payload)]
            case kind if kind in _PASSED_ON:
                return [Pass(frame)]
            case _:
                return self._close(f"{frame.kind.name} out of turn")

    def refuse(self, reason: str) -> list[Effect]:
        """What came is no frame, or must not reach the kernel: end it, and let the peer know."""
        if self.phase is Phase.CLOSED:
            return []
        self.phase = Phase.CLOSED
        told = reason.encode()[: ss.HELLO_MAX_BYTES]
        return [Send(ss.build(ss.Kind.REFUSE, told)), Close(reason)]

    def _close(self, reason: str) -> list[Effect]:
        self.phase = Phase.CLOSED
        return [Close(reason)]

    def _on_greeting(self, frame: ss.Frame) -> list[Effect]:
        if frame.kind is not ss.Kind.HELLO:
            return self.refuse(f"{frame.kind.name} before HELLO")
        hello = ss.parse_hello(frame.payload)
        reason = hello.reason if isinstance(hello, ss.Broken) else self._judge(hello)
        if reason is not None:
            return self.refuse(reason)
        self.phase = Phase.UP
        return [Up()]

    def _judge(self, hello: ss.Hello) -> str | None:
        """Why this peer must not be talked with; told to both sides."""
        if hello.version != ss.VERSION:
            return (
                f"{self.peer} speaks version {hello.version}, {self._node} version {ss.VERSION}:"
                " run the same carpool on both"
            )
        if not hello.same_order:
            return f"{self.peer} and {self._node} are machines of different byte order"
        if hello.group != self._group:
            return f"{self.peer} is of group {hello.group!r}, {self._node} of {self._group!r}"
        if hello.node != self.peer:
            return f"the address of {self.peer} calls itself {hello.node!r}: see node.toml"
        return None


def _printable(text: bytes) -> str:
    """A peer's words, safe for a terminal and of bounded length."""
    shown = text[: ss.HELLO_MAX_BYTES].decode(errors="replace")
    return "".join(c if c.isprintable() else "?" for c in shown)


def dials(node: str, peer: str) -> bool:
    """Which of the two connects: the one whose name sorts first. The other listens."""
    return node < peer


# ----------------------------------------------------------------------------------------- hold


@dataclass(frozen=True, slots=True)
class Told:
    """What failover is to know: `bulk` with `on` holds preemption while the table is not whole."""

    on: bool
    reason: str


class Hold:
    """Whether this node has somebody's whole table, or nobody to take one from. However often a
    stream breaks meanwhile, it is one hold, and ends after HOLD_MAX_S."""

    def __init__(self, peers: Iterable[str], now_s: float) -> None:
        self._peers = tuple(peers)
        self._held_s = now_s  # since when, by looking for tables and taking them in turns
        self._look_end_s = now_s + PEER_WAIT_S
        self._receiving: set[str] = set()
        self._whole: set[str] = set()  # peers whose table came over the stream that is up
        self._complete: str | None = None

    @property
    def complete(self) -> bool:
        """Whether somebody's whole table has come."""
        return self._complete is not None

    def bulk_began(self, peer: str, now_s: float) -> None:
        """A table that comes once more over the same stream renews one that is complete: this node
        can take over in the middle of it as well as before."""
        if peer in self._whole:
            return
        if not self._receiving and now_s >= self._look_end_s:
            self._held_s = now_s
        self._receiving.add(peer)

    def bulk_ended(self, peer: str) -> None:
        self._receiving.discard(peer)
        self._whole.add(peer)
        self._complete = peer
        if not self._receiving:
            self._look_end_s = 0.0  # what is taken from now on is another hold

    def peer_lost(self, peer: str, now_s: float) -> None:
        """A stream ended. Half a table is none: look for another for a while."""
        self._whole.discard(peer)
        if peer in self._receiving:
            self._receiving.remove(peer)
            self._look_end_s = now_s + PEER_WAIT_S

    def now(self, now_s: float) -> Told:
        """What holds at this moment."""
        if self._receiving:
            doing = f"taking the table of {', '.join(sorted(self._receiving))}"
        elif self._complete is not None:
            return Told(False, f"the table of {self._complete} is complete")
        elif self._peers and now_s < self._look_end_s:
            doing = f"looking for {', '.join(self._peers)} to take a table from"
        else:
            return Told(False, "no peer reachable: nothing to take")
        if now_s >= self._held_s + HOLD_MAX_S:
            return Told(False, f"{doing}: not complete after {HOLD_MAX_S:g} s")
        return Told(True, doing)

    def deadline_s(self, now_s: float) -> float | None:
        """When `now` changes by itself; None: not without an event."""
        changes_s = self._held_s + HOLD_MAX_S
        if not self._receiving:
            changes_s = min(changes_s, self._look_end_s)
        return changes_s if changes_s > now_s else None


# -------------------------------------------------------------------------------------- renewal


class Renewal:
    """When a master gives its peers its whole table again.

    Soon after it became one: what expired at the peer while it lived here would be missing when
    that one takes over again; but not before the old master knows that it is none, for it keeps
    its own. And from then on so often that no copy of a living flow ends (ct.QUIET_TIMEOUT_S):
    those that got lost come back, and those of the dead, whose end got lost, do end.

    And when another master is none any more: it kept its own until then, and its last words may
    have ended at a third node what lives here.
    """

    def __init__(self) -> None:
        self.deadline_s: float | None = None
        self._master: bool | None = None  # what failover said last, if anything

    def heard(self, master: bool, now_s: float) -> None:
        """What failover says."""
        if not master:
            self.deadline_s = None
        elif not self._master:
            # At our own start the bulk after the greeting has just told the peers all.
            first = self._master is None
            self.deadline_s = now_s + (RENEW_EVERY_S if first else RENEW_AFTER_S)
        self._master = master

    def rival_gone(self, now_s: float) -> None:
        """A peer that said it was MASTER says so no more, or is out of reach."""
        if self.deadline_s is not None:
            self.deadline_s = min(self.deadline_s, now_s + RENEW_AFTER_S)

    def due(self, now_s: float) -> bool:
        """Whether it is time; if so, the next time is set."""
        if self.deadline_s is None or now_s < self.deadline_s:
            return False
        self.deadline_s = now_s + RENEW_EVERY_S
        return True


# -------------------------------------------------------------------------------------- entries


class News:
    """Flows of which something was told since the last read of a dump. The kernel filled the part
    that is read next before that: it may hold the dead, and the living as they were. What was told
    of these flows is newer, so that part is given without them."""

    def __init__(self) -> None:
        self._flows: set[bytes] = set()

    @property
    def overflowed(self) -> bool:
        """There are more than can be remembered: the dump must start anew."""
        return len(self._flows) >= NEWS_MAX

    def told(self, requests: Iterable[bytes]) -> None:
        """Create and delete requests have been sent."""
        if not self.overflowed:
            self._flows.update(map(ctpatch.flow_of, requests))

    def rest_of(self, part: Iterable[bytes]) -> list[bytes]:
        """The requests of the part that has just been read. The one after it is filled by now."""
        flows, self._flows = self._flows, set()
        return [request for request in part if not flows or ctpatch.flow_of(request) not in flows]


def evicts(peer: str, masters: Collection[str]) -> bool:
    """Whether an entry of this peer takes the place of another one. `masters` are the peers who say
    that they are MASTER and whose streams are up.

    Of two flows with one tuple, one is dead, and only a master knows which. A backup that was away
    has entries of the dead: they must not push out what the master gave us. What is kept out though
    it lives, a master tells of: all news of a flow are its, a new one gives its whole table
    (RENEW_AFTER_S), and so does one that we meet again. In a split both are believed, the last one
    most; without any master, everybody is.
    """
    return not masters or peer in masters


def settle(wanted: ct.Entry, found: ct.Entry | None, *, evict: bool) -> list[bytes]:
    """The requests that make `wanted` exist after EEXIST, when `found` has its original tuple.

    An entry with the same translation takes the new state. One with another translation cannot be
    changed and must go; and if there is none, another flow holds the reply tuple and must go. If
    not `evict`, these stay: nothing is requested.
    """
    if found is not None and (found.orig, found.reply) == (wanted.orig, wanted.reply):
        # Bits that are set cannot be taken back: EBUSY.
        return [ct.update_request(replace(wanted, status=wanted.status | found.status))]
    if not evict:
        return []
    if found is None:
        return [ct.delete_by_reply_request(wanted), ct.create_request(wanted)]
    return [ct.delete_request(found), ct.create_request(wanted)]
