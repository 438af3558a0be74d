"""What keepalived is told to be: the addresses, VHIDs and preference of the firewalls."""

from __future__ import annotations

from pathlib import Path

from carpool.lab.keepalived import configuration


def test_one_instance_for_each_vip_and_one_group() -> None:
    first, second = (configuration(name, 10, Path("/x")) for name in ("fw1", "fw2"))
    for wanted in ("advert_int 0.01", "virtual_router_id 51", "virtual_router_id 52"):
        assert wanted in first
    for address in ("10.10.1.1/24", "10.10.2.100/24", "fd00:10:1::1/64"):
        assert address in first
    assert "group { lan wan }" in first
    assert first.count("priority 150") == second.count("priority 100") == 2
