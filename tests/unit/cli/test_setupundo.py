"""What setup added to the operator's rules goes at a purge, by us and by the package alike."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from carpool.cli import setupundo

POSTRM = Path(__file__).parents[3] / "packaging" / "debian" / "postrm"
RULES = """#!/usr/sbin/nft -f
flush ruleset

# ours

table inet filter {
}

insert rule inet filter input accept comment "mine"
"""
ADDED = """
# carpool setup: the other node may come in
insert rule inet filter input iifname "sync0" accept comment "carpool: nodes on sync"
insert rule inet filter input iifname "lan0" accept comment "carpool: nodes on lan"
"""


def by_postrm(path: Path) -> None:
    (part,) = re.findall(
        r"^    rules=.*\n((?:.*\n)*?)(?=    if getent passwd)", POSTRM.read_text(), re.M
    )
    subprocess.run(["sh", "-euc", part], env={**os.environ, "rules": str(path)}, check=True)


def by_install(path: Path) -> None:
    assert setupundo.is_touched(path)
    setupundo.undo(path)


@pytest.mark.parametrize("undo", [by_postrm, by_install])
@pytest.mark.parametrize("more", ["", "\n\n# later\n"])
def test_every_other_line_stays(undo: object, more: str, tmp_path: Path) -> None:
    assert callable(undo)
    path = tmp_path / "nftables.conf"
    path.write_text(RULES + ADDED + ADDED + more)
    path.chmod(0o755)
    undo(path)
    assert path.read_text() == RULES + more
    assert path.stat().st_mode & 0o777 == 0o755
    assert not setupundo.is_touched(path)
