"""Sysctls in a namespace of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.errors import KernelError
from carpool.kernel import sysctl
from carpool.kernel.sysctl import Sysctls
from tests.netns.lab import Network

IGNORE, ANNOUNCE = "net/ipv4/conf/lo/arp_ignore", "net/ipv4/conf/lo/arp_announce"


@pytest.fixture(autouse=True)
def inside(network: Network) -> Iterator[None]:
    with network.host("host").entered():
        yield


def test_settings_are_put_back(tmp_path: Path) -> None:
    sysctls = Sysctls(tmp_path / "sysctls.json")
    sysctls.set(IGNORE, 1)
    sysctls.set(ANNOUNCE, 2)
    assert (sysctl.read(IGNORE), sysctl.read(ANNOUNCE)) == (1, 2)

    sysctls.restore()

    assert (sysctl.read(IGNORE), sysctl.read(ANNOUNCE)) == (0, 0)
    assert not list(tmp_path.iterdir())


def test_a_successor_of_a_killed_process_puts_back_what_was_before_both(tmp_path: Path) -> None:
    Sysctls(tmp_path / "sysctls.json").set(IGNORE, 1)

    successor = Sysctls(tmp_path / "sysctls.json")
    successor.set(IGNORE, 1)
    successor.set(ANNOUNCE, 2)
    successor.restore()

    assert (sysctl.read(IGNORE), sysctl.read(ANNOUNCE)) == (0, 0)


def test_what_somebody_changed_since_stays(tmp_path: Path) -> None:
    sysctls = Sysctls(tmp_path / "sysctls.json")
    sysctls.set(IGNORE, 1)
    sysctl.write(IGNORE, 2)

    sysctls.restore()

    assert sysctl.read(IGNORE) == 2


def test_a_stricter_setting_is_left_alone(tmp_path: Path) -> None:
    sysctl.write(IGNORE, 2)
    sysctls = Sysctls(tmp_path / "sysctls.json")

    sysctls.at_least(IGNORE, 1)
    sysctls.at_least(ANNOUNCE, 2)

    assert (sysctl.read(IGNORE), sysctl.read(ANNOUNCE)) == (2, 2)


def test_a_device_that_is_gone_is_an_error_to_set_and_none_to_restore(
    network: Network, tmp_path: Path
) -> None:
    host = network.hosts["host"]
    host.run("ip", "link", "add", "br0", "type", "bridge")
    sysctls = Sysctls(tmp_path / "sysctls.json")
    sysctls.set("net/ipv4/conf/br0/arp_ignore", 1)
    host.run("ip", "link", "delete", "br0")

    with pytest.raises(KernelError, match="br0/arp_ignore: No such file"):
        sysctls.set("net/ipv4/conf/br0/arp_ignore", 1)
    sysctls.restore()


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": ["x", 2]}', "\x00"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "sysctls.json"
    file.write_text(text)

    sysctls = Sysctls(file)
    sysctls.set(IGNORE, 1)
    sysctls.restore()

    assert sysctl.read(IGNORE) == 0


def test_a_run_directory_that_cannot_be_written_keeps_nothing_from_being_set(
    tmp_path: Path,
) -> None:
    sysctls = Sysctls(tmp_path / "missing" / "sysctls.json")
    sysctls.set(IGNORE, 1)
    assert sysctl.read(IGNORE) == 1
    assert sysctls.unsaved.endswith("sysctls.json: No such file or directory")

    (tmp_path / "missing").mkdir()
    sysctls.save()
    assert not sysctls.unsaved
    Sysctls(tmp_path / "missing" / "sysctls.json").restore()
    assert sysctl.read(IGNORE) == 0
