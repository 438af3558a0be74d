"""BFD's UDP sockets on a real link: hop limits, ports, scopes, refusals, floods."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

import pytest

from carpool.errors import KernelError
from carpool.kernel.bfdsocket import BfdListener, BfdSpeaker, Heard
from carpool.model.config import Address, Family
from carpool.proto.bfd import PORT
from tests.netns.lab import Namespace, Network, wait_until

PAYLOAD = bytes(range(52))
ONE, TWO = ("10.1.1.2", "fd00::2"), ("10.1.1.3", "fd00::3")


@dataclass
class End:
    """A host of the link, with a listener of each family."""

    host: Namespace
    index: int
    linklocal: Address
    listeners: dict[Family, BfdListener]

    def speak(self, source: str | Address, peer: str | Address) -> BfdSpeaker:
        with self.host.entered():
            return BfdSpeaker(self.index, "lan0", ip_address(source), ip_address(peer))

    def next(self, family: Family) -> Heard:
        return wait_until(lambda: self.listeners[family].receive(1), what="a packet")[0]


def end(host: Namespace) -> End:
    with host.entered():
        index = socket.if_nametoindex("lan0")
        listeners = {family: BfdListener(family, index, "lan0") for family in Family}
    words = host.sh("ip -6 -o address show dev lan0 scope link").split()
    linklocal = ip_address(words[words.index("inet6") + 1].partition("/")[0])
    return End(host, index, linklocal, listeners)


@pytest.fixture
def ends(network: Network) -> Iterator[tuple[End, End]]:
    hosts = network.host("one"), network.host("two")
    network.veth(
        *(hosts[0], "lan0", hosts[1], "lan0"),
        left_addresses=[f"{ONE[0]}/24", f"{ONE[1]}/64"],
        right_addresses=[f"{TWO[0]}/24", f"{TWO[1]}/64"],
    )
    made = end(hosts[0]), end(hosts[1])
    yield made
    for each in made:
        for listener in each.listeners.values():
            listener.close()


def test_both_families_and_link_local_arrive_with_a_hop_limit_of_255(
    ends: tuple[End, End],
) -> None:
    one, two = ends
    roads: list[tuple[str | Address, str | Address]] = [*zip(ONE, TWO, strict=True)]
    for source, peer in [*roads, (one.linklocal, two.linklocal)]:
        speaker = one.speak(source, peer)
        assert speaker.send(PAYLOAD) is None
        family = Family.IPV4 if ip_address(peer).version == 4 else Family.IPV6
        assert two.next(family) == Heard(ip_address(source), 255, PAYLOAD)
        assert 49152 <= speaker.port <= 65535
        speaker.close()


def test_sessions_of_a_host_have_ports_of_their_own(ends: tuple[End, End]) -> None:
    one, _two = ends
    speakers = [one.speak(ONE[0], f"10.1.1.{host}") for host in range(3, 23)]
    assert len({speaker.port for speaker in speakers}) == 20
    for speaker in speakers:
        speaker.close()


def test_another_hop_limit_is_told_as_it_came(ends: tuple[End, End]) -> None:
    one, two = ends
    with one.host.entered():
        kinds = socket.AF_INET, socket.AF_INET6
        plain = [socket.socket(kind, socket.SOCK_DGRAM) for kind in kinds]
    for sender, peer, family in zip(plain, TWO, Family, strict=True):
        sender.sendto(PAYLOAD, (peer, PORT))
        assert two.next(family).hop_limit == 64
        sender.close()


def test_a_flood_is_handed_over_in_bounded_portions(ends: tuple[End, End]) -> None:
    one, two = ends
    speaker = one.speak(ONE[0], TWO[0])
    for _packet in range(100):
        speaker.send(PAYLOAD)
    listener = two.listeners[Family.IPV4]
    portions = [wait_until(lambda: listener.receive(64)), listener.receive(64), listener.receive()]
    assert [len(portion) for portion in portions] == [64, 36, 0]
    speaker.close()


def test_a_peer_where_nobody_listens_does_not_keep_us_from_sending(ends: tuple[End, End]) -> None:
    """It answers by ICMP, which the kernel tells at the next send."""
    one, two = ends
    two.listeners.pop(Family.IPV4).close()
    speaker = one.speak(ONE[0], TWO[0])
    for _packet in range(20):
        assert speaker.send(PAYLOAD) is None
    assert speaker.send_errors == 0
    with two.host.entered():
        two.listeners[Family.IPV4] = BfdListener(Family.IPV4, two.index, "lan0")
    assert speaker.send(PAYLOAD) is None
    assert two.next(Family.IPV4).source == IPv4Address(ONE[0])
    speaker.close()


def test_a_link_that_is_down_is_an_error_in_words_and_works_again(ends: tuple[End, End]) -> None:
    one, two = ends
    speaker = one.speak(ONE[0], TWO[0])
    two.host.run("ip", "link", "set", "lan0", "down")
    one.host.run("ip", "link", "set", "lan0", "down")
    error = speaker.send(PAYLOAD)
    assert error is not None and "[ENETUNREACH]" in error
    one.host.run("ip", "link", "set", "lan0", "up")
    two.host.run("ip", "link", "set", "lan0", "up")

    def arrives() -> list[Heard]:
        speaker.send(PAYLOAD)
        return two.listeners[Family.IPV4].receive(1)

    assert wait_until(arrives)[0].payload == PAYLOAD
    speaker.close()


def test_another_daemon_on_the_port_is_told(ends: tuple[End, End]) -> None:
    one, _two = ends
    with one.host.entered(), pytest.raises(KernelError, match="hear BFD over ipv4 on lan0") as told:
        BfdListener(Family.IPV4, one.index, "lan0")
    assert "ss -lunp" in told.value.hint


def test_an_address_that_is_not_ours_is_told(ends: tuple[End, End]) -> None:
    one, _two = ends
    with pytest.raises(KernelError, match=r"speak BFD to 10.1.1.3 on lan0: .*EADDRNOTAVAIL"):
        one.speak("10.1.1.77", TWO[0])
