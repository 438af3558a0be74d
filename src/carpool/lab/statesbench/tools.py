"""The load programs in C: built for this run, started in a namespace, their one line of JSON read.

Room: lab. C only where Python would be the bottleneck that is measured. Refuses to know what the
figures mean.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from carpool.errors import CarpoolError
from carpool.lab import shell
from carpool.lab.channel import Report

SOURCES = Path(__file__).parent / "load"
NAMES = ("connections", "flows", "insert", "latency")
RUN_TIMEOUT_S = 120.0
END_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs in `directory`."""

    directory: Path

    def build(self) -> None:
        """Compile them all; CarpoolError with the compiler's words."""
        for name in NAMES:
            source, program = str(SOURCES / f"{name}.c"), str(self.directory / name)
            shell.run(["cc", "-O2", "-Wall", "-Werror", "-pthread", "-o", program, source])

    def run(self, namespace: str, name: str, *arguments: object) -> Report:
        """To its end; what it found."""
        argv = self._argv(namespace, name, arguments)
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise CarpoolError(
                f"`{' '.join(argv)}` did not end in {RUN_TIMEOUT_S:.0f} s"
            ) from error
        if done.returncode != 0:
            raise CarpoolError(f"`{' '.join(argv)}` failed: {done.stderr.strip()}")
        found: Report = json.loads(done.stdout)
        return found

    @contextmanager
    def running(self, namespace: str, name: str, *arguments: object) -> Iterator[None]:
        """From its first line (it is ready) until the block is left."""
        with self.started(namespace, name, *arguments) as process:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise CarpoolError(f"`{name}` did not start in {namespace}")
            yield

    @contextmanager
    def started(
        self, namespace: str, name: str, *arguments: object
    ) -> Iterator[subprocess.Popen[str]]:
        """Without waiting for anything; ended, if it has not, when the block is left."""
        argv = self._argv(namespace, name, arguments)
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        with process:
            try:
                yield process
            finally:
                process.kill()
                process.wait(END_TIMEOUT_S)

    def _argv(self, namespace: str, name: str, arguments: tuple[object, ...]) -> list[str]:
        program = str(self.directory / name)
        return shell.inside(namespace, [program, *(str(word) for word in arguments)])
