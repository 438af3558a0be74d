"""The group drawn as it is wired: each node's links to the networks, and the streams between nodes.

Room: web. Pure: places and words; `picture.html` makes SVG of them. What a node said before it fell
silent is drawn as not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from carpool.api.render import Fields, entries_of, text_of, words_of
from carpool.machine.verdict import is_error

NODES_MAX, NETWORKS_MAX = 6, 16  # that are drawn; the words tell all
NODE_WIDTH, NODE_HEIGHT, GAP = 140, 64, 76  # of the view box
NETWORK_HEIGHT = 50
LABEL = 22  # that a network's name takes
MARGIN = 4
OUTSIDE = ("wan", "internet", "uplink", "isp", "outside", "ext")  # they are drawn above the nodes


@dataclass(frozen=True, slots=True)
class Bar:
    """A network."""

    name: str
    address: str  # the first of the group there
    y: int
    label_y: int


@dataclass(frozen=True, slots=True)
class Wire:
    """From a node to a network."""

    kind: str  # "master", "up", "down" or "unknown": the class of the line, too
    x: int
    y1: int  # at the node
    y2: int

    @property
    def middle(self) -> int:
        return (self.y1 + self.y2) // 2


@dataclass(frozen=True, slots=True)
class Box:
    name: str
    word: str
    level: str
    here: bool
    x: int
    y: int

    @property
    def middle(self) -> int:
        return self.x + NODE_WIDTH // 2


@dataclass(frozen=True, slots=True)
class Stream:
    """State replication between neighbours."""

    kind: str  # as that of a wire
    word: str
    x1: int
    x2: int
    y: int

    @property
    def middle(self) -> int:
        return (self.x1 + self.x2) // 2


@dataclass(frozen=True, slots=True)
class Picture:
    width: int
    height: int
    bars: list[Bar]
    wires: list[Wire]
    boxes: list[Box]
    streams: list[Stream]
    words: str  # the same, for who does not see it


def draw(nodes: Sequence[Fields]) -> Picture:
    """Networks above and below, nodes between them side by side."""
    shown = nodes[:NODES_MAX]
    names = list(dict.fromkeys(name for node in shown for name in _links(node)))[:NETWORKS_MAX]
    above = [name for name in names if name.lower().startswith(OUTSIDE)]
    below = [name for name in names if name not in above]
    top = MARGIN + len(above) * NETWORK_HEIGHT
    bottom = top + NODE_HEIGHT
    bars = [_bar(name, index, shown) for index, name in enumerate(above)]
    bars += [_bar(name, index, shown, bottom) for index, name in enumerate(below)]
    boxes = [_box(node, MARGIN + at * (NODE_WIDTH + GAP), top) for at, node in enumerate(shown)]
    wires = []
    for node, box in zip(shown, boxes, strict=True):
        for side, start in ((above, top), (below, bottom)):
            wires += [
                Wire(_kind(node, bar.name), _port(box, at, len(side)), start, bar.y)
                for at, bar in enumerate(bar for bar in bars if bar.name in side)
                if bar.name in _links(node)
            ]
    return Picture(
        width=max(len(shown), 1) * (NODE_WIDTH + GAP) - GAP + 2 * MARGIN,
        height=bottom + len(below) * NETWORK_HEIGHT + MARGIN,
        bars=bars,
        wires=wires,
        boxes=boxes,
        streams=[_stream(shown, boxes, at) for at in range(len(shown) - 1)],
        words=_words(shown, names),
    )


def _bar(name: str, index: int, nodes: Sequence[Fields], bottom: int = 0) -> Bar:
    """Above, the first is the uppermost; below, the one next to the nodes."""
    y = bottom + (index + 1) * NETWORK_HEIGHT - LABEL
    if not bottom:
        y = MARGIN + LABEL + index * NETWORK_HEIGHT
    addresses = [
        word
        for node in nodes
        for row in _vhosts(node)
        if text_of(row, "interface") == name
        for word in words_of(row, "addresses")
    ]
    return Bar(name, addresses[0] if addresses else "", y, y + 18 if bottom else y - 9)


def _port(box: Box, index: int, count: int) -> int:
    """Wires of a side leave it at places of their own."""
    return box.x + round(NODE_WIDTH * (index + 1) / (count + 1))


def _box(node: Fields, x: int, y: int) -> Box:
    word, level = role(node)
    return Box(text_of(node, "name"), word, level, bool(node.get("here")), x, y)


def role(node: Fields) -> tuple[str, str]:
    """A node's role in a word, and the level of that."""
    if text_of(node, "error"):
        return "no answer", "bad"
    if is_error(node.get("failover")):
        return "failover silent", "bad"
    word = text_of(_failover(node), "role") or "unknown"
    return word, level(word)


def level(state: str) -> str:
    """Of MASTER, BACKUP, INIT..."""
    return {"MASTER": "good", "BACKUP": "calm"}.get(state, "warn")


def _kind(node: Fields, name: str) -> str:
    if not _is_told(node):
        return "unknown"
    if not _links(node)[name].get("ready"):
        return "down"
    own = [row for row in _vhosts(node) if text_of(row, "interface") == name]
    return "master" if any(row.get("state") == "MASTER" for row in own) else "up"


def _stream(nodes: Sequence[Fields], boxes: Sequence[Box], at: int) -> Stream:
    kind, word = _replication(nodes[at], nodes[at + 1])
    left, right = boxes[at], boxes[at + 1]
    return Stream(kind, word, left.x + NODE_WIDTH, right.x, left.y + NODE_HEIGHT // 2)


def _replication(one: Fields, other: Fields) -> tuple[str, str]:
    """Of two nodes, as either end tells."""
    pairs = ((one, text_of(other, "name")), (other, text_of(one, "name")))
    told = [
        bool(peer.get("connected"))
        for node, name in pairs
        if not text_of(node, "error")
        for peer in entries_of(_part(node, "states"), "peers")
        if text_of(peer, "name") == name
    ]
    if not told:
        known = not text_of(one, "error") and not text_of(other, "error")
        off = known and one.get("states") is None and other.get("states") is None
        return "unknown", "no states" if off else "not known"
    return ("up", "states") if all(told) else ("down", "no stream")


def _words(nodes: Sequence[Fields], names: Sequence[str]) -> str:
    """`lan: fw1 up and MASTER, fw2 up. States between fw1 and fw2: up.`"""
    said = {"master": "up and MASTER", "unknown": "not known"}
    parts = []
    for name in names:
        ends = [
            f"{text_of(node, 'name')} {said.get(kind := _kind(node, name), kind)}"
            for node in nodes
            if name in _links(node)
        ]
        parts.append(f"{name}: {', '.join(ends)}")
    for at in range(len(nodes) - 1):
        both = f"{text_of(nodes[at], 'name')} and {text_of(nodes[at + 1], 'name')}"
        kind, word = _replication(nodes[at], nodes[at + 1])
        parts.append(f"states between {both}: {word if kind == 'unknown' else kind}")
    return ". ".join(parts) + "."


def _is_told(node: Fields) -> bool:
    return not text_of(node, "error") and not is_error(node.get("failover"))


def _links(node: Fields) -> dict[str, Fields]:
    rows = entries_of(_failover(node), "interfaces")
    return {text_of(row, "interface"): row for row in rows}


def _vhosts(node: Fields) -> list[Fields]:
    return entries_of(_failover(node), "vhosts")


def _failover(node: Fields) -> Fields:
    return _part(node, "failover")


def _part(fields: Fields, key: str) -> Fields:
    value = fields.get(key)
    return value if isinstance(value, Mapping) else {}
