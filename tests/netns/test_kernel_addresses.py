"""AddressHolder with real neighbours: who answers for a VIP, by which device its packets come in,
and what becomes of it when a process dies or somebody interferes."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator, Sequence
from ipaddress import ip_interface
from pathlib import Path

import pytest

from carpool.errors import KernelError
from carpool.kernel.addresses import AddressHolder
from carpool.kernel.adverts import AdvertSocket
from carpool.kernel.clock import monotonic_s
from carpool.kernel.links import LinkMonitor, LinkState
from carpool.kernel.netlink import NETLINK_NETFILTER, NetlinkSocket
from carpool.model.config import Config, Group, MacMode, Node, VhostKey, Vip
from tests.netns.lab import Namespace, Network, holds_for, kernel_has_link_type, wait_until

VMAC = "00:00:5e:00:01:33"  # of VHID 51
KEY = VhostKey("lan", 51)
VIP4, VIP6 = "10.1.1.51", "fd01::51"
REPOSITORY = Path(__file__).parents[2]


def vip(
    vhid: int = 51,
    addresses: Sequence[str] = (f"{VIP4}/24", f"{VIP6}/64"),
    *,
    interface: str = "lan",
    mac: MacMode = MacMode.VIRTUAL,
) -> Vip:
    return Vip(interface, vhid, b"x", tuple(map(ip_interface, addresses)), mac=mac)


class Firewall:
    """A host with an AddressHolder. `crash` leaves everything behind, as a killed process would."""

    def __init__(self, host: Namespace, run_dir: Path, **devices: str) -> None:
        self.host = host
        self.run_dir = run_dir
        self.devices = devices or {"lan": "lan0"}
        run_dir.mkdir(exist_ok=True)
        with host.entered():
            self.monitor = LinkMonitor(self.devices)
            self.owner = NetlinkSocket(NETLINK_NETFILTER)
        self.holder: AddressHolder | None = None
        self.vips: tuple[Vip, ...] = ()

    def state(self, interface: str = "lan") -> LinkState:
        self.monitor.read()
        return next(s for s in self.monitor.current() if s.interface == interface)

    def start(self, *vips: Vip) -> None:
        """Begin as a process does: read what is held, then prepare what is there."""
        self.vips = vips or (vip(),)
        config = Config(Node("fw", self.devices), Group("g", self.vips))
        with self.host.entered():
            self.holder = AddressHolder(config, self.run_dir, self.owner)
        self.prepare()

    def prepare(self) -> None:
        with self.host.entered():
            for each in self.vips:
                state = self.state(each.interface)
                if state.present:
                    self.ours.prepare(each, state)

    @property
    def ours(self) -> AddressHolder:
        assert self.holder is not None
        return self.holder

    def take(self, key: VhostKey = KEY) -> None:
        self.ours.take(key)

    def hold(self, key: VhostKey = KEY) -> bool:
        """True, for use as a condition; an error of the background is raised here."""
        with self.host.entered():  # the background thread begins here
            self.ours.hold(key)
        return True

    def release(self, key: VhostKey = KEY) -> None:
        self.ours.release(key)

    def held(self) -> frozenset[VhostKey]:
        return self.ours.held()

    def announce(self) -> None:
        with self.host.entered():
            adverts = AdvertSocket(self.state())
        for each in self.vips:
            assert adverts.announce(each) is None
        adverts.close()

    def counter(self, name: str) -> int:
        """The packets that a named counter of the user's rules has seen."""
        words = self.host.sh(f"nft list counter inet user {name}").split()
        return int(words[words.index("packets") + 1])

    def crash(self) -> None:
        """The process is gone, its guard lives on."""
        self.ours.close()
        self.holder = None

    def stop(self) -> None:
        if self.holder is not None:
            with self.host.entered():
                self.holder.cleanup()
            self.holder = None

    def close(self) -> None:
        self.stop()
        self.owner.close()
        self.monitor.close()


# What a user's firewall looks like: LAN by name, the rest counted and dropped.
RULES = """
table inet user {
    counter lan { }
    counter other { }
    chain input {
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        iifname "lan0" counter name lan accept
        ip6 nexthdr icmpv6 icmpv6 type 133-137 accept
        counter name other
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        iifname "lan0" counter name lan accept
        iifname "wan0" oifname "lan0" accept
        counter name other
    }
}
"""


