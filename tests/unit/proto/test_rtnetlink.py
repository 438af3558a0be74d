"""rtnetlink messages: requests field by field, and answers laid out as the kernel headers say."""

import struct
from ipaddress import ip_address, ip_interface

import pytest

from carpool.proto import netlink as nl
from carpool.proto import rtnetlink as rt

MAC = bytes.fromhex("00005e000133")


def only(message: bytes) -> nl.Message:
    (found,) = nl.messages(message)
    return found


def link_message(
    *, family: int = 0, flags: int = 0x11043, operstate: int = 6, extra: bytes = b""
) -> nl.Message:
    body = struct.pack("=BxHiII", family, 1, 3, flags, 0)
    body += nl.string(3, "lan0") + nl.attr(1, MAC) + nl.u8(16, operstate) + extra
    return nl.Message(rt.RTM_NEWLINK, 0, 0, 0, body)


def test_a_macvlan_is_made_down_in_bridge_mode_and_never_over_another_link() -> None:
    message = only(rt.new_macvlan("carp51-3", 2, MAC))
    found = nl.attributes(message.body, 16)
    info = nl.attributes(found[18])

    assert message.type == rt.RTM_NEWLINK
    assert message.flags == nl.NLM_F_REQUEST | nl.NLM_F_CREATE | nl.NLM_F_EXCL
    assert message.body[:16] == bytes(16)  # no index, no flags: the kernel numbers it; down
    assert (found[3], found[5], found[1]) == (b"carp51-3\0", struct.pack("=I", 2), MAC)
    assert info[1] == b"macvlan"
    assert nl.attributes(info[2]) == {1: struct.pack("=I", 4)}


@pytest.mark.parametrize(("up", "flags"), [(True, 1), (False, 0)])
def test_setting_up_and_down_changes_that_flag_alone(up: bool, flags: int) -> None:
    message = only(rt.set_up(7, up))

    assert struct.unpack("=BxHiII", message.body) == (0, 0, 7, flags, 1)


@pytest.mark.parametrize(
    ("address", "family", "bits"), [("10.0.0.51", 2, 32), ("fd00::51", 10, 128)]
)
@pytest.mark.parametrize(("deprecated", "preferred_s"), [(False, 3), (True, 0)])
def test_a_vip_is_a_host_address_with_a_lifetime_and_our_mark(
    address: str, family: int, bits: int, deprecated: bool, preferred_s: int
) -> None:
    message = only(rt.put_address(7, ip_address(address), 3, deprecated=deprecated))
    found = nl.attributes(message.body, 8)

    assert message.type == rt.RTM_NEWADDR
    assert message.flags == nl.NLM_F_REQUEST | nl.NLM_F_CREATE | nl.NLM_F_REPLACE
    assert struct.unpack_from("=BBBBI", message.body) == (family, bits, 0, 0, 7)
    assert found[1] == found[2] == ip_address(address).packed
    assert found[6] == struct.pack("=IIII", preferred_s, 3, 0, 0)
    assert found[8] == struct.pack("=I", 0x202)  # IFA_F_NOPREFIXROUTE | IFA_F_NODAD
    assert found[11] == b"\x70"


def test_a_link_local_vip_may_bring_the_route_to_its_link() -> None:
    message = only(rt.put_address(7, ip_address("fe80::1"), 3, prefix_length=64))

    assert message.body[:8] == struct.pack("=BBBBI", 10, 64, 0, 0, 7)
    assert nl.attributes(message.body, 8)[8] == struct.pack("=I", rt.IFA_F_NODAD)


def test_deleting_an_address_names_exactly_the_host_address() -> None:
    message = only(rt.delete_address(7, ip_address("10.0.0.51")))

    assert message.type == rt.RTM_DELADDR
    assert message.body[:8] == struct.pack("=BBBBI", 2, 32, 0, 0, 7)
    assert nl.attributes(message.body, 8)[2] == ip_address("10.0.0.51").packed


def test_a_neighbour_is_asked_for_and_resolved_by_index_and_address() -> None:
    asked = only(rt.get_neighbour(3, ip_address("fd00::2")))
    resolved = only(rt.resolve_neighbour(3, ip_address("fd00::2")))

    assert asked.body[:12] == struct.pack("=BxxxiHBB", 10, 3, 0, 0, 0)
    assert resolved.body[:12] == struct.pack("=BxxxiHBB", 10, 3, 0, 0x01, 0)
    assert nl.attributes(asked.body, 12) == {1: ip_address("fd00::2").packed}


