"""What presets advise in their comments is what group.toml takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.api.sections import PRESETS, load_sections
from carpool.errors import CarpoolError
from carpool.lab.presets.advice import switched, tables
from tests.unit.api.files import GROUP, write

ADVISED = [
    (path.stem, table) for path in sorted(PRESETS.glob("*.toml")) for table in tables(path.stem)
]


@pytest.mark.parametrize(("name", "table"), ADVISED)
def test_a_table_can_be_copied_as_it_stands(name: str, table: str, tmp_path: Path) -> None:
    write(tmp_path, group=f"{GROUP}{table}\n")
    _, problems = load_sections(tmp_path)
    assert problems == []


def test_those_that_stay_up_are_switched() -> None:
    assert {name for name, _ in ADVISED} >= {"frr", "openvpn", "ppp", "wireguard"}
    assert "ip ospf cost 10" in switched("frr").command(True)
    service = switched("wireguard", ("/etc/wireguard/wg0.conf",))
    assert service.name == "wg-quick@wg0"
    assert service.command(True) == ("wg", "addconf", "wg0", "/etc/wireguard/wg0.peers")
    with pytest.raises(CarpoolError, match="advises to switch nothing"):
        switched("radvd")
