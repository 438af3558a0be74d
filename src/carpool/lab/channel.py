"""How the lab talks with its traffic processes: JSON lines, commands on stdin, reports on stdout.

Room: lab. Both ends are here; refuses to know what the commands mean. A traffic process whose stdin
ends has lost its lab and ends too, so that no traffic outlives a lab however that died.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from carpool.errors import CarpoolError
from carpool.lab import shell

CLOSE_WAIT_S = 2.0
READ_BYTES = 65536
HISTORY_MAX = 600  # a minute of live figures

Report = dict[str, Any]


class Commands:
    """The traffic process's end: commands that have come in, and reports to send."""

    def __init__(self) -> None:
        self.descriptor = sys.stdin.fileno()
        os.set_blocking(self.descriptor, False)
        self.ended = False
        self._rest = b""

    def read(self) -> list[Report]:
        """What has arrived; empty when nothing has. Sets `ended` when the lab is gone."""
        data, self.ended = _read(self.descriptor)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def report(self, report: Mapping[str, object]) -> None:
        sys.stdout.write(json.dumps(report, separators=(",", ":")) + "\n")
        sys.stdout.flush()


class Child:
    """The lab's end: one traffic process in a namespace."""

    def __init__(self, namespace: str, role: str, *options: str) -> None:
        self.role = role
        self._errors = tempfile.TemporaryFile()
        argv = [sys.executable, "-m", "carpool.lab.traffic", role, *options]
        self._process = subprocess.Popen(
            shell.inside(namespace, argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C in the terminal is the lab's to answer
        )
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self.descriptor = self._process.stdout.fileno()
        os.set_blocking(self.descriptor, False)
        self._rest = b""
        self.latest: Report = {}  # the last report of kind "stats"
        self.history: deque[Report] = deque(maxlen=HISTORY_MAX)  # of those
        self._results: deque[Report] = deque()

    def send(self, command: str, **arguments: object) -> None:
        """CarpoolError when the process is gone."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(
                json.dumps({"command": command, **arguments}).encode() + b"\n"
            )
            self._process.stdin.flush()
        except OSError as error:
            raise self._died() from error

    def read(self) -> None:
        """Take in the reports that have come. CarpoolError when the process is gone."""
        data, ended = _read(self.descriptor)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            report: Report = json.loads(line)
            if report.pop("kind") == "result":
                self._results.append(report)
            else:
                self.latest = report
                self.history.append(report)
        if ended and not lines:
            raise self._died()

    def result(self) -> Report | None:
        """The oldest report of kind "result" that has come and was not yet given."""
        self.read()
        return self._results.popleft() if self._results else None

    def close(self) -> None:
        """End it: gently by closing its stdin, after CLOSE_WAIT_S by force. Safe to call twice."""
        process = self._process
        if process.stdin is not None and not process.stdin.closed:
            try:
                process.stdin.close()
            except OSError:
                pass  # it is gone already
        try:
            process.wait(CLOSE_WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._errors.close()

    def _died(self) -> CarpoolError:
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        last = said.splitlines()[-1] if said else "nothing on stderr"
        return CarpoolError(f"the traffic process `{self.role}` ended with {code}: {last}")


def close_all(children: Sequence[Child]) -> None:
    for child in children:
        child.close()


def _read(descriptor: int) -> tuple[bytes, bool]:
    """Everything that can be read now, and whether the other end is closed."""
    data = b""
    while True:
        try:
            more = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return data, False
        if not more:
            return data, True
        data += more
