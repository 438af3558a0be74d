"""What is to become of one section of this node, and how that differs from what it has.

Room: agent. Reads files; refuses to change any (`apply.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from carpool.api.sections import CARPOOL
from carpool.kernel import tree
from carpool.machine import textdiff
from carpool.machine.changes import changes
from carpool.model.manifest import Change, Entry, Kind, Manifest
from carpool.model.section import Section

DIFF_FILE_MAX_BYTES = 4 * 1024 * 1024
Source = Callable[[Entry], Path]  # where the content of a wanted file is


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of one section here."""

    section: Section
    have: Manifest
    want: Manifest
    source: Source
    stage: Path | None = None  # `apply` may move contents out of this directory
    changes: Sequence[Change] = ()

    @classmethod
    def of(
        cls,
        section: Section,
        have: Manifest,
        want: Manifest,
        source: Source,
        stage: Path | None = None,
    ) -> Plan:
        return cls(section, have, want, source, stage, changes(have, want))

    def read(self, entry: Entry, most: int = -1) -> bytes:
        """The content of a wanted file, or its first `most` bytes. Blocking. Raises KernelError,
        also when it lay among this node's files and has gone since they were looked at."""
        try:
            with self.source(entry).open("rb") as file:
                return file.read(most)
        except OSError as error:
            raise tree.unread(entry, error) from error


def with_group(plans: Sequence[Plan]) -> bool:
    """Whether group.toml is among what they are of."""
    return any(plan.section.name == CARPOOL for plan in plans)


def file_diffs(plan: Plan, root: Path) -> list[dict[str, object]]:
    """Of each file that changes, as `carpool diff` shows it. Blocking."""
    files: list[dict[str, object]] = []
    for change in plan.changes:
        old, new = _live(change.old, root), _wanted(plan, change.new)
        secret = plan.section.is_secret(change.path)
        found = textdiff.unified(
            change.path, old, new, secret=secret, passwords=secret and plan.section.name == CARPOOL
        )
        files.append(
            {
                "path": change.path,
                "deed": change.deed,
                "binary": found.binary,
                "secret": found.secret,
                "added": found.added,
                "removed": found.removed,
                "text": found.text,
                "attributes": _attributes(change),
            }
        )
    return files


def _live(entry: Entry | None, root: Path) -> bytes | None:
    return _text(entry, lambda one: b"".join(tree.contents(one, root)))


def _wanted(plan: Plan, entry: Entry | None) -> bytes | None:
    return _text(entry, plan.read)


def _text(entry: Entry | None, read: Callable[[Entry], bytes]) -> bytes | None:
    """A file's content, or what stands for it: a link's target."""
    if entry is None or entry.kind is Kind.DIRECTORY:
        return None
    if entry.kind is Kind.SYMLINK:
        return f"-> {entry.target}\n".encode()
    if entry.size > DIFF_FILE_MAX_BYTES:
        return b"\0" + entry.sha256.encode()  # as binary ones: it differs
    return read(entry)


def _attributes(change: Change) -> str:
    """What of mode and owner changes, in words."""
    if change.old is None or change.new is None:
        return ""
    old, new = change.old, change.new
    pairs = [
        (f"{old.mode:04o}", f"{new.mode:04o}"),
        (f"{old.owner}:{old.group}", f"{new.owner}:{new.group}"),
    ]
    return ", ".join(f"{before} -> {after}" for before, after in pairs if before != after)


def ordered(plans: Sequence[Plan]) -> list[tuple[Plan, Change]]:
    """All changes in an order that works, as `changes` gives it for one section."""
    every = [(plan, change) for plan in plans for change in plan.changes]
    gone = [one for one in every if one[1].new is None]
    made = [one for one in every if one[1].new is not None]
    gone.sort(key=lambda one: one[1].path, reverse=True)
    made.sort(key=lambda one: one[1].path)
    return gone + made


def content_of(plan: Plan, change: Change) -> Path | None:
    """Where the new content of a path is, if it is a file."""
    if change.new is None or change.new.kind is not Kind.FILE:
        return None
    return plan.source(change.new)
