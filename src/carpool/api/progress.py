"""How far a synchronisation is: a line that is rewritten in place, and what stays above it.

Room: api. Events in, rich renderables out; refuses to know the terminal. Peers are synchronised one
after the other, so one line is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from carpool.api import rendersync
from carpool.api.clean import clean
from carpool.api.render import Fields, duration, fields_of, number_of, text_of, words_of

BAR_WIDTH = 24
# Steps that are to be read afterwards, too.
STAYING = (
    *("warning", "link", "waiting", "skipped", "first"),
    *("group", "settled", "unsettled"),
)


class Board:
    """What a terminal shows meanwhile (it is a renderable itself), and what it keeps."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._peer = ""
        self._words = ""
        self._counts: Fields | None = None  # of what is under way over the wire
        self._begun_s = now_s()
        self._sections: Mapping[str, object] = {}
        self._services: dict[str, list[str]] = {}  # by what was done to them
        self._spinner = Spinner("line")

    def take(self, event: Fields) -> RenderableType | None:
        """What is to stay of it on the terminal."""
        kind = text_of(event, "step")
        if kind in ("offer", "ask") and text_of(event, "peer") != self._peer:
            self._begin(text_of(event, "peer"))
        told = DOING.get(kind)
        if told is not None:
            self._words = told(event)
            self._counts = event if kind in ("sending", "getting") else None
        if kind == "plan":
            # Added to those before: group.toml may go first, and the others after it.
            self._sections = {**self._sections, **fields_of(event, "sections")}
        elif kind in DONE:
            self._services.setdefault(kind, []).append(text_of(event, "service"))
        elif kind == "end":
            self._words = ""
            return Group(*self._end(event))
        return rendersync.step(event) if kind in STAYING or event.get("told") else None

    def __rich__(self) -> RenderableType:
        if not self._words:
            return Text("")
        row = Table.grid(padding=(0, 1, 0, 0))
        cells: list[RenderableType] = [self._spinner, Text(self._peer, "bold"), self._line()]
        if self._counts is not None and number_of(self._counts, "bytes_all"):
            total, gone = (number_of(self._counts, key) for key in ("bytes_all", "bytes"))
            cells.append(ProgressBar(total, min(gone, total), width=BAR_WIDTH))
        cells.append(Text(duration(self._now_s() - self._begun_s), "dim"))
        for _cell in cells:
            row.add_column(no_wrap=True, overflow="ellipsis")
        row.add_row(*cells)
        return row

    def _begin(self, peer: str) -> None:
        self._peer, self._begun_s = peer, self._now_s()
        self._sections, self._services = {}, {}

    def _line(self) -> Text:
        return Text(self._words, no_wrap=True, overflow="ellipsis")

    def _end(self, event: Fields) -> Iterator[RenderableType]:
        line = rendersync.step(event)
        assert line is not None
        yield line
        if text_of(event, "error"):
            return
        width = max((len(name) for name in self._sections), default=0)
        for name, counts in self._sections.items():
            yield Text(f"  {clean(name):{width}}  {counted(counts)}")
        for kind, services in self._services.items():
            yield Text(f"  {DONE[kind]} {', '.join(services)}")


DONE = {"reload": "reloaded", "restart": "restarted", "load": "loaded the rules of"}


def counted(counts: object) -> str:
    """What becomes of the files of a section."""
    fields = counts if isinstance(counts, dict) else {}
    found = [(int(number_of(fields, deed)), deed) for deed in ("changed", "added", "removed")]
    return ", ".join(f"{count} {deed}" for count, deed in found if count) or "as it was"


def _moved(event: Fields) -> str:
    files, files_all = int(number_of(event, "files")), int(number_of(event, "files_all"))
    if not files_all:
        return "comparing"
    size, size_all = (number_of(event, key) / 1e6 for key in ("bytes", "bytes_all"))
    return f"{files:,} of {files_all:,} files, {size:.1f} of {size_all:.1f} MB"


DOING: dict[str, Callable[[Fields], str]] = {
    "look": lambda _event: "looking at the files here",
    "offer": lambda _event: "comparing",
    "ask": lambda _event: "comparing",
    "first": lambda _event: "group.toml first",
    "sending": _moved,
    "getting": _moved,
    "sent": lambda _event: "sent; it works out what changes",
    "got": lambda _event: "got; working out what changes",
    "plan": lambda event: f"{int(number_of(event, 'changes')):,} changes",
    "checking": lambda event: f"checking {text_of(event, 'section')}",
    "keeping": lambda event: f"keeping {rendersync.files(event)} as they were",
    "snapshot": lambda event: f"putting {rendersync.files(event)} in place",
    "swap": lambda event: f"put {rendersync.files(event)} in place",
    "reloading": lambda event: f"reloading {', '.join(words_of(event, 'services'))}",
    "verify": lambda _event: "verified",
    "update": lambda event: text_of(event, "text"),
    "link": lambda _event: "the link broke: asking for the outcome",
}
