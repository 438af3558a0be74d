"""Types what a document shows, on the machines of a lab, and reads what comes.

Each command has a terminal of its own, so that it prints and asks as for a person.
"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from dataclasses import replace
from pathlib import Path

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab.lab import Lab
from carpool.lab.topology import FIREWALLS
from tests.guide import Different, Step, answer, cleaned, codes, compare, whole
from tests.netns.lab import wait_until

ROWS, COLUMNS = 50, 100
WAIT_S = 100.0  # what is installed takes its time on a busy machine
POLL_S = 0.02
QUIET_S = 30.0  # then it is a question, which is not in the document


class Terminal:
    """A command that runs in a terminal; all that it has said."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self._said = b""
        self.quiet_since_s = monotonic_s()
        self.read = 0  # how much of `text` was compared
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def _listen(self) -> None:
        try:
            while heard := os.read(self._master, 65536):
                self._said += heard
                self.quiet_since_s = monotonic_s()
        except OSError:
            pass  # it has ended

    @property
    def text(self) -> str:
        return cleaned(self._said.decode(errors="replace"))

    @property
    def rest(self) -> str:
        return self.text[self.read :]

    @property
    def asked(self) -> str:
        """The line at which it waits for an answer; "" while it waits for none."""
        last = self.text.rpartition("\n")[2]
        return last if last.endswith((": ", "? ")) else ""

    @property
    def ended(self) -> bool:
        """With all that it said."""
        return self.process.poll() is not None and not self._reader.is_alive()

    def type(self, text: str) -> None:
        os.write(self._master, f"{text}\n".encode())

    def close(self) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)
        self._reader.join(10)
        os.close(self._master)


class Typist:
    """Does one step after the other. Use as a context manager: what still runs is ended."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._open: dict[str, Terminal] = {}  # what stays, by node
        self._all: list[Terminal] = []
        self._codes: dict[str, str] = {}  # what the document shows, and what really came

    def __enter__(self) -> Typist:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._all:
            one.close()

    def do(self, step: Step) -> None:
        """Raises Different."""
        if step.command == "":
            terminal = self._open.pop(step.node, None)
            if terminal is None:
                expected = f"a command that goes on on {step.node}"
                raise Different(step.path, step.line, expected, "none, or it has ended", "")
            if "now" in step.words:
                terminal.read = len(terminal.text)
            self._follow(terminal, step)
            return
        nodes = FIREWALLS if step.node == "both" else (step.node,)
        steps = {node: replace(step, node=node) for node in nodes}
        begun = {node: self._begin(one) for node, one in steps.items()}
        for node, one in steps.items():
            self._follow(begun[node], one)

    def _begin(self, step: Step) -> Terminal:
        command = step.command
        for shown, came in self._codes.items():
            command = command.replace(shown, came)
        environment = dict(os.environ, TERM="dumb", CARPOOL_LAB=self._lab.name)
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        argv = ["bash", "-c", f"cd; {command}"]
        if step.node in FIREWALLS:
            wait_until(lambda: self._is_on(step.node), WAIT_S, f"{step.node} is on")
        if step.node != "host":
            argv = self._lab.inside(step.node, argv)
        made = Terminal(argv, environment)
        self._all.append(made)
        return made

    def _is_on(self, node: str) -> bool:
        try:
            return bool(self._lab.inside(node, ["true"]))
        except CarpoolError:
            return False

    def _follow(self, terminal: Terminal, step: Step) -> None:
        deadline_s = monotonic_s() + WAIT_S
        until = whole(step.output, more=True)
        at = 0
        while not terminal.ended:
            if step.stays and (match := until.match(terminal.rest)) and not terminal.asked:
                self._learn(step, match[0])
                terminal.read += match.end()
                self._open[step.node] = terminal
                return
            if asked := terminal.asked:
                at = self._type(terminal, step, asked, at)
            if monotonic_s() > deadline_s:
                compare(step, terminal.rest)
                message = f"(the end of {step.command or 'it'}, within {WAIT_S:g} s)"
                raise Different(step.path, step.line, message, "it goes on", terminal.rest)
            sleep_s(POLL_S)
        compare(step, terminal.rest)
        self._learn(step, terminal.rest)
        code = terminal.process.returncode
        if code != step.exit_code and not step.stays:
            came = terminal.text
            expected = f"an end with {step.exit_code}"
            raise Different(step.path, step.line, expected, f"{code}: {step.command}", came)

    def _type(self, terminal: Terminal, step: Step, asked: str, at: int) -> int:
        found = answer(step, asked, at)
        if found is None and monotonic_s() < terminal.quiet_since_s + QUIET_S:
            return at  # the line may go on
        if found is None:
            line = step.output[at].line if at < len(step.output) else step.line
            raise Different(step.path, line, "no other question", asked, terminal.rest)
        number, text = found
        before = len(terminal.text)
        self._learn(step, terminal.rest)
        terminal.type(self._codes.get(text, text))
        deadline_s = monotonic_s() + WAIT_S
        while len(terminal.text) <= before and not terminal.ended:  # the echo of it
            if monotonic_s() > deadline_s:
                raise Different(step.path, step.output[number].line, text, "no echo", terminal.rest)
            sleep_s(POLL_S)
        return number + 1

    def _learn(self, step: Step, came: str) -> None:
        self._codes |= codes("\n".join(one.text for one in step.output), came)
