"""What nft 1.0.6 prints of a ruleset, read back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carpool.proto.nftlisting import parse

LISTING = """\
table inet filter {
	comment "hello"
	counter c1 {
		comment "cc"
		packets 2 bytes 168
	}

	quota q1 {
		over 100 mbytes used 84 bytes
	}

	ct helper ftp {
		type "ftp" protocol tcp
		l3proto inet
	}

	set dyn {
		typeof ip saddr
		size 1000
		flags dynamic,timeout
		counter
		timeout 1h
		comment "x # , { y"
		elements = { 10.9.9.8 counter packets 0 bytes 0 timeout 2h expires 1h59m59s960ms, 10.9.9.9 expires 59m59s960ms,
				127.0.0.1 counter packets 1 bytes 84 timeout 30m expires 29m59s968ms comment "a : b, {c" }
	}

	map m {
		type ipv4_addr . inet_service : mark
		size 65535
		flags dynamic,timeout
		elements = { 127.0.0.1 . 22 expires 59s968ms : 0x00000007 }
	}

	set nets {
		type ipv6_addr
		flags interval
		elements = { fe80::/10,
				fec0::1-fec0::9 }
	}

	set rates {
		type ipv4_addr
		size 99
		flags dynamic
		elements = { 192.0.2.1 limit rate over 5/minute burst 3 packets }
	}

	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport { 1, 2 } accept
		meter mtr size 65535 { ip saddr limit rate 10/second } counter packets 1 bytes 84
	}
}
# Warning: table ip nat is managed by iptables-nft, do not touch!
table ip nat {
}
table netdev carpool { # progname carpool
	set admitted2 {
		type ether_addr
	}
}
"""  # noqa: E501 - as nft breaks its lines


def test_tables_and_what_is_in_them() -> None:
    found = parse(LISTING)
    assert list(found) == [("inet", "filter"), ("ip", "nat"), ("netdev", "carpool")]
    assert list(found["inet", "filter"]) == [
        *(("counter", "c1"), ("quota", "q1"), ("ct helper", "ftp"), ("set", "dyn"), ("map", "m")),
        *(("set", "nets"), ("set", "rates"), ("chain", "input")),
    ]
    assert found["ip", "nat"] == {}
    assert found["netdev", "carpool"]["set", "admitted2"].elements == {}


def test_a_set_its_declaration_and_its_elements() -> None:
    block = parse(LISTING)["inet", "filter"]["set", "dyn"]
    assert block.type == "typeof ip saddr"
    assert block.flags == {"dynamic", "timeout"}
    assert (block.value("timeout"), block.value("policy")) == ("1h", "")
    assert block.declaration == (
        *("typeof ip saddr", "size 1000", "flags dynamic,timeout", "counter", "timeout 1h"),
        'comment "x # , { y"',
    )
    assert list(block.elements) == ["10.9.9.8", "10.9.9.9", "127.0.0.1"]
    last = block.elements["127.0.0.1"]
    assert last.text == (
        '127.0.0.1 counter packets 1 bytes 84 timeout 30m expires 29m59s968ms comment "a : b, {c"'
    )
    assert last.definition == '127.0.0.1 counter timeout 30m comment "a : b, {c"'
    assert last.named == "127.0.0.1"


def test_elements_of_maps_intervals_and_limits() -> None:
    table = parse(LISTING)["inet", "filter"]
    (one,) = table["map", "m"].elements.values()
    assert (one.key, one.data, one.named) == (
        *("127.0.0.1 . 22", "0x00000007", "127.0.0.1 . 22 : 0x00000007"),
    )
    assert list(table["set", "nets"].elements) == ["fe80::/10", "fec0::1-fec0::9"]
    assert list(table["set", "rates"].elements) == ["192.0.2.1"]


def test_what_counts_on_is_no_part_of_a_declaration() -> None:
    table = parse(LISTING)["inet", "filter"]
    assert table["counter", "c1"].declaration == ('comment "cc"',)
    assert table["quota", "q1"].declaration == ("over 100 mbytes",)


@given(st.text(alphabet='tableipxs {}\t\n",:='))
def test_any_text_is_read(text: str) -> None:
    parse(text)
