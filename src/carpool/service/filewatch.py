"""Whether node.toml and group.toml could be used by a process that starts now.

Room: service. Looks while failover runs, in a thread, and tells; takes up nothing by itself: what
somebody edits is taken up when he says so (`groupchange.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from carpool.kernel.appliedfile import Sources
from carpool.kernel.later import Later
from carpool.model.status import Trouble
from carpool.service.groupchange import Files, Look

LOOK_EVERY_S = 2.0
EDITED_S = 30.0  # somebody is in the middle of editing: a mistake that lasts longer is told
_CHECK = "`carpool check` shows every mistake"


class FileWatch:
    """`counts` is what this node goes by; `unusable`, why the process began with that. Files that
    say the same again are news for nobody: the other processes began with it, too."""

    def __init__(
        self,
        files: Files,
        later: Later,
        counts: Callable[[], Sources],
        unusable: str,
    ) -> None:
        self._files = files
        self._later = later
        self._counts = counts
        self._instead = bool(unusable)
        self._look = Look(unusable, counts())
        self._looking = False
        self._due_s = 0.0

    def on_time(self, now_s: float) -> None:
        """To be called now and then."""
        if self._looking or now_s < self._due_s:
            return
        self._looking, self._due_s = True, now_s + LOOK_EVERY_S
        self._later.do(self._files.look, self._found)

    @property
    def troubles(self) -> list[Trouble]:
        """None, or one."""
        if self._look.error:
            text = f"{self._look.error}: this node goes by what counted before"
            return [Trouble("files", text, _CHECK, 0.0 if self._instead else EDITED_S)]
        if self._instead:
            text = (
                "the configuration can be used again, but is another one than before it was "
                "broken, by which this node still goes"
            )
            return [Trouble("files", text, "`carpool apply` takes it up")]
        return []

    def _found(self, look: Look) -> None:
        self._looking, self._look = False, look
        if self._instead and not look.error and look.texts == self._counts():
            self._instead = False