@pytest.fixture
def fw(network: Network, tmp_path: Path) -> Iterator[Firewall]:
    """client (.9) - fw (.2) - server, fw forwarding; the client's gateway is the VIP."""
    host = network.host("fw", forwarding=True)
    client, server = network.host("client"), network.host("server")
    network.veth(
        *(host, "lan0", client, "eth0"),
        left_addresses=("10.1.1.2/24", "fd01::2/64"),
        right_addresses=("10.1.1.9/24", "fd01::9/64"),
    )
    network.veth(
        *(host, "wan0", server, "eth0"),
        left_addresses=("10.2.2.2/24", "fd02::2/64"),
        right_addresses=("10.2.2.9/24", "fd02::9/64"),
    )
    client.sh(f"ip route add default via {VIP4}; ip -6 route add default via {VIP6}")
    server.sh("ip route add default via 10.2.2.2; ip -6 route add default via fd02::2")
    firewall = Firewall(host, tmp_path / "run")
    yield firewall
    firewall.close()


@pytest.fixture
def client(network: Network, fw: Firewall) -> Namespace:
    return network.hosts["client"]


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> Iterator[tuple[Firewall, Firewall, Namespace]]:
    """Two firewalls and a client on a switch."""
    one, two, client = (network.host(name) for name in ("fw1", "fw2", "client"))
    network.bridge(
        "switch",
        [
            (one, "lan0", ("10.1.1.2/24", "fd01::2/64")),
            (two, "lan0", ("10.1.1.3/24", "fd01::3/64")),
            (client, "eth0", ("10.1.1.9/24", "fd01::9/64")),
        ],
    )
    firewalls = Firewall(one, tmp_path / "one"), Firewall(two, tmp_path / "two")
    for firewall in firewalls:
        firewall.start()
    yield *firewalls, client
    for firewall in firewalls:
        firewall.close()


# --------------------------------------------------------------------------- who answers, and how


@pytest.mark.parametrize("address", [VIP4, VIP6])
def test_a_taken_vip_answers_from_the_virtual_mac(
    fw: Firewall, client: Namespace, address: str
) -> None:
    fw.start()
    assert not client.pings(address, 0.2)
    client.forget_neighbours()

    fw.take()

    assert client.pings(address)
    assert client.neighbour_mac(address) == VMAC


@pytest.mark.parametrize("address", [VIP4, VIP6])
def test_in_interface_mode_it_answers_from_the_devices_own(
    fw: Firewall, client: Namespace, address: str
) -> None:
    fw.start(vip(mac=MacMode.INTERFACE))
    links = fw.host.sh("ip -brief link")

    fw.take()

    assert client.pings(address)
    assert client.neighbour_mac(address) == fw.host.mac("lan0")
    assert fw.host.sh("ip -brief link") == links
    fw.release()
    assert VIP4 not in fw.host.sh("ip address")
    assert VIP6 not in fw.host.sh("ip address")


def test_in_interface_mode_the_vip_is_no_source_of_the_nodes_own_connections(
    fw: Firewall, client: Namespace
) -> None:
    fw.start(vip(mac=MacMode.INTERFACE))
    fw.take()

    assert "src 10.1.1.2" in fw.host.sh("ip route get 10.1.1.9")
    assert "src fd01::2" in fw.host.sh("ip -6 route get fd01::9")


@pytest.mark.parametrize("strict", [0, 1])
def test_packets_for_and_through_the_vip_enter_on_the_parent(
    fw: Firewall, client: Namespace, strict: int
) -> None:
    fw.host.sysctl("net/ipv4/conf/all/rp_filter", strict)
    fw.host.sysctl("net/ipv4/conf/lan0/rp_filter", strict)
    fw.host.nft(RULES)
    fw.start()
    fw.take()

    for address in (VIP4, VIP6, "10.2.2.9", "fd02::9"):
        before = fw.counter("lan")
        assert client.pings(address), address
        assert fw.counter("lan") > before, address
    assert client.neighbour_mac(VIP4) == client.neighbour_mac(VIP6) == VMAC
    assert fw.counter("other") == 0


