"""What has to change so that one manifest becomes another, in an order that works.

Room: machine. Pure.
"""

from __future__ import annotations

from carpool.model.manifest import Change, Kind, Manifest


def changes(have: Manifest, want: Manifest) -> list[Change]:
    """Removals first, deepest first; then what is added or changed, parents first. A path that
    changes its kind (a file becomes a directory) is a removal and an addition."""
    gone: list[Change] = []
    made: list[Change] = []
    for path in sorted(have.keys() | want.keys()):
        old, new = have.get(path), want.get(path)
        if old == new:
            continue
        if old is not None and new is not None and old.kind is not new.kind:
            gone.append(Change(path, old, None))
            made.append(Change(path, None, new))
        elif new is None:
            gone.append(Change(path, old, None))
        else:
            made.append(Change(path, old, new))
    return [*reversed(gone), *made]


def needed(wanted: Manifest, present: frozenset[str]) -> list[str]:
    """Digests of the contents that are wanted and not present, each once, in the order of paths."""
    files = (entry for entry in wanted.values() if entry.kind is Kind.FILE)
    return list(dict.fromkeys(one.sha256 for one in files if one.sha256 not in present))
