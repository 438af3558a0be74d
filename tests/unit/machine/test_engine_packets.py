"""Packets at the engine's door: who is refused, what is told, and that nothing else happens."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.machine import effects as fx
from carpool.machine.effects import State
from carpool.machine.engine import Engine
from carpool.machine.teller import TELL_AGAIN_S
from carpool.model.config import Family
from carpool.model.reject import Reject
from carpool.proto import carp
from tests.unit.machine.group import (
    LAN,
    WAN,
    Sender,
    adverts,
    backup,
    config,
    kinds,
    master,
    moves,
    notes,
    own,
    states,
    unicast,
    up,
    vip,
)
from tests.unit.proto.test_carp import sealed


def snapshot(engine: Engine, now_s: float) -> object:
    """All that an input could have changed, but for the counters."""
    status = replace(engine.status(now_s), counters={})
    return status, engine.deadline_s, [vhost.counters for vhost in engine.vhosts.values()]


def altered(packet: fx.PacketReceived, **fields: int) -> fx.PacketReceived:
    """The packet with some of its bytes changed and the checksum made right again."""
    offsets = {"vhid": 1, "advskew": 2, "demote": 4, "advbase_s": 5, "digest": 20, "counter": 15}
    payload = bytearray(packet.payload)
    for name, value in fields.items():
        payload[offsets[name]] = value
    return replace(packet, payload=sealed(bytes(payload)))


def refused(engine: Engine, packet: fx.PacketReceived, now_s: float) -> Reject:
    """The one counter that moved; AssertionError if anything else did, or not exactly one."""
    before, counted = snapshot(engine, now_s), engine.counters.copy()
    effects = engine.handle(packet, now_s)
    assert all(isinstance(effect, fx.Note) for effect in effects), effects
    assert len(effects) <= 1
    assert snapshot(engine, now_s) == before
    moved = engine.counters - counted
    (name,) = set(moved) - {"received_ipv4", "received_ipv6", "mismatch"}
    assert set(moved.values()) == {1}
    return Reject(name)


# -------------------------------------------------------------------------------- refusals


def test_each_reason_to_refuse_has_its_counter() -> None:
    engine, peer = backup(config(vip(LAN), unicast(vip(WAN)))), Sender()
    good = peer.says(vip(LAN), 0)
    stranger = peer.says(vip(WAN), 0, source=ip_address("10.2.0.77"))
    ours = peer.says(vip(LAN), 0, source=own("lan")[0])
    cases = {
        Reject.INTERFACE: replace(good, interface="sync"),
        Reject.TTL: replace(good, hop_limit=254),
        Reject.LENGTH: replace(good, payload=good.payload[:-1]),
        Reject.CHECKSUM: replace(good, payload=good.payload[:-1] + b"\0"),
        Reject.VERSION: replace(good, payload=sealed(b"\x31" + good.payload[1:])),
        Reject.VHID: altered(good, vhid=99),
        Reject.ADVBASE: altered(good, advbase_s=0),
        Reject.PEER: stranger,
        Reject.LOOP: ours,
        Reject.AUTH: altered(good, digest=0),
    }
    assert {reject: refused(engine, packet, 1.0) for reject, packet in cases.items()} == {
        reject: reject for reject in cases
    }
    assert set(Reject) - set(cases) == {Reject.REPLAY}  # test_a_proven_peer...


def test_a_refused_packet_does_not_keep_a_dead_master_alive() -> None:
    engine, peer = backup(), Sender()
    engine.handle(peer.says(vip(LAN), 0), 1.0)
    engine.handle(peer.says(vip(WAN), 0), 1.0)
    for tenth in range(10, 43):
        refused(engine, altered(peer.says(vip(LAN), 0), digest=0), tenth / 10)
    assert engine.deadline_s == 1.0 + 3 + 100 / 256


def test_a_refusal_is_told_once_a_minute_and_interface() -> None:
    engine, peer = backup(), Sender()
    far = replace(peer.says(vip(LAN), 0), hop_limit=64)
    assert notes(engine.handle(far, 1.0)) == [
        ("reject", "refused a packet of fw2 (10.1.0.3) on lan: bad_ttl (1 so far)")
    ]
    for second in range(2, 61):
        assert engine.handle(far, float(second)) == []
    assert notes(engine.handle(replace(far, interface="wan"), 30.0)) != []
    assert notes(engine.handle(far, 1.0 + TELL_AGAIN_S)) == [
        ("reject", "refused a packet of fw2 (10.1.0.3) on lan: bad_ttl (62 so far)")
    ]


def test_another_group_on_the_wire_is_not_worth_a_word() -> None:
    engine = backup()
    packet = altered(Sender().says(vip(LAN), 0), vhid=99)
    assert engine.handle(packet, 1.0) == []
    assert engine.counters[Reject.VHID] == 1


def test_our_own_packet_that_comes_back_is_a_loop() -> None:
    engine = master()
    (payload,) = [
        e.payload
        for e in engine.handle(fx.SetMaintenance(True), 0.5)
        if isinstance(e, fx.SendAdvert) and e.key == LAN
    ]
    mirrored = fx.PacketReceived("lan", ip_address("10.1.0.77"), 255, payload)
    assert refused(engine, mirrored, 0.6) is Reject.LOOP
    assert refused(engine, replace(mirrored, source=own("lan")[0]), 0.6) is Reject.LOOP


def test_unicast_accepts_configured_peers_only() -> None:
    engine, peer = backup(config(unicast(vip(LAN, "46")))), Sender()
    stranger = peer.says(vip(LAN, "46"), 0, source=ip_address("10.1.0.77"))
    assert refused(engine, stranger, 1.0) is Reject.PEER
    for family in Family:
        assert engine.handle(peer.says(vip(LAN, "46"), 0, family=family), 1.0) == []
    assert engine.counters["accepted"] == 2


def test_multicast_accepts_whoever_knows_the_password() -> None:
    engine = backup(config(peers=()))
    stranger = Sender().says(vip(LAN), 0, source=ip_address("10.1.0.77"))
    assert engine.handle(stranger, 1.0) == []
    assert engine.counters["accepted"] == 1
    assert engine.status(1.0).vhosts[0].master == "10.1.0.77"


def test_packets_for_a_vhid_in_init_move_nothing() -> None:
    engine = Engine(config(), now_s=0.0, counter_start_us=1)
    assert engine.handle(Sender().leaves(vip(LAN)), 1.0) == []
    assert states(engine)[LAN] is State.INIT


# ---------------------------------------------------------------------------------- replay


def proven(engine: Engine, peer: Sender) -> fx.PacketReceived:
    """Five adverts of a better master, once a second from 1.0; the last one."""
    for second in range(1, 5):
        assert engine.handle(peer.says(vip(LAN), 0), float(second)) == []
        engine.handle(peer.says(vip(WAN), 0), float(second))
    last = peer.says(vip(LAN), 0)
    assert engine.handle(last, 5.0) == []
    engine.handle(peer.says(vip(WAN), 0), 5.0)
    return last


def test_a_proven_peer_may_not_go_back_while_it_lives() -> None:
    engine, peer = backup(), Sender()
    last = proven(engine, peer)
    assert refused(engine, last, 5.5) is Reject.REPLAY
    older = peer.says(vip(LAN), 0, counter=peer.counter - 4)
    assert refused(engine, older, 5.6) is Reject.REPLAY
    assert engine.handle(peer.says(vip(LAN), 0), 6.0) == []


def test_replayed_adverts_do_not_keep_a_dead_master_alive() -> None:
    engine, peer = backup(), Sender()
    last = proven(engine, peer)
    for tenth in range(51, 84):
        refused(engine, last, tenth / 10)
    effects = engine.handle(fx.Tick(), 5.0 + 3 + 100 / 256)
    assert moves(effects)[0] == (LAN, State.BACKUP, State.MASTER)


def test_a_peer_that_restarted_with_an_earlier_clock_is_heard_once_it_was_forgotten() -> None:
    """It is refused for as long as we would wait for a silent master, and no longer."""
    engine, peer = backup(), Sender()
    proven(engine, peer)
    down_s = 3 + 100 / 256
    peer.counter -= 1000
    assert refused(engine, peer.says(vip(LAN), 0), 5.0 + down_s) is Reject.REPLAY
    assert engine.handle(fx.Tick(), 5.0 + down_s) != []
    effects = engine.handle(peer.says(vip(LAN), 0), 5.0 + down_s + 0.1)
    assert moves(effects) == [(LAN, State.MASTER, State.BACKUP)]


def test_each_family_of_a_peer_has_its_own_counters() -> None:
    """One family may be late by more than a packet."""
    where = vip(LAN, "46")
    engine, peer = backup(config(where)), Sender()
    for second in range(1, 8):
        assert engine.handle(peer.says(where, 0, counter=2000 + second), float(second)) == []
        ipv6 = peer.says(where, 0, counter=1000 + second, family=Family.IPV6)
        assert engine.handle(ipv6, float(second)) == []
    assert engine.counters["accepted"] == 14


def test_who_repeats_each_advert_does_not_keep_its_sender_unproven() -> None:
    """The repetition was taken for a peer that stands still, and its proof was begun anew."""
    engine, peer = backup(), Sender()
    for second in range(1, 8):
        packet = peer.says(vip(LAN), 0)
        assert engine.handle(packet, float(second)) == []
        assert refused(engine, packet, second + 0.1) is Reject.REPLAY
    first = peer.says(vip(LAN), 0, counter=peer.counter - 5)
    assert refused(engine, first, 7.5) is Reject.REPLAY


def test_what_an_attacker_on_the_wire_can_do_with_one_recorded_advert() -> None:
    """CARP signs no advskew, advbase nor demote: a weakness of the protocol. The packet must be
    the first with its counter; once a living sender is proven, altered copies are refused."""
    engine, peer = backup(), Sender()
    fresh = peer.says(vip(LAN), 0)
    assert moves(engine.handle(altered(fresh, advskew=255), 1.0))[0] == (
        LAN,
        State.BACKUP,
        State.MASTER,
    )
    engine, peer = backup(), Sender()
    last = proven(engine, peer)
    for fields in ({"advskew": 255}, {"advbase_s": 255}, {"demote": 255}):
        assert refused(engine, altered(last, **fields), 5.5) is Reject.REPLAY


# -------------------------------------------------------------------------------- mismatch


def test_a_peer_that_lacks_an_alias_is_told_exactly_and_heeded() -> None:
    """We know of one address more: we can tell which, and stay backup of a working master."""
    ours = vip(LAN, extra=("10.1.0.101/24",))
    engine, peer = backup(config(ours)), Sender()
    effects = engine.handle(peer.says(vip(LAN), 0), 1.0)
    assert notes(effects) == [
        (
            "mismatch",
            "fw2 (10.1.0.3) has another address set for VHID 51 on lan: it lacks 10.1.0.101/24, "
            "which this node has; make group.toml the same on both nodes",
        )
    ]
    for second in range(2, 60):
        assert engine.handle(peer.says(vip(LAN), 0), float(second)) == []
    assert states(engine) == {LAN: State.BACKUP}
    assert engine.counters["mismatch"] == 59
    assert engine.counters[Reject.AUTH] == 0


def test_a_master_that_knows_more_yields_to_a_better_peer_that_lacks_an_alias() -> None:
    engine = master(config(vip(LAN, extra=("10.1.0.101/24",))))
    effects = engine.handle(Sender().says(vip(LAN), 0), 1.0)
    assert moves(effects) == [(LAN, State.MASTER, State.BACKUP)]


def test_a_peer_with_an_alias_that_we_lack_cannot_be_explained_but_is_told() -> None:
    engine = backup(config(vip(LAN)))
    theirs = vip(LAN, extra=("10.1.0.101/24",))
    effects = engine.handle(Sender().says(theirs, 0), 1.0)
    assert notes(effects) == [
        (
            "mismatch",
            "fw2 (10.1.0.3) signs another set of addresses or uses another password: "
            "compare group.toml on both nodes",
        )
    ]
    assert (engine.counters["mismatch"], engine.counters[Reject.AUTH]) == (1, 1)


def test_the_digest_of_a_stranger_is_not_explained() -> None:
    engine = backup(config(vip(LAN, extra=("10.1.0.101/24",)), peers=()))
    assert refused(engine, Sender().says(vip(LAN), 0), 1.0) is Reject.AUTH
    assert engine.counters["mismatch"] == 0


def test_a_mismatching_peer_is_no_exception_from_replay_protection() -> None:
    engine, peer = backup(config(vip(LAN, extra=("10.1.0.101/24",)))), Sender()
    packets = [peer.says(vip(LAN), 0) for _ in range(5)]
    for second, packet in enumerate(packets, 1):
        engine.handle(packet, float(second))
    assert refused(engine, packets[-1], 5.5) is Reject.REPLAY


# -------------------------------------------------------------------------------- conflict


def test_the_better_of_two_masters_says_so_and_announces_again() -> None:
    """After a split brain neighbours and switches may still point at the loser."""
    engine = master()
    effects = engine.handle(Sender().says(vip(LAN), 200), 0.9)
    assert kinds(effects) == ["SendAdvert", "Announce", "Note"]
    assert (adverts(effects)[0].advskew, notes(effects)[0][0]) == (100, "conflict")
    times = (0.2, 1.1, 2.3, 3.7, 5.0)  # 3.7: or it would have slept
    again = [fx.Announce(LAN) in engine.handle(fx.Tick(), 0.9 + s) for s in times]
    assert again == [True, True, True, False, True]


# ------------------------------------------------------------------------------------ fuzz

BACKUP = backup()
MASTER = master()
GOOD = Sender().says(vip(LAN), 0)


@given(
    payload=st.binary(max_size=60) | st.binary(min_size=36, max_size=36).map(sealed),
    hop_limit=st.sampled_from((0, 254, 255)),
    interface=st.sampled_from(("lan", "wan", "dmz")),
    source=st.ip_addresses(),
    engine=st.sampled_from((BACKUP, MASTER)),
)
def test_any_bytes_move_a_counter_and_nothing_else(
    payload: bytes, hop_limit: int, interface: str, source: object, engine: Engine
) -> None:
    packet = fx.PacketReceived(interface, ip_address(str(source)), hop_limit, payload)
    assert refused(engine, packet, 0.5) in Reject


@pytest.mark.parametrize("engine", [BACKUP, MASTER], ids=["backup", "master"])
@pytest.mark.parametrize("bit", range(36 * 8))
def test_a_flipped_bit_moves_a_counter_and_nothing_else(engine: Engine, bit: int) -> None:
    payload = bytearray(GOOD.payload)
    payload[bit // 8] ^= 0x80 >> bit % 8
    assert refused(engine, replace(GOOD, payload=bytes(payload)), 0.5) is Reject.CHECKSUM


@pytest.mark.parametrize("length", range(36))
def test_a_truncated_advert_moves_a_counter_and_nothing_else(length: int) -> None:
    for payload in (GOOD.payload[:length], sealed(GOOD.payload[: length // 2 * 2].ljust(8, b"\0"))):
        assert refused(MASTER, replace(GOOD, payload=payload), 0.5) is Reject.LENGTH


@given(offset=st.integers(0, 35), value=st.integers(0, 255))
def test_a_changed_byte_under_a_right_checksum(offset: int, value: int) -> None:
    """Signed are version, type, VHID, counter and digest: a change there is refused. The other
    bytes (advskew, authentication length, demote, advbase) are not: see the attacker above."""
    payload = GOOD.payload[:offset] + bytes([value]) + GOOD.payload[offset + 1 :]
    packet = replace(GOOD, payload=sealed(payload))
    if packet.payload == GOOD.payload or offset in (2, 4) or (offset == 5 and value):
        advert = carp.parse(packet.payload, 255)
        assert isinstance(advert, carp.Advert)
        assert MASTER.vhosts[LAN].form.verify(advert)
    elif offset in (6, 7):
        assert packet.payload == GOOD.payload
    else:
        assert refused(MASTER, packet, 0.5) in Reject


def test_up_and_running_after_all_that() -> None:
    """The engines that were fuzzed do what they should."""
    assert BACKUP.handle(GOOD, 0.6) == []
    assert moves(MASTER.handle(GOOD, 0.6)) == [(LAN, State.MASTER, State.BACKUP)]
    BACKUP.handle(up("lan"), 0.7)
