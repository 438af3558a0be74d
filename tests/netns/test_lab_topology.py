"""The lab's network without carpool: VIPs are put on a firewall by hand."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from carpool.errors import KernelError
from carpool.lab import shell
from carpool.lab.topology import (
    FIREWALLS,
    LAN,
    SEGMENTS,
    SERVER_IPV4,
    SERVER_IPV6,
    VIP_SEGMENTS,
    Network,
)
from tests.netns.lab import wait_until


@pytest.fixture
def lab_network() -> Iterator[Network]:
    network = Network(f"cpl-{secrets.token_hex(3)}")
    try:
        for _ in network.build():
            pass
        yield network
    finally:
        network.remove()
        assert network.existing() == ()


def give_vips(network: Network, firewall: str) -> None:
    for segment in VIP_SEGMENTS:
        for address in segment.vip():
            where = ("dev", segment.device)
            shell.ip(network.namespace(firewall), "addr", "add", str(address), *where, "nodad")


def pings(network: Network, node: str, address: object) -> bool:
    argv = shell.inside(network.namespace(node), ["ping", "-n", "-c1", "-W1", str(address)])
    try:
        shell.run(argv)
    except KernelError:
        return False
    return True


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_client_reaches_server_through_the_firewall_that_holds_the_vips(
    lab_network: Network, firewall: str
) -> None:
    give_vips(lab_network, firewall)
    for server in (SERVER_IPV4, SERVER_IPV6):
        wait_until(lambda server=server: pings(lab_network, "client", server))  # type: ignore[misc]
    # The server sees the VIP, not the client: the translation is really done.
    table = shell.run(
        shell.inside(lab_network.namespace(firewall), ["conntrack", "-L", "-p", "icmp"])
    )
    assert "src=10.10.1.10 dst=10.10.2.10" in table
    assert "src=10.10.2.10 dst=10.10.2.100" in table


def test_without_a_vip_nothing_passes(lab_network: Network) -> None:
    assert not pings(lab_network, "client", SERVER_IPV4)
    assert not pings(lab_network, "client", SERVER_IPV6)


def test_nothing_new_enters_from_the_wan(lab_network: Network) -> None:
    give_vips(lab_network, "fw1")
    wait_until(lambda: pings(lab_network, "client", SERVER_IPV6))
    assert not pings(lab_network, "server", LAN.ipv6(10).ip)


def test_a_cut_takes_the_carrier_and_mending_gives_it_back(lab_network: Network) -> None:
    def carriers() -> set[str]:
        lines = shell.ip(lab_network.namespace("fw1"), "-br", "link", "show", "up").splitlines()
        return {line.split("@")[0] for line in lines if "LOWER_UP" in line and "@" in line}

    everything = {segment.device for segment in SEGMENTS}
    assert carriers() == everything
    shell.ip_batch(
        lab_network.namespace("switch"), lab_network.cut_commands("fw1", (LAN,)).splitlines()
    )
    wait_until(lambda: carriers() == everything - {LAN.device})
    lab_network.mend("fw1")
    wait_until(lambda: carriers() == everything)


def test_a_reboot_empties_the_connection_table_and_keeps_the_network_cards(
    lab_network: Network,
) -> None:
    give_vips(lab_network, "fw1")
    wait_until(lambda: pings(lab_network, "client", SERVER_IPV4))
    namespace = lab_network.namespace("fw1")
    before = shell.ip(namespace, "-br", "link", "show", LAN.device).split()[2]

    lab_network.reboot_firewall("fw1")

    assert shell.ip(namespace, "-br", "link", "show", LAN.device).split()[2] == before
    assert shell.run(shell.inside(namespace, ["conntrack", "-L"])) == ""
    assert str(LAN.vip()[0]) not in shell.ip(namespace, "addr")
    give_vips(lab_network, "fw1")
    wait_until(lambda: pings(lab_network, "client", SERVER_IPV4))


def test_removing_twice_or_half_of_it_is_fine() -> None:
    network = Network(f"cpl-{secrets.token_hex(3)}")
    half = network.build()
    next(half)
    next(half)  # namespaces, bridges and hosts are there, fw1 is not cabled yet
    assert len(network.remove()) == 5
    assert network.remove() == ()
