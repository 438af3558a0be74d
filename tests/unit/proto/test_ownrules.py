from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.errors import ConfigError
from carpool.model.config import Group, Web
from carpool.model.section import Sync
from carpool.proto import ownrules
from tests.unit.model.configs import GROUP, LAN, NODE, WAN, config, ips, masked


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def test_each_peer_comes_to_its_ports_by_its_link_and_nobody_else() -> None:
    text = lines(ownrules.text(config(group=replace(GROUP, sync=Sync("sync")))))
    at = text.index("chain streams {")
    assert text[at + 1 : at + 4] == [
        'iifname "sync0" ip saddr { 10.10.3.2 } tcp dport { 3782, 3783, 3784 } accept '
        'comment "fw2"',
        "counter drop",
        "}",
    ]
    begins = "tcp flags & (fin | syn | rst | ack) == syn goto streams"
    assert f"tcp dport {{ 3782, 3783, 3784 }} {begins}" in text


def test_adverts_come_from_peers_or_from_the_networks_of_vips() -> None:
    text = lines(ownrules.text(config()))
    at = text.index("chain adverts {")
    assert text[at + 1 : at + 5] == [
        'iifname "lan0" ip saddr { 10.10.1.3 } accept',
        'iifname "lan0" ip6 saddr fe80::/10 accept',
        'iifname "wan0" ip saddr { 10.10.2.3 } accept',
        "counter drop",
    ]
    alone = replace(NODE, peers=())
    assert 'iifname "lan0" ip saddr { 10.10.1.0/24 } accept' in lines(
        ownrules.text(config(node=alone))
    )
    routed = replace(LAN, addresses=masked("192.0.2.1/32"))
    assert 'iifname "lan0" meta nfproto ipv4 accept' in lines(
        ownrules.text(config(node=alone, lan=routed))
    )


def test_ports_are_those_of_the_files_and_pairing_has_one_without_any() -> None:
    assert ownrules.ports(config(group=Group("edge", (LAN, WAN)))) == [3783]
    other = replace(GROUP, sync=Sync("sync", port=4000))
    assert ownrules.ports(config(group=other)) == [3782, 3783, 4000]


def test_the_mark_is_that_of_the_text() -> None:
    one = config()
    other = config(
        node=replace(NODE, addresses={"sync": ips("10.10.3.1"), "lan": ips("10.10.1.2")})
    )
    assert f'comment "{ownrules.mark(one)}"' in ownrules.text(one)
    assert ownrules.mark(one) != ownrules.mark(other)
    assert ownrules.text(one).startswith(ownrules.removal())


def test_a_name_that_nft_reads_otherwise_is_refused() -> None:
    odd = replace(NODE, interfaces={**NODE.interfaces, "sync": "eth*"})
    with pytest.raises(ConfigError, match="eth"):
        ownrules.text(config(node=odd))


def test_the_pages_are_open_on_their_interfaces_and_nowhere_else() -> None:
    without = ownrules.text(config())
    assert "pages" not in without
    text = lines(ownrules.text(config(group=replace(GROUP, web=Web(("lan", "sync"), 443)))))
    begins = "tcp flags & (fin | syn | rst | ack) == syn goto pages"
    assert f"tcp dport 443 {begins}" in text
    at = text.index("chain pages {")
    assert text[at + 1 : at + 5] == [
        'iifname "lan0" accept',
        'iifname "sync0" accept',
        "counter drop",
        "}",
    ]
