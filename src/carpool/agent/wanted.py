"""From what the primary has to what this node shall have: rendered, and with what is kept.

Room: agent. Blocking: it reads and writes files of a stage. Refuses to know where contents come
from.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from carpool.agent.plan import Plan
from carpool.errors import CarpoolError, ConfigError, KernelError, PeerError
from carpool.kernel import tree
from carpool.kernel.rooted import failed
from carpool.kernel.stage import Stage
from carpool.machine.keep import KeepError, kept_whole, marked, merge, without
from carpool.machine.render import render, template_path
from carpool.model.manifest import Entry, Kind, Manifest, digest, manifest
from carpool.model.section import Section

WORKED_MAX_BYTES = 4 * 1024 * 1024  # of a file that is rendered, or of which lines are kept


class Place:
    """The files of this node: where they are, and what fills templates."""

    def __init__(
        self, root: Path, config_dir: Path, values: Mapping[str, str], digests: tree.Digests
    ) -> None:
        self.root = root
        self.values = values
        self._digests = digests
        # As paths of entries have it: absolute, as if root were "/".
        inside = config_dir.is_relative_to(root)
        self.config_dir = str(Path("/", config_dir.relative_to(root)) if inside else config_dir)

    def stage(self, directory: Path) -> Stage:
        """For contents that may come to be files here."""
        return Stage(directory, self._digests)

    def live(self, section: Section) -> Manifest:
        """What is in use here."""
        return tree.scan(section, self._digests, self.root, as_on_disk=True)

    def source(self, section: Section) -> Manifest:
        """What a peer is to get: of a section of templates, these, by the paths that they are for.
        Without what each node has as its own."""
        found = tree.scan(section, self._digests, self.root)
        if section.template:
            templates = tree.scan(section, self._digests, self.source_root(section))
            if found and not templates:
                raise ConfigError(
                    f"section {section.name} has templates by its definition, but there are none "
                    f"in {self.source_root(section)}",
                    hint=f"put them there (templates{next(iter(found))}), or say template = false",
                )
            found = templates
        return {path: one for path, one in found.items() if not kept_whole(path, section.keep)}

    def source_root(self, section: Section) -> Path:
        """What the paths of `source` are below."""
        if not section.template:
            return self.root
        return self.root / template_path(self.config_dir, "").lstrip("/")

    def have(self, section: Section) -> Manifest:
        """All that a change of this section may touch: what is in use, and the templates of it."""
        found = dict(self.live(section))
        if section.template:
            templates = tree.scan(section, self._digests, self.source_root(section))
            for path, entry in templates.items():
                theirs = template_path(self.config_dir, path)
                found[theirs] = replace(entry, path=theirs)
        return manifest(found.values())

    def standing(self, section: Section, have: Manifest | None = None) -> str:
        """A digest of `have` (or of what it is now) without what this node keeps as its own: the
        same as long as nobody touches what a synchronisation brought."""
        if have is None:
            have = self.have(section)
        shared = [self._shared(section, one) for one in have.values()]
        return digest(manifest(one for one in shared if one is not None))

    def without_lines(self, section: Section) -> str:
        """`standing` where this node keeps lines of files; nothing elsewhere: `source` says it."""
        return self.standing(section) if any(one.begin for one in section.keep) else ""

    def _shared(self, section: Section, entry: Entry) -> Entry | None:
        if kept_whole(entry.path, section.keep):
            return None
        keeps = marked(entry.path, section.keep)
        if not keeps or entry.kind is not Kind.FILE or entry.size > WORKED_MAX_BYTES:
            return entry
        try:
            content = without(b"".join(tree.contents(entry, self.root)), keeps)
        except KeepError:
            return entry  # nobody knows which lines are whose: all of it counts
        return replace(entry, size=len(content), sha256=hashlib.sha256(content).hexdigest())

    def lines_kept(self, section: Section, have: Manifest) -> dict[str, str]:
        """Of each file here of which this node keeps lines, the digest of the rest. Where there
        is no such file, all of it comes."""
        found: dict[str, str] = {}
        for path in {keep.path for keep in section.keep if keep.begin} & have.keys():
            shared = self._shared(section, have[path])
            if shared is not None and shared.kind is Kind.FILE:
                found[path] = shared.sha256
        return found

    def plan(self, section: Section, arrived: Manifest, stage: Stage) -> Plan:
        """What becomes of the section when `arrived` is what the primary has; contents that it
        needs are in the stage, or here already. Raises CarpoolError; changes only the stage."""
        have = self.have(section)
        work = _Work(self, section, have, stage)
        for entry in arrived.values():
            work.take(entry)
        for path, entry in have.items():
            if kept_whole(path, section.keep):
                work.want[path] = entry
        want = manifest(work.want.values()) | self._staying(have, work.want)
        return Plan.of(section, have, manifest(want.values()), work.content, stage.directory)

    def _staying(self, have: Manifest, want: Manifest) -> dict[str, Entry]:
        """Directories that are wanted no more and cannot go: something is left in them that is no
        part of the section, or that is excluded."""
        found: dict[str, Entry] = {}
        for path in sorted(have.keys() - want.keys(), reverse=True):  # deepest first
            if have[path].kind is Kind.DIRECTORY:
                try:
                    below = os.listdir(self.root / path.lstrip("/"))
                except (FileNotFoundError, NotADirectoryError):
                    continue  # gone since it was looked at; who swaps looks again
                except OSError as error:
                    raise failed("look into", path, error) from error
                paths = [f"{path}/{name}" for name in below]
                if any(one not in have or one in want or one in found for one in paths):
                    found[path] = have[path]
        return found


class _Work:
    """One section on its way."""

    def __init__(self, place: Place, section: Section, have: Manifest, stage: Stage) -> None:
        self.want: dict[str, Entry] = {}
        self._place = place
        self._section = section
        self._have = have
        self._stage = stage
        self._here = {one.sha256: one.path for one in have.values() if one.kind is Kind.FILE}

    def take(self, entry: Entry) -> None:
        section = self._section
        if kept_whole(entry.path, section.keep):
            return
        if section.template:
            path = template_path(self._place.config_dir, entry.path)
            self.want[path] = replace(entry, path=path)  # owner and mode: what the file is to have
            if entry.kind is Kind.FILE:
                entry = self._worked(entry, lambda content: render(content, self._place.values))
        keeps = marked(entry.path, section.keep)
        if entry.kind is Kind.FILE and keeps:
            mine = self._mine(entry.path)
            entry = self._worked(entry, lambda content: merge(content, mine, keeps))
        self.want[entry.path] = entry

    def content(self, entry: Entry) -> Path:
        """Where the content of a wanted file is."""
        if entry.sha256 in self._stage:
            return self._stage.path(entry.sha256)
        if entry.sha256 in self._here:
            return self._place.root / self._here[entry.sha256].lstrip("/")
        raise PeerError(
            f"section {self._section.name}: the content of {entry.path} did not arrive",
            hint="synchronise again",
        )

    def _mine(self, path: str) -> bytes | None:
        mine = self._have.get(path)
        if mine is None or mine.kind is not Kind.FILE:
            return None
        return b"".join(tree.contents(mine, self._place.root))

    def _worked(self, entry: Entry, change: Callable[[bytes], bytes]) -> Entry:
        """The entry of what becomes of a content; that goes into the stage too."""
        if entry.size > WORKED_MAX_BYTES:
            raise KernelError(
                f"section {self._section.name}: {entry.path} has {entry.size} bytes, expected "
                f"{WORKED_MAX_BYTES} at most of a file that is rendered or partly kept",
                hint="exclude it, or take the section's template or keep away",
            )
        try:
            content = change(self.content(entry).read_bytes())
        except OSError as error:
            raise KernelError(f"read {entry.path}: {error.strerror}") from error
        except CarpoolError as error:
            where = f"section {self._section.name}, {entry.path}: {error.message}"
            raise type(error)(where, hint=error.hint) from error
        sha256 = hashlib.sha256(content).hexdigest()
        self._stage.put(sha256, [content], len(content))
        return replace(entry, size=len(content), sha256=sha256)


class Contents:
    """Where contents of a revision are: in the stage, or in use already."""

    def __init__(self, root: Path, have: Manifest, stage: Stage) -> None:
        self._root = root
        self._here = {one.sha256: one.path for one in have.values() if one.kind is Kind.FILE}
        self._stage = stage

    def __call__(self, entry: Entry) -> Path:
        if entry.sha256 in self._here:
            return self._root / self._here[entry.sha256].lstrip("/")
        return self._stage.path(entry.sha256)
