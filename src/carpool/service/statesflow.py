"""Entries on their way: out of this kernel to every peer, and from a peer into this kernel.

Room: service. `Outflow` reads events and dumps, `Inflow` injects; refuses to know how peers are
reached, and who is master is told to both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from errno import EBUSY, EEXIST, EIO, ENOENT, ENOMEM, ENOSPC, EOPNOTSUPP, ESHUTDOWN
from typing import Protocol

from carpool.errors import KernelError
from carpool.kernel import conntrack
from carpool.kernel.conntrack import Dump, Failure, Injector
from carpool.kernel.ctevents import EventSocket
from carpool.machine import replica
from carpool.proto import ctexpect, ctgate, ctpatch, ctprobe
from carpool.proto import ctmessage as ct
from carpool.proto import statestream as ss
from carpool.proto.ctfields import EXP_GET

DRAIN_MAX = 4096  # events handled in one round
ASK_MAX = 256  # entries asked for at a time: a netlink socket takes some 200 kB
BULK_QUEUE_MAX_BYTES = 4 * 1024 * 1024  # a dump waits while more than this waits for a peer
BULK_EVERY_S = 1.0  # at most: what follows an overflow must not be the cause of the next one


# Get requests to what they ask for: Injector.ask.
Ask = Callable[[Sequence[bytes]], list[bytes | None]]
Tell = Callable[[str, str], None]  # what kind of trouble, and its words


class Receiver(Protocol):
    """A peer, as far as this file goes (`stateslink.Link`)."""

    name: str
    received: int  # requests, since the start
    injected: int
    errors: int

    @property
    def up(self) -> bool: ...

    @property
    def queued_bytes(self) -> int: ...

    def bulk_begins(self, entries: int) -> None:
        """It is being given the table of so many."""

    def bulk_ends(self) -> None: ...

    def send(self, frame: bytes, requests: int = 0) -> None: ...


class Outflow:
    """Events as they come, whole tables when asked for. Deletions leave only a master."""

    def __init__(
        self,
        events: EventSocket,
        patcher: ctpatch.Patcher,
        links: Sequence[Receiver],
        counters: Counter[str],
        ask: Ask,
        tell: Tell,
    ) -> None:
        self.master = False
        self.patcher = patcher
        self._ask = ask
        self._tell = tell
        self._events = events
        self._links = links
        self._counters = counters
        self._overflows = 0
        self._dump: Dump | None = None
        self._news = replica.News()
        self._receivers: list[Receiver] = []  # of the dump that is being read
        self._wanted: list[Receiver] = []  # of the next one
        self._next_dump_s = 0.0

    def drain(self) -> int:
        """Send what has happened; the number of events, DRAIN_MAX when there may be more."""
        events = self._events.drain(DRAIN_MAX)
        if events:
            self._counters["events"] += len(events)
            links = [link for link in self._links if link.up]
            if links:
                self._send(ss.Kind.EVENTS, self._requests(events), links)
        if self._events.overflows != self._overflows:
            self._counters["overflows"] += self._events.overflows - self._overflows
            self._overflows = self._events.overflows
            self.want_bulks()
        return len(events)

    def want_bulk(self, link: Receiver) -> None:
        """Give this peer the whole table, as soon as may be."""
        if link.up and link not in self._wanted:
            self._wanted.append(link)

    def want_bulks(self) -> None:
        for link in self._links:
            self.want_bulk(link)

    def owes_bulk(self, link: Receiver) -> bool:
        """Whether this peer is being given the table, or is to be."""
        return link in self._wanted or link in self._receivers

    def forget(self, link: Receiver) -> None:
        """Its stream is gone, and with it what it was to get."""
        for waiting in (self._wanted, self._receivers):
            if link in waiting:
                waiting.remove(link)

    def step_bulk(self, now_s: float) -> None:
        """Read one piece of the table, or start or end a walk over it."""
        if self._dump is None:
            if self._wanted and now_s >= self._next_dump_s:
                self._begin(now_s)
            return
        if not self._receivers:
            self._end()
        elif not self._throttled:
            self._read_piece()

    def bulk_deadline_s(self, now_s: float) -> float | None:
        """When `step_bulk` has something to do. While a peer's queue is full: when it drains,
        which wakes the loop by itself."""
        if self._dump is not None:
            return None if self._receivers and self._throttled else now_s
        return self._next_dump_s if self._wanted else None

    def close(self) -> None:
        self._events.close()
        if self._dump is not None:
            self._dump.close()

    # -------------------------------------------------------------------------------- private

    @property
    def _throttled(self) -> bool:
        return any(link.queued_bytes > BULK_QUEUE_MAX_BYTES for link in self._receivers)

    def _requests(self, events: Sequence[bytes]) -> list[bytes]:
        """What the peers are to do about these events."""
        if not self.master:
            events = self._to_tell(events)
        requests = list(filter(None, self.patcher.requests(events)))
        if not self.master:  # what is excluded since it was told would be deleted
            requests = [request for request in requests if not ctpatch.is_delete(request)]
        try:
            requests += self._answers()
        except KernelError as error:  # a whole table tells what these events did not
            self._counters["ask_errors"] += 1
            self._tell("ask", f"{error}; all peers get the whole table")
            self.want_bulks()
        if self._dump is not None:
            self._news.told(requests)
        return requests

    def _answers(self) -> list[bytes]:
        """What the kernel tells when the patcher asks, as requests. Raises KernelError."""
        questions = self.patcher.questions()
        requests: list[bytes] = []
        for at in range(0, len(questions), ASK_MAX):
            part = questions[at : at + ASK_MAX]
            answers = self._ask([question for question, _expectation in part])
            for (_question, expectation), answer in zip(part, answers, strict=True):
                if answer is not None:
                    request = self.patcher.request(answer)
                    requests += filter(None, (request, request and expectation))
                elif expectation:
                    self._counters["skipped_no_master"] += 1
        return requests

    def _to_tell(self, events: Sequence[bytes]) -> list[bytes]:
        """What a node that is no master has to tell: what expires here may live on over there, and
        only packets make states that others need."""
        made = [event for event in events if not ctpatch.is_delete(event)]
        by_packets = [event for event in made if not ctpatch.is_made_by_hand(event)]
        self._counters["deletes_not_master"] += len(events) - len(made)
        self._counters["changes_not_master"] += len(made) - len(by_packets)
        return by_packets

    def _send(self, kind: ss.Kind, requests: Sequence[bytes], links: Sequence[Receiver]) -> None:
        for payload, count in ss.payloads(requests):
            frame = ss.build(kind, payload)
            for link in links:
                link.send(frame, count)

    def _begin(self, now_s: float) -> None:
        self._next_dump_s = now_s + BULK_EVERY_S
        try:
            self._dump = Dump()
        except KernelError as error:
            self._unread(error)
            return
        self._receivers, self._wanted = self._wanted, []
        self._counters["bulks"] += 1
        for link in self._receivers:
            link.bulk_begins(conntrack.entries())
            link.send(ss.build(ss.Kind.BULK_BEGIN))

    def _read_piece(self) -> None:
        """One piece of the dump, after all events that are older than it, and without those flows
        of which there were some since it was filled."""
        assert self._dump is not None
        self.drain()
        if self._news.overflowed:
            self._counters["bulk_restarts"] += 1
            self._restart()
            return
        try:
            piece = self._dump.read()
            requests = self._expectations() if piece is None else self.patcher.requests(piece)
        except KernelError as error:
            self._unread(error)
            self._restart()
            return
        rest = self._news.rest_of(filter(None, requests))
        self._send(ss.Kind.BULK, rest, self._receivers)
        if piece is None:
            for link in self._receivers:
                link.bulk_ends()
                link.send(ss.build(ss.Kind.BULK_END))
            self._end()

    def _expectations(self) -> list[bytes]:
        """After their masters. The kernel holds some thousand at most (nf_conntrack_expect_max).
        Raises KernelError."""
        dump = Dump(what=EXP_GET)
        try:
            while (piece := dump.read()) is not None:
                self.patcher.requests(piece)  # which asks for their masters
        finally:
            dump.close()
        return self._answers()

    def _unread(self, error: KernelError) -> None:
        self._counters["bulk_errors"] += 1
        self._tell("bulk", f"{error}; peers are given the table from its beginning again")

    def _restart(self) -> None:
        self._wanted += [link for link in self._receivers if link not in self._wanted]
        self._end()

    def _end(self) -> None:
        assert self._dump is not None
        self._dump.close()
        self._dump = None
        self._news = replica.News()
        self._receivers = []


def _make_way(create: bytes, answer: bytes | None, *, evict: bool) -> list[bytes]:
    """The requests for an entry whose tuples another one has; none: that one stays."""
    wanted = ct.parse_create(create)
    found = ct.parse(answer) if answer is not None else None
    if isinstance(wanted, ct.Skip):
        return []  # the gate has seen to it that this cannot be
    there = found if isinstance(found, ct.Entry) else None
    return replica.settle(wanted, there, evict=evict)


# What of a request a kernel may be unable to take, by why it refuses: better without than not at
# all. EBUSY: the entry has seen more than the peer tells, or is a child, whose helper stays.
# ENOSPC: it was made without labels.
_PARTS = {
    EBUSY: ("status", "help"),
    ENOENT: ("master",),
    ENOSPC: ("labels",),
    EOPNOTSUPP: ("help",),
}
_WITHOUT = {
    ENOENT: "connections of {peer} came before those that they belong to: taken without",
    EOPNOTSUPP: "a helper (for FTP, SIP...) of connections of {peer} is not in this kernel: they"
    " are taken without it, and what it would let through does not outlive a failover; load its"
    " module",
}

# Why the kernel refuses an expectation: without its master, or the helper of that, nobody would
# wait for it.
_UNEXPECTED = dict.fromkeys((ENOENT, EOPNOTSUPP, ESHUTDOWN), "has no connection with a helper here")
_REFUSED = {ENOMEM: ": is net.netfilter.nf_conntrack_max reached?"}


class Inflow:
    """What peers send, into the kernel. On a master nothing of theirs changes or removes an entry:
    the connections that live here are known better here."""

    def __init__(
        self,
        injector: Injector,
        counters: Counter[str],
        tell: Tell,
        translate: Callable[[str, bytes], bytes],
    ) -> None:
        self.master = False
        self._injector = injector
        self._counters = counters
        self._tell = tell
        self._translate = translate  # labels of a peer, by its name, in requests
        self._gate = ctgate.Gate()
        self._prober = ctprobe.Prober()

    def take(self, link: Receiver, payload: bytes, masters: Collection[str] = ()) -> str | None:
        """Check and inject; or why this payload is not for a peer to send. `masters`: the names of
        the peers that are, as far as is known."""
        count = self._gate.check(payload)
        if isinstance(count, str):
            self._counters["frames_refused"] += 1
            return count
        link.received += count
        payload = self._translate(link.name, payload)
        if self.master:
            requests = list(ctgate.requests(payload))
            kept = [request for request in requests if not ctpatch.is_delete(request)]
            self._counters["deletes_refused"] += len(requests) - len(kept)
            payload, count = b"".join(kept), len(kept)
        failures = self._inject(payload) if payload else []
        done = count - len(failures)
        evict = replica.evicts(link.name, masters)
        link.injected += done + self._answer(link, failures, evict=evict)
        return None

    def close(self) -> None:
        self._injector.close()

    def _inject(self, payload: bytes) -> list[Failure]:
        try:
            return self._injector.inject(payload)
        except KernelError as error:
            self._tell("inject", str(error))
            return [Failure(EIO, request) for request in ctgate.requests(payload)]

    def _answer(self, link: Receiver, failures: Sequence[Failure], *, evict: bool) -> int:
        """Deal with what the kernel refused; the number of those that are well in the end."""
        taken: list[bytes] = []
        again: list[bytes] = []
        well = 0
        for failure in failures:
            if ctexpect.concerns(failure.request):
                well += self._expectation_refused(link, failure)
            elif ctpatch.is_delete(failure.request) and failure.errno == ENOENT:
                self._counters["gone_already"] += 1
                well += 1
            elif failure.errno == EEXIST and self.master:
                self._counters["kept_own"] += 1
                well += 1
            elif failure.errno == EEXIST:
                taken.append(failure.request)
            elif reduced := self._reduced(link, failure):
                again.append(reduced)
            else:
                self._count_error(link, failure)
        if again:
            left = self._inject_all(again)
            well += len(again) - len(left) + self._answer(link, left, evict=evict)
        return well + (self._settle(link, taken, evict=evict) if taken else 0)

    def _expectation_refused(self, link: Receiver, failure: Failure) -> bool:
        """Whether all is well nevertheless: it is here already, or gone already."""
        if failure.errno == (ENOENT if ctpatch.is_delete(failure.request) else EEXIST):
            return True
        why = _UNEXPECTED.get(failure.errno, "is refused by the kernel")
        self._counters["expectations_refused"] += 1
        self._tell(
            "expectation",
            f"an expectation of {link.name} {why} ({failure.name}): what it is for (the data of"
            " FTP) would not outlive a failover now",
        )
        return True

    def _settle(self, link: Receiver, wanted: Sequence[bytes], *, evict: bool) -> int:
        """Entries of the peer whose tuples are in use here. Mostly by the same flow: then it is an
        update, on bytes. Else see replica.settle. Returns how many are well in the end, with those
        that are kept out in favour of a master's."""
        prober = self._prober
        try:
            answers = self._injector.ask([prober.get(create) for create in wanted])
        except KernelError as error:
            self._tell("ask", str(error))
            link.errors += len(wanted)
            return 0
        kept = 0
        requests: list[bytes] = []
        updates: dict[bytes, bytes] = {}  # each with the request to make the entry
        for create, answer in zip(wanted, answers, strict=True):
            if answer is not None and prober.same(create, answer):
                update = prober.update(create)
                updates[update] = create
                requests.append(update)
            else:
                way = _make_way(create, answer, evict=evict)
                kept += not way
                requests += way
        bad = 0
        while requests:  # each round leaves out some part, or makes what was to be updated
            again: list[bytes] = []
            for failure in self._inject_all(requests):
                request = failure.request
                if failure.errno == ENOENT and ctpatch.is_delete(request):
                    continue
                reduced = self._reduced(link, failure)
                if reduced:
                    again.append(reduced)
                    if request in updates:
                        updates[reduced] = updates[request]
                elif failure.errno == ENOENT and request in updates:
                    again.append(updates[request])  # it ended after it was asked for
                else:
                    self._count_error(link, failure)
                    bad += 1
            requests = again
        self._counters["kept_masters"] += kept
        self._counters["settled"] += len(wanted) - kept - bad
        return len(wanted) - bad

    def _reduced(self, link: Receiver, failure: Failure) -> bytes:
        """The request without what this kernel cannot take of it; empty: there is no such part."""
        found = ct.fields(failure.request) or {}
        parts = [part for part in _PARTS.get(failure.errno, ()) if part in found]
        if not parts:
            return b""
        self._counters["kept_status"] += failure.errno == EBUSY
        if failure.errno in _WITHOUT:
            self._counters[f"taken_without_{parts[0]}"] += 1
            self._tell(f"{link.name} {parts[0]}", _WITHOUT[failure.errno].format(peer=link.name))
        return ct.without(failure.request, *parts)

    def _inject_all(self, requests: Sequence[bytes]) -> list[Failure]:
        return [one for payload, _count in ss.payloads(requests) for one in self._inject(payload)]

    def _count_error(self, link: Receiver, failure: Failure) -> None:
        link.errors += 1
        self._counters[f"error_{failure.name}"] += 1
        hint = _REFUSED.get(failure.errno, "")
        self._tell(failure.name, f"the kernel refuses entries of {link.name}: {failure.name}{hint}")
