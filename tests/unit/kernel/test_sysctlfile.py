"""The file of settings that `carpool doctor --fix` keeps for the next boots."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.errors import KernelError
from carpool.kernel.sysctlfile import path_below, remember
from carpool.model.diagnosis import Setting

LOOSE = Setting("net/ipv4/conf/lan0.7/rp_filter", 2)


def test_settings_are_added_and_what_else_is_there_stays(tmp_path: Path) -> None:
    path = path_below(tmp_path)
    assert path == tmp_path / "etc/sysctl.d/90-carpool.conf"
    remember(path, [LOOSE, Setting("net/ipv4/ip_nonlocal_bind", 1)])
    first = path.read_text()
    assert first.endswith("net/ipv4/conf/lan0.7/rp_filter = 2\nnet/ipv4/ip_nonlocal_bind = 1\n")
    assert first.startswith("# Written by")
    remember(path, [LOOSE])
    assert sorted(path.read_text().splitlines()) == sorted(first.splitlines()), "no line twice"

    path.write_text("# mine\nnet.ipv4.ip_nonlocal_bind=0\nvm.swappiness = 10")
    remember(path, [Setting("net/ipv4/ip_nonlocal_bind", 1)])
    assert path.read_text() == "# mine\nvm.swappiness = 10\nnet/ipv4/ip_nonlocal_bind = 1\n"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("no directory")
    with pytest.raises(KernelError, match=r"90-carpool\.conf"):
        remember(path_below(tmp_path), [LOOSE])
