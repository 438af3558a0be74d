"""One UDP datagram a millisecond from client to server and back: what a failover costs.

Room: lab. `Trace` is pure and judges; `run_probe` and `run_echo` are processes of their own, at
the lowest real-time priority where that is allowed, so that a busy machine does not look like an
outage. All times are CLOCK_BOOTTIME, which all namespaces of a machine share.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import struct
from array import array
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

from carpool.kernel.clock import monotonic_s
from carpool.lab.channel import Commands, Report

UDP_PORT = 9000
STATS_S = 0.1
ON_THE_WAY_S = 0.02  # the newest probes: too early to call them lost
LINGER_S = 0.3  # how long the last probes may still be answered
PROBES_MAX = 3_600_000  # an hour; then the probe ends by itself
SILENCE_S = 0.02  # shorter ones are the machine's own
SILENCES_MAX = 20
BEFORE_S = 0.005  # a probe sent this long before the fault may be lost by it
DATAGRAM = struct.Struct("=QQ")  # sequence number, and its complement: nobody else's datagram
COMPLEMENT = (1 << 64) - 1
REALTIME_PRIORITY = 1  # the lowest: anything else of real-time priority on the machine comes first


@dataclass(slots=True)
class Trace:
    """When each probe was sent and answered; index is the sequence number, 0.0 is "not yet"."""

    sent_s: array[float] = field(default_factory=lambda: array("d"))
    answered_s: array[float] = field(default_factory=lambda: array("d"))
    duplicates: int = 0
    late_s: float = 0.0  # the largest delay of our own clockwork: noise of the measurement

    def send(self, now_s: float) -> int:
        """Note a probe as sent and give its sequence number."""
        self.sent_s.append(now_s)
        self.answered_s.append(0.0)
        return len(self.sent_s) - 1

    def answer(self, sequence: int, now_s: float) -> None:
        if sequence >= len(self.answered_s):
            return  # another run's
        if self.answered_s[sequence]:
            self.duplicates += 1
        else:
            self.answered_s[sequence] = now_s

    def outage(self, since_s: float, fault_s: float, end_s: float) -> Report:
        """What the fault at `fault_s` did to the probes sent until `end_s` (monotonic seconds).

        `gap_ms` is the longest time without an answer that ended after the fault, or had not ended
        by `end_s`; `idle_gap_ms` is the longest one between `since_s` and the fault: what the
        machine does by itself. `silences_ms` are all of some length: begin after the fault, length.
        """
        answers = sorted(at for at in self.answered_s if since_s <= at <= end_s)
        idle, longest, start_s = 0.0, 0.0, fault_s
        silences: list[tuple[float, float]] = []
        if answers:
            answers.append(max(end_s, answers[-1]))
        for before, after in pairwise(answers):
            if after <= fault_s:
                idle = max(idle, after - before)
                continue
            if after - before >= SILENCE_S:
                silences.append((_ms(before - fault_s), _ms(after - before)))
            if after - before > longest:
                longest, start_s = after - before, before
        if not answers:
            longest = end_s - fault_s
        probes = zip(self.sent_s, self.answered_s, strict=True)
        lost = [at for at, back in probes if not back and since_s <= at <= end_s]
        return {
            "gap_ms": _ms(longest),
            "silences_ms": silences[:SILENCES_MAX],
            "gap_start_s": start_s,
            "probes_sent": sum(since_s <= at <= end_s for at in self.sent_s),
            "probes_lost": sum(at >= fault_s - BEFORE_S for at in lost),
            "lost_before": sum(at < fault_s - BEFORE_S for at in lost),
            "duplicates": self.duplicates,
            "idle_gap_ms": _ms(idle),
            "late_ms": _ms(self.late_s),
        }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def run_probe(target: str, every_s: float) -> int:
    """Probe until the lab is gone; `measure` (since_s, fault_s) asks for a result."""
    commands = Commands()
    be_prompt()
    with _socket(target) as sock:
        sock.connect((target, UDP_PORT))
        _Prober(sock, commands, every_s).run()
    return 0


class _Prober:
    """The loop of the probing process: send on the tick, note answers, report every STATS_S."""

    def __init__(self, sock: socket.socket, commands: Commands, every_s: float) -> None:
        self._socket = sock
        self._commands = commands
        self._every_s = every_s
        self._trace = Trace()
        self._asked: deque[tuple[float, float, float]] = (
            deque()
        )  # since, fault, end of each measure
        self._reported = 0  # probes that the stats have told of

    def run(self) -> None:
        next_s = monotonic_s()
        stats_s = next_s + STATS_S
        while not self._commands.ended and len(self._trace.sent_s) < PROBES_MAX:
            now_s = self._wait(next_s)
            if now_s >= next_s:
                self._trace.late_s = max(self._trace.late_s, now_s - next_s)
                self._send(now_s)
                next_s = max(next_s + self._every_s, now_s)  # late: catch up with nothing
            if now_s >= stats_s:
                stats_s = now_s + STATS_S
                self._report(now_s)
            if self._asked and now_s >= self._asked[0][-1] + LINGER_S:
                outage = self._trace.outage(*self._asked.popleft())
                self._commands.report({"kind": "result", **outage})

    def _wait(self, until_s: float) -> float:
        """Take in what comes until then; gives the time."""
        readable = [self._socket, self._commands.descriptor]
        ready, _, _ = select.select(readable, [], [], max(0.0, until_s - monotonic_s()))
        now_s = monotonic_s()
        for source in ready:
            if source is self._socket:
                self._receive(now_s)
            else:
                self._obey()
        return now_s

    def _send(self, now_s: float) -> None:
        sequence = self._trace.send(now_s)
        try:
            self._socket.send(DATAGRAM.pack(sequence, COMPLEMENT - sequence))
        except OSError:
            pass  # no route, no neighbour: it is lost, and counted as such

    def _receive(self, now_s: float) -> None:
        try:
            data = self._socket.recv(2048)
        except OSError:
            return  # an ICMP error of an earlier probe
        if len(data) == DATAGRAM.size:
            sequence, check = DATAGRAM.unpack(data)
            if sequence + check == COMPLEMENT:
                self._trace.answer(sequence, now_s)

    def _obey(self) -> None:
        for command in self._commands.read():
            if command["command"] == "measure":
                since_s, fault_s = float(command["since_s"]), float(command["fault_s"])
                self._asked.append((since_s, fault_s, monotonic_s()))

    def _report(self, now_s: float) -> None:
        """Tell of the probes since the last report, but for those that may yet be answered."""
        upto = max(self._reported, len(self._trace.sent_s) - int(ON_THE_WAY_S / self._every_s))
        answered = sum(1 for at in self._trace.answered_s[self._reported : upto] if at)
        sent, self._reported = upto - self._reported, upto
        self._commands.report({"kind": "stats", "at_s": now_s, "sent": sent, "answered": answered})


def run_echo(address: str) -> int:
    """Send every datagram back until the lab is gone."""
    commands = Commands()
    be_prompt()
    with _socket(address) as sock:
        sock.bind((address, UDP_PORT))
        commands.report({"kind": "stats", "ready": True})
        while not commands.ended:
            ready, _, _ = select.select([sock, commands.descriptor], [], [])
            if commands.descriptor in ready:
                commands.read()
            if sock in ready:
                _echo(sock)
    return 0


def _echo(sock: socket.socket) -> None:
    try:
        data, sender = sock.recvfrom(2048)
        sock.sendto(data, sender)
    except OSError:
        pass  # the way back is broken just now; the probe counts it


def _socket(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock


def be_prompt() -> bool:
    """Real-time priority if allowed, and no pauses for garbage; gives whether it is real-time."""
    gc.disable()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    except PermissionError:
        return False
    return True