def test_no_broadcast_is_handled_twice(fw: Firewall, client: Namespace) -> None:
    fw.host.sysctl("net/ipv4/icmp_echo_ignore_broadcasts", 0)
    fw.start()
    fw.take()

    told = client.run("ping", "-b", "-n", "-c", "1", "-W", "0.5", "10.1.1.255").stdout

    assert "1 received" in told
    assert "duplicates" not in told


def test_the_nodes_own_address_keeps_the_nodes_own_mac(fw: Firewall, client: Namespace) -> None:
    fw.start()
    fw.take()

    for address in ("10.1.1.2", "fd01::2"):
        assert client.pings(address)
        assert client.neighbour_mac(address) == fw.host.mac("lan0")


def test_traffic_of_the_node_from_the_vip_does_not_teach_its_own_mac(
    fw: Firewall, client: Namespace
) -> None:
    fw.start()
    fw.take()
    assert client.pings(VIP4)
    for address in (VIP4, VIP6):
        fw.host.run("ip", "neigh", "flush", "all")
        target = "10.1.1.9" if address == VIP4 else "fd01::9"
        fw.host.run("ping", "-n", "-c", "1", "-W", "1", "-I", address, target)

    assert client.pings(VIP6)
    assert client.neighbour_mac(VIP4) == client.neighbour_mac(VIP6) == VMAC


def test_a_link_local_vip_answers_and_forwards(fw: Firewall, client: Namespace) -> None:
    fw.start(vip(addresses=("fe80::51/64",)))
    client.run("ip", "-6", "route", "replace", "default", "via", "fe80::51", "dev", "eth0")

    fw.take()

    assert client.pings("fe80::51%eth0")
    assert client.pings("fd02::9")
    assert client.neighbour_mac("fe80::51") == VMAC


def test_hundreds_of_addresses_are_taken_and_given_up_in_one_step(
    fw: Firewall, client: Namespace
) -> None:
    many = [f"10.1.1.{n}/24" for n in range(50, 250)] + [f"fd01::{n:x}/64" for n in range(50, 250)]
    fw.start(vip(addresses=many))
    began_s = monotonic_s()

    fw.take()

    took_s = monotonic_s() - began_s
    lines = fw.host.sh("ip -o address").splitlines()
    assert sum(" carp51-" in line for line in lines) == 400
    assert client.pings("10.1.1.249")
    assert client.pings("fd01::f9")
    fw.release()
    assert not client.pings("10.1.1.249", 0.2)
    wait_until(lambda: " carp51-" not in fw.host.sh("ip -o address"))
    assert took_s < 5  # some 20 ms when nobody else wants the processor


def test_hundreds_of_vhids_are_taken_and_given_up_soon(fw: Firewall, client: Namespace) -> None:
    fw.start(*(vip(n, (f"10.1.1.{n}/24",)) for n in range(10, 250)))  # more than a chain holds
    began_s = monotonic_s()

    for each in fw.vips:
        fw.take(each.key)
    taken_s = monotonic_s() - began_s
    assert client.pings("10.1.1.249")
    for each in fw.vips:
        fw.release(each.key)

    assert not client.pings("10.1.1.249", 0.2)
    wait_until(lambda: not fw.held(), 20.0)
    assert taken_s < 10  # some 40 ms when nobody else wants the processor


# ------------------------------------------------------------------------------- not the master


def test_a_backup_neither_answers_nor_forwards_what_a_switch_floods_to_it(
    fw: Firewall, client: Namespace, network: Network
) -> None:
    fw.start()
    fw.host.nft(RULES)
    fw.host.run("ip", "link", "set", "lan0", "promisc", "on")
    client.sh(
        f"ip neigh replace {VIP4} lladdr {VMAC} dev eth0;"
        f"ip neigh replace {VIP6} lladdr {VMAC} dev eth0"
    )
    for address in (VIP4, VIP6, "10.2.2.9", "fd02::9"):
        assert not client.pings(address, 0.2), address
    assert fw.counter("lan") == fw.counter("other") == 0

    fw.take()  # the same frames, admitted
    for address in (VIP4, VIP6, "10.2.2.9", "fd02::9"):
        assert client.pings(address), address

    fw.release()
    for address in (VIP4, VIP6, "10.2.2.9", "fd02::9"):
        assert not client.pings(address, 0.2), address
    wait_until(lambda: " state DOWN " in fw.host.sh("ip -o link show type macvlan"))


