"""What the configuration was: each change of it is a commit in a git repository of this node.

Room: agent. Keeps and finds; refuses to decide what is worth keeping and how it is restored. The
secrets of the sections are in it: the repository is for root alone. Blocking: call it in a thread.

In the tree, `SECTION/absolute/path` is a file or symbolic link. Every entry of a section, with its
owner, mode and digest, is in `SECTION/.carpool-attributes.json`; that file decides.
"""

from __future__ import annotations

import hashlib
import re
import select
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from carpool.agent.git import BRANCH, CHUNK_BYTES, WRITE_TIMEOUT_S, Git, Objects
from carpool.agent.historyformat import (
    Origin,
    attributes,
    attributes_path,
    checked_section,
    identity,
    message,
    one_line,
    raw_bytes,
    read_attributes,
    read_trailers,
    tree_path,
    when_iso,
)
from carpool.errors import CarpoolError, KernelError
from carpool.machine.changes import changes
from carpool.model.manifest import Change, Entry, Kind, Manifest

TEXT_MAX_BYTES = 256 * 1024  # of one file in `show`; a larger one is told about by its size
SHOW_MAX_BYTES = 8 * 1024 * 1024  # of all of them
ATTRIBUTES_MAX_BYTES = 128 * 1024 * 1024  # 100,000 files make 25 MB
LOG_MAX = 10_000
LOOK_BACK_BYTES = 1 << 20  # less than this is read from the disk sooner than found in the past
LOOK_BACK_MAX = 20  # revisions
LARGE_BYTES = 8 << 20  # more takes long, and the synchronisation of it should not
PACKS_MAX = 30  # each revision is a pack; more of them make reading slow
GIVE_WAY_S = 0.05  # what a revision waits at most for the joining of packs
_SHORT_DIGITS = 10
_ASKED = re.compile(r"(?P<id>[0-9a-f]{4,40})|(?:HEAD|head|latest)(?:~(?P<back>[0-9]{1,5}))?")


class _GivesWay(Exception):
    """To somebody who cannot wait."""


