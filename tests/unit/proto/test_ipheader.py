"""IP headers of advertisements, and what is refused below the kernel's own IP stack."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.model.config import Address, Family
from carpool.proto import ipheader as ip
from carpool.proto.carp import checksum

CARP = 112
PAYLOAD = bytes(range(36))
SOURCE, SOURCE6 = IPv4Address("10.1.1.2"), IPv6Address("fe80::1")
V4 = ip.build(SOURCE, ip.GROUP_IPV4, CARP, PAYLOAD, 7)
V6 = ip.build(SOURCE6, ip.GROUP_IPV6, CARP, PAYLOAD)


def captured(packet: bytes, ether_type: int | None = None) -> bytes:
    kind = ether_type or (ip.ETHERTYPE_IPV4 if packet[0] >> 4 == 4 else ip.ETHERTYPE_IPV6)
    return ip.frame(ip.BROADCAST_MAC, ip.virtual_mac(51), kind, packet)


def resummed(packet: bytes, header_bytes: int = 20) -> bytes:
    """The packet with a correct header checksum after a test changed it."""
    blank = packet[:10] + b"\0\0" + packet[12:]
    total = checksum(blank[:header_bytes])
    return blank[:10] + total.to_bytes(2, "big") + blank[12:]


def test_ipv4_header_byte_by_byte() -> None:
    assert V4[:20] == bytes.fromhex("45 10 0038 0007 4000 ff 70 9029 0a010102 e0000012")
    assert V4[20:] == PAYLOAD


def test_ipv6_header_byte_by_byte() -> None:
    assert V6[:40] == bytes.fromhex(
        "61000000 0024 70 fffe800000000000000000000000000001 ff020000000000000000000000000012"
    )
    assert V6[40:] == PAYLOAD


@pytest.mark.parametrize(
    ("group", "mac"),
    [
        ("224.0.0.18", "01:00:5e:00:00:12"),
        ("239.129.2.3", "01:00:5e:01:02:03"),  # the 24th bit does not fit (RFC 1112, 6.4)
        ("ff02::12", "33:33:00:00:00:12"),
        ("ff02::1:ff00:51", "33:33:ff:00:00:51"),
    ],
)
def test_multicast_mac(group: str, mac: str) -> None:
    assert ip.mac_text(ip.multicast_mac(ip_address(group))) == mac


def test_virtual_mac_ends_in_the_vhid() -> None:
    assert ip.mac_text(ip.virtual_mac(51)) == "00:00:5e:00:01:33"


def test_group_of_a_family() -> None:
    assert ip.group_of(Family.IPV4) == IPv4Address("224.0.0.18")
    assert ip.group_of(Family.IPV6) == IPv6Address("ff02::12")


def test_what_is_built_is_read_back() -> None:
    assert ip.parse(captured(V4), CARP) == ip.IpPacket(SOURCE, ip.GROUP_IPV4, 255, PAYLOAD)
    assert ip.parse(captured(V6), CARP) == ip.IpPacket(SOURCE6, ip.GROUP_IPV6, 255, PAYLOAD)


def test_padding_of_a_short_frame_is_no_payload() -> None:
    short = ip.build(SOURCE, ip.GROUP_IPV4, CARP, b"abc")

    found = ip.parse(captured(short) + bytes(23), CARP)

    assert isinstance(found, ip.IpPacket)
    assert found.payload == b"abc"


def test_options_are_skipped() -> None:
    with_options = resummed(
        b"\x46" + V4[1:2] + (60).to_bytes(2, "big") + V4[4:20] + b"\x94\x04\0\0" + PAYLOAD, 24
    )

    found = ip.parse(captured(with_options), CARP)

    assert isinstance(found, ip.IpPacket)
    assert found.payload == PAYLOAD


def test_a_capture_that_was_cut_gives_what_there_is() -> None:
    found = ip.parse(captured(V6)[:-6], CARP)

    assert isinstance(found, ip.IpPacket)
    assert found.payload == PAYLOAD[:-6]


@pytest.mark.parametrize(
    ("frame", "reject"),
    [
        (b"", ip.IpReject.TRUNCATED),
        (captured(V4)[:33], ip.IpReject.TRUNCATED),
        (captured(V6)[:53], ip.IpReject.TRUNCATED),
        (captured(V4, ip.ETHERTYPE_ARP), ip.IpReject.VERSION),
        (captured(V6, ip.ETHERTYPE_IPV4), ip.IpReject.VERSION),
        (captured(V4, ip.ETHERTYPE_IPV6) + bytes(20), ip.IpReject.VERSION),
        (captured(b"\x44" + V4[1:]), ip.IpReject.TRUNCATED),  # a header of 16 bytes
        (captured(b"\x4f" + V4[1:30]), ip.IpReject.TRUNCATED),  # a header longer than the frame
        (captured(V4[:8] + b"\xfe" + V4[9:]), ip.IpReject.CHECKSUM),
        (captured(resummed(V4[:6] + b"\x20\x00" + V4[8:])), ip.IpReject.FRAGMENT),  # the first
        (captured(resummed(V4[:6] + b"\x00\x01" + V4[8:])), ip.IpReject.FRAGMENT),  # the last
        (captured(resummed(V4[:9] + b"\x11" + V4[10:])), ip.IpReject.PROTOCOL),
        (captured(V6[:6] + b"\x2c" + V6[7:]), ip.IpReject.PROTOCOL),  # a fragment header
    ],
)
def test_what_is_no_advertisement_is_refused_by_name(frame: bytes, reject: ip.IpReject) -> None:
    assert ip.parse(frame, CARP) is reject


@given(st.binary(max_size=120), st.sampled_from([b"\x08\x00", b"\x86\xdd", b""]))
def test_no_bytes_raise(data: bytes, ether_type: bytes) -> None:
    found = ip.parse(bytes(12) + ether_type + data, CARP)

    assert isinstance(found, ip.IpPacket | ip.IpReject)


@given(
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
        st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
    ),
    st.binary(max_size=64),
    st.integers(0, 1 << 20),
)
def test_any_packet_survives_the_round_trip(
    ends: tuple[Address, Address], payload: bytes, identification: int
) -> None:
    packet = ip.build(*ends, CARP, payload, identification)

    assert ip.parse(captured(packet), CARP) == ip.IpPacket(*ends, 255, payload)


def test_the_group_in_which_neighbours_ask() -> None:
    """RFC 4291, 2.7.1: the low 24 bits; its own example."""
    asked = ip.solicited_node(IPv6Address("4037::01:800:200e:8c6c"))
    assert asked == IPv6Address("ff02::1:ff0e:8c6c")
