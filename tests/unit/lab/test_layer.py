"""What a machine sees of its host, and what apt is told of packages."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from carpool.errors import KernelError
from carpool.lab import layer

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes device nodes")


@needs_root
def test_what_is_the_hosts_alone_is_hidden(tmp_path: Path) -> None:
    host, upper = tmp_path / "host", tmp_path / "upper"
    for directory in ("usr", "data", "root/.ssh", "var/lib/dpkg", "var/lib/postgresql", "etc"):
        (host / directory).mkdir(parents=True)
    (host / "root").chmod(0o700)
    (host / "etc/fstab").touch()
    upper.mkdir()

    layer.hide(upper, host)

    def absent(name: str) -> bool:
        found = (upper / name).lstat()
        return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0

    assert absent("data") and absent("var/lib/postgresql") and absent("etc/fstab")
    assert not (upper / "usr").exists() and not (upper / "var/lib/dpkg").exists()
    assert stat.S_IMODE((upper / "root").stat().st_mode) == 0o700
    assert os.getxattr(upper / "root", layer.OPAQUE) == b"y"
    assert not (upper / "home").exists()  # the host has none


def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(KernelError, match="failed with 3: at line 7"):
        layer.run(["sh", "-c", "echo at line 7 >&2; exit 3"])
