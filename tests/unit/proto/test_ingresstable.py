"""The nft table as messages: what a batch holds. What the kernel does: test_kernel_ingress.py."""

from __future__ import annotations

import struct

from carpool.proto import ingresstable as table
from carpool.proto.ingresstable import Macvlan, Parent, Step

MAC51 = bytes.fromhex("00005e000133")
MAC52 = bytes.fromhex("00005e000134")
PARENT_MAC = bytes.fromhex("020000000001")
ONE = Macvlan(51, "carp51-7", 9)
TWO = Macvlan(52, "carp52-7", 10)
LAN = Parent("lan0", 7, PARENT_MAC, (51, 52, 53), (ONE, TWO))
PLAIN = Parent("wan0", 8, PARENT_MAC, (60,))


def batch(*parents: Parent, kept: dict[int, set[bytes]] | None = None) -> list[Step]:
    return list(table.replace_table(parents, 3000, kept or {}))


def said(steps: list[Step], what: str) -> list[bytes]:
    return [message for told, message in steps if told == what]


def test_control_frame_names_parent_verb_and_macvlan() -> None:
    frame = table.control_frame(7, ONE, admit=True)
    assert frame[:6] == MAC51
    assert frame[12:14] == bytes.fromhex("88b5")
    assert struct.unpack("=IBxxxI", frame[14:]) == (7, 1, 9)
    expelled = table.control_frame(7, ONE, admit=False)
    assert struct.unpack("=IBxxxI", expelled[14:]) == (7, 0, 9)


def test_the_old_table_is_replaced_in_the_same_batch() -> None:
    whats = [what for what, _ in batch(LAN)]
    assert whats[:3] == ["replace table netdev carpool"] * 3
    assert "hook on lo" in whats and "hook on lan0" in whats and "hook on the macvlans" in whats


def test_each_device_has_sets_of_its_own_name() -> None:
    joined = b"".join(message for _, message in batch(LAN, PLAIN))
    for name in (b"adverts7", b"virtual7", b"admitted7", b"adverts8", b"admitted8", b"ingress8"):
        assert name + b"\0" in joined
    assert LAN.admitted == "admitted7"


def test_adverts_of_all_vhids_stop_here_virtual_macs_only_where_there_are_some() -> None:
    lan = b"".join(said(batch(LAN), "set for lan0"))
    assert all(bytes((0x21, vhid)) in lan for vhid in LAN.vhids)  # version and type, then VHID
    assert MAC51 in lan and MAC52 in lan
    plain = batch(PLAIN)
    assert len(said(plain, "rule on wan0")) == 2  # the adverts of either family, nothing more
    assert len(said(batch(LAN), "rule on lan0")) > 2


def test_who_was_admitted_stays_so_and_nobody_else() -> None:
    admitted = "set admitted7"
    assert len(said(batch(LAN), admitted)) == 1  # the empty set
    made, elements = said(batch(LAN, kept={7: {MAC51, bytes(6)}}), admitted)
    assert MAC51 not in made
    assert MAC51 in elements and MAC52 not in elements
    (_, alone) = said(batch(LAN, kept={7: {MAC51}}), admitted)
    assert elements == alone  # a MAC that is not configured any more is forgotten
    heard = said(batch(LAN, kept={7: {MAC51}}), "set open")[1]
    assert struct.pack("=I", ONE.index) in heard and struct.pack("=I", TWO.index) not in heard


def test_macvlans_are_spread_over_chains_that_the_kernel_accepts() -> None:
    many = tuple(Macvlan(vhid, f"carp{vhid}-7", 100 + vhid) for vhid in range(1, 251))
    steps = batch(Parent("lan0", 7, PARENT_MAC, tuple(range(1, 251)), many))
    assert len(said(steps, "hook on the macvlans")) == 2
    assert len(said(steps, "hook behind the macvlans")) == 2
