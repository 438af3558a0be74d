"""What is synchronised is what was promised: so many sections, files and bytes."""

from __future__ import annotations

import tomllib
from pathlib import Path

from carpool.lab.syncbench.load import SMALL, TREE, Load


def test_the_files_are_as_many_and_as_large_as_they_say(tmp_path: Path) -> None:
    SMALL.write(tmp_path)
    files = [path for path in (tmp_path / TREE).rglob("*") if path.is_file()]
    assert len(files) == SMALL.files
    assert 0.95 < sum(path.stat().st_size for path in files) / SMALL.size_bytes <= 1
    assert len({path.read_bytes() for path in files}) == SMALL.files
    assert sorted(path.name for path in (tmp_path / TREE).iterdir()) == SMALL.names


def test_one_change_is_one_line(tmp_path: Path) -> None:
    SMALL.write(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.conf")}
    SMALL.change(tmp_path, 7)
    (changed,) = [path for path, text in before.items() if path.read_bytes() != text]
    assert changed.read_bytes() == before[changed] + b"option-changed = 7\n"


def test_a_group_selects_them_all() -> None:
    text = 'name = "test"\n[sync]\ninterface = "sync"\n\n[states]\ninterface = "sync"\n'
    group = tomllib.loads(Load().group_toml(text))
    assert group["sync"]["interface"] == group["states"]["interface"] == "sync"
    assert group["sync"]["sections"] == list(group["section"]) == Load().names
    assert len(group["section"]) == 40
