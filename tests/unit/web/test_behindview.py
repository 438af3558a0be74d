"""Where the newer group.toml is brought to who has an older one: on the Status page, and VIPs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carpool.web.behindview import ways_of
from tests.unit.web.desk import HOSTILE, Agent, Desk
from tests.unit.web.told import group, node

NEWER: dict[str, Any] = {"group_digest": "b", "change": {"older": ["a"]}}
OLDER: dict[str, Any] = {"group_digest": "a", "change": None}


def test_a_backup_that_is_behind_is_synchronised(tmp_path: Path) -> None:
    told = group(node("fw1", **NEWER), node("fw2", "BACKUP", **OLDER))
    (way,) = ways_of(told)
    assert way == ("Show what differs on fw2, and synchronise it", "/backup/diff?peer=fw2")
    page = Desk(tmp_path, Agent({"/v1/nodes": told})).get("/vips").text
    assert "not all nodes have the newest group.toml" in page
    assert 'href="/backup/diff?peer=fw2"' in page
    (way,) = ways_of({**told, "here": "fw2"})
    assert not way.url and way.text.startswith("On the pages of fw1, below Backup: show what")


def test_a_master_that_is_behind_takes_it_over(tmp_path: Path) -> None:
    told = group(node("fw1", **OLDER), node("fw2", "BACKUP", **NEWER))
    (way,) = ways_of(told)
    assert way == ("Take the newer group.toml over from fw2", "/backup/pull?peer=fw2")
    page = Desk(tmp_path, Agent({"/v1/nodes": told})).get("/").text
    assert "configuration differs: fw1 has an older group.toml than fw2" in page
    assert 'href="/backup/pull?peer=fw2"' in page
    (way,) = ways_of({**told, "here": "fw2"})
    assert way == ("On the pages of fw1, below Backup: take the newer group.toml over from fw2", "")


@pytest.mark.parametrize("path", ["/", "/vips"])
def test_words_of_others_stay_words(path: str, tmp_path: Path) -> None:
    told = group(node("fw1", **NEWER), node(HOSTILE, "BACKUP", **OLDER))
    page = Desk(tmp_path, Agent({"/v1/nodes": told})).get(path).text
    assert "<script>alert" not in page and "\x1b" not in page


def test_of_the_same_file_nothing_is_said() -> None:
    assert ways_of(group(node("fw1", **NEWER), node("fw2", **NEWER))) == []
    assert ways_of({}) == []
