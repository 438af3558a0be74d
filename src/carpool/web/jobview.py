"""How far a synchronisation or a rollback is, and what came of it, node by node.

Room: web. Pure: the steps that the agent tells in, words out. What it keeps is bounded, however
many steps there are; the words are those of the command line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from carpool.api import rendersync
from carpool.api.clean import clean
from carpool.api.progress import DOING, DONE, STAYING, counted
from carpool.api.render import Fields, number_of, text_of, words_of

LINES_MAX = 500  # steps that are kept to be read
NODES_MAX = 64
SERVICES_MAX, SECTIONS_MAX, TOLD_MAX = 200, 200, 100  # of one node
# Steps that make no card of a node; the latter are of the one that a pull takes from.
NOBODYS = ("look", "over", "ask", "getting", "got")
WAITING = "waiting"  # the outcome of what is to be confirmed
LEFT_OUT = "left out"  # it is away, and gets it later
PUT_BACK = "put back"  # its beginning, where nobody confirmed or somebody took it back


@dataclass(slots=True)
class NodeView:
    """One node that it is done to; `name` "" is this one."""

    name: str
    sections: dict[str, str] = field(default_factory=dict)  # what becomes of their files
    services: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)  # to be read afterwards, too
    outcome: str = ""  # "" until it has ended
    error: str = ""
    hint: str = ""
    number: str = ""  # of the change that waits
    waits_until_s: float = 0.0  # by the clock that `take` is given

    @property
    def is_waiting(self) -> bool:
        return self.outcome == WAITING and not self.error

    @property
    def tone(self) -> str:
        if self.error:
            return "bad"
        if self.is_waiting or self.outcome.startswith((PUT_BACK, LEFT_OUT)):
            return "warn"
        return "good" if self.outcome else "calm"


class Progress:
    """Takes each step as it comes."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeView] = {}
        self.lines: deque[str] = deque(maxlen=LINES_MAX)
        self.output: deque[str] = deque(maxlen=LINES_MAX)  # of a program, as it comes
        self.doing = ""
        self.done_bytes = self.all_bytes = 0.0  # of what is under way over the wire

    def take(self, event: Fields, now_s: float) -> None:
        kind, name = text_of(event, "step"), text_of(event, "peer")
        self._do(kind, event, name)
        if kind == "lines":
            self.output.extend(words_of(event, "lines")[-LINES_MAX:])
            return
        line = rendersync.step(event)
        if line is not None:
            self.lines.append(line.plain)
        if kind in NOBODYS or (name not in self.nodes and len(self.nodes) >= NODES_MAX):
            return
        node = self.nodes.setdefault(name, NodeView(name))
        if kind in STAYING and kind != WAITING and line is not None and len(node.told) < TOLD_MAX:
            node.told.append(line.plain.removeprefix(f"{name}: "))
        if kind == "plan" and isinstance(planned := event.get("sections"), Mapping):
            for section, counts in [*planned.items()][:SECTIONS_MAX]:
                node.sections[clean(str(section))[:100]] = counted(counts)
        elif kind in DONE and len(node.services) < SERVICES_MAX:
            node.services.append(f"{DONE[kind]} {text_of(event, 'service')}")
        elif kind == WAITING:
            node.number = text_of(event, "number")
            node.waits_until_s = now_s + number_of(event, "within_s")
        elif kind == "end":
            node.outcome = text_of(event, "outcome") or "ended"
            node.error = str(event.get("error") or "").removeprefix(f"{name}: ")
            node.hint = str(event.get("hint") or "")

    def fail(self, name: str, error: str, hint: str) -> None:
        """It goes no further: the agent refused, or went away."""
        node = self.nodes.setdefault(name, NodeView(name))
        node.outcome, node.error, node.hint = node.outcome or "failed", error, hint
        self.doing = ""

    def _do(self, kind: str, event: Fields, name: str) -> None:
        """What is under way, in words; a peer's name before them."""
        if kind in ("end", "over"):
            self.doing = ""
        elif (told := DOING.get(kind)) is not None:
            self.doing = f"{name}: {told(event)}" if name else told(event)
        moves = kind in ("sending", "getting")
        self.all_bytes = number_of(event, "bytes_all") if moves else 0.0
        self.done_bytes = min(number_of(event, "bytes"), self.all_bytes) if moves else 0.0

    @property
    def has_failed(self) -> bool:
        return any(node.error for node in self.nodes.values())

    @property
    def waiting(self) -> list[NodeView]:
        return [node for node in self.nodes.values() if node.is_waiting]

    @property
    def is_put_back(self) -> bool:
        return any(node.outcome.startswith(PUT_BACK) for node in self.nodes.values())

    @property
    def wants_force(self) -> bool:
        """Whether what it was refused for is what --force overrides."""
        return any("--force" in node.error + node.hint for node in self.nodes.values())

    def settle(self, rows: Sequence[Fields]) -> None:
        """What became of changes that waited: GET /v1/results has newer rows of those peers."""
        for node in self.waiting:
            newer: Fields | None = None
            for row in rows:  # newest first
                if text_of(row, "peer") != node.name:
                    continue
                if text_of(row, "number") == node.number:
                    break
                newer = row
            else:
                continue  # it does not say that this one waited: so it has not seen that yet
            if newer is not None:
                node.outcome = text_of(newer, "outcome") or "ended"
                node.error, node.hint = str(newer.get("error") or ""), ""
