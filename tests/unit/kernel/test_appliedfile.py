"""What failover goes by, on the disk: read again as it was written, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carpool.errors import KernelError
from carpool.kernel.appliedfile import NAME, SET_ASIDE, Applied, AppliedFile, Sources, put_back

NOW, OLDER = Sources("node now", 'group "now" \u00e9\n'), Sources("node then", "group then")
WHOLE = Applied(NOW, (OLDER, NOW), before=OLDER)


@pytest.mark.parametrize("applied", [Applied(NOW), Applied(NOW, (OLDER,)), WHOLE])
def test_what_was_written_is_read(tmp_path: Path, applied: Applied) -> None:
    file = AppliedFile(tmp_path / "made" / "state")
    assert file.read() is None
    file.write(applied)
    assert AppliedFile(tmp_path / "made" / "state").read() == applied
    file.write(Applied(OLDER))
    assert file.read() == Applied(OLDER)


def test_passwords_are_for_root_alone_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / f".{NAME}.new").write_text("of a process that died while it wrote")
    AppliedFile(tmp_path).write(WHOLE)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "spoilt",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "{}",
        json.dumps({"now": {"node": "a", "group": 1}, "older": [], "before": None}),
        json.dumps({"now": {"node": "a"}, "older": [], "before": None}),
        json.dumps({"now": {"node": "a", "group": "b"}, "older": 3, "before": None}),
        json.dumps({"now": {"node": "a", "group": "b"}, "older": ["x"], "before": None}),
        json.dumps({"now": {"node": "a", "group": "b"}, "older": [], "before": True}),
    ],
)
def test_what_makes_no_sense_is_nothing(tmp_path: Path, spoilt: str) -> None:
    (tmp_path / NAME).write_text(spoilt)
    assert AppliedFile(tmp_path).read() is None


def test_bytes_that_are_no_text_and_a_directory_are_nothing(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"\xff\xfe{")
    assert AppliedFile(tmp_path).read() is None
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    assert AppliedFile(tmp_path).read() is None


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a directory should be")
    with pytest.raises(KernelError, match=r"make .*/state: File exists"):
        AppliedFile(tmp_path / "state").write(WHOLE)
    (tmp_path / NAME).mkdir()
    with pytest.raises(KernelError, match=f"write .*/{NAME}: "):
        AppliedFile(tmp_path).write(WHOLE)


def test_files_are_put_back_and_what_they_said_is_set_aside(tmp_path: Path) -> None:
    node, group = tmp_path / "node.toml", tmp_path / "group.toml"
    node.write_text("the same")
    group.write_text("of today")
    group.chmod(0o640)
    assert put_back(tmp_path, {"node.toml": "the same", "group.toml": "of \u00fcber"}) == [
        "group.toml"
    ]
    assert (node.read_text(), group.read_text()) == ("the same", "of \u00fcber")
    assert group.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / f"group.toml{SET_ASIDE}").read_text() == "of today"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_is_gone_is_made_again(tmp_path: Path) -> None:
    assert put_back(tmp_path, {"group.toml": "back"}) == ["group.toml"]
    assert (tmp_path / "group.toml").read_text() == "back"
    assert put_back(tmp_path, {"group.toml": "back"}) == []


def test_a_byte_order_mark_and_line_ends_are_no_difference(tmp_path: Path) -> None:
    (tmp_path / "group.toml").write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    assert put_back(tmp_path, {"group.toml": "a = 1\r\n"}) == []


def test_what_is_no_text_is_set_aside_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "group.toml").write_bytes(b"name = \xff")
    assert put_back(tmp_path, {"group.toml": "back"}) == ["group.toml"]
    assert (tmp_path / f"group.toml{SET_ASIDE}").read_bytes() == b"name = \xff"


def test_what_cannot_be_put_back_is_told(tmp_path: Path) -> None:
    (tmp_path / "group.toml").mkdir()
    with pytest.raises(KernelError, match=r"set .*group.toml aside: Is a directory"):
        put_back(tmp_path, {"group.toml": "back"})


def test_a_link_stays_one_and_nobody_else_may_read_what_is_set_aside(tmp_path: Path) -> None:
    """Such as etckeeper and Ansible make."""
    kept = tmp_path / "kept.toml"
    kept.write_text("unconfirmed")
    kept.chmod(0o640)
    link = tmp_path / "group.toml"
    link.symlink_to(kept.name)
    assert put_back(tmp_path, {"group.toml": "before"}) == ["group.toml"]
    assert link.is_symlink() and kept.read_text() == "before"
    aside = tmp_path / f"group.toml{SET_ASIDE}"
    assert aside.read_text() == "unconfirmed"
    assert {path.stat().st_mode & 0o777 for path in (kept, aside)} == {0o640}
