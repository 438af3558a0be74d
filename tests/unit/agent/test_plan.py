"""What a plan shows of files that are gone since they were looked at."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from carpool.agent.plan import Plan, file_diffs
from carpool.errors import KernelError
from carpool.model.manifest import Entry, Kind
from carpool.model.section import Section


def entry(text: bytes) -> Entry:
    return Entry("/a", Kind.FILE, size=len(text), sha256=hashlib.sha256(text).hexdigest())


def test_a_file_that_went_meanwhile_is_said_to_have_changed(tmp_path: Path) -> None:
    old, new, stage = entry(b"old\n"), entry(b"new\n"), tmp_path / "stage"
    plan = Plan.of(Section("web", paths=("/a",)), {"/a": old}, {"/a": new}, lambda _new: stage)
    (tmp_path / "a").write_bytes(b"old\n")
    with pytest.raises(KernelError, match="/a changed after it was looked at"):
        file_diffs(plan, tmp_path)
    stage.write_bytes(b"new\n")
    (shown,) = file_diffs(plan, tmp_path)
    assert (shown["added"], shown["removed"]) == (1, 1)
    (tmp_path / "a").unlink()
    with pytest.raises(KernelError, match="/a changed after it was looked at"):
        file_diffs(plan, tmp_path)