def test_a_vip_moves_without_the_client_noticing(
    pair: tuple[Firewall, Firewall, Namespace],
) -> None:
    one, two, client = pair
    one.take()
    one.announce()
    assert client.pings(VIP4)
    assert client.pings(VIP6)
    for old, new in ((one, two), (two, one)) * 3:
        new.take()
        new.announce()  # moves the port of the MAC in the switch
        old.release()
        for address in (VIP4, VIP6):
            assert client.pings(address)
            assert client.neighbour_mac(address) == VMAC
        wait_until(lambda old=old: not old.held())  # type: ignore[misc]
        assert client.pings(VIP4)  # what is done in the background is not seen outside either


def muted(fw: Firewall) -> int:
    """Packets that a macvlan was kept from sending."""
    rules = fw.host.sh("nft list ruleset").partition("chain out_of_macvlans0")[2].partition("}")[0]
    return sum(int(count) for count in re.findall(r"counter packets (\d+)", rules))


def test_nothing_comes_from_the_virtual_mac_unasked(fw: Firewall, client: Namespace) -> None:
    """A switch would send the new master's frames to the old one."""
    with client.entered():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.bind(("eth0", 3))
    wire.settimeout(5.0)

    def from_the_virtual_mac() -> bool:
        return wire.recv(2048)[6:12].hex(":") == VMAC

    fw.start()
    for move in range(3):
        fw.take()
        # MLD reports, which the kernel sends when it likes to: two for each time
        wait_until(lambda move=move: muted(fw) > move)  # type: ignore[misc]
        fw.release()
        wait_until(lambda: not fw.held())

    wire.setblocking(False)
    with pytest.raises(BlockingIOError):
        while not from_the_virtual_mac():
            pass
    wire.close()


def test_a_backup_reaches_the_vip_on_the_master(
    pair: tuple[Firewall, Firewall, Namespace],
) -> None:
    one, two, _client = pair
    two.take()
    two.release()
    wait_until(lambda: not two.held())
    one.take()

    for address in (VIP4, VIP6):
        wait_until(lambda address=address: two.host.pings(address))  # type: ignore[misc]
        assert two.host.neighbour_mac(address) == VMAC


# --------------------------------------------------------------------------------- lifetimes

HOLDER = """
import sys
from ipaddress import ip_interface
from pathlib import Path
from carpool.kernel.addresses import AddressHolder
from carpool.kernel.clock import sleep_s
from carpool.kernel.links import LinkMonitor
from carpool.model.config import Config, Group, MacMode, Node, VhostKey, Vip

mac, run_dir = MacMode(sys.argv[1]), Path(sys.argv[2])
vip = Vip("lan", 51, b"x", tuple(map(ip_interface, sys.argv[3:])), mac=mac)
holder = AddressHolder(Config(Node("fw", {"lan": "lan0"}), Group("g", (vip,))), run_dir)
holder.prepare(vip, LinkMonitor({"lan": "lan0"}).current()[0])
holder.take(vip.key)
print("taken", flush=True)
while True:
    sleep_s(0.5)
    holder.hold(vip.key)
"""


