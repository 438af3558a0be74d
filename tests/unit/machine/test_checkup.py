"""What several checks need."""

from __future__ import annotations

from carpool.machine.checkup import unconfigured, vip_devices
from carpool.model.diagnosis import Skipped
from tests.unit.machine.facts import FACTS, without_config
from tests.unit.model.configs import config


def test_devices_with_vips_and_no_others() -> None:
    assert vip_devices(config()) == {"lan": "lan0", "wan": "wan0"}


def test_a_check_that_needs_the_files_says_so_where_there_are_none() -> None:
    assert list(unconfigured("arp", FACTS)) == []
    assert list(unconfigured("arp", without_config())) == [Skipped("arp", "nobody has looked")]
