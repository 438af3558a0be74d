"""What failover goes by, kept on the disk: the texts of node.toml and group.toml, and older ones.

Room: kernel. A process that is started again goes on in the middle of a change of the group. One
file of JSON in the state directory, written whole or not at all; passwords are in it. Refuses to
know what the texts mean.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from carpool.errors import KernelError

NAME = "applied.json"
PROPOSED = "proposed.toml"  # a group.toml that is looked at, and counts nowhere
SET_ASIDE = ".not-confirmed"  # ends the name of a file whose change nobody confirmed


class Sources(NamedTuple):
    """The texts of both files."""

    node: str
    group: str


@dataclass(frozen=True, slots=True)
class Applied:
    now: Sources
    older: tuple[Sources, ...] = ()  # what peers may have still, the latest first
    before: Sources | None = None  # what is put back, as nobody has confirmed `now` yet


class AppliedFile:
    """`applied.json` in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME

    def read(self) -> Applied | None:
        """None when there is none, or none that makes sense: then nothing is known."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            content = json.loads(self._path.read_text(encoding="utf-8"))
            older = tuple(_sources(one) for one in content["older"])
            before = content["before"] and _sources(content["before"])
            return Applied(_sources(content["now"]), older, before)
        return None

    def write(self, applied: Applied) -> None:
        """Raises KernelError."""
        content = {
            "now": applied.now._asdict(),
            "older": [one._asdict() for one in applied.older],
            "before": applied.before and applied.before._asdict(),
        }
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KernelError(f"make {self._path.parent}: {error.strerror}") from error
        replace_file(self._path, json.dumps(content, indent=1).encode(), like=None)


def put_back(directory: Path, before: Mapping[str, str]) -> list[str]:
    """Give files of `directory` these texts again; what they say now is set aside. The names of
    those that were changed. Raises KernelError."""
    changed = []
    for name, text in before.items():
        path = (directory / name).resolve()  # a link stays one
        try:
            content = path.read_bytes()
            if content.removeprefix(codecs.BOM_UTF8) == text.encode():
                continue
            replace_file(directory / f"{name}{SET_ASIDE}", content, like=path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise KernelError(f"set {path} aside: {error.strerror}") from error
        replace_file(path, text.encode(), like=path)
        changed.append(name)
    return changed


def replace_file(path: Path, content: bytes, *, like: Path | None) -> None:
    """Whole or not at all; readable for root alone, or for whom `like` is. Raises KernelError."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with contextlib.suppress(FileNotFoundError):
                if like is not None:
                    there = like.stat()
                    os.fchown(descriptor, there.st_uid, there.st_gid)
                    os.fchmod(descriptor, there.st_mode & 0o7777)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise KernelError(f"write {path}: {error.strerror}") from error


def _sources(fields: Mapping[str, object]) -> Sources:
    node, group = fields["node"], fields["group"]
    if not isinstance(node, str) or not isinstance(group, str):
        raise TypeError
    return Sources(node, group)
