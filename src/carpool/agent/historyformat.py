"""How a revision is written: paths in its tree, the attributes of a section, the commit message.

Room: agent. Pure: text in, text out. What git cannot hold by itself (owners, modes, empty
directories, names that it refuses) is written here such that it comes back exactly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal

from carpool.errors import KernelError
from carpool.model.manifest import Entry, Kind, Manifest, manifest

Origin = Literal["applied", "received", "rolled back", "found", "pulled"]

ATTRIBUTES = ".carpool-attributes.json"
REASON_MAX = 500  # characters
AUTHOR_MAX = 200
_NAMED_MAX = 3  # sections in a subject; the trailer has them all
_SECTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def tree_path(section: str, path: str) -> str:
    """Where `path` (absolute) of a section lies in the tree, with no byte that git stumbles over.

    Control characters, backslashes, percent signs and bytes that are no UTF-8 become `%XX`; in
    names that git takes for its own (`.git`, `.gitattributes`, `git~1`), all that is no letter.
    """
    checked_section(section)
    parts = path.split("/")
    if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") for part in parts[1:]):
        raise KernelError(
            f"the history cannot hold {path!r} of section {section}",
            hint="expected an absolute path without empty parts, `.` and `..`",
        )
    return "/".join([section, *map(_component, parts[1:])])


def attributes_path(section: str) -> str:
    """Where the attributes of a section lie in the tree; no `tree_path` is ever this."""
    return f"{checked_section(section)}/{ATTRIBUTES}"


def checked_section(name: str) -> str:
    """The name itself; raises KernelError when it cannot be a directory of the tree."""
    if not _SECTION.fullmatch(name):
        raise KernelError(
            f"the history cannot hold a section named {name!r}",
            hint="expected letters, digits, `_`, `-` and `.`, the first one no `.` or `-`",
        )
    return name


def raw_bytes(text: str) -> bytes:
    """A name or target as the kernel has it; raises KernelError where no kernel has such a one."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise KernelError(
            f"the history cannot hold the name {text!r}", hint="no file system has such a name"
        ) from error


def _component(name: str) -> str:
    raw = raw_bytes(name)
    ascii_only = bytes(byte for byte in raw if byte < 0x80).lower()  # HFS+ ignores some others
    if ascii_only.startswith((b".git", b"git~", b".carpool-")):
        return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in raw)
    return "".join(
        letter if letter.isprintable() and letter not in "\\%" else _escaped(letter)
        for letter in name
    )


def _escaped(letter: str) -> str:
    return "".join(f"%{byte:02x}" for byte in raw_bytes(letter))


def attributes(entries: Manifest) -> bytes:
    """All of a section but its contents: one line for each entry, so that a diff can be read."""
    rows = [json.dumps(_row(entries[path])) for path in sorted(entries)]
    return ("[\n" + ",\n".join(rows) + "\n]\n").encode("ascii")


def _row(entry: Entry) -> dict[str, str | int]:
    row: dict[str, str | int] = {"path": entry.path, "kind": entry.kind.value}
    if entry.kind is not Kind.SYMLINK:
        row["mode"] = f"{entry.mode:04o}"
    row |= {"owner": entry.owner, "group": entry.group}
    if entry.kind is Kind.FILE:
        row |= {"size": entry.size, "sha256": entry.sha256}
    if entry.kind is Kind.SYMLINK:
        row["target"] = entry.target
    return row


def read_attributes(text: bytes) -> dict[str, Entry]:
    """What `attributes` wrote. Raises ValueError."""
    try:
        return manifest(
            Entry(
                path=str(row["path"]),
                kind=Kind(row["kind"]),
                mode=int(row.get("mode", "0"), 8),
                owner=str(row["owner"]),
                group=str(row["group"]),
                size=int(row.get("size", 0)),
                sha256=str(row.get("sha256", "")),
                target=str(row.get("target", "")),
            )
            for row in json.loads(text)
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def message(sections: Iterable[str], *, node: str, reason: str, kind: Origin) -> str:
    """The commit message: a subject for people, then trailers for `read_trailers`."""
    names = sorted(sections)
    listed = ", ".join(names) if len(names) <= _NAMED_MAX else f"{len(names)} sections"
    why = one_line(reason, REASON_MAX)
    subject = f"{kind} {listed}: {why}" if why else f"{kind} {listed}"
    return (
        f"{subject}\n\n"
        f"Carpool-Node: {one_line(node, AUTHOR_MAX)}\n"
        f"Carpool-Sections: {' '.join(names)}\n"
        f"Carpool-Kind: {kind}\n"
        f"Carpool-Reason: {why}\n"
    )


def read_trailers(text: str) -> Mapping[str, str]:
    """By lower case name without `Carpool-`; empty for a commit that is none of ours."""
    lines = text.rstrip().rpartition("\n\n")[2].splitlines()
    pairs = (line.partition(":") for line in lines if line.startswith("Carpool-"))
    return {name.removeprefix("Carpool-").lower(): value.strip() for name, _, value in pairs}


def identity(author: str) -> str:
    """`alice@fw1` as git names an author: `alice <alice@fw1>`."""
    mail = one_line(author, AUTHOR_MAX).translate({ord("<"): None, ord(">"): None}).strip()
    mail = mail.replace(" ", "_") or "unknown"
    return f"{mail.partition('@')[0] or mail} <{mail}>"


def one_line(text: str, letters_max: int) -> str:
    """Fit for one line of a terminal: nothing that cannot be seen, no run of spaces."""
    seen = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(seen.split())[:letters_max].rstrip()


def when_iso(seconds: str) -> str:
    """`2026-11-23T05:41:21Z`; "unknown" for what is no time."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "unknown"
