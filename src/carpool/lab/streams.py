"""TCP connections that live through a failover, every byte checked: echo server and client.

Room: lab. Each stream sends a message of its own content about every 100 ms and expects exactly the
same bytes back in order, so a byte that is lost, doubled or somebody else's is found. Processes of
their own; no asyncio. All times are CLOCK_BOOTTIME seconds.
"""

from __future__ import annotations

import os
import resource
import selectors
import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from carpool.kernel.clock import monotonic_s
from carpool.lab.channel import Commands, Report

TCP_PORT = 9100
MESSAGE_S = 0.1  # between two messages of a stream
YOUNG_EVERY_S = 0.005  # between two openings of young streams
YOUNG_MIN_S, YOUNG_MAX_S = 0.1, 1.0  # the age of those that count as young, at the fault
YOUNG_KEEP_S = 1.5  # a young stream older than this is closed again, as long as there is no fault
NEWBORN_WAIT_S = 0.5  # for those younger than YOUNG_MIN_S, when all others are decided
ALIVE_S = 0.5  # a stream that heard its echo this long ago counts as alive in the live figures
STATS_S = 0.1
OPEN_BURST = 20  # connections opened in one turn of the loop
TICK_S = 0.002  # the longest wait of the client's loop
_MESSAGE = struct.Struct(">IIII")


def message(stream: int, number: int) -> bytes:
    """The 32 bytes that a stream sends as its message `number`: no two are alike."""
    return _MESSAGE.pack(stream, number, ~stream & 0xFFFFFFFF, number ^ 0x5A5A5A5A) * 2


@dataclass(slots=True)
class Ledger:
    """What a stream has sent and what has come back. Pure."""

    number: int
    messages: int = 0
    sent: int = 0  # bytes handed to the kernel
    echoed: int = 0  # bytes that came back right
    unsent: bytes = b""
    error: str | None = None
    _expected: bytearray = field(default_factory=bytearray)

    def next(self) -> bytes:
        """What to send now: the rest of a message, or a new one."""
        if not self.unsent:
            self.unsent = message(self.number, self.messages)
            self.messages += 1
        return self.unsent

    def took(self, count: int) -> None:
        """The kernel accepted the first `count` bytes of `next()`."""
        self._expected += self.unsent[:count]
        self.unsent = self.unsent[count:]
        self.sent += count

    def came(self, data: bytes) -> None:
        """Bytes came back; sets `error` at the first that is not the one expected."""
        if not self._expected.startswith(data):
            self.error = f"wrong bytes after {self.echoed} right ones"
            return
        del self._expected[: len(data)]
        self.echoed += len(data)


@dataclass(slots=True, eq=False)
class Stream:
    """One connection of the client."""

    sock: socket.socket
    ledger: Ledger
    young: bool
    opened_s: float | None = None  # when the connection was established
    echo_s: float = 0.0  # when bytes last came back
    silence_s: float = 0.0  # the longest time between two echoes
    goal: int | None = None  # bytes that must have come back for it to count as survived

    @property
    def survived(self) -> bool:
        goal = self.goal
        return self.ledger.error is None and goal is not None and self.ledger.echoed >= goal

    @property
    def decided(self) -> bool:
        return self.survived or self.ledger.error is not None


def count(streams: Iterable[Stream]) -> dict[str, int]:
    chosen = list(streams)
    return {"opened": len(chosen), "survived": sum(stream.survived for stream in chosen)}


def tally(streams: Iterable[Stream], fault_s: float) -> Report:
    """The result: streams by their age at the fault. Those not established by then do not count."""
    aged = [(s, fault_s - s.opened_s) for s in streams if s.opened_s is not None]
    steady = [s for s, age in aged if not s.young and age >= 0]
    young = [s for s, age in aged if s.young and YOUNG_MIN_S <= age <= YOUNG_MAX_S]
    newborn = [s for s, age in aged if s.young and 0 <= age < YOUNG_MIN_S]
    survivors = [s for s in steady + young + newborn if s.survived]
    dead = [s for s in steady + young if not s.survived]
    return {
        "connections": count(steady),
        "young": count(young),
        "young_under_100ms": count(newborn),
        "tcp_silence_ms": round(1000 * max((s.silence_s for s in survivors), default=0.0), 1),
        "errors": sorted({s.ledger.error or "silent" for s in dead})[:10],
    }