class NotRecorded(CarpoolError):
    """Asked for a revision, section or file that the history does not have."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One commit. What others committed with plain git has no `node`, `kind` and `sections`."""

    id: str  # 40 hexadecimal digits
    short: str
    when_iso: str  # UTC
    author: str  # "alice@fw1"
    node: str
    kind: str  # an Origin
    sections: tuple[str, ...]  # that it changed
    reason: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A changed path with its contents before and after; None where there is no file, where its
    content stayed, or where it is larger than a person reads (`change` has the size)."""

    change: Change
    old: bytes | None
    new: bytes | None


@dataclass(slots=True)
class _Edits:
    """What has to be written so that the sections become as wanted."""

    head: str | None
    sections: dict[str, Manifest] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)  # paths in the tree
    links: list[tuple[str, Entry]] = field(default_factory=list)
    files: list[tuple[str, Entry]] = field(default_factory=list)
    present: dict[str, str] = field(default_factory=dict)  # sha256 -> id of the content

    @property
    def size_bytes(self) -> int:
        """Of the contents that have to be written."""
        return sum(entry.size for _, entry in self.files if entry.sha256 not in self.present)


class History:
    """The repository in `directory`, which the first `commit` makes. Raises KernelError when git or
    the disk fail, NotRecorded for what was never in it."""

    def __init__(self, directory: Path) -> None:
        self._git = Git(directory)
        self._wanted = threading.Event()  # somebody writes, or wants to

    def commit(
        self,
        sections: Mapping[str, Manifest],
        content: Callable[[Entry], Path],
        *,
        author: str,
        node: str,
        reason: str,
        kind: Origin,
        when_s: float,
    ) -> Revision | None:
        """Record that these sections are so now; others stay as they are. None: it knew already.

        `content` gives the file to read an entry's bytes from. It is asked only for what the last
        revision of these sections lacks, and for more than 1 MiB the twenty before it.
        On the disk when it returns. After kill -9 or a power loss at any moment the history is
        whole, with or without this revision.
        """
        with self._wanting(), self._git.writing() as lock:
            with self._git.objects() as objects:
                edits = self._edits(objects, sections)
            if not edits.sections:
                return None
            text = message(edits.sections, node=node, reason=reason, kind=kind)
            who = f"{identity(author)} {max(0, int(when_s))} +0000"
            with self._git.talk(
                "fast-import", "--quiet", "--done", "--depth=0",
                timeout_s=WRITE_TIMEOUT_S, lock=lock, yields=edits.size_bytes > LARGE_BYTES,
            ) as (into, out):  # fmt: skip
                _write(into, edits, content, f"author {who}\ncommitter {who}\n", text)
                made = out.readline().decode().strip()
            self._git.settle()
            if self._git.head() != made:
                raise self._git.damaged("it did not take the revision")
            return self._log(1, made, None)[0]

    def log(self, limit: int, section: str | None = None) -> list[Revision]:
        """Newest first, at most 10,000; with a section, only those that changed it."""
        head = self._head()
        return [] if head is None else self._log(min(max(limit, 1), LOG_MAX), head, section)

    def resolve(self, text: str) -> Revision:
        """The revision that a person means: the first digits of its id (4 or more), `HEAD` for the
        newest, `HEAD~2` for the one two before it. Nothing else ever reaches git."""
        asked = _ASKED.fullmatch(text)
        if asked is None:
            raise NotRecorded(
                f"{one_line(text, 60)!r} is no revision",
                hint="expected 4 to 40 digits of its id (`carpool history` lists them), "
                "HEAD, or HEAD~1 for the one before",
            )
        head = self._head()
        ids = [] if head is None else self._git.run("rev-list", "--first-parent", head).split()
        if asked["id"] is None:
            found = ids[int(asked["back"] or 0) :][:1]
        else:
            found = [one for one in ids if one.startswith(asked["id"].encode())]
        if not found:
            raise NotRecorded(
                f"there is no revision {text}; the history holds {len(ids)}",
                hint="`carpool history` lists them",
            )
        if len(found) > 1:
            shown = ", ".join(one.decode()[: len(text) + 4] for one in found[:5])
            raise NotRecorded(
                f"{text} may be any of {len(found)} revisions: {shown}", hint="give more digits"
            )
        return self._log(1, found[0].decode(), None)[0]

    def manifest(self, rev: Revision, section: str) -> dict[str, Entry]:
        """What the section was at that revision."""
        with self._git.objects() as objects:
            found = self._manifest(objects, rev.id, section)
        if found is None:
            raise self._not_recorded(rev, f"section {section}")
        return found

    def contents(
        self, rev: Revision, section: str, entries: Iterable[Entry]
    ) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        """The bytes of these files, in chunks, with one process for all. Take all chunks of one
        before the next; an error may come after the last of them: use none before all are there."""
        with self._git.objects() as objects:
            for entry in entries:
                found = objects.find(f"{rev.id}:{tree_path(section, entry.path)}")
                if found is None or found.kind != "blob":
                    raise self._not_recorded(rev, f"content of {entry.path}")
                yield entry, self._checked(entry, objects.stream(found))

    def show(self, rev: Revision) -> dict[str, list[Shown]]:
        """What it changed in each section, against the revision before it."""
        room = SHOW_MAX_BYTES
        shown: dict[str, list[Shown]] = {}
        with self._git.objects() as objects:
            parent = objects.find(f"{rev.id}^")
            before = "" if parent is None else parent.id
            names = set(self._sections(rev.id)) | set(self._sections(before) if before else ())
            for name in sorted(names):
                places = [f"{one}:{attributes_path(name)}" for one in (before, rev.id) if one]
                if len(places) == 2 and objects.find(places[0]) == objects.find(places[1]):
                    continue
                old = (self._manifest(objects, before, name) if before else None) or {}
                new = self._manifest(objects, rev.id, name) or {}
                shown[name] = rows = []
                for change in changes(old, new):
                    row = _shown(objects, (before, rev.id), name, change, room)
                    room -= len(row.old or b"") + len(row.new or b"")
                    rows.append(row)
        return shown

    def maintain(self, stop: threading.Event | None = None) -> bool:
        """Join packs when there are many; whether it did. Takes at most ten minutes of what nobody
        else wants of one core, most often a second. Readers go on meanwhile; it ends, with nothing
        done, when a `commit` of this object comes, or at `stop`."""
        if not self._git.exists():
            return False
        packs = len(list((self._git.directory / "objects" / "pack").glob("*.pack")))
        if packs <= PACKS_MAX:
            return False
        with self._git.writing() as lock:
            try:
                with self._git.talk(
                    "repack", "--geometric=2", "-d", "-q",
                    timeout_s=WRITE_TIMEOUT_S, lock=lock, yields=True,
                ) as (_into, out):  # fmt: skip
                    over: list[IO[bytes]] = []
                    while not over:
                        if self._wanted.is_set() or (stop is not None and stop.is_set()):
                            raise _GivesWay
                        over = select.select([out], [], [], GIVE_WAY_S)[0]
            except _GivesWay:
                return False
            self._git.settle()
        return True

    @contextmanager
    def _wanting(self) -> Iterator[None]:
        self._wanted.set()
        try:
            yield
        finally:
            self._wanted.clear()

    def _head(self) -> str | None:
        return self._git.head() if self._git.exists() else None

    def _edits(self, objects: Objects, sections: Mapping[str, Manifest]) -> _Edits:
        edits = _Edits(self._git.head())
        for name in sorted(sections):
            have = self._manifest(objects, edits.head, name) if edits.head else None
            if have != sections[name]:
                edits.sections[name] = sections[name]
                _add(edits, name, changes(have or {}, sections[name]))
        if edits.head is not None and edits.files:
            self._find_contents(objects, edits, edits.head)
        return edits

    def _find_contents(self, objects: Objects, edits: _Edits, head: str) -> None:
        """Which of the contents are there already; after a rollback, in an older revision."""
        lacking = {entry.sha256: entry.size for _, entry in edits.files}
        self._find_contents_in(objects, edits, head, lacking)
        if sum(lacking.values()) <= LOOK_BACK_BYTES:
            return
        paths = [attributes_path(name) for name in edits.sections]
        older = self._git.run("rev-list", f"-n{LOOK_BACK_MAX}", head, "--", *paths).decode()
        for commit in older.split():
            if lacking:
                self._find_contents_in(objects, edits, commit, lacking)

    def _find_contents_in(
        self, objects: Objects, edits: _Edits, commit: str, lacking: dict[str, int]
    ) -> None:
        """Moves what this commit holds from `lacking` to `edits.present`."""
        for name in edits.sections:
            for entry in (self._manifest(objects, commit, name) or {}).values():
                if entry.kind is Kind.FILE and entry.sha256 in lacking:
                    found = objects.find(f"{commit}:{tree_path(name, entry.path)}")
                    if found is not None and found.size == entry.size:
                        edits.present[entry.sha256] = found.id
                        del lacking[entry.sha256]

    def _manifest(self, objects: Objects, commit: str, section: str) -> dict[str, Entry] | None:
        text = objects.read(f"{commit}:{attributes_path(section)}", ATTRIBUTES_MAX_BYTES)
        if text is None:
            if objects.find(f"{commit}^{{tree}}") is None:
                raise self._git.damaged(f"commit {commit[:_SHORT_DIGITS]} is not whole")
            return None
        try:
            return read_attributes(text)
        except ValueError as error:
            where = f"{attributes_path(section)} of {commit[:_SHORT_DIGITS]}"
            raise self._git.damaged(f"{where} is not as it was written: {error}") from error

    def _sections(self, commit: str) -> list[str]:
        names = self._git.run("ls-tree", "-d", "-z", "--name-only", commit).split(b"\0")
        return sorted(name.decode("utf-8", "replace") for name in names if name)

    def _log(self, limit: int, start: str, section: str | None) -> list[Revision]:
        path = [] if section is None else [f"{checked_section(section)}/"]
        text = self._git.run(
            "log", "-z", f"-n{limit}", "--first-parent", "--no-show-signature", "--no-notes",
            "--no-color", "--encoding=UTF-8", "--format=%H%n%at%n%ae%n%B", start, "--", *path,
        )  # fmt: skip
        return [_revision(one) for one in text.decode("utf-8", "replace").split("\0") if one]

    def _checked(self, entry: Entry, chunks: Iterator[bytes]) -> Iterator[bytes]:
        seen = hashlib.sha256()
        try:
            for chunk in chunks:
                seen.update(chunk)
                yield chunk
        except (BrokenPipeError, EOFError) as error:
            raise self._git.damaged(f"the content of {entry.path} cannot be read") from error
        if seen.hexdigest() != entry.sha256:
            raise self._git.damaged(f"the content of {entry.path} is not what was recorded")

    def _not_recorded(self, rev: Revision, what: str) -> NotRecorded:
        return NotRecorded(
            f"revision {rev.short} has no {what}", hint="`carpool history` lists what changed when"
        )


def _add(edits: _Edits, section: str, found: list[Change]) -> None:
    """Directories are in the attributes alone: git has none."""
    for change in found:
        place = tree_path(section, change.path)
        if change.new is None:
            if change.old is not None and change.old.kind is not Kind.DIRECTORY:
                edits.removed.append(place)
        elif change.new.kind is Kind.FILE:
            edits.files.append((place, change.new))
        elif change.new.kind is Kind.SYMLINK:
            edits.links.append((place, change.new))


def _write(
    into: IO[bytes], edits: _Edits, content: Callable[[Entry], Path], who: str, text: str
) -> None:
    """The stream of git-fast-import(1): contents first, so that one that cannot be read ends it
    before there is a commit."""
    names = dict(edits.present)
    for _, entry in edits.files:
        if entry.sha256 not in names:
            mark = len(names) + 2  # 1 is the commit
            names[entry.sha256] = f":{mark}"
            into.write(f"blob\nmark :{mark}\ndata {entry.size}\n".encode())
            _copy(content(entry), entry, into)
            into.write(b"\n")
    into.write(f"commit {BRANCH}\nmark :1\n{who}".encode() + _data(text.encode()))
    if edits.head is not None:
        into.write(f"from {edits.head}\n".encode())
    for place in edits.removed:
        into.write(f"D {place}\n".encode())
    for place, entry in edits.files:
        mode = "100755" if entry.mode & 0o100 else "100644"
        into.write(f"M {mode} {names[entry.sha256]} {place}\n".encode())
    for place, entry in edits.links:
        into.write(f"M 120000 inline {place}\n".encode() + _data(raw_bytes(entry.target)))
    for section, entries in edits.sections.items():
        into.write(f"M 100644 inline {attributes_path(section)}\n".encode())
        into.write(_data(attributes(entries)))
    into.write(b"get-mark :1\ndone\n")
    into.flush()


def _data(text: bytes) -> bytes:
    return b"data %d\n%b\n" % (len(text), text)


def _copy(path: Path, entry: Entry, into: IO[bytes]) -> None:
    """Exactly the bytes that the entry names; raises KernelError when the file has others."""
    seen, left = hashlib.sha256(), entry.size
    try:
        file = path.open("rb")
    except OSError as error:
        raise KernelError(f"cannot read {path} for the history: {error.strerror}") from error
    with file:
        while chunk := _read(file, path):
            seen.update(chunk)
            left -= len(chunk)
            if left < 0:
                break
            into.write(chunk)
    if left or seen.hexdigest() != entry.sha256:
        raise KernelError(
            f"{path} changed while the history read it",
            hint="nothing was recorded; try again when nobody writes to it",
        )


def _read(file: IO[bytes], path: Path) -> bytes:
    """Apart from writing, so that an error of the disk is not taken for one of git's pipe."""
    try:
        return file.read(CHUNK_BYTES)
    except OSError as error:
        raise KernelError(f"cannot read {path} for the history: {error.strerror}") from error


