"""A file without attributes that hinder; those that do are in tests/netns/test_kernel_checkrun.py,
for only root can set them."""

from __future__ import annotations

from pathlib import Path

from carpool.kernel.attributes import hindrance


def test_what_may_be_written_has_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("/etc")
    for path in ("/file", "/link", "/gone/too"):
        assert hindrance(path, tmp_path) == ("", "")
