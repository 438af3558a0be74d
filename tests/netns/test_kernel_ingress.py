"""The nft table `netdev carpool`: what it stops, what it leaves alone, and how long it lives."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from ipaddress import ip_address

import pytest

from carpool.errors import KernelError
from carpool.kernel.adverts import AdvertSocket
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.kernel.ingress import Ingress
from carpool.kernel.links import LinkMonitor, LinkState
from carpool.kernel.netlink import NETLINK_NETFILTER, NetlinkSocket, Request
from carpool.proto import ipheader as ip
from carpool.proto import nftables as nft
from carpool.proto.ingresstable import Macvlan, Parent
from tests.netns.lab import Namespace, Network, wait_until

CARP = 112
VMAC = ip.virtual_mac(51)


class Table:
    """A firewall `fw` with the table on lan0 for VHIDs 51 (virtual) and 52, and its far end."""

    def __init__(self, network: Network) -> None:
        self.host, self.far = network.host("fw"), network.host("far")
        network.veth(
            *(self.host, "lan0", self.far, "eth0"),
            left_addresses=("10.1.1.2/24",),
            right_addresses=("10.1.1.3/24",),
        )
        self.host.sh(f"ip link add link lan0 name mv0 address {VMAC.hex(':')} type macvlan")
        with self.host.entered():
            self.owner = NetlinkSocket(NETLINK_NETFILTER)
            self.ingress = Ingress(self.owner, 3.0)
            monitor = LinkMonitor({"lan": "lan0"})
            self.adverts = AdvertSocket(monitor.current()[0])
        self.state: LinkState = monitor.current()[0]
        monitor.close()
        with self.far.entered():
            far = LinkMonitor({"lan": "eth0"})
            self.peer = AdvertSocket(far.current()[0])
        far.close()
        words = self.host.sh("ip -o link show dev mv0").split(":")
        self.macvlan = Macvlan(51, "mv0", int(words[0]))
        self.parents = [self.parent(self.macvlan)]
        self.ingress.install(self.parents)

    def parent(self, *macvlans: Macvlan) -> Parent:
        return Parent("lan0", self.state.index, self.state.mac, (51, 52), macvlans)

    def admit(self) -> None:
        self.ingress.admit(self.state.index, self.macvlan)

    def expel(self) -> None:
        self.ingress.expel(self.state.index, self.macvlan)

    def admitted(self) -> set[bytes]:
        return self.ingress.admitted(self.parents[0])

    def rules(self) -> str:
        return self.host.sh("nft list ruleset")

    def counted(self, name: str) -> int:
        words = self.host.sh(f"nft list counter {name}").split()
        return int(words[words.index("packets") + 1])

    def close(self) -> None:
        self.ingress.close()
        self.owner.close()
        self.adverts.close()
        self.peer.close()


@pytest.fixture
def table(network: Network) -> Iterator[Table]:
    made = Table(network)
    yield made
    made.close()


def advert(vhid: int, version_type: int = 0x21) -> bytes:
    return bytes((version_type, vhid)) + bytes(34)


def frame(destination: bytes, vhid: int, tag: bytes = b"") -> bytes:
    packet = ip.build(ip_address("10.1.1.3"), ip.GROUP_IPV4, CARP, advert(vhid))
    whole = ip.frame(destination, bytes.fromhex("020000000009"), ip.ETHERTYPE_IPV4, packet)
    return whole[:12] + tag + whole[12:]


TRACKING = """
table inet user {
    counter carp { }
    chain pre { type filter hook prerouting priority mangle;
        meta l4proto 112 counter name carp
        ct state new accept
    }
}
"""


def tracked(host: Namespace) -> int:
    """Connections of protocol 112."""
    return sum(" 112 " in line for line in host.sh("conntrack -L 2>/dev/null").splitlines())


def test_our_adverts_are_seen_by_us_and_by_nobody_behind(table: Table) -> None:
    table.host.nft(TRACKING)
    group, linklocal = ip.multicast_mac(ip.GROUP_IPV4), ip_address("fe80::9")
    packet6 = ip.build(linklocal, ip.GROUP_IPV6, CARP, advert(52))
    frames = [
        frame(group, 51),
        frame(table.state.mac, 52),  # unicast
        ip.frame(ip.multicast_mac(ip.GROUP_IPV6), bytes(6), ip.ETHERTYPE_IPV6, packet6),
    ]
    for each in frames:
        assert table.peer.send_raw(each) is None
    seen = [wait_until(lambda: table.adverts.receive(1))[0] for _ in frames]

    assert [packet.payload for packet in seen] == [advert(51), advert(52), advert(52)]
    assert table.counted("inet user carp") == 0
    assert tracked(table.host) == 0

    # Another group's, or VRRP: seen too, but the user's rules are the judges.
    assert table.peer.send_raw(frame(group, 99)) is None
    wait_until(lambda: table.counted("inet user carp") == 1)
    assert tracked(table.host) == 1


def test_tagged_frames_belong_to_a_vlan_device_and_pass(table: Table) -> None:
    table.host.nft(
        "table netdev user {\n counter tagged { }\n chain in {\n"
        'type filter hook ingress device "lan0" priority 0;\n'
        "ether type 8021q counter name tagged\n}\n}\n"
    )
    tag = b"\x81\x00\x00\x07"
    table.peer.send_raw(frame(ip.multicast_mac(ip.GROUP_IPV4), 51, tag))
    table.peer.send_raw(frame(VMAC, 51, tag))

    wait_until(lambda: table.counted("netdev user tagged") == 2)


def test_an_admission_lasts_for_its_lifetime_and_is_renewed(table: Table) -> None:
    assert table.admitted() == set()
    table.admit()
    wait_until(lambda: table.admitted() == {VMAC})
    began_s = monotonic_s()
    while monotonic_s() < began_s + 3.5:
        table.admit()
        assert table.admitted() == {VMAC}
    began_s = monotonic_s()

    wait_until(lambda: not table.admitted())

    assert monotonic_s() - began_s > 2.5


def test_expelling_is_at_once_and_harmless(table: Table) -> None:
    table.admit()
    wait_until(table.admitted)
    for _twice in range(2):
        table.expel()
        wait_until(lambda: not table.admitted())


def test_a_macvlan_hears_when_it_is_admitted(table: Table) -> None:
    table.host.sh("ip link set mv0 up; ip address add 10.1.1.51/32 dev mv0")
    table.host.sysctl("net/ipv4/conf/lan0/arp_ignore", 1)
    assert not table.far.pings("10.1.1.51", 0.2)
    table.far.forget_neighbours()

    table.admit()
    wait_until(table.admitted)
    table.ingress.install(table.parents)  # and goes on to
    assert table.far.pings("10.1.1.51")

    table.expel()
    table.far.forget_neighbours()
    assert not table.far.pings("10.1.1.51", 0.2)


def test_a_macvlan_speaks_only_while_it_is_admitted(table: Table) -> None:
    """The kernel puts MLD reports off for up to a second: after a failover they would teach
    switches the wrong port."""
    table.host.sysctl("net/ipv6/conf/mv0/disable_ipv6", 1)  # only what is said here is counted
    table.host.sh("ip link set mv0 up")
    with table.host.entered():
        mouth = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        mouth.bind(("mv0", 0))
    with table.far.entered():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.bind(("eth0", 0x88B6))  # IEEE 802, local experimental 2
    wire.settimeout(5.0)
    for number, admitted in enumerate((False, True, False, True)):
        (table.admit if admitted else table.expel)()
        with nullcontext() if admitted else pytest.raises(OSError):  # ENOBUFS: dropped
            mouth.send(bytes(5) + b"\x01" + VMAC + b"\x88\xb6" + bytes((number,)) * 50)
    heard = [wire.recv(100)[14] for _frame in range(2)]
    assert heard == [1, 3]
    assert "counter packets 2" in table.rules().split("chain out_of_macvlans0")[1]
    mouth.close()
    wire.close()


def test_a_replaced_table_keeps_who_was_admitted(table: Table) -> None:
    table.admit()
    wait_until(table.admitted)

    table.ingress.install(table.parents)
    assert table.admitted() == {VMAC}

    table.ingress.install([table.parent()])  # all in interface mode
    assert table.admitted() == set()


def test_nobody_flushes_or_deletes_the_table(table: Table) -> None:
    table.host.run("nft", "flush", "ruleset")
    assert "table netdev carpool" in table.rules()

    refused = table.host.run("nft", "delete", "table", "netdev", "carpool", check=False)

    assert refused.returncode != 0
    assert "table netdev carpool" in table.rules()


def test_a_second_owner_is_refused_and_told_why(table: Table) -> None:
    with table.host.entered():
        owner = NetlinkSocket(NETLINK_NETFILTER)
        other = Ingress(owner, 3.0)
    with pytest.raises(KernelError, match="another `carpool run failover`"):
        other.install(table.parents)
    other.close()
    owner.close()


def test_the_table_goes_with_its_owner(table: Table) -> None:
    table.owner.close()

    assert "carpool" not in table.rules()


def test_removing_is_harmless_when_there_is_none(table: Table) -> None:
    table.ingress.remove()
    table.ingress.remove()

    assert "carpool" not in table.rules()
    assert table.admitted() == set()


def test_a_table_that_is_refused_changes_nothing(table: Table) -> None:
    # A device that is gone is refused as well, but not by kernels that bind hooks by name.
    impossible = Parent("a-name-beyond-15", 99, bytes(6), (51,))
    before = table.rules()

    with pytest.raises(KernelError, match="hook on a-name-beyond-15"):
        table.ingress.install([*table.parents, impossible])

    assert table.rules() == before


def test_without_lo_admission_is_an_error(table: Table) -> None:
    table.host.run("ip", "link", "set", "lo", "down")

    with pytest.raises(KernelError, match="ip link set lo up"):
        table.admit()


def load_of_rules(host: Namespace, elements: int) -> subprocess.Popen[str]:
    """Somebody loads a blocklist: the kernel's lock of the ruleset is taken for that long."""
    addresses = ",".join(f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(elements))
    child = host.start("nft", "-f", "-")
    assert child.stdin is not None
    listed = f"elements = {{ {addresses} }}"
    child.stdin.write(f"table ip blocked {{\n set s {{\n type ipv4_addr\n {listed}\n }}\n}}\n")
    child.stdin.close()
    child.stdin = None
    return child


