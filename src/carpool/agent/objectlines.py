"""Objects out of an answer that comes line by line: the reader of `ndjson.py`.

Room: agent. Loads nothing that a command line would have to wait for.
"""

from __future__ import annotations

from collections.abc import Iterator

from carpool.errors import CarpoolError, PeerError
from carpool.kernel.lines import parse_object

LINE_MAX_BYTES = 1024 * 1024  # newline included
RESTART = "it may be busy or stuck: look at its log, then restart it"

Answer = dict[str, object]
ALIVE: Answer = {"step": "alive"}  # a line that says nothing else, and is handed to nobody


class ObjectLines:
    """Raises PeerError for what is no line of ours, and CarpoolError with the words of a last line
    that says why there are no more."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Answer]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if (item := self._item(line)) != ALIVE:
                yield item
        if len(self._rest) > LINE_MAX_BYTES:
            raise PeerError(f"{self._who} sent a line of more than {LINE_MAX_BYTES} bytes")

    def end(self) -> None:
        if self._rest:
            raise PeerError(f"{self._who} broke off in the middle of a line", hint=RESTART)

    def _item(self, line: bytes) -> Answer:
        item = parse_object(line)
        if item is None:
            shown = line[:80].decode(errors="backslashreplace")
            raise PeerError(f"{self._who} sent {shown!r}, expected a JSON object")
        if item.keys() == {"error", "hint"}:
            raise CarpoolError(str(item["error"])[:2000], hint=str(item["hint"])[:2000])
        return item