class Client:
    """The loop of the client process."""

    def __init__(self, targets: Sequence[str], steady: int, commands: Commands) -> None:
        self._targets = targets
        self._commands = commands
        self._selector = selectors.DefaultSelector()
        self._selector.register(commands.descriptor, selectors.EVENT_READ)
        self._streams: dict[int, Stream] = {}
        self._due: deque[tuple[float, Stream]] = (
            deque()
        )  # in the order of time: one interval for all
        self._young: deque[Stream] = deque()
        self._to_open = steady
        self._opened = 0
        self._young_next_s: float | None = None
        self._fault_s: float | None = None
        self._deadline_s: float | None = None  # of the measure that is under way
        self._closed_bytes = 0
        self._dead = 0  # found dead by measures so far

    def run(self) -> None:
        stats_s = monotonic_s()
        while not self._commands.ended:
            now_s = monotonic_s()
            self._open_some(now_s)
            self._send_due(now_s)
            if now_s >= stats_s:
                stats_s = now_s + STATS_S
                self._report(now_s)
            if self._deadline_s is not None:
                self._judge(now_s, self._deadline_s)
            for key, mask in self._selector.select(TICK_S):
                self._serve(key.data, mask)

    # -------------------------------------------------------------------------- openings

    def _open_some(self, now_s: float) -> None:
        burst = min(self._to_open, OPEN_BURST)
        self._to_open -= burst
        for _ in range(burst):
            self._open(now_s, young=False)
        while self._young_next_s is not None and self._young_next_s <= now_s:
            self._young_next_s += YOUNG_EVERY_S
            self._young.append(self._open(now_s, young=True))
        while self._young_next_s is not None and self._young and self._too_old(now_s):
            self._forget(self._young.popleft())

    def _too_old(self, now_s: float) -> bool:
        opened_s = self._young[0].opened_s
        return opened_s is not None and now_s - opened_s > YOUNG_KEEP_S

    def _open(self, now_s: float, *, young: bool) -> Stream:
        target = self._targets[self._opened % len(self._targets)]
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = Stream(sock, Ledger(self._opened), young, echo_s=now_s)
        self._streams[self._opened] = stream
        self._opened += 1
        try:
            sock.connect((target, TCP_PORT))
        except BlockingIOError:
            pass  # on its way
        except OSError as error:
            self._fail(stream, error)
            return stream
        self._selector.register(sock, selectors.EVENT_WRITE, stream)
        return stream

    def _forget(self, stream: Stream) -> None:
        """Close a stream that is no longer young, as its user would, or that is dead."""
        if self._streams.pop(stream.ledger.number, None) is None:
            return  # buried already
        self._closed_bytes += stream.ledger.echoed
        self._unregister(stream)
        stream.sock.close()

    # --------------------------------------------------------------------------- traffic

    def _serve(self, stream: Stream | None, mask: int) -> None:
        if stream is None:
            self._obey()
        elif stream.opened_s is None:
            self._established(stream)
        elif mask & selectors.EVENT_READ:
            self._receive(stream)

    def _established(self, stream: Stream) -> None:
        code = stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(stream, OSError(code, os.strerror(code)))
            return
        now_s = monotonic_s()
        stream.opened_s = stream.echo_s = now_s
        self._selector.modify(stream.sock, selectors.EVENT_READ, stream)
        self._send(stream)
        self._due.append((now_s + MESSAGE_S, stream))

    def _send_due(self, now_s: float) -> None:
        while self._due and self._due[0][0] <= now_s:
            _, stream = self._due.popleft()
            if stream.ledger.error is None and stream.ledger.number in self._streams:
                self._send(stream)
                self._due.append((now_s + MESSAGE_S, stream))

    def _send(self, stream: Stream) -> None:
        try:
            stream.ledger.took(stream.sock.send(stream.ledger.next()))
        except BlockingIOError:
            pass  # the kernel's buffer is full: the same bytes next time
        except OSError as error:
            self._fail(stream, error)

    def _receive(self, stream: Stream) -> None:
        try:
            data = stream.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(stream, error)
            return
        if not data:
            self._fail(stream, OSError(0, "closed by the server"))
            return
        now_s = monotonic_s()
        stream.silence_s = max(stream.silence_s, now_s - stream.echo_s)
        stream.echo_s = now_s
        stream.ledger.came(data)
        if stream.ledger.error is not None:
            self._unregister(stream)

    def _fail(self, stream: Stream, error: OSError) -> None:
        stream.ledger.error = error.strerror or str(error)
        self._unregister(stream)

    def _unregister(self, stream: Stream) -> None:
        if stream.sock.fileno() in self._selector.get_map():
            self._selector.unregister(stream.sock)

    # -------------------------------------------------------------------------- commands

    def _obey(self) -> None:
        for command in self._commands.read():
            match str(command["command"]):
                case "young":
                    self._young_next_s = monotonic_s()
                case "fault":
                    self._young_next_s = None
                    self._fault_s = float(command["at_s"])
                    for stream in self._streams.values():
                        stream.silence_s = 0.0
                case "measure":
                    self._deadline_s = float(command["deadline_s"])
                    for stream in self._streams.values():
                        # All sent so far and one message more: bytes flow, both ways, now.
                        stream.goal = stream.ledger.sent + len(message(0, 0))
                case other:
                    raise AssertionError(f"unknown command {other}")

    def _judge(self, now_s: float, deadline_s: float) -> None:
        """Give the result once every stream that counts is decided, or time is up. The others get
        a moment more. The dead are buried: the next measure is about the living."""
        fault_s = now_s if self._fault_s is None else self._fault_s
        open_ = [s for s in self._streams.values() if not s.decided and s.opened_s is not None]
        if any(fault_s - (s.opened_s or fault_s) >= YOUNG_MIN_S for s in open_):
            if now_s < deadline_s:
                return
        elif open_ and now_s < deadline_s:
            self._deadline_s = min(deadline_s, now_s + NEWBORN_WAIT_S)
            return
        self._deadline_s = None
        self._commands.report({"kind": "result", **tally(self._streams.values(), fault_s)})
        for stream in [s for s in self._streams.values() if not s.survived]:
            counted = stream.opened_s is not None and fault_s - stream.opened_s >= YOUNG_MIN_S
            self._dead += counted
            self._forget(stream)

    def _report(self, now_s: float) -> None:
        streams = self._streams.values()
        established = [s for s in streams if s.opened_s is not None]
        self._commands.report(
            {
                "kind": "stats",
                "at_s": now_s,
                "steady": sum(not s.young for s in established),
                "open": len(established),
                "alive": sum(
                    s.ledger.error is None and now_s - s.echo_s < ALIVE_S for s in established
                ),
                "dead": self._dead + sum(s.ledger.error is not None for s in established),
                "bytes": self._closed_bytes + sum(s.ledger.echoed for s in streams),
            }
        )


