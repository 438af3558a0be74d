"""Announcements byte by byte. The frames were decoded by Wireshark, which called them "ARP
Announcement", "ARP Probe" and a neighbour advertisement with a correct checksum."""

from ipaddress import IPv4Address, IPv6Address

from carpool.proto import announce
from carpool.proto.carp import checksum
from carpool.proto.ipheader import virtual_mac

MAC = virtual_mac(51)
VIP = IPv4Address("10.1.1.51")
VIP6 = IPv6Address("fd00::51")


def test_gratuitous_arp_is_a_broadcast_request_for_ones_own_address() -> None:
    frame = announce.gratuitous_arp(MAC, VIP)

    assert frame == bytes.fromhex(
        "ffffffffffff 00005e000133 0806"  # to everybody, from the virtual MAC
        "0001 0800 06 04 0001"  # Ethernet, IPv4, request
        "00005e000133 0a010133"  # sender
        "000000000000 0a010133"  # target
    )


def test_gratuitous_arp_as_a_reply_names_the_mac_twice() -> None:
    frame = announce.gratuitous_arp(MAC, VIP, reply=True)

    assert frame[20:22] == b"\x00\x02"
    assert frame[22:] == MAC + VIP.packed + MAC + VIP.packed


def test_arp_probe_has_no_sender_address_so_no_cache_learns_from_it() -> None:
    frame = announce.arp_probe(bytes.fromhex("020000000001"), IPv4Address("10.1.1.2"))

    assert frame == bytes.fromhex(
        "ffffffffffff 020000000001 0806 0001 0800 06 04 0001"
        "020000000001 00000000 000000000000 0a010102"
    )


def test_neighbour_advertisement_goes_to_all_nodes_as_a_router_that_overrides() -> None:
    frame = announce.neighbour_advertisement(MAC, VIP6)

    assert frame == bytes.fromhex(
        "333300000001 00005e000133 86dd"
        "60000000 0020 3a ff"  # 32 bytes of ICMPv6, hop limit 255
        "fd000000000000000000000000000051 ff020000000000000000000000000001"
        "88 00 7cc8 a0000000"  # type 136, router and override
        "fd000000000000000000000000000051"
        "02 01 00005e000133"  # target link-layer address
    )


def test_neighbour_advertisement_checksum_covers_the_pseudo_header() -> None:
    packet = announce.neighbour_advertisement(virtual_mac(255), IPv6Address("fe80::1"))[14:]
    pseudo = packet[8:40] + (32).to_bytes(4, "big") + b"\0\0\0\x3a"

    assert checksum(pseudo + packet[40:]) == 0


def test_announcement_chooses_by_family() -> None:
    assert announce.announcement(MAC, VIP) == announce.gratuitous_arp(MAC, VIP)
    assert announce.announcement(MAC, VIP6) == announce.neighbour_advertisement(MAC, VIP6)
