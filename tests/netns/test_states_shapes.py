"""Shapes of entries that only some rules make, between two real nodes: zones, hairpins, masquerade,
prefixes, and what comes back as an error. Each arrives field by field, and lives on.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.proto import ctmessage as ct
from tests.netns.lab import Network, wait_until
from tests.netns.pair import (
    GROUP,
    LAN_VIP,
    NAT_BITS,
    SERVER,
    SERVER6,
    WAN_VIP,
    WAN_VIP6,
    Pair,
    arrives,
    assure,
    flow,
    packed,
    same,
)

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
FAR_VIP, FAR_SERVER = "10.5.0.1", "10.5.0.10"
PREFIX6 = "fd03::"
ZONES = """
table inet zones {
  chain prerouting { type filter hook prerouting priority raw;
    iifname { lan0, wan0 } tcp dport { 80, 82 } ct zone set 5
    iifname { lan0, wan0 } tcp sport { 80, 82 } ct zone set 5
    iifname lan0 tcp dport { 84, 8084 } ct original zone set 7
    iifname lan0 udp dport 84 ct original zone set 7
  }
}
"""
HAIRPIN = f"""
table ip nat {{
  chain hairpins {{ type nat hook postrouting priority srcnat - 5;
    ip saddr 10.1.0.0/24 ip daddr 10.1.0.0/24 snat to {LAN_VIP}
  }}
}}
"""
MASQUERADE = """
table ip nat {
  chain outward { type nat hook postrouting priority srcnat - 5;
    ip daddr 10.5.0.0/24 masquerade
  }
}
"""
PREFIX = f"""
table ip6 nat {{
  chain prefixes {{ type nat hook postrouting priority srcnat - 5;
    tcp dport 86 snat ip6 prefix to ip6 saddr map {{ fd01::/64 : {PREFIX6}/64 }}
  }}
}}
"""


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(network, tmp_path)
    yield made
    made.close()


def on_both(pair: Pair, rules: str) -> None:
    for node in pair.nodes:
        node.namespace.nft(rules)


def arrives_whole(
    pair: Pair, protocol: int, dport: int, nat: int, family: int = ct.AF_INET
) -> ct.Entry:
    """The copy, which has all that its original has."""
    there = arrives(pair.fw2, protocol, dport, family)
    here = pair.fw1.find(protocol, dport, family)
    assert here is not None
    same(here, there)
    assert there.status & NAT_BITS == nat
    return there


def without_errors(pair: Pair) -> None:
    for node in pair.nodes:
        assert node.peer_status()["errors"] == 0


def test_zones_of_both_directions_and_of_one(pair: Pair) -> None:
    on_both(pair, ZONES)
    pair.start()
    client, server = pair.client, pair.server
    with (
        flow(TCP, client, server, (SERVER, 80)) as translated,
        flow(TCP, client, server, (SERVER, 82)) as plain,
        flow(TCP, client, server, (SERVER, 84)) as directed,
        flow(UDP, client, server, (SERVER, 84)) as datagrams,
    ):
        flows = (translated, plain, directed, datagrams)
        assert all(one.echoes() for one in flows)
        assure(pair, datagrams)
        assert arrives_whole(pair, 6, 80, 0x10).zone == 5
        assert arrives_whole(pair, 6, 82, 0).zone == 5
        for protocol in (6, 17):
            there = arrives_whole(pair, protocol, 84, 0x10)
            assert (there.zone, there.orig.zone, there.reply.zone) == (None, 7, None)
        # A whole table finds them there.
        pair.fw2.stop()
        pair.fw2.start()
        pair.synchronised()
        without_errors(pair)
        pair.fail_over()
        assert all(one.echoes(b"still here") for one in flows)
        ending = pair.fw1.find(6, 80)
        assert ending is not None
        pair.fw1.delete(ending)
        wait_until(lambda: pair.fw2.find(6, 80) is None, 5, "ended in its zone on fw2")


def test_a_hairpin_is_translated_at_both_ends(pair: Pair) -> None:
    on_both(pair, HAIRPIN)
    pair.start()
    with flow(TCP, pair.client, pair.client, (WAN_VIP, 8080), 80) as one:
        assert one.echoes()
        there = arrives_whole(pair, 6, 8080, 0x30)
        assert there.reply.dst == packed(LAN_VIP)
        without_errors(pair)
        pair.fail_over()
        assert one.echoes(b"still here")


def test_masquerade_to_a_vip(pair: Pair) -> None:
    """Where the VIP is the only address of that network, so that it is what masquerade takes. The
    kernel ends such entries where the address goes away: the new master must not follow."""
    for node in pair.nodes:
        node.configure(group=GROUP.replace('"10.2.0.100/24"', f'"10.2.0.100/24", "{FAR_VIP}/24"'))
    on_both(pair, MASQUERADE)
    pair.server.run("ip", "address", "add", f"{FAR_SERVER}/24", "dev", "wan0")
    pair.fw1.namespace.run("ip", "address", "add", f"{FAR_VIP}/24", "dev", "wan0")
    pair.start()
    with flow(TCP, pair.client, pair.server, (FAR_SERVER, 85)) as one:
        assert one.echoes()
        assert arrives_whole(pair, 6, 85, 0x10).reply.dst == packed(FAR_VIP)
        without_errors(pair)
        assert pair.fw1.failover is not None and pair.fw2.failover is not None
        pair.fw2.failover.be(True)
        wait_until(lambda: pair.fw2.status()["master"], 5, "fw2 is master")
        pair.fw2.namespace.run("ip", "address", "add", f"{FAR_VIP}/24", "dev", "wan0")
        pair.fw1.namespace.run("ip", "address", "del", f"{FAR_VIP}/24", "dev", "wan0")
        pair.fail_over()
        wait_until(lambda: pair.fw2.counter("deletes_refused"), 5, "the kernel of fw1 has ended it")
        pair.fw1.failover.be(False)
        assert one.echoes(b"still here")


def test_a_prefix_of_ipv6_is_translated(pair: Pair) -> None:
    on_both(pair, PREFIX)
    pair.server.run("ip", "route", "add", f"{PREFIX6}/64", "via", WAN_VIP6)
    pair.start()
    with flow(TCP, pair.client, pair.server, (SERVER6, 86)) as one:
        assert one.echoes()
        there = arrives_whole(pair, 6, 86, 0x10, ct.AF_INET6)
        assert there.reply.dst == socket.inet_pton(socket.AF_INET6, f"{PREFIX6}10")
        without_errors(pair)
        pair.fail_over()
        assert one.echoes(b"still here")


@pytest.mark.parametrize("to", [SERVER, SERVER6], ids=["ipv4", "ipv6"])
def test_an_error_about_a_flow_finds_its_way_back_through_the_copy(pair: Pair, to: str) -> None:
    """It names the translated addresses; the new master turns them back."""
    pair.start()
    with flow(UDP, pair.client, pair.server, (to, 87)) as one:
        assure(pair, one)
        family = ct.AF_INET6 if ":" in to else ct.AF_INET
        arrives_whole(pair, 17, 87, 0x10, family)
        pair.fail_over()
        assert one.echoes(b"still here")
        one.far.close()  # nobody listens any more

        def refused() -> bool:
            try:
                one.near.send(b"anybody?")
                one.near.recv(100)
            except ConnectionRefusedError:
                return True
            except TimeoutError:
                return False
            return False

        wait_until(refused, 10, "the error has come back")
        assert pair.fw2.find(17, 87, family) is not None
