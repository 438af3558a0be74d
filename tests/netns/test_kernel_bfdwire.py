"""BFD by a packet socket on a real link: whatever the rules of the firewall say, and no ICMP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from carpool.errors import KernelError
from carpool.kernel.bfdsocket import BfdListener, BfdSpeaker, Heard
from carpool.kernel.bfdwire import BfdWire
from carpool.model.config import Family
from tests.netns.lab import Namespace, Network, wait_until

PAYLOAD = bytes(range(52))
ONE, TWO = ("10.1.1.2", "fd00::2"), ("10.1.1.3", "fd00::3")
DROP_ALL = """
table inet deaf {
    chain in { type filter hook input priority -400; policy drop; meta l4proto icmpv6 accept; }
    chain out { type filter hook output priority -400; policy drop; meta l4proto icmpv6 accept; }
}
"""


class End:
    """A host of the link, with all its BFD."""

    def __init__(self, host: Namespace) -> None:
        self.host = host
        with host.entered():
            self.index = socket.if_nametoindex("lan0")
            mac = host.sh("cat /sys/class/net/lan0/address").strip()
            self.wire = BfdWire(self.index, "lan0", bytes.fromhex(mac.replace(":", "")))
            self.wire.occupy(Family)

    def speaker(self, source: str, peer: str) -> BfdSpeaker:
        with self.host.entered():
            return BfdSpeaker(self.index, "lan0", ip_address(source), ip_address(peer))


@pytest.fixture
def ends(network: Network) -> Iterator[tuple[End, End]]:
    hosts = network.host("one"), network.host("two")
    network.veth(
        *(hosts[0], "lan0", hosts[1], "lan0"),
        left_addresses=[f"{ONE[0]}/24", f"{ONE[1]}/64"],
        right_addresses=[f"{TWO[0]}/24", f"{TWO[1]}/64"],
    )
    made = End(hosts[0]), End(hosts[1])
    yield made
    for each in made:
        each.wire.close()


def test_rules_of_either_end_make_nobody_deaf_or_mute(ends: tuple[End, End]) -> None:
    one, two = ends
    for end in ends:
        end.host.nft(DROP_ALL)
    for source, peer in zip(ONE, TWO, strict=True):
        speaker = one.speaker(source, peer)

        def arrives(speaker: BfdSpeaker = speaker, peer: str = peer) -> list[Heard]:
            one.wire.send(speaker, ip_address(peer), PAYLOAD)  # by the rules until it is resolved
            return two.wire.receive(1)

        assert wait_until(arrives)[0] == Heard(ip_address(source), 255, PAYLOAD)
        speaker.close()


def test_a_port_that_is_had_answers_by_no_icmp_and_is_nobody_elses(ends: tuple[End, End]) -> None:
    one, two = ends
    with one.host.entered():
        plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.connect((TWO[0], 3784))
    for _packet in range(3):
        plain.send(PAYLOAD)
        heard = wait_until(lambda: two.wire.receive(1))
        assert heard[0].hop_limit == 64
    plain.close()
    with two.host.entered(), pytest.raises(KernelError, match="hear BFD over ipv4 on lan0"):
        BfdListener(Family.IPV4, two.index, "lan0")
    two.wire.occupy([Family.IPV6])
    with two.host.entered():
        BfdListener(Family.IPV4, two.index, "lan0").close()