def test_a_link_is_read() -> None:
    data = nl.nested(1, nl.u32(1, 4))
    info = nl.nested(18, nl.attr(1, b"macvlan"), nl.attr(2, data))
    message = link_message(
        extra=nl.u32(4, 1500) + nl.u32(5, 2) + info + nl.string(20, "carpool 51@lan")
    )

    assert rt.parse_link(message) == rt.Link(
        index=3,
        name="lan0",
        mac=MAC,
        ethernet=True,
        up=True,
        carrier=True,
        parent=2,
        kind="macvlan",
        alias="carpool 51@lan",
        mtu=1500,
    )


@pytest.mark.parametrize(
    ("flags", "operstate", "carrier"),
    [
        (0x11043, 6, True),
        (0x11043, 0, True),  # "unknown": a driver that does not tell
        (0x1003, 2, False),  # no IFF_LOWER_UP: the cable
        (0x11003, 3, False),  # carrier of its own, but what it stands on has none
        (0x11003, 5, False),  # dormant: 802.1X has not let it in
    ],
)
def test_carrier_needs_flag_and_operational_state(
    flags: int, operstate: int, carrier: bool
) -> None:
    link = rt.parse_link(link_message(flags=flags, operstate=operstate))

    assert link is not None
    assert link.carrier is carrier


def test_what_a_bridge_says_of_its_port_is_no_news_of_the_device() -> None:
    assert rt.parse_link(link_message(family=7)) is None


def test_an_address_is_read_with_its_long_flags_lifetime_and_mark() -> None:
    body = struct.pack("=BBBBI", 2, 32, 0x80, 0, 7)
    body += nl.attr(1, ip_address("10.0.0.9").packed) + nl.attr(2, ip_address("10.0.0.51").packed)
    body += nl.attr(6, struct.pack("=IIII", 0, 3, 0, 0)) + nl.u32(8, 0x220) + nl.u8(11, 112)

    found = rt.parse_address(nl.Message(rt.RTM_NEWADDR, 0, 0, 0, body))

    assert found == rt.DeviceAddress(7, ip_interface("10.0.0.51/32"), 0x220, 3, True)
    assert found is not None
    assert found.usable


@pytest.mark.parametrize("flag", [rt.IFA_F_TENTATIVE, rt.IFA_F_DADFAILED])
def test_an_address_in_duplicate_detection_is_not_usable(flag: int) -> None:
    body = struct.pack("=BBBBI", 10, 64, flag, 253, 7)
    body += nl.attr(1, ip_address("fe80::1").packed)

    found = rt.parse_address(nl.Message(rt.RTM_NEWADDR, 0, 0, 0, body))

    assert found is not None
    assert found.valid_s == rt.INFINITY_LIFE_TIME
    assert not found.ours
    assert not found.usable


@pytest.mark.parametrize(
    ("state", "mac", "expected"),
    [
        (0x02, MAC, MAC),  # reachable
        (0x04, MAC, MAC),  # stale: still the best we know
        (0x80, MAC, MAC),  # permanent
        (0x01, b"", None),  # incomplete
        (0x20, MAC, None),  # failed
        (0x02, b"\x01\x02", None),  # not Ethernet
    ],
)
def test_a_neighbour_has_a_mac_when_it_is_resolved(
    state: int, mac: bytes, expected: bytes | None
) -> None:
    body = struct.pack("=BxxxiHBB", 2, 3, state, 0, 1) + nl.attr(1, ip_address("10.0.0.2").packed)
    body += nl.attr(2, mac) if mac else b""

    found = rt.parse_neighbour(nl.Message(rt.RTM_NEWNEIGH, 0, 0, 0, body))

    assert found == rt.Neighbour(3, ip_address("10.0.0.2"), expected)


@pytest.mark.parametrize("length", [0, 5, 8, 12, 16])
def test_short_bodies_are_no_news(length: int) -> None:
    short = nl.Message(0, 0, 0, 0, b"\xff" * length)

    assert rt.parse_link(short) is None
    assert rt.parse_address(short) is None
    assert rt.parse_neighbour(short) is None
