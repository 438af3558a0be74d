"""LinkMonitor and device_facts against a real kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Interface, ip_address

import pytest

from carpool.kernel.clock import monotonic_s
from carpool.kernel.links import LinkMonitor, LinkState, device_facts
from carpool.kernel.netlink import NETLINK_ROUTE, NetlinkSocket, Request
from carpool.kernel.poller import Poller
from carpool.proto import rtnetlink as rt
from tests.netns.lab import Namespace, Network, kernel_has_link_type, wait_until


@contextmanager
def watching(host: Namespace, **devices: str) -> Iterator[LinkMonitor]:
    with host.entered():
        monitor = LinkMonitor(devices)
    try:
        yield monitor
    finally:
        monitor.close()


def when(
    monitor: LinkMonitor, wanted: Callable[[LinkState], bool], within_s: float = 20.0
) -> float:
    """Wait on the monitor's file until an interface is as wanted; seconds that it took."""
    poller = Poller()
    seen: list[LinkState] = []
    poller.add(monitor, lambda: seen.extend(monitor.read()))
    began_s = monotonic_s()
    while not any(map(wanted, seen)):
        assert monotonic_s() < began_s + within_s, f"never told; told: {seen}"
        poller.run_once(began_s + within_s)
    poller.close()
    return monotonic_s() - began_s


@pytest.fixture
def pair(network: Network) -> tuple[Namespace, Namespace]:
    fw, far = network.host("fw"), network.host("far")
    network.veth(
        fw, "lan0", far, "eth0", left_addresses=("10.1.1.2/24", "10.1.1.3/24", "fd00::2/64")
    )
    return fw, far


def test_a_device_is_described(pair: tuple[Namespace, Namespace]) -> None:
    fw, _far = pair
    with watching(fw, lan="lan0", wan="wan0") as monitor:
        lan, wan = monitor.current()

    assert wan == LinkState("wan", "wan0")
    assert (lan.interface, lan.device, lan.present) == ("lan", "lan0", True)
    assert (lan.up, lan.carrier, lan.ethernet) == (True, True, True)
    assert lan.mac.hex(":") == fw.mac("lan0")
    assert lan.own_ipv4 == (IPv4Interface("10.1.1.2/24"), IPv4Interface("10.1.1.3/24"))
    assert lan.own_ipv6_linklocal is not None
    assert lan.own_ipv6_linklocal.is_link_local
    assert lan.own_addresses == (
        ip_address("10.1.1.2"),
        ip_address("10.1.1.3"),
        lan.own_ipv6_linklocal,
        ip_address("fd00::2"),
    )


def test_a_lost_carrier_is_told_at_once_and_its_return_too(
    pair: tuple[Namespace, Namespace],
) -> None:
    fw, far = pair
    with watching(fw, lan="lan0") as monitor:
        for _round in range(3):  # a second change within a second is the one that may be held back
            far.run("ip", "link", "set", "eth0", "down")
            # What the kernel holds back comes a second after the link event before it.
            assert when(monitor, lambda s: s.up and not s.carrier) < 0.5
            far.run("ip", "link", "set", "eth0", "up")
            when(monitor, lambda s: s.carrier)


def test_set_down_is_told(pair: tuple[Namespace, Namespace]) -> None:
    fw, _far = pair
    with watching(fw, lan="lan0") as monitor:
        fw.run("ip", "link", "set", "lan0", "down")
        when(monitor, lambda s: s.present and not s.up and not s.carrier)


def test_a_device_goes_and_comes_back_under_its_name(
    network: Network, pair: tuple[Namespace, Namespace]
) -> None:
    fw, far = pair
    with watching(fw, lan="lan0") as monitor:
        before = monitor.current()[0].index
        fw.run("ip", "link", "del", "lan0")
        when(monitor, lambda s: s == LinkState("lan", "lan0"))
        network.veth(fw, "lan0", far, "eth0", left_addresses=("10.1.1.9/24",))
        when(monitor, lambda s: s.carrier and s.own_ipv4 == (IPv4Interface("10.1.1.9/24"),))
        assert monitor.current()[0].index != before


def test_a_renamed_device_is_gone_and_one_renamed_to_ours_is_here(
    pair: tuple[Namespace, Namespace],
) -> None:
    fw, _far = pair
    with watching(fw, lan="lan0", spare="spare0") as monitor:
        fw.sh("ip link set lan0 down; ip link set lan0 name spare0; ip link set spare0 up")
        when(monitor, lambda s: s.interface == "spare" and s.carrier and bool(s.own_ipv4))
        assert monitor.current()[0] == LinkState("lan", "lan0")


