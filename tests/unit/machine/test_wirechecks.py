"""What follows from who was heard, and from who was not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from carpool.machine.facts import Facts
from carpool.machine.wirechecks import multicast, vhid
from carpool.model.config import MacMode, Transport
from carpool.model.diagnosis import Severity
from carpool.model.facts import Heard, InterfaceFacts, PeerFacts
from carpool.proto.carp import Signer, build
from carpool.proto.routers import CARP, PROBE, VRRP
from tests.unit.machine.facts import NODE_FACTS, UNSEEN, facts, found, severities, skipped
from tests.unit.model.configs import GROUP, LAN, NODE, config, masked

VMAC, MAC = "00:00:5e:00:01:33", "02:00:00:00:00:09"
ONLY = replace(LAN, addresses=masked("10.10.1.1/24"))
THERE = {"lan": InterfaceFacts("eth0", True, True, True, 1500, masked("10.10.1.3/24"))}
PEER = PeerFacts(replace(NODE_FACTS, interfaces=THERE))
MASTER = {"51@lan": "MASTER"}


def heard(source: str, kind: str, number: int = 0, **more: Any) -> Heard:
    return Heard("lan", ip_address(source), MAC, kind, number, **more)


def wire(*ours: Heard, theirs: tuple[Heard, ...] = (), **changes: Any) -> Facts:
    """`ours` was heard by this node, whose VIP is ONLY, `theirs` by the peer."""
    changes = {"config": config(vips=(ONLY,)), "listened_s": 3.0, **changes}
    return facts(heard=ours, peers={"fw2": PEER}, peers_heard={"fw2": theirs}, **changes)


def advert(password: bytes) -> bytes:
    signer = Signer(51, password, [each.ip for each in ONLY.addresses])
    return build(signer, vhid=51, advbase_s=1, advskew=0, demote=0, counter=7)


def test_strangers_and_nodes_of_the_group() -> None:
    forged = heard("10.10.1.9", CARP, 51, payload=advert(b"other"))
    (one,) = found(vhid, wire(forged))
    assert one.severity is Severity.ERROR
    assert one.found.startswith(f"10.10.1.9 ({MAC}) speaks on lan for VHID 51 with another")
    assert VMAC in one.why
    assert not found(vhid, wire(heard("10.10.1.9", CARP, 51, payload=advert(b"secret"))))
    assert not found(vhid, wire(heard("10.10.1.3", CARP, 51))), "the peer says that it is its own"
    assert not found(vhid, wire(heard("10.10.1.2", CARP, 51))), "our own"
    (one,) = found(vhid, wire(heard("10.10.1.3", VRRP, 51)))
    assert f"(VRRP), whose virtual MAC {VMAC}" in one.found


def test_numbers_that_others_use_are_worth_a_note() -> None:
    seen = wire(heard("10.10.1.9", VRRP, 7), heard("10.10.1.8", CARP, 9), heard("::1", PROBE))
    (one,) = found(vhid, seen)
    assert one.severity is Severity.NOTE
    assert one.found == "in use by others on lan: 7 (VRRP of 10.10.1.9), 9 (CARP of 10.10.1.8)"
    (one,) = found(vhid, replace(seen, config=UNSEEN))
    assert "7 (VRRP" in one.found, "before there is a configuration, too"
    assert skipped(vhid, replace(seen, heard=UNSEEN)) == ["nobody has looked"]


def test_both_ways_are_needed() -> None:
    here, there = heard("10.10.1.3", PROBE), heard("10.10.1.2", PROBE)
    assert list(multicast(wire(here, theirs=(there,)))) == []
    (one,) = found(multicast, wire(theirs=(there,)))
    assert one.found == "on lan this node hears nothing that fw2 sends to 224.0.0.18"
    (one,) = found(multicast, wire(here))
    assert one.found == "on lan fw2 hears nothing that this node sends to 224.0.0.18"
    assert severities(found(multicast, wire())) == [Severity.ERROR] * 2
    unicast = replace(ONLY, transport=Transport.UNICAST)
    assert not found(multicast, wire(config=config(vips=(unicast,))))


def test_a_master_whose_virtual_mac_does_not_get_through() -> None:
    here, there = heard("10.10.1.3", PROBE), heard("10.10.1.2", PROBE)
    mute = wire(here, theirs=(there,), roles=MASTER)
    (one,) = found(multicast, mute)
    assert one.found == (
        "on lan fw2 hears this node, and none of its adverts for VHID 51, which come from " + VMAC
    )
    full = (there, heard("10.10.1.2", CARP, 51))
    assert not found(multicast, wire(here, theirs=full, roles=MASTER))
    own = replace(ONLY, mac=MacMode.INTERFACE)
    slow = replace(ONLY, advbase_s=2)
    for other in (
        replace(mute, roles={"51@lan": "BACKUP"}),
        replace(mute, config=config(vips=(own,))),
        replace(mute, config=config(vips=(slow,))),  # three seconds say nothing
    ):
        assert not found(multicast, other)


def test_why_nothing_is_known() -> None:
    told = wire(heard("10.10.1.3", PROBE))
    assert skipped(multicast, replace(told, peers_heard={"fw2": UNSEEN})) == ["nobody has looked"]
    assert skipped(multicast, replace(told, peers={"fw2": UNSEEN})) == ["nobody has looked"]
    assert skipped(multicast, replace(told, config=UNSEEN)) == ["nobody has looked"]
    alone = config(node=replace(NODE, peers=()), group=GROUP)
    assert skipped(multicast, facts(config=alone)) == ["node.toml names no peer"]