def _shown(
    objects: Objects, commits: tuple[str, str], section: str, change: Change, room: int
) -> Shown:
    """Contents as far as there is room for them."""
    texts: list[bytes | None] = []
    old, new = change.old, change.new
    stayed = old is not None and new is not None and old.sha256 == new.sha256
    for commit, entry in zip(commits, (old, new), strict=True):
        text = None
        if entry is not None and entry.kind is Kind.FILE and not stayed:
            place = f"{commit}:{tree_path(section, entry.path)}"
            text = objects.read(place, min(TEXT_MAX_BYTES, room)) if room > 0 else None
        room -= len(text or b"")
        texts.append(text)
    return Shown(change, texts[0], texts[1])


def _revision(text: str) -> Revision:
    lines = [*text.split("\n", 3), "", "", ""]
    found = read_trailers(lines[3])
    return Revision(
        id=lines[0],
        short=lines[0][:_SHORT_DIGITS],
        when_iso=when_iso(lines[1]),
        author=one_line(lines[2], 200),
        node=one_line(found.get("node", ""), 200),
        kind=one_line(found.get("kind", ""), 20),
        sections=tuple(one_line(found.get("sections", ""), LOG_MAX * 10).split()),
        reason=one_line(found.get("reason", lines[3].partition("\n")[0]), 500),
    )