def test_addresses_come_and_go(pair: tuple[Namespace, Namespace]) -> None:
    fw, _far = pair
    with watching(fw, lan="lan0") as monitor:
        fw.run("ip", "address", "del", "10.1.1.2/24", "dev", "lan0")  # and its secondary
        when(monitor, lambda s: not s.own_ipv4)
        fw.run("ip", "address", "add", "10.1.1.7/24", "dev", "lan0")
        when(monitor, lambda s: s.own_ipv4 == (IPv4Interface("10.1.1.7/24"),))


def test_a_tentative_or_duplicate_link_local_address_is_not_usable(network: Network) -> None:
    fw, far = network.host("fw"), network.host("far")
    network.veth(fw, "lan0", far, "eth0")
    far.run("ip", "address", "add", "fe80::51/64", "dev", "eth0", "nodad")
    with watching(fw, lan="lan0") as monitor:
        fw.sh("ip link set lan0 down; ip link set lan0 addrgenmode none; ip address flush dev lan0")
        fw.sysctl("net/ipv6/conf/lan0/accept_dad", 1)
        fw.run("ip", "link", "set", "lan0", "up")
        when(monitor, lambda s: s.carrier and s.own_ipv6_linklocal is None)
        fw.run("ip", "address", "add", "fe80::51/64", "dev", "lan0")
        wait_until(lambda: "dadfailed" in fw.sh("ip address show dev lan0"))
        monitor.read()
        assert monitor.current()[0].own_ipv6_linklocal is None
        fw.run("ip", "address", "add", "fe80::52/64", "dev", "lan0")
        assert monitor.read() == []  # tentative
        when(monitor, lambda s: s.own_ipv6_linklocal == ip_address("fe80::52"))


def test_a_vip_is_no_own_address(pair: tuple[Namespace, Namespace]) -> None:
    fw, _far = pair
    with fw.entered():
        socket = NetlinkSocket(NETLINK_ROUTE)
    with watching(fw, lan="lan0") as monitor:
        before = monitor.current()
        vips = [ip_address("10.1.1.51"), ip_address("fd00::51")]
        socket.request(
            [
                Request("add", rt.put_address(before[0].index, vip, 60, deprecated=False))
                for vip in vips
            ]
        )
        assert "10.1.1.51/32" in fw.sh("ip address show dev lan0")
        assert monitor.read() == []
        assert monitor.current() == before
    socket.close()
    with fw.entered():
        facts = device_facts(["lan0", "wan0"])
    listed = [str(address) for address in facts["lan0"].addresses]
    assert listed[:2] == ["10.1.1.2/24", "10.1.1.3/24"]
    assert "fd00::2/64" in listed
    assert not {"10.1.1.51/32", "fd00::51/128"} & set(listed)
    assert (facts["lan0"].present, facts["lan0"].up, facts["lan0"].carrier) == (True, True, True)
    assert not facts["wan0"].present


def test_lost_events_are_made_good_by_reading_everything_again(
    pair: tuple[Namespace, Namespace],
) -> None:
    fw, far = pair
    with watching(fw, lan="lan0") as monitor:
        batch = "\n".join(
            f"address {verb} 10.9.{n // 256}.{n % 256}/32 dev lan0"
            for _round in range(8)
            for verb in ("add", "del")
            for n in range(1000)
        )
        fw.run("ip", "-batch", "-", input_text=batch)
        far.run("ip", "link", "set", "eth0", "down")
        monitor.read()
        wait_until(lambda: not [*monitor.read(), *monitor.current()][-1].carrier)
        assert monitor.overruns > 0, "the events fitted: this test proves nothing"
        assert len(monitor.current()[0].own_ipv4) == 2


def test_a_bridge_port_change_is_no_device_change(pair: tuple[Namespace, Namespace]) -> None:
    fw, _far = pair
    fw.run("ip", "link", "add", "br0", "type", "bridge")
    with watching(fw, lan="lan0") as monitor:
        fw.sh("ip link set lan0 master br0; ip link set lan0 nomaster")
        monitor.read()
        assert monitor.current()[0].present


@pytest.mark.skipif(not kernel_has_link_type("vlan"), reason="this kernel has no VLAN devices")
def test_a_vlan_device_loses_the_carrier_of_what_it_stands_on(
    pair: tuple[Namespace, Namespace],
) -> None:
    fw, far = pair
    fw.sh("ip link add link lan0 name lan0.7 type vlan id 7; ip link set lan0.7 up")
    with watching(fw, lan="lan0.7") as monitor:
        far.run("ip", "link", "set", "eth0", "down")
        when(monitor, lambda s: s.up and not s.carrier)
