"""What of a running nftables ruleset stays when a new file is loaded over it.

Room: machine. A script clears its tables and declares them anew. In place of clearing one, all is
deleted from it but sets that rules fill at run time, counters and quotas, where the new file
declares them just so: the kernel then has nothing to do with them, and no packet misses one.
Refuses to know how nft is run. Why so: docs/decisions/0037-nftables-keeps-what-it-learned.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from carpool.proto.nftlisting import (
    OBJECT_DATA,
    SETS,
    Block,
    BlockName,
    Element,
    Ruleset,
    Table,
    TableName,
)
from carpool.proto.nftscript import Clearing

RUNNING_FLAGS = frozenset({"dynamic", "timeout"})  # of sets that change while the ruleset runs
COUNTING = ("counter", "quota")
# What a set may have otherwise without its elements becoming wrong.
_LOOSE = ("size ", "timeout ", "gc-interval ", "policy ", "comment ", "auto-merge")
# Chains can go when no rule and no map jumps to them; the objects last, which maps and rules name.
_ORDER = {**dict.fromkeys(SETS, 0), "chain": 1, "flowtable": 2}
_NOTHING = Block((), {})


def clearings(
    live: Ruleset, before: Sequence[Ruleset], new: Ruleset, *, keep: bool = True
) -> dict[TableName, Clearing]:
    """By table of `live` that the old files or the new one define. `before` and `new` are what
    files define when nothing else is loaded; without `before` it is not known what is. Other tables
    belong to other programs."""
    ours = {*new}.union(*before)
    before = before or [{}]
    return {
        name: _cleared(name, table, [one.get(name, {}) for one in before], new.get(name, {}), keep)
        for name, table in live.items()
        if name in ours
    }


def _cleared(
    name: TableName, live: Table, before: Sequence[Table], new: Table, keep: bool
) -> Clearing:
    where = " ".join(name)
    if not keep:
        told = tuple(_lost(where, live, before, new))
        return Clearing(f"delete table {where}; ", False, (), told)
    stays: list[BlockName] = []
    gone: list[str] = []
    after: list[str] = []
    told_all: list[str] = []
    for known, block in live.items():
        old, wanted = [one.get(known, _NOTHING) for one in before], new.get(known)
        if known[0] in COUNTING and wanted and wanted.declaration == block.declaration:
            stays.append(known)
        if not _is_running(known, block):
            continue
        added = _added(block, old, wanted or _NOTHING)
        place = f"{where} {known[1]}"
        why = _difference(block, old, wanted)
        if not why and wanted:
            stays.append(known)
            gone += _deleted(place, block, old, wanted)
        elif added and wanted and _takes(wanted, block, old):
            after.append(_put_back(place, added, block.value("timeout")))
            told_all.append(f"{known[0]} {place}: {why}; its {len(added)} elements were put back")
        elif added:
            told_all.append(f"{known[0]} {place}: {why}; {_elements(added)} gone")
    if not stays:
        return Clearing(f"delete table {where}; ", False, tuple(after), tuple(told_all))
    statements = [f"flush table {where}; ", *gone, *_deletions(where, live, stays)]
    return Clearing("".join(statements), True, tuple(after), tuple(told_all))


def _is_running(name: BlockName, block: Block) -> bool:
    """Whether it is a set or map that rules or programs fill. Verdicts and names of objects would
    hold what they name, which must go."""
    data = block.type.partition(" : ")[2].split(" ", 1)[0]
    return (
        name[0] in SETS
        and bool(block.flags & RUNNING_FLAGS)
        and data not in (*OBJECT_DATA, "verdict")
    )


def _difference(live: Block, old: Sequence[Block], new: Block | None) -> str:
    """Why the set cannot stay as it is, in words; "" when it can."""
    if new is None:
        return "is not in the file any more"
    if live.declaration != new.declaration:
        was = [line for line in live.declaration if line not in new.declaration]
        now = [line for line in new.declaration if line not in live.declaration]
        return f"was `{'; '.join(was)}`, is `{'; '.join(now)}`"
    if "interval" in live.flags and not all(_same_elements(one, new) for one in old):
        return "the file has other elements for it, which might overlap"
    return ""


def _takes(new: Block, live: Block, old: Sequence[Block]) -> bool:
    """Whether elements that were added to one are right in the other."""
    overlap = "interval" in live.flags and not all(_same_elements(one, new) for one in old)
    return _strict(new) == _strict(live) and not overlap


def _strict(block: Block) -> list[str]:
    return [line for line in block.declaration if not line.startswith(_LOOSE)]


def _same_elements(one: Block, other: Block) -> bool:
    keys = {*one.elements, *other.elements}
    return all(_definition(one, key) == _definition(other, key) for key in keys)


def _definition(block: Block, key: str) -> str:
    """How a file defines an element; "" when it does not."""
    return block.elements[key].definition if key in block.elements else ""


def _added(live: Block, old: Sequence[Block], new: Block) -> list[Element]:
    """Elements that no file names: they came while it ran."""
    files = (*old, new)
    return [
        element
        for key, element in live.elements.items()
        if not any(key in one.elements for one in files)
    ]


def _deleted(place: str, live: Block, old: Sequence[Block], new: Block) -> Iterator[str]:
    """Elements that a file named, or names now, and not all of them the same: the script adds what
    it has. Without that, an address that was taken out of the file would stay."""
    named = [
        element.named
        for key, element in live.elements.items()
        if any(_definition(one, key) != _definition(new, key) for one in old)
    ]
    if named:
        yield f"delete element {place} {{ {', '.join(named)} }}; "


def _put_back(place: str, elements: Iterable[Element], timeout: str) -> str:
    """With the time that is left to each, also where the set now has another one of its own."""
    texts = []
    for element in elements:
        head, expires, tail = element.text.partition(" expires ")
        if expires and timeout and " timeout " not in head:
            head += f" timeout {timeout}"
        texts.append(head + expires + tail)
    return f"add element {place} {{ {', '.join(texts)} }}"


def _deletions(where: str, live: Table, stays: Iterable[BlockName]) -> Iterator[str]:
    kept = set(stays)
    for kind, name in sorted(live, key=lambda known: _ORDER.get(known[0], 3)):
        if (kind, name) not in kept:
            yield f"delete {kind} {where} {name}; "


def _lost(where: str, live: Table, before: Sequence[Table], new: Table) -> Iterator[str]:
    for known, block in live.items():
        old = [one.get(known, _NOTHING) for one in before]
        if _is_running(known, block) and (added := _added(block, old, new.get(known, _NOTHING))):
            yield f"{known[0]} {where} {known[1]}: {_elements(added)} gone"


def _elements(added: Sequence[Element]) -> str:
    return "1 element is" if len(added) == 1 else f"{len(added)} elements are"