def run_client(targets: Sequence[str], steady: int) -> int:
    """Keep `steady` connections, to each address in turn, busy until the lab is gone; `measure`
    asks for a result."""
    _raise_file_limit()
    Client(targets, steady, Commands()).run()
    return 0


def run_server(address: str) -> int:
    """Send every byte back until the lab is gone."""
    _raise_file_limit()
    commands = Commands()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    selector = selectors.DefaultSelector()
    selector.register(commands.descriptor, selectors.EVENT_READ)
    with socket.create_server((address, TCP_PORT), family=family, backlog=1024) as listener:
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, listener)
        commands.report({"kind": "stats", "ready": True})
        while not commands.ended:
            for key, _ in selector.select():
                if key.data is None:
                    commands.read()
                elif key.data is listener:
                    _accept(listener, selector)
                else:
                    _echo(key.data, selector)
    return 0


def _accept(listener: socket.socket, selector: selectors.BaseSelector) -> None:
    try:
        sock, _ = listener.accept()
    except OSError:
        return  # it was taken back, or there are too many: the client sees it
    # Blocking on the way out: a client that does not read holds up the others for a moment only,
    # since the content of a stream in flight is far smaller than a socket's buffer.
    sock.settimeout(1.0)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    selector.register(sock, selectors.EVENT_READ, sock)


def _echo(sock: socket.socket, selector: selectors.BaseSelector) -> None:
    try:
        data = sock.recv(65536)
        if data:
            sock.sendall(data)
            return
    except OSError:
        pass  # reset or stuck: the client counts it as dead
    selector.unregister(sock)
    sock.close()


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
