"""nf_tables messages, compared with what nft 1.0.6 sends for the same (`nft --debug=mnl`).

The whole table goes through a real kernel in tests/netns/test_kernel_ingress.py.
"""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from carpool.proto import netlink as nl
from carpool.proto import nftables as nft

MAC = bytes.fromhex("00005e000133")


def body(message: bytes) -> dict[int, bytes]:
    (found,) = nl.messages(message)
    assert found.body[:4] == b"\x05\0\0\0"  # family netdev
    return nl.attributes(found.body, 4)


def expression(raw: bytes) -> tuple[str, dict[int, bytes]]:
    inner = nl.attributes(nl.attributes(raw)[1])
    return inner[1].rstrip(b"\0").decode(), nl.attributes(inner[2])


def test_a_batch_is_bracketed_for_the_subsystem() -> None:
    (begin,) = nl.messages(nft.batch_begin())
    (end,) = nl.messages(nft.batch_end())

    assert (begin.type, end.type) == (16, 17)
    assert begin.body == end.body == b"\0\0\0\x0a"


def test_a_table_is_owned_by_its_socket() -> None:
    (message,) = nl.messages(nft.new_table("carpool"))

    assert message.type == 0x0A00
    assert body(nft.new_table("carpool")) == {1: b"carpool\0", 2: b"\0\0\0\x02"}


def test_an_ingress_chain_lists_its_devices() -> None:
    raw = nft.new_chain("carpool", "ingress3", nft.INGRESS, -500, ["lan0", "wan0"])
    found = body(raw)
    hook = nl.attributes(found[4])

    assert found[3] == b"ingress3\0"
    assert (found[7], found[5]) == (b"filter\0", b"\0\0\0\x01")
    assert (hook[1], hook[2]) == (bytes(4), bytes.fromhex("fffffe0c"))
    assert hook[4] == nl.string(1, "lan0") + nl.string(1, "wan0")


def test_a_set_with_timeouts_is_dynamic_and_bounded() -> None:
    flags = nft.SET_TIMEOUT | nft.SET_EVAL
    found = body(nft.new_set("carpool", "admitted3", 7, flags, nft.KEY_MAC, 6, 256))

    assert found[3] == b"\0\0\0\x30"
    assert (found[4], found[5], found[10]) == (b"\0\0\0\x09", b"\0\0\0\x06", b"\0\0\0\x07")
    assert nl.attributes(found[9]) == {1: b"\0\0\x01\0"}


def test_elements_are_keys_with_a_timeout_in_milliseconds() -> None:
    found = body(nft.new_elements("carpool", "admitted3", [MAC], 3000))
    element = nl.attributes(nl.attributes(found[3])[1])

    assert nl.attributes(element[1]) == {1: MAC}
    assert element[4] == struct.pack(">Q", 3000)


def test_a_rule_carries_its_comment_for_nft_list() -> None:
    found = body(nft.new_rule("carpool", "control", [nft.drop()], "why"))

    assert found[7] == b"\x00\x04why\0"
    assert found[4] == nft.drop()


def test_expressions() -> None:
    assert expression(nft.load(nft.NETWORK, 9, 1)) == (
        "payload",
        {1: b"\0\0\0\x01", 2: b"\0\0\0\x01", 3: b"\0\0\0\x09", 4: b"\0\0\0\x01"},
    )
    name, compared = expression(nft.equal(b"\x70"))
    assert (name, compared[2], nl.attributes(compared[3])) == ("cmp", bytes(4), {1: b"\x70"})
    name, looked_up = expression(nft.within("virtual3", 2, inverted=True))
    assert (name, looked_up[1], looked_up[5]) == ("lookup", b"virtual3\0", b"\0\0\0\x01")
    name, updated = expression(nft.update_set("admitted3", 3, 3000))
    assert (name, updated[3], updated[6]) == ("dynset", b"\0\0\0\x01", struct.pack(">Q", 3000))
    name, verdict = expression(nft.drop())
    assert (name, verdict[1]) == ("immediate", bytes(4))
    assert nl.attributes(nl.attributes(verdict[2])[2]) == {1: bytes(4)}


def test_the_keys_of_a_dump_are_read_back() -> None:
    macs = [MAC, bytes.fromhex("00005e000134")]
    (sent,) = nl.messages(nft.new_elements("carpool", "admitted3", macs, 3000))

    assert list(nft.element_keys(sent)) == macs


@given(st.binary(max_size=120))
def test_no_bytes_of_a_dump_raise(data: bytes) -> None:
    whole = b"\x05\0\0\0" + data
    nested = b"\x05\0\0\0" + nl.attr(3, data)

    for raw in (whole, nested):
        assert len(list(nft.element_keys(nl.Message(0, 0, 0, 0, raw)))) <= len(data)
