"""What is written on a machine's disk before it boots for the first time."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.api.settings import load
from carpool.lab.image import SERVICES
from carpool.lab.machine import Machine, interfaces
from carpool.lab.topology import FIREWALLS, Network


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine("fw1", Network("try", machines=True), tmp_path / "try" / "fw1")


def test_the_written_configuration_is_accepted_and_names_the_services(machine: Machine) -> None:
    machine.root.parent.mkdir()
    machine.prepare()
    config, problems = load(machine.config_dir)
    assert problems == []
    assert config is not None
    assert config.group.sync is not None
    assert config.group.sync.sections == SERVICES
    assert machine.config_dir.stat().st_mode & 0o077 == 0


def test_machines_differ_in_what_has_to_differ(machine: Machine, tmp_path: Path) -> None:
    other = Machine("fw2", machine.network, tmp_path / "try" / "fw2").configuration()
    same = {path for path, text in machine.configuration().items() if other[path] == text}
    assert same == {"etc/nftables.conf", "etc/sysctl.d/90-router.conf", "etc/carpool/group.toml"}
    assert machine.container.cgroup_name != "carpool-lab-try-fw2"


def test_pages_are_served_on_the_lan_and_at_a_socket_of_this_host(tmp_path: Path) -> None:
    (tmp_path / "try").mkdir()
    root = tmp_path / "try" / "fw1"
    shown = Machine("fw1", Network("try", machines=True), root, shown=True)
    shown.prepare()
    config, problems = load(shown.config_dir)
    assert problems == [] and config is not None and config.group.web is not None
    assert config.group.web.interfaces == ("lan",)
    assert 'iifname "lan0" tcp dport 8443 accept' in shown.configuration()["etc/nftables.conf"]
    with shown.pages.listener() as listener:
        port = listener.getsockname()[1]
    handed = shown.handed()
    named = handed["etc/systemd/system/carpool-web.socket"].splitlines()
    assert f"ListenStream=127.0.0.1:{port}" in named
    wanted = handed["etc/systemd/system/sockets.target.d/carpool-lab.conf"]
    assert "Wants=carpool-web.socket" in wanted.splitlines()


def test_a_machine_that_is_not_to_show_them_has_none(machine: Machine) -> None:
    written = machine.configuration()
    assert "[web]" not in written["etc/carpool/group.toml"]
    assert "8443" not in written["etc/nftables.conf"]


@pytest.mark.parametrize("name", FIREWALLS)
def test_every_interface_comes_up_with_both_addresses(name: str) -> None:
    text = interfaces(name)
    for device, octet in (("lan0", 1), ("wan0", 2), ("sync0", 3)):
        host = 2 + FIREWALLS.index(name)
        assert f"iface {device} inet static\n    address 10.10.{octet}.{host}/24" in text
        assert f"iface {device} inet6 static\n    address fd00:10:{octet}::{host}/64" in text


def test_a_bare_machine_is_a_firewall_by_itself(tmp_path: Path) -> None:
    network = Network("try", machines=True)
    bare = Machine("fw1", network, tmp_path / "try" / "fw1", bare=True).configuration()
    assert "masquerade" in bare["etc/nftables.conf"]
    assert "378" not in bare["etc/nftables.conf"], "no port of carpool is open"
    assert "    gateway 10.10.2.10\n" in bare["etc/network/interfaces"]
