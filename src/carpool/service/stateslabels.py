"""Labels of connections: this node's names to every peer, and each peer's numbers to ours.

Room: service. Joins the file of names to the translation; refuses to know links and frames beyond
their payload. Where no label has a name, there is nothing to do and nothing is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from carpool.kernel import connlabels
from carpool.proto import ctlabels


class Labels:
    """`tell` is given what kind of trouble, and its words."""

    def __init__(self, counters: Counter[str], tell: Callable[[str, str], None]) -> None:
        self.names = ctlabels.parse_file(connlabels.read())
        self._counters = counters
        self._tell = tell
        self._theirs: dict[str, ctlabels.Names] = {}
        self._translators: dict[str, ctlabels.Translator] = {}

    @property
    def in_use(self) -> bool:
        return bool(self.names)

    @property
    def payload(self) -> bytes:
        """What a peer is to know."""
        return ctlabels.build(self.names)

    def warn_of(self, label: int) -> None:
        """It is ours: connections that are excluded by interface bear it."""
        if label in self.names:
            self._tell(
                "label",
                f"label {label} has a name in connlabel.conf, and marks what is excluded"
                " by interface: give the name another number",
            )

    def changed(self) -> bool:
        """Look at the file again; whether it says something else now."""
        names = ctlabels.parse_file(connlabels.read())
        if names == self.names:
            return False
        self.names = names
        self._translators.clear()
        return True

    def heard(self, peer: str, payload: bytes) -> str | None:
        """The names of a peer; or why they are none."""
        names = ctlabels.parse(payload)
        if isinstance(names, str):
            return names
        self._theirs[peer] = names
        self._translators.pop(peer, None)
        return None

    def forget(self, peer: str) -> None:
        """Its stream has ended: it tells its names again over the next one."""
        self._theirs.pop(peer, None)
        self._translators.pop(peer, None)

    def translate(self, peer: str, payload: bytes) -> bytes:
        """Requests of a peer, which have passed the gate, with our numbers."""
        translator = self._translators.get(peer)
        if translator is None:
            translator = ctlabels.Translator(self._theirs.get(peer, {}), self.names)
            self._translators[peer] = translator
        translated = translator.payload(payload)
        if translator.lost:
            self._tell_lost(peer, translator.lost)
        return translated

    def _tell_lost(self, peer: str, lost: Counter[str]) -> None:
        self._counters["taken_without_label"] += lost.total()
        for name in lost:
            self._tell(
                f"label {name}",
                f"connections of {peer} come without the label {name[:64]!r}: name it in"
                f" {connlabels.FILES[1]} (or {connlabels.FILES[0]}) on both nodes",
            )
        lost.clear()