@pytest.mark.parametrize("mode", list(MacMode))
def test_a_killed_holders_addresses_vanish_within_their_lifetime(
    fw: Firewall, client: Namespace, mode: MacMode
) -> None:
    arguments = (mode, str(fw.run_dir), f"{VIP4}/24", f"{VIP6}/64")
    child = fw.host.start(
        *(sys.executable, "-c", HOLDER, *arguments), env={"PYTHONPATH": str(REPOSITORY / "src")}
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "taken\n"
    assert client.pings(VIP4)

    def answers() -> bool:
        return client.pings(VIP4, 0.1) or client.pings(VIP6, 0.1)

    holds_for(answers, 4.0, "the VIP while it is held")
    child.kill()
    killed_s = monotonic_s()
    wait_until(lambda: not answers(), 6.0, "the VIP to go")

    assert monotonic_s() - killed_s > 1.5
    held = f"{VIP4}/32", f"{VIP6}/128"
    wait_until(lambda: not any(each in fw.host.sh("ip -o address") for each in held))
    if mode is MacMode.VIRTUAL:  # by a process that is paused, see test_kernel_ingress.py
        assert "table netdev carpool" not in fw.host.sh("nft list ruleset")


def test_holding_keeps_them_and_brings_back_what_somebody_removed(
    fw: Firewall, client: Namespace
) -> None:
    fw.start()
    fw.take()
    (name,) = (word for word in fw.host.sh("ip -o link").split() if word.startswith("carp51-"))
    device = name.split("@")[0]
    damages = [
        f"ip address del {VIP4}/32 dev {device}",
        f"ip address flush dev {device}",
        f"ip link set {device} down",
        f"ip link delete {device}",
        "nft flush ruleset",
    ]
    for damage in damages:
        fw.host.sh(damage)
        wait_until(
            lambda: fw.hold() and client.pings(VIP4, 0.1) and client.pings(VIP6, 0.1), 5.0, damage
        )


def test_released_addresses_are_not_held_again_by_what_was_under_way(fw: Firewall) -> None:
    fw.start()
    for _round in range(50):
        fw.take()
        fw.hold()
        fw.release()
    wait_until(lambda: not fw.held())
    holds_for(lambda: not fw.held(), 0.2)


# ------------------------------------------------------------------------ devices come and go


def test_a_device_that_goes_and_comes_back_is_prepared_again(
    fw: Firewall, client: Namespace, network: Network
) -> None:
    fw.start()
    fw.take()
    fw.host.run("ip", "link", "delete", "lan0")
    with pytest.raises(KernelError, match="51@lan"):
        fw.take()
    fw.release()  # harmless
    assert fw.held() == frozenset()

    network.veth(
        *(fw.host, "lan0", client, "eth0"),
        left_addresses=("10.1.1.2/24", "fd01::2/64"),
        right_addresses=("10.1.1.9/24", "fd01::9/64"),
    )
    fw.prepare()
    fw.take()

    assert client.pings(VIP4)
    assert client.neighbour_mac(VIP4) == VMAC


def test_the_other_interfaces_do_not_suffer_when_one_goes(
    network: Network, tmp_path: Path, fw: Firewall, client: Namespace
) -> None:
    both = Firewall(fw.host, tmp_path / "both", lan="lan0", wan="wan0")
    both.start(vip(), vip(61, ("10.2.2.61/24",), interface="wan"))
    both.take()
    both.take(VhostKey("wan", 61))
    fw.host.run("ip", "link", "delete", "wan0")
    network.veth(fw.host, "wan0", network.hosts["server"], "eth0", left_addresses=("10.2.2.2/24",))

    both.prepare()

    assert client.pings(VIP4)  # admitted all the while
    assert both.held() == {KEY}
    both.close()


def test_a_new_mac_of_the_parent_is_followed(fw: Firewall, client: Namespace) -> None:
    fw.start()
    fw.take()
    fw.host.run("ip", "link", "set", "lan0", "address", "02:00:00:00:00:77")
    fw.prepare()

    client.forget_neighbours()
    assert client.pings(VIP4)
    assert client.pings(VIP6)
    assert client.pings("10.2.2.9")


def test_a_vip_on_a_bridge(fw: Firewall, client: Namespace, tmp_path: Path) -> None:
    fw.host.sh(
        "ip link add br0 type bridge forward_delay 0; ip address flush dev lan0;"
        "ip link set lan0 master br0; ip link set br0 up;"
        "ip address add 10.1.1.2/24 dev br0; ip address add fd01::2/64 dev br0 nodad"
    )
    fw.host.nft(RULES.replace("lan0", "br0"))
    bridged = Firewall(fw.host, tmp_path / "bridged", lan="br0")
    wait_until(lambda: bridged.state().own_ipv6_linklocal)  # past duplicate address detection
    bridged.start()
    bridged.take()

    for address in (VIP4, VIP6, "10.2.2.9", "fd02::9"):
        assert client.pings(address), address
    assert client.neighbour_mac(VIP4) == client.neighbour_mac(VIP6) == VMAC
    assert bridged.counter("lan") > 0
    assert bridged.counter("other") == 0
    bridged.close()


@pytest.mark.skipif(not kernel_has_link_type("vlan"), reason="this kernel has no VLAN devices")
def test_a_vip_on_a_vlan(fw: Firewall, client: Namespace, tmp_path: Path) -> None:
    fw.host.sh(
        "ip link add link lan0 name lan0.7 type vlan id 7; ip address flush dev lan0;"
        "ip link set lan0.7 up; ip address add 10.1.1.2/24 dev lan0.7;"
        "ip address add fd01::2/64 dev lan0.7 nodad"
    )
    client.sh(
        "ip link add link eth0 name eth0.7 type vlan id 7; ip address flush dev eth0;"
        "ip link set eth0.7 up; ip address add 10.1.1.9/24 dev eth0.7;"
        "ip address add fd01::9/64 dev eth0.7 nodad"
    )
    tagged = Firewall(fw.host, tmp_path / "tagged", lan="lan0.7", untagged="lan0")
    tagged.start(vip(), vip(51, ("10.9.9.51/24",), interface="untagged"))
    tagged.take()

    for address in (VIP4, VIP6):
        assert client.pings(address), address
    tagged.close()


# -------------------------------------------------------------------------- begin and end


def links_settings_and_rules(host: Namespace) -> tuple[str, ...]:
    settings = tuple(
        host.read_sysctl(f"net/ipv4/conf/{device}/{name}")
        for device in ("all", "default", "lan0")
        for name in ("arp_ignore", "arp_announce", "rp_filter", "send_redirects")
    )
    return (host.sh("ip -o link; ip -o address; nft list ruleset"), *settings)


@pytest.mark.parametrize("mode", list(MacMode))
def test_cleanup_leaves_the_kernel_as_it_was(fw: Firewall, mode: MacMode) -> None:
    before = links_settings_and_rules(fw.host)
    fw.start(vip(mac=mode), vip(52, ("10.1.1.52/24",)))
    fw.take()
    fw.hold()
    assert links_settings_and_rules(fw.host) != before

    fw.stop()

    assert links_settings_and_rules(fw.host) == before


def test_what_a_killed_process_held_is_seen_and_taken_on_undisturbed(
    fw: Firewall, client: Namespace
) -> None:
    before = links_settings_and_rules(fw.host)
    fw.start()
    fw.take()
    macvlan = fw.host.sh("ip -o link show type macvlan").split(":")[0]
    fw.crash()
    pinging = client.start("ping", "-n", "-q", "-i", "0.01", "-c", "60", VIP4)

    fw.start()
    assert fw.held() == {KEY}
    fw.hold()

    told, _ = pinging.communicate(timeout=20)
    assert "60 received" in told
    assert fw.host.sh("ip -o link show type macvlan").split(":")[0] == macvlan
    fw.stop()
    assert links_settings_and_rules(fw.host) == before  # the settings from before the crash


def test_macvlans_that_nobody_wants_any_more_are_removed(fw: Firewall) -> None:
    fw.start(vip(), vip(52, ("10.1.1.52/24",)))
    fw.crash()

    fw.start(vip(mac=MacMode.INTERFACE))

    assert fw.host.sh("ip -o link show type macvlan") == ""


def test_a_device_with_the_name_of_our_macvlan_is_not_touched(fw: Firewall) -> None:
    index = fw.state().index
    fw.host.run("ip", "link", "add", f"carp51-{index}", "type", "bridge")

    with pytest.raises(KernelError, match=f"device carp51-{index} is not the macvlan of 51@lan"):
        fw.start()

    assert f"carp51-{index}" in fw.host.sh("ip -o link")
    fw.host.run("ip", "link", "delete", f"carp51-{index}")


def test_held_counts_what_answers_only(fw: Firewall) -> None:
    other = VhostKey("lan", 52)
    fw.start(vip(), vip(52, ("10.1.1.52/24",), mac=MacMode.INTERFACE))
    assert fw.held() == frozenset()
    fw.take()
    assert fw.held() == {KEY}
    fw.take(other)
    assert fw.held() == {KEY, other}
    fw.release()
    wait_until(lambda: fw.held() == {other})
    fw.release(other)
    fw.release(other)
    assert fw.held() == frozenset()


def test_a_refused_address_is_an_error_and_the_others_are_taken(
    fw: Firewall, client: Namespace
) -> None:
    fw.start()
    device = fw.host.sh("ip -o link show type macvlan").split(": ")[1].split("@")[0]
    fw.host.sysctl(f"net/ipv6/conf/{device}/disable_ipv6", 1)

    with pytest.raises(KernelError, match=f"add {VIP6} to 51@lan .*EACCES"):
        fw.take()

    assert client.pings(VIP4)
