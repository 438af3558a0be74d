"""NetlinkSocket against the real kernel: checked answers, dumps, events and their loss."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from carpool.errors import KernelError
from carpool.kernel.netlink import (
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    OVERRUN,
    NetlinkSocket,
    Request,
)
from carpool.proto import netlink as nl
from carpool.proto import nftables as nft
from carpool.proto import rtnetlink as rt
from tests.netns.lab import Namespace, Network


@pytest.fixture
def host(network: Network) -> Namespace:
    made = network.host("host")
    made.run("ip", "link", "add", "br0", "index", "7", "type", "bridge")
    return made


@pytest.fixture
def route(host: Namespace) -> Iterator[NetlinkSocket]:
    with host.entered():
        socket = NetlinkSocket(NETLINK_ROUTE)
    yield socket
    socket.close()


def add(address: str, index: int = 7) -> Request:
    message = rt.put_address(index, ip_address(address), 60)
    return Request(f"add {address}", message)


def test_a_batch_is_done_in_order_by_one_send(host: Namespace, route: NetlinkSocket) -> None:
    addresses = [f"10.0.0.{n}" for n in range(1, 255)]

    route.request([Request("up", rt.set_up(7, True)), *map(add, addresses)])

    assert host.sh("ip -o -4 address show dev br0").count("/32") == 254


def test_a_refusal_names_operation_object_and_the_kernels_words(route: NetlinkSocket) -> None:
    with pytest.raises(KernelError) as caught:
        route.request([add("10.0.0.1", index=99)])

    assert caught.value.message == "add 10.0.0.1: ipv4: Device not found [ENODEV]"


def test_one_refusal_does_not_keep_it_from_the_others(
    host: Namespace, route: NetlinkSocket
) -> None:
    requests = [add("10.0.0.1"), add("10.0.0.2", 99), add("10.0.0.3"), add("10.0.0.4", 99)]

    with pytest.raises(KernelError, match=r"add 10.0.0.2: .*\(and 1 more\)"):
        route.request(requests)

    listed = host.sh("ip -o -4 address show dev br0")
    assert "10.0.0.1" in listed
    assert "10.0.0.3" in listed
    refusals = route.attempt(requests)
    assert [(refusal.request.what, refusal.errno) for refusal in refusals] == [
        ("add 10.0.0.2", errno.ENODEV),
        ("add 10.0.0.4", errno.ENODEV),
    ]


def test_what_is_tolerated_is_no_refusal(route: NetlinkSocket) -> None:
    message = rt.delete_address(7, ip_address("10.0.0.1"))
    absent = frozenset({errno.EADDRNOTAVAIL})

    assert route.attempt([Request("delete", message, absent)] * 2) == []
    assert len(route.attempt([Request("delete", message)])) == 1


def test_nothing_to_request_is_no_question(route: NetlinkSocket) -> None:
    route.request([])


def test_a_dump_may_be_of_one_device_only(host: Namespace, route: NetlinkSocket) -> None:
    host.sh("ip address add 10.0.0.1/24 dev br0; ip address add 10.0.0.2/24 dev lo")

    found = route.dump(Request("addresses", rt.get_addresses(7)))

    assert [str(a.address) for a in map(rt.parse_address, found) if a] == ["10.0.0.1/24"]


def test_a_long_dump_is_whole(host: Namespace, route: NetlinkSocket) -> None:
    addresses = [f"10.0.{n // 250}.{n % 250 + 1}" for n in range(2000)]
    route.request([add(address) for address in addresses])

    found = route.dump(Request("addresses", rt.get_addresses()))

    listed = {str(a.address.ip) for a in map(rt.parse_address, found) if a and a.index == 7}
    assert listed == set(addresses)


def test_asking_for_one_object(host: Namespace, route: NetlinkSocket) -> None:
    host.sh("ip link set br0 up; ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev br0")
    absent = frozenset({errno.ENOENT})

    def ask(address: str, tolerate: frozenset[int] = absent) -> list[nl.Message]:
        question = rt.get_neighbour(7, ip_address(address))
        return route.ask(Request(f"look up {address}", question, tolerate))

    (found,) = map(rt.parse_neighbour, ask("10.0.0.9"))
    assert found is not None
    assert found.mac == bytes.fromhex("020000000009")
    assert ask("10.0.0.8") == []
    with pytest.raises(KernelError, match=r"look up 10.0.0.8: .* \[ENOENT\]"):
        ask("10.0.0.8", frozenset())


def test_events_are_received_and_their_loss_is_told(host: Namespace, route: NetlinkSocket) -> None:
    with host.entered():
        events = NetlinkSocket(NETLINK_ROUTE, [rt.RTNLGRP_IPV4_IFADDR])
    assert events.receive() == []
    route.request([add("10.0.0.1")])
    received = events.receive()
    assert received is not OVERRUN
    assert [message.type for message in received] == [rt.RTM_NEWADDR]

    for _round in range(60):
        route.request([add(f"10.0.0.{n}") for n in range(1, 255)])
    assert events.receive() is OVERRUN
    events.discard()
    assert events.receive() == []
    route.request([add("10.0.0.1")])
    again = events.receive()
    assert again is not OVERRUN
    assert len(again) == 1  # and goes on
    events.close()


def test_a_batch_of_netfilter_is_done_as_a_whole_or_not_at_all(host: Namespace) -> None:
    with host.entered():
        socket = NetlinkSocket(NETLINK_NETFILTER)
    batch = nft.batch_begin(), nft.batch_end()
    good = Request("add table", nft.new_table("mine"))
    bad = Request("add chain", nft.new_chain("other", "in", nft.INGRESS, 0, ["lo"]))

    (refusal,) = socket.attempt([good, bad], batch)
    assert (refusal.request, refusal.errno) == (bad, errno.ENOENT)
    assert host.sh("nft list tables") == ""

    assert socket.attempt([good], batch) == []
    assert host.sh("nft list tables") == "table netdev mine\n"
    socket.close()


def test_answers_to_an_earlier_process_are_not_taken_for_ours(
    host: Namespace, route: NetlinkSocket
) -> None:
    route._send(nl.stamped(add("10.0.0.1", 99).message, nl.NLM_F_ACK, 5), "left unread")

    route.adopt()

    assert route.attempt([add("10.0.0.2")]) == []


def test_a_protocol_that_is_not_there_is_told(host: Namespace) -> None:
    with host.entered(), pytest.raises(KernelError, match="netlink socket of protocol 31"):
        NetlinkSocket(31)
