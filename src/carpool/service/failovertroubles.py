"""What is wrong with this node's failover, and writing again what a full disk did not take.

Room: service. Asks engine, files and disks once a second from the loop; what is told when, decides
`machine/troubles.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from carpool.kernel.addresses import AddressHolder
from carpool.kernel.flagfile import FlagFile
from carpool.kernel.journal import Journal
from carpool.machine.engine import Engine
from carpool.machine.report import troubles_of
from carpool.model.status import Trouble
from carpool.service.filewatch import FileWatch
from carpool.service.groupchange import GroupChange
from carpool.service.troubles import TroubleTeller, of_disks

MEND_EVERY_S = 10.0  # a disk that was full is tried again


class FailoverTroubles:
    """`record` makes an event of what the console is told."""

    def __init__(
        self,
        engine: Engine,
        disks: tuple[AddressHolder, Journal, FlagFile],
        change: GroupChange,
        watch: FileWatch,
        wall_iso: Callable[[], str],
        record: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._holder, self._journal, self._flag = disks
        self._change = change
        self._watch = watch
        self._teller = TroubleTeller(engine.config.node.name, self._find, wall_iso, record)
        self._mend_s = 0.0

    @property
    def deadline_s(self) -> float:
        """When `on_time` has something to do."""
        return self._teller.deadline_s

    def on_time(self, now_s: float) -> None:
        if not self._teller.on_time(now_s):
            return
        self._watch.on_time(now_s)
        if now_s >= self._mend_s:
            self._mend_s = now_s + MEND_EVERY_S
            self._journal.store()
            self._change.keep_again()
            self._flag.set_again()
            if self._holder.unsaved:
                self._holder.save()

    def about(self, summary: str) -> str:
        """One line for who asks systemd."""
        return self._teller.about(summary)

    def status(self, now_s: float) -> dict[str, object]:
        return {"troubles": self._teller.status(now_s)}

    def _find(self) -> list[Trouble]:
        unwritten = {
            "what the next process goes by": self._change.unkept,
            "the maintenance flag": self._flag.unwritten,
            "the event log": self._journal.broken,
            "how kernel settings were": self._holder.unsaved,
        }
        return [*self._watch.troubles, *troubles_of(self._engine), *of_disks(unwritten)]
