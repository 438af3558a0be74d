"""A flag that survives restart and power loss: a file that exists or does not, and words in it.

Room: kernel. Writing (with fsync) happens in a thread, because a disk may take seconds and the
process that asks must not wait. Refuses to know what the flag means.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from carpool.kernel.later import Later

TEXT_MAX = 200  # letters


class FlagFile:
    """`set` writes in the background and calls back from the poller's loop, in order."""

    def __init__(self, path: Path, later: Later) -> None:
        self._path = path
        self._later = later
        self._wanted, self._text = False, ""
        self.unwritten = ""  # why the disk does not say what was set last

    def is_set(self) -> bool:
        return self._path.exists()

    def text(self) -> str:
        """What was said when it was set; "" for nothing, or for what cannot be read."""
        try:
            with self._path.open(errors="replace") as file:
                return file.read(TEXT_MAX).strip()
        except OSError:
            return ""

    def set(self, on: bool, done: Callable[[str | None], None], text: str = "") -> None:
        """Write the flag; `done(None)` when it is on the disk, `done(why)` when it cannot be.
        Without `text`, what is said in it stays."""
        self._wanted, self._text = on, text

        def written(error: str | None) -> None:
            self.unwritten = error or ""
            done(error)

        self._later.do(lambda: self._write(on, text), written)

    def set_again(self) -> None:
        """If the disk did not take it: it may by now."""
        if self.unwritten:
            self.set(self._wanted, lambda _error: None, self._text)

    def _write(self, on: bool, text: str) -> str | None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if on:
                self._path.touch()
            else:
                self._path.unlink(missing_ok=True)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)  # the name is the information
            finally:
                os.close(directory)
            if on and text:
                self._say(text)
        except OSError as error:
            return f"{self._path}: {error.strerror}"
        return None

    def _say(self, text: str) -> None:
        """After the flag is safe: a disk that is full may still have room for a name."""
        with self._path.open("w") as file:
            file.write(text[:TEXT_MAX] + "\n")
            file.flush()
            os.fsync(file.fileno())
