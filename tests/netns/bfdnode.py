"""A process with BFD sessions of ours (carpool.lab.bfdnode), on a host of a test."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from carpool.kernel.clock import monotonic_s
from tests.netns.lab import Namespace, wait_until

READ_BYTES = 65536
Event = dict[str, Any]


class BfdNode:
    """It runs from the beginning until the network is closed."""

    def __init__(self, host: Namespace, *peers: str, interval_ms: int = 50, **more: object) -> None:
        asked: dict[str, object] = {"devices": {"lan": "lan0"}, "interval_us": interval_ms * 1000}
        asked |= {"peers": [("lan", peer) for peer in peers], **more}
        self.peers = peers
        self.child = host.start(sys.executable, "-m", "carpool.lab.bfdnode", json.dumps(asked))
        self.events: list[Event] = []
        self._answers: list[Event] = []
        self._rest = b""
        assert self.child.stdout is not None
        os.set_blocking(self.child.stdout.fileno(), False)

    def status(self) -> Event:
        self.say("status")
        wait_until(self._answered, what="an answer")
        return self._answers.pop()

    def say(self, command: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(command + "\n")
        self.child.stdin.flush()

    def comes_up(self, timeout_s: float = 5.0) -> None:
        """All sessions, by what was told last of each."""
        up = dict.fromkeys(self.peers, True)
        wait_until(lambda: self.up() == up, timeout_s, f"up: {up}")

    def up(self) -> dict[str, bool]:
        self._read()
        return {event["path"].partition("@")[0]: event["up"] for event in self.events}

    def went_down(self, act: Callable[[], object], timeout_s: float = 3.0) -> list[Event]:
        """What each session said when it went down after this, the first of each; with `after_ms`,
        since it was done."""
        self._read()
        since, before_s = len(self.events), monotonic_s()
        act()

        def downs() -> dict[str, Event]:
            self._read()
            found = [event for event in self.events[since:] if not event["up"]]
            return {event["path"]: event for event in reversed(found)}

        wait_until(lambda: len(downs()) == len(self.peers), timeout_s, "all are down")
        for event in downs().values():
            event["after_ms"] = (event["at_s"] - before_s) * 1000
        return list(downs().values())

    def _answered(self) -> bool:
        self._read()
        return bool(self._answers)

    def _read(self) -> None:
        assert self.child.stdout is not None
        try:
            read = os.read(self.child.stdout.fileno(), READ_BYTES)
        except BlockingIOError:
            return
        assert read, "it ended"
        *lines, self._rest = (self._rest + read).split(b"\n")
        for line in lines:
            if line.startswith(b"{"):
                event = json.loads(line)
                (self.events if "up" in event else self._answers).append(event)