def transactions(socket: NetlinkSocket, done: threading.Event) -> list[tuple[float, float]]:
    """Small changes of the ruleset, one after another: when each began and ended."""
    batch = nft.batch_begin(), nft.batch_end()
    both = [Request("", nft.new_table("small")), Request("", nft.delete_table("small"))]
    spans = []
    while not done.is_set():
        began_s = monotonic_s()
        assert socket.attempt(both, batch) == []
        spans.append((began_s, monotonic_s()))
    return spans


def test_a_large_load_of_rules_holds_no_admission_up(table: Table) -> None:
    with table.host.entered():
        socket = NetlinkSocket(NETLINK_NETFILTER)
    done = threading.Event()
    admitted_s = []
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(transactions, socket, done)
        child = load_of_rules(table.host, 200_000)
        while child.poll() is None:
            table.admit()
            admitted_s.append(monotonic_s())
            sleep_s(0.001)
        done.set()
        held_up = [(began_s, end_s) for began_s, end_s in others.result() if end_s - began_s > 0.1]
    socket.close()

    assert child.returncode == 0
    assert held_up, "nobody was held up: this proves nothing"
    # In one of them: in another it may have been the processor that both of us waited for.
    assert (
        max(sum(began_s < at_s < end_s for at_s in admitted_s) for began_s, end_s in held_up) > 10
    )
    assert table.admitted() == {VMAC}
