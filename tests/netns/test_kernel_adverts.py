"""AdvertSocket on real links, against rules, queues and neighbours that mean it no good."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, ip_address, ip_interface

import pytest

from carpool.errors import KernelError
from carpool.kernel.adverts import AdvertSocket, Received
from carpool.kernel.links import LinkMonitor, LinkState
from carpool.model.config import Family, MacMode, Vip
from carpool.proto import announce
from carpool.proto import ipheader as ip
from tests.netns.lab import Namespace, Network, wait_until

PAYLOAD = bytes(range(36))
CARP = 112
VMAC = ip.virtual_mac(51)


class Node:
    """A firewall with one advert socket on its device lan0, and a raw end of the same wire."""

    def __init__(self, host: Namespace) -> None:
        self.host = host
        with host.entered():
            self.monitor = LinkMonitor({"lan": "lan0"})
            self.socket = AdvertSocket(self.state)
            self.raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.raw.bind(("lan0", 3))
        self.raw.setblocking(False)

    @property
    def state(self) -> LinkState:
        self.monitor.read()
        return self.monitor.current()[0]

    @property
    def ipv4(self) -> IPv4Address:
        return self.state.own_ipv4[0].ip

    def next(self) -> Received:
        return wait_until(lambda: self.socket.receive(1), what="an advert")[0]

    def close(self) -> None:
        self.raw.close()
        self.socket.close()
        self.monitor.close()

    def sees(self, wanted: Callable[[bytes], bool]) -> bytes:
        """The next frame that came in and is as wanted."""

        def look() -> bytes:
            try:
                frame, (_device, _protocol, kind, *_rest) = self.raw.recvfrom(2048)
            except BlockingIOError:
                return b""
            return frame if kind != socket.PACKET_OUTGOING and wanted(frame) else b""

        return wait_until(look, what="a frame")


@pytest.fixture
def pair(network: Network) -> Iterator[tuple[Node, Node]]:
    fw1, fw2 = network.host("fw1"), network.host("fw2")
    network.veth(
        *(fw1, "lan0", fw2, "lan0"),
        left_addresses=("10.1.1.2/24", "fd00::2/64"),
        right_addresses=("10.1.1.3/24", "fd00::3/64"),
    )
    nodes = Node(fw1), Node(fw2)
    yield nodes
    for node in nodes:
        node.close()


def is_carp(frame: bytes) -> bool:
    return isinstance(ip.parse(frame, CARP), ip.IpPacket)


def advert(source: str = "10.1.1.9", payload: bytes = PAYLOAD) -> bytes:
    group = ip.GROUP_IPV4 if ":" not in source else ip.GROUP_IPV6
    return ip.build(ip_address(source), group, CARP, payload)


def ethernet(packet: bytes, *, to: bytes = ip.multicast_mac(ip.GROUP_IPV4)) -> bytes:
    kind = ip.ETHERTYPE_IPV4 if packet[0] >> 4 == 4 else ip.ETHERTYPE_IPV6
    return ip.frame(to, bytes.fromhex("020000000009"), kind, packet)


def test_multicast_adverts_of_both_families_arrive_whole(pair: tuple[Node, Node]) -> None:
    one, two = pair
    linklocal = one.state.own_ipv6_linklocal
    assert linklocal is not None

    assert one.socket.send(Family.IPV4, PAYLOAD, source=one.ipv4, vhid=51) is None
    assert two.next() == Received("lan", one.ipv4, 255, PAYLOAD)
    assert one.socket.send(Family.IPV6, PAYLOAD, source=linklocal, vhid=51) is None
    assert two.next() == Received("lan", linklocal, 255, PAYLOAD)
    assert one.socket.receive() == []  # not its own


@pytest.mark.parametrize("vhid", [51, None])
def test_source_mac_is_the_virtual_one_or_the_devices_own(
    pair: tuple[Node, Node], vhid: int | None
) -> None:
    one, two = pair

    one.socket.send(Family.IPV4, PAYLOAD, source=one.ipv4, vhid=vhid)

    frame = two.sees(is_carp)
    assert frame[:6] == bytes.fromhex("01005e000012")
    assert frame[6:12] == (VMAC if vhid else one.state.mac)


def test_the_kernel_is_a_member_of_both_groups(pair: tuple[Node, Node]) -> None:
    one, _two = pair

    groups = one.host.sh("ip maddress show dev lan0")

    assert "inet  224.0.0.18" in groups
    assert "inet6 ff02::12" in groups


def test_neighbours_questions_for_virtual_macs_come_to_the_device(pair: tuple[Node, Node]) -> None:
    """A switch that snoops on MLD sends them where somebody has joined their group."""
    one, _two = pair
    addresses = tuple(ip_interface(text) for text in ("fd01::51/64", "fd01::12:3456/64"))
    vips = [
        Vip("lan", 51, b"secret", addresses),
        Vip("lan", 52, b"secret", (ip_interface("fd01::99/64"),), mac=MacMode.INTERFACE),
    ]
    with one.host.entered():
        member = AdvertSocket(one.state, vips)
    groups = one.host.sh("ip maddress show dev lan0")
    assert "ff02::1:ff00:51\n" in groups and "ff02::1:ff12:3456\n" in groups
    assert "ff02::1:ff00:99" not in groups
    assert not member.not_joined
    member.close()
    assert "ff02::1:ff00:51\n" not in one.host.sh("ip maddress show dev lan0")


HOSTILE = """
table netdev user {
    chain in { type filter hook ingress device "lan0" priority -1000; policy drop; }
}
table inet user {
    chain early { type filter hook prerouting priority raw; policy drop; }
    chain input { type filter hook input priority filter; policy drop; }
    chain output { type filter hook output priority filter; policy drop; }
}
"""


def test_no_rule_of_the_firewall_can_drop_an_advert(pair: tuple[Node, Node]) -> None:
    one, two = pair
    for node in pair:
        node.host.nft(HOSTILE)

    assert one.socket.send(Family.IPV4, PAYLOAD, source=one.ipv4, vhid=51) is None
    assert two.next().payload == PAYLOAD


def test_an_egress_rule_that_drops_adverts_is_told(pair: tuple[Node, Node]) -> None:
    one, _two = pair
    chain = 'type filter hook egress device "lan0" priority 0; policy drop;'
    one.host.nft(f"table netdev user {{\nchain out {{ {chain} }}\n}}\n")

    error = one.socket.send(Family.IPV4, PAYLOAD, source=one.ipv4, vhid=51)

    assert error == "No buffer space available [ENOBUFS]"


def test_a_full_queue_of_the_device_does_not_hold_an_advert_back(
    pair: tuple[Node, Node],
) -> None:
    one, two = pair
    one.host.run("tc", "qdisc", "add", "dev", "lan0", "root", "pfifo", "limit", "0")

    assert one.socket.send(Family.IPV4, PAYLOAD, source=one.ipv4, vhid=51) is None
    assert two.next().payload == PAYLOAD


def test_what_is_no_advert_for_us_is_not_received(pair: tuple[Node, Node]) -> None:
    one, two = pair
    two.host.run("ip", "link", "set", "lan0", "promisc", "on")
    good = advert()
    tagged = ethernet(good)[:12] + b"\x81\x00\x00\x07" + ethernet(good)[12:]
    udp = ip.build(ip_address("10.1.1.9"), ip.GROUP_IPV4, 17, PAYLOAD)
    udp6 = ip.build(ip_address("fe80::9"), ip.GROUP_IPV6, 17, PAYLOAD)
    for frame in (
        ethernet(good, to=bytes.fromhex("020000000077")),  # for another host
        tagged,  # for a VLAN device
        ethernet(udp),
        ethernet(udp6),
        ethernet(good[:6] + b"\x20\x00" + good[8:]),  # a fragment
        announce.gratuitous_arp(VMAC, IPv4Address("10.1.1.51")),
        ethernet(good)[:20],
    ):
        one.raw.send(frame)
    one.raw.send(ethernet(advert(payload=b"the last one")))

    assert two.next().payload == b"the last one"
    assert two.socket.counters == {}


def test_priority_tagged_adverts_are_received(pair: tuple[Node, Node]) -> None:
    one, two = pair
    frame = ethernet(advert())

    one.raw.send(frame[:12] + b"\x81\x00\xe0\x00" + frame[12:])

    assert two.next().payload == PAYLOAD


def test_damaged_headers_are_counted_and_passed_over(pair: tuple[Node, Node]) -> None:
    one, two = pair
    good = advert()
    one.raw.send(ethernet(good[:8] + b"\xfe" + good[9:]))  # the checksum is of hop limit 255
    one.raw.send(ethernet(b"\x4f" + good[1:40]))
    one.raw.send(ethernet(advert(payload=b"the last one")))

    assert two.next().payload == b"the last one"
    assert two.socket.counters == {"ip_checksum": 1, "ip_truncated": 1}


def test_the_hop_limit_is_told_as_it_came(pair: tuple[Node, Node]) -> None:
    one, two = pair
    raw = bytearray(advert("fe80::9"))
    raw[7] = 64

    one.raw.send(ethernet(bytes(raw), to=ip.multicast_mac(ip.GROUP_IPV6)))

    assert two.next() == Received("lan", ip_address("fe80::9"), 64, PAYLOAD)


def test_a_flood_is_handed_over_in_bounded_portions(pair: tuple[Node, Node]) -> None:
    one, two = pair
    for _ in range(100):
        one.raw.send(ethernet(advert()))

    for _ in range(100):  # all of them are there
        two.sees(is_carp)
    portions = [two.socket.receive(64), two.socket.receive(64)]

    assert [len(portion) for portion in portions] == [64, 36]


@pytest.mark.parametrize(("family", "peer"), [(Family.IPV4, "10.1.1.3"), (Family.IPV6, "fd00::3")])
def test_unicast_is_routed_until_the_neighbour_is_known_then_framed(
    pair: tuple[Node, Node], family: Family, peer: str
) -> None:
    one, two = pair
    source = one.ipv4 if family is Family.IPV4 else ip_address("fd00::2")

    def send() -> str | None:
        return one.socket.send(
            family, PAYLOAD, source=source, destinations=[ip_address(peer)], vhid=51
        )

    assert send() is None
    assert two.next() == Received("lan", source, 255, PAYLOAD)
    assert two.sees(is_carp)[6:12] == one.state.mac
    assert one.socket.counters["routed"] == 1

    def framed() -> bool:
        assert send() is None
        frame = two.sees(is_carp)
        return frame[:6] == two.state.mac and frame[6:12] == VMAC

    wait_until(framed)
    assert two.next() == Received("lan", source, 255, PAYLOAD)


def test_one_unreachable_unicast_peer_does_not_keep_it_from_the_other(
    pair: tuple[Node, Node],
) -> None:
    one, two = pair
    peers = [ip_address("255.255.255.255"), two.ipv4]

    error = one.socket.send(Family.IPV4, PAYLOAD, source=one.ipv4, destinations=peers)

    assert two.next().payload == PAYLOAD
    assert error == "to 255.255.255.255: Permission denied [EACCES]"


def test_a_device_that_is_down_is_an_error_of_sending_and_none_of_receiving(
    pair: tuple[Node, Node],
) -> None:
    one, two = pair
    one.host.run("ip", "link", "set", "lan0", "down")

    assert one.socket.receive() == []
    assert one.socket.send(Family.IPV4, PAYLOAD, source=ip_address("10.1.1.2")) == (
        "Network is down [ENETDOWN]"
    )
    assert one.socket.probe() == "Network is down [ENETDOWN]"

    one.host.run("ip", "link", "set", "lan0", "up")
    wait_until(lambda: one.state.carrier and two.state.carrier)
    two.raw.send(ethernet(advert()))
    assert one.next().payload == PAYLOAD  # the same socket works again
    assert one.socket.probe() is None


def test_a_device_that_is_gone_is_an_error_of_sending_and_of_opening(
    pair: tuple[Node, Node],
) -> None:
    one, _two = pair
    state = one.state
    one.host.run("ip", "link", "del", "lan0")

    error = one.socket.send(Family.IPV4, PAYLOAD, source=ip_address("10.1.1.2"))

    assert error is not None
    assert one.socket.receive() == []
    with one.host.entered(), pytest.raises(KernelError, match="packet socket on lan0"):
        AdvertSocket(state)


def test_a_device_without_ethernet_is_refused(network: Network) -> None:
    with network.host("fw").entered():
        monitor = LinkMonitor({"lan": "lo"})
        with pytest.raises(KernelError, match="device lo is not an Ethernet device"):
            AdvertSocket(monitor.current()[0])
        monitor.close()


@pytest.mark.parametrize("mode", list(MacMode))
def test_announcements_teach_the_neighbour(pair: tuple[Node, Node], mode: MacMode) -> None:
    one, two = pair
    vip = Vip(
        "lan", 51, b"x", (ip_interface("10.1.1.51/24"), ip_interface("fd00::51/64")), mac=mode
    )
    two.host.sh(
        "ip neigh replace 10.1.1.51 lladdr 02:00:00:00:00:99 nud stale dev lan0;"
        "ip neigh replace fd00::51 lladdr 02:00:00:00:00:99 nud stale dev lan0"
    )
    mac = ip.mac_text(VMAC if mode is MacMode.VIRTUAL else one.state.mac)

    for address in ("10.1.1.51", "fd00::51"):
        # A Linux neighbour ignores a gratuitous ARP within 1 s of its last change: repeat.
        wait_until(
            lambda address=address: (  # type: ignore[misc]
                one.socket.announce(vip) is None and two.host.neighbour_mac(address) == mac
            )
        )


def test_a_probe_changes_nothing(pair: tuple[Node, Node]) -> None:
    one, two = pair
    two.host.run("ip", "neigh", "flush", "all")

    assert one.socket.probe() is None

    frame = two.sees(lambda f: f[12:14] == b"\x08\x06")
    assert struct.unpack("!4s", frame[28:32])[0] == bytes(4)  # no sender address
    assert two.host.neighbour_mac("10.1.1.2") is None
