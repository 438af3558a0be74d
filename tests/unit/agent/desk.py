"""A history of revisions, files to record in it, and plain git to look at it from outside."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from carpool.agent.history import History, Revision
from carpool.agent.historyformat import Origin
from carpool.model.manifest import Entry, Kind, Manifest, manifest

WHEN_S = 1_795_412_481.0  # 2026-11-23T05:41:21Z


def file(path: str, text: bytes, mode: int = 0o644, owner: str = "root") -> Entry:
    return Entry(path, Kind.FILE, mode, owner, "adm", len(text), hashlib.sha256(text).hexdigest())


def link(path: str, target: str) -> Entry:
    return Entry(path, Kind.SYMLINK, owner="root", group="root", target=target)


def directory(path: str, mode: int = 0o755) -> Entry:
    return Entry(path, Kind.DIRECTORY, mode, "root", "root")


class Desk:
    """A history, and files to record in it."""

    def __init__(self, where: Path) -> None:
        self.path = where / "state" / "history"
        self.history = History(self.path)
        self.stage = where / "stage"
        self.stage.mkdir()
        self.read: list[str] = []  # paths whose content the history asked for

    def put(self, path: str, text: bytes, mode: int = 0o644, owner: str = "root") -> Entry:
        entry = file(path, text, mode, owner)
        (self.stage / entry.sha256).write_bytes(text)
        return entry

    def content(self, entry: Entry) -> Path:
        self.read.append(entry.path)
        return self.stage / entry.sha256

    def commit(
        self, reason: str = "", *, kind: Origin = "applied", **sections: list[Entry]
    ) -> Revision | None:
        return self.record(sections, reason, kind)

    def record(
        self, sections: Mapping[str, list[Entry]], reason: str = "", kind: Origin = "applied"
    ) -> Revision | None:
        wanted: Mapping[str, Manifest] = {
            name: manifest(entries) for name, entries in sections.items()
        }
        return self.history.commit(
            wanted,
            self.content,
            author="alice@fw1",
            node="fw1",
            reason=reason,
            kind=kind,
            when_s=WHEN_S,
        )

    def made(
        self, reason: str = "", *, kind: Origin = "applied", **sections: list[Entry]
    ) -> Revision:
        revision = self.commit(reason, kind=kind, **sections)
        assert revision is not None
        return revision

    def git(self, *arguments: str, text: bytes = b"") -> bytes:
        """From outside, as an operator has it."""
        line = ["git", f"--git-dir={self.path}", *arguments]
        return subprocess.run(line, check=True, input=text, capture_output=True).stdout

    def fsck(self) -> None:
        done = subprocess.run(
            ["git", f"--git-dir={self.path}", "fsck", "--strict", "--full", "--no-dangling"],
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, b""), done.stderr

    def bytes_of(self, revision: Revision, section: str, path: str) -> bytes:
        entry = self.history.manifest(revision, section)[path]
        return self.content_of(revision, section, entry)

    def content_of(self, revision: Revision, section: str, entry: Entry) -> bytes:
        found = self.history.contents(revision, section, [entry])
        return b"".join(chunk for _entry, chunks in found for chunk in chunks)


def run(desk: Desk, code: str, **env: str) -> subprocess.Popen[str]:
    """A process of its own with a `History` at hand, and `entry(path, bytes)` to record."""
    head = f"""
        import sys
        from pathlib import Path
        from tests.unit.agent.desk import WHEN_S, file, manifest
        from carpool.agent.history import History
        history = History(Path({str(desk.path)!r}))
        def commit(entry, content):
            return history.commit({{"dns": manifest([entry])}}, lambda _: content, author="a@b",
                                  node="fw1", reason="", kind="applied", when_s=WHEN_S)
    """
    text = textwrap.dedent(head) + textwrap.dedent(code)
    root = Path(__file__).parents[3]
    paths = f"{root / 'src'}{os.pathsep}{root}"
    return subprocess.Popen(
        [sys.executable, "-c", text],
        env={**os.environ, "PYTHONPATH": paths, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
