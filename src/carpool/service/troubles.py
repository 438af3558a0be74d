"""What is wrong with a process of a node: found, told on the console, kept among the events.

Room: service. Asks once a second from the loop of the process; what is told when, decides
`machine/troubles.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from carpool.kernel.journal import tell_console
from carpool.machine.troubles import Troubles
from carpool.model.status import Trouble

LOOK_EVERY_S = 1.0
_ROOM = "Make room; it is written again by itself then"


class TroubleTeller:
    """`find` says what is wrong now; `record` makes an event of each line. To be asked from the
    process's loop: `on_time` when `deadline_s` has come."""

    def __init__(
        self,
        node: str,
        find: Callable[[], Iterable[Trouble]],
        wall_iso: Callable[[], str],
        record: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._node = node
        self._find = find
        self._wall_iso = wall_iso
        self._record = record
        self._troubles = Troubles()
        self.deadline_s = 0.0

    def on_time(self, now_s: float) -> bool:
        """Look, and tell. Whether it was time to."""
        if now_s < self.deadline_s:
            return False
        self.deadline_s = now_s + LOOK_EVERY_S
        self._look(now_s)
        return True

    def _look(self, now_s: float) -> None:
        for line in self._troubles.update(self._find(), now_s):
            tell_console(f"{self._node}: {line} ({self._wall_iso()[:19]}Z)")
            self._record(line)

    def about(self, summary: str) -> str:
        """One line for who asks systemd: with the oldest that holds."""
        now = self._troubles.now
        return f"{summary}; TROUBLE: {now[0].text}" if now else summary

    def status(self, now_s: float) -> list[dict[str, object]]:
        """`troubles` of the answer to `status`: as it is now. Who asks all the time puts off
        nothing that is due."""
        self._look(now_s)
        return self._troubles.status(now_s)


def of_disks(unwritten: Mapping[str, str]) -> list[Trouble]:
    """`unwritten`: by what is lost at a restart, why it is not on the disk; nothing where it is."""
    return [
        Trouble(f"disk {what}", f"{what} cannot be written: {why}", _ROOM)
        for what, why in unwritten.items()
        if why
    ]
