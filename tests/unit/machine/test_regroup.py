"""A running engine takes up another group.toml: what it says, owns and heeds until all have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from carpool.machine import effects as fx
from carpool.machine.effects import State
from carpool.machine.engine import TRANSITION_TOLD_S, Engine
from carpool.machine.regroup import OLDER_MAX
from carpool.machine.wireform import WireForm
from carpool.model.config import Config, MacMode, VhostKey, Vip
from carpool.model.reject import Reject
from tests.unit.machine.group import (
    LAN,
    WAN,
    Sender,
    adverts,
    backup,
    config,
    down,
    kinds,
    master,
    moves,
    notes,
    own,
    reasons,
    states,
    unicast,
    up,
    vip,
)

DMZ = VhostKey("dmz", 53)
LAN2 = VhostKey("lan", 54)
OLD = vip()
OTHER = replace(OLD, password=b"another")
ALIAS = vip(extra=("10.1.0.101/24",))
SLOW = replace(OLD, advbase_s=2)
BOTH = (vip(LAN), vip(WAN))
THREE = (*BOTH, vip(DMZ))


def take(engine: Engine, *vips: Vip, now_s: float = 0.5, **settings: object) -> list[fx.Effect]:
    """Take up another group, with the links told anew as after every Reconfigure."""
    return take_up(engine, config(*vips, **settings), now_s)  # type: ignore[arg-type]


def take_up(engine: Engine, settings: Config, now_s: float = 0.5) -> list[fx.Effect]:
    effects = engine.handle(fx.TakeUp(settings), now_s)
    for interface in engine.ports if effects else ():
        effects += engine.handle(up(interface), now_s)
    return effects


def settle(engine: Engine, now_s: float) -> list[fx.Effect]:
    return engine.handle(fx.Settle(), now_s)


def run(engine: Engine, until_s: float) -> list[fx.Effect]:
    """All that is due until then."""
    done: list[fx.Effect] = []
    while engine.deadline_s is not None and engine.deadline_s <= until_s:
        done += engine.handle(fx.Tick(), engine.deadline_s)
    return done


def signed(effects: Sequence[fx.Effect], *forms: Vip) -> list[int]:
    """By advert, in order: which of `forms` it is signed for, -1 for none."""
    return [
        next((n for n, one in enumerate(forms) if WireForm(one).verify(advert)), -1)
        for advert in adverts(list(effects))
    ]


# ------------------------------------------------------------------------ in general


def test_what_is_the_same_is_no_change() -> None:
    engine = master()
    assert engine.handle(fx.TakeUp(config()), 0.5) == []
    assert engine.handle(fx.Settle(), 0.5) == []


def test_what_is_of_this_node_alone_needs_no_peer() -> None:
    engine = master()
    effects = take_up(engine, config(advskew=7, preempt=False))
    assert notes(effects) == [("group", "other settings count from now on")]
    assert engine.older == []
    assert {advert.advskew for advert in adverts(effects)} == {7}
    assert {vhost.preempt for vhost in engine.vhosts.values()} == {False}


def test_another_order_of_vips_and_addresses_is_no_change_for_any_peer() -> None:
    engine = master(config(ALIAS, vip(WAN)))
    turned = replace(ALIAS, addresses=ALIAS.addresses[::-1])
    assert turned != ALIAS
    effects = take(engine, vip(WAN), turned)
    assert engine.older == [] and moves(effects) == []
    assert notes(effects) == [("group", "other settings count from now on")]
    assert signed(effects, ALIAS, vip(WAN)).count(0) == 1, "one form is said once"
    take(engine, vip(WAN), replace(turned, password=b"another"))
    assert len(engine.older) == 1


def test_a_change_moves_nothing_and_is_told_once() -> None:
    engine = master(config(OLD))
    effects = take(engine, OTHER)
    assert moves(effects) == []
    assert notes(effects) == [
        (
            "group",
            "another group.toml counts from now on, and the one before, too, until all have it",
        )
    ]
    assert notes(settle(engine, 1.0)) == [
        ("group", "every node has the same group.toml: what was before counts no more")
    ]


def test_hands_follow_before_addresses_are_taken_and_after_they_are_released() -> None:
    engine = master(config(OLD))
    virtual = replace(OLD, mac=MacMode.INTERFACE)
    assert kinds(engine.handle(fx.TakeUp(config(virtual)), 0.5)) == [
        *("Note", "ReleaseAddresses", "Reconfigure", "TakeAddresses", "Announce", "SendAdvert")
    ]


def test_a_backup_takes_no_addresses() -> None:
    effects = take(backup(config(OLD)), ALIAS)
    assert kinds(effects) == ["Note", "Reconfigure"]


# --------------------------------------------------------------- password, addresses


@pytest.mark.parametrize(("old", "new"), [(OLD, OTHER), (OLD, ALIAS), (ALIAS, OLD)])
def test_until_settle_both_forms_are_said_and_heeded(old: Vip, new: Vip) -> None:
    engine = master(config(old))
    assert signed(take(engine, new), old, new)[-2:] == [0, 1]
    assert signed(engine.handle(fx.Tick(), 3.0), old, new) == [0, 1]
    for said in (old, new):
        peer = Sender(host=1 + (said is new) * 3)
        assert moves(engine.handle(peer.says(said, 0), 3.1)) in (
            [(LAN, State.MASTER, State.BACKUP)],
            [],
        )
    assert engine.counters["accepted"] == 2
    assert engine.counters[Reject.AUTH] == 0


@pytest.mark.parametrize(("old", "new"), [(OLD, OTHER), (OLD, ALIAS), (ALIAS, OLD)])
def test_what_was_settled_away_is_said_no_more_and_refused(old: Vip, new: Vip) -> None:
    engine, forger = master(config(old)), Sender(host=77)
    take(engine, new)
    assert signed(settle(engine, 1.0), old, new) == [1]
    assert signed(engine.handle(fx.Tick(), 3.0), old, new) == [1]
    effects = engine.handle(forger.says(old, 0), 3.1)
    assert (moves(effects), engine.counters[Reject.AUTH]) == ([], 1)


def test_an_alias_is_owned_and_announced_at_once() -> None:
    engine = master(config(OLD))
    effects = engine.handle(fx.TakeUp(config(ALIAS)), 0.5)
    assert kinds(effects) == ["Note", "Reconfigure", "TakeAddresses", "Announce"] + 2 * [
        "SendAdvert"
    ]
    assert engine.vhosts[LAN].vip == ALIAS


def test_each_form_has_a_counter_of_its_own_and_none_is_taken_for_a_strangers() -> None:
    engine = master(config(OLD))
    take(engine, OTHER)
    sent = engine.handle(fx.Tick(), 3.0)
    counters = [advert.counter for advert in adverts(sent)]
    assert counters == sorted(set(counters))
    for effect in sent:
        if isinstance(effect, fx.SendAdvert):
            mirrored = fx.PacketReceived("lan", own("lan", 9)[0], 255, effect.payload)
            engine.handle(mirrored, 3.001)
    assert engine.counters[Reject.LOOP] == 2


def test_a_recorded_advert_of_either_form_is_refused() -> None:
    engine, peer = backup(config(OLD)), Sender()
    recorded = []
    take(engine, OTHER)
    for tenth in range(1, 6):
        for said in (OLD, OTHER):
            packet = peer.says(said, 0)
            recorded.append(packet)
            engine.handle(packet, 0.5 + tenth / 10)
    assert engine.counters["accepted"] == 10
    for packet in recorded:
        engine.handle(packet, 1.5)
    assert (engine.counters["accepted"], engine.counters[Reject.REPLAY]) == (10, 10)


# ------------------------------------------------------------- at a peer without the change


def test_a_peer_without_the_change_follows_counts_and_is_quiet_for_a_while() -> None:
    engine, peer = backup(config(OLD)), Sender()
    told = []
    for second in range(1, 30):
        for said in (OLD, OTHER):
            told += notes(engine.handle(peer.says(said, 0), second))
        if second <= TRANSITION_TOLD_S:
            assert told == []
    assert [kind for kind, _ in told] == ["mismatch"]
    assert told[0][1] == (
        "fw2 (10.1.0.3) signs for another group.toml, too, which has not come here: "
        "`carpool sync` over there; else somebody forges its adverts"
    )
    assert engine.counters[Reject.AUTH] == 29
    assert engine.counters["mismatch"] == 0
    assert engine.vhosts[LAN].master == own("lan", 3)[0]


def test_a_peer_whose_change_comes_late_has_nothing_to_tell() -> None:
    engine, peer = backup(config(OLD)), Sender()
    told = []
    for second in range(1, 30):
        if second == 8:
            take(engine, OTHER, now_s=7.5)
        for said in (OLD, OTHER):
            told += notes(engine.handle(peer.says(said, 0), second))
    assert told == []


def test_noise_in_the_name_of_a_peer_that_is_no_member_is_a_mismatch_at_once() -> None:
    engine = backup(config(OLD))
    (kind, text), *_ = notes(engine.handle(Sender().says(OTHER, 0), 1.0))
    assert (kind, "compare group.toml on both nodes" in text) == ("mismatch", True)


def test_two_changes_within_a_minute_are_two_stories() -> None:
    engine, peer = backup(config(OLD)), Sender()
    told = notes(engine.handle(peer.says(OLD, 0), 1.0))
    told += notes(engine.handle(peer.says(OTHER, 0), 1.0))
    take(engine, OTHER, now_s=2.0)
    settle(engine, 3.0)
    told += notes(engine.handle(peer.says(OTHER, 0), 20.0))
    told += notes(engine.handle(peer.says(ALIAS, 0), 20.0))
    assert told == []


def test_what_explained_a_peer_before_the_change_lets_nobody_in_after_it() -> None:
    """Our old password over another address set had been taken for a member of the group."""
    engine, peer = backup(config(ALIAS)), Sender()
    engine.handle(peer.says(OLD, 0), 1.0)
    assert engine.counters["accepted"] == 1
    take(engine, replace(ALIAS, password=b"another"), now_s=2.0)
    settle(engine, 3.0)
    engine.handle(peer.says(OLD, 0), 10.0)
    assert (engine.counters["accepted"], engine.counters[Reject.AUTH]) == (1, 1)


# ------------------------------------------------------------------------ back, and often


def test_going_back_needs_what_was_in_between_for_a_while() -> None:
    engine = master(config(OLD))
    take(engine, OTHER)
    take(engine, OLD, now_s=1.0)
    assert [one.group.vips for one in engine.older] == [(OTHER,)]
    assert signed(engine.handle(fx.Tick(), 3.0), OLD, OTHER) == [1, 0]
    assert signed(settle(engine, 3.1), OLD, OTHER) == [0]


def test_the_oldest_form_is_let_go() -> None:
    engine = master(config(OLD))
    several = [replace(OLD, password=str(n).encode()) for n in range(OLDER_MAX + 1)]
    for number, new in enumerate(several):
        take(engine, new, now_s=0.5 + number / 10)
    assert len(engine.older) == OLDER_MAX
    assert signed(engine.handle(fx.Tick(), 2.5), OLD, *several) == [3, 2, 1, 4]


def test_a_process_that_is_started_within_a_change_goes_on_with_it() -> None:
    engine = Engine(config(OTHER), now_s=0.0, counter_start_us=1, older=[config(OLD)])
    engine.handle(up("lan"), 0.0)
    effects = run(engine, 4.0)
    assert moves(effects) == [(LAN, State.BACKUP, State.MASTER)]
    assert signed(effects, OLD, OTHER)[:2] == [0, 1]


# --------------------------------------------------------------------------- families


def test_a_family_that_comes_is_heard_and_said_in_both_forms() -> None:
    new = vip(families="46")
    engine = master(config(OLD))
    sent = [e for e in take(engine, new) if isinstance(e, fx.SendAdvert)]
    assert [e.family for e in sent[-4:]] == ["ipv4", "ipv4", "ipv6", "ipv6"]
    assert reasons(engine) == []


def test_a_node_without_an_address_of_the_new_family_is_behind_who_has_one() -> None:
    engine = master(config(OLD))
    engine.handle(fx.TakeUp(config(vip(families="46"))), 0.5)
    engine.handle(up("lan", own("lan")[:1]), 0.5)
    assert reasons(engine) == ["no own ipv6 address on lan"]
    take_up(engine, config(OLD))
    settle(engine, 1.0)
    engine.handle(up("lan", own("lan")[:1]), 1.0)
    assert reasons(engine) == []


# ---------------------------------------------------------------------------- advbase


@pytest.mark.parametrize(("old", "new"), [(OLD, SLOW), (SLOW, OLD)])
def test_while_advbase_changes_the_lower_is_said_and_the_higher_waited_for(
    old: Vip, new: Vip
) -> None:
    engine = master(config(old))
    (advert,) = adverts(take(engine, new))
    assert advert.advbase_s == 1
    waiting = backup(config(old))
    take(waiting, new)
    waiting.handle(Sender().says(OLD, 0), 1.0)
    assert waiting.deadline_s == 1.0 + 6 + 100 / 256
    settle(waiting, 2.0)
    assert waiting.deadline_s == 1.0 + 3 * new.advbase_s + 100 / 256
    (advert,) = adverts(settle(engine, 2.0))
    assert advert.advbase_s == new.advbase_s


@pytest.mark.parametrize("settings", [OLD, SLOW])
@pytest.mark.parametrize("changed_s", [1, 2])
def test_neither_node_preempts_the_other_for_its_advbase(settings: Vip, changed_s: int) -> None:
    """Each has the change, or has it not, or has settled already; the master is the better one."""
    new = replace(settings, advbase_s=changed_s)
    for said_s in {1, settings.advbase_s, changed_s}:
        engine = backup(config(settings))
        take(engine, new)
        assert moves(engine.handle(Sender().says(OLD, 0, advbase_s=said_s), 1.0)) == []


def test_a_better_node_still_preempts_while_advbase_changes() -> None:
    for said_s in (1, 2):
        engine = backup(config(OLD))
        take(engine, SLOW)
        effects = engine.handle(Sender().says(OLD, 200, advbase_s=said_s), 1.0)
        assert moves(effects) == [(LAN, State.BACKUP, State.MASTER)]


def test_who_is_demoted_says_the_higher_one_as_often_as_the_lower() -> None:
    """The lower one would be faster than a peer that is well and has not got the change."""
    engine = master(config(SLOW))
    take(engine, OLD)
    (advert,) = adverts(engine.handle(fx.SetMaintenance(True), 0.6))
    assert (advert.advbase_s, advert.advskew) == (2, 240)
    times = [0.6]
    while len(times) < 4:
        assert engine.deadline_s is not None
        at_s = engine.deadline_s
        if adverts(engine.handle(fx.Tick(), at_s)):
            times.append(at_s)
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert gaps == pytest.approx([1 + 240 / 256] * 3)
    (advert,) = adverts(engine.handle(fx.SetMaintenance(False), times[-1] + 0.1))
    assert (advert.advbase_s, advert.advskew) == (1, 100)


def test_of_two_demoted_nodes_no_one_preempts_who_would_not_yield() -> None:
    engine = backup(config(SLOW))
    take(engine, OLD)
    engine.handle(fx.SetMaintenance(True), 0.6)
    worse = Sender().says(OLD, 240, advbase_s=1, demote=64)
    assert moves(engine.handle(worse, 1.0)) == []


@pytest.mark.parametrize("advskew", [99, 100, 101])
def test_two_masters_agree_who_yields(advskew: int) -> None:
    """fw1 has the change and says 1 s, fw2 has not and says 2 s: so fw1 is the faster to both."""
    ours = master(config(SLOW))
    take(ours, OLD)
    assert moves(ours.handle(Sender().says(SLOW, advskew, advbase_s=2), 0.6)) == []
    theirs = master(config(SLOW))
    effects = theirs.handle(Sender().says(SLOW, advskew, advbase_s=1), 0.6)
    assert moves(effects) == [(LAN, State.MASTER, State.BACKUP)]


# ---------------------------------------------------------------------------- VIPs that go


def test_a_vip_that_goes_is_said_without_addresses_until_settle() -> None:
    engine = master()
    effects = take(engine, vip(LAN))
    assert "ReleaseAddresses" not in kinds(effects)  # Reconfigure does it; nobody is to notice
    assert moves(effects) == []
    assert engine.vhosts[WAN].vip.addresses == ()
    said = adverts(run(engine, 3.0))
    assert {advert.vhid for advert in said} == {LAN.vhid, WAN.vhid}
    old = backup()
    for advert in (e for e in run(engine, 4.0) if isinstance(e, fx.SendAdvert)):
        packet = fx.PacketReceived(advert.key.interface, own("lan", 3)[0], 255, advert.payload)
        old.handle(packet, 1.0)
    assert old.counters["accepted"] == 2


def test_a_vip_that_went_is_forgotten_at_settle() -> None:
    engine = master()
    take(engine, vip(LAN))
    effects = settle(engine, 1.0)
    assert fx.ReleaseAddresses(WAN) in effects
    assert ("group", "52@wan is gone") in notes(effects)
    assert (list(engine.vhosts), list(engine.ports)) == ([LAN], ["lan"])
    assert {advert.vhid for advert in adverts(run(engine, 9.0))} == {LAN.vhid}
    engine.handle(Sender().says(vip(WAN), 0), 9.0)
    assert engine.counters[Reject.INTERFACE] == 1


def test_a_backup_stays_behind_the_master_of_a_vip_that_goes() -> None:
    """Who takes the rest over takes it, too, though it has no addresses: or a third node would."""
    engine, peer = backup(), Sender()
    take(engine, vip(LAN))
    engine.handle(peer.says(vip(WAN), 0), 1.0)
    engine.handle(peer.says(vip(LAN), 0), 1.0)
    assert moves(run(engine, 4.0)) == []
    assert {key for key, _, new in moves(run(engine, 5.0)) if new is State.MASTER} == {LAN, WAN}


def test_a_vip_that_goes_and_comes_back_is_owned_again() -> None:
    engine = master()
    take(engine, vip(LAN))
    effects = take(engine, *BOTH, now_s=1.0)
    assert fx.TakeAddresses(WAN) in effects
    assert fx.Announce(WAN) in effects
    assert (moves(effects), engine.vhosts[WAN].vip) == ([], vip(WAN))


def test_a_vip_goes_with_its_link_out_of_node_toml() -> None:
    """It is said on that device until settle, to the peers that are known there."""
    engine = master(config(*(unicast(one) for one in BOTH)))
    new = config(unicast(vip(LAN)))
    assert "wan" not in new.node.interfaces
    take_up(engine, new)
    assert engine.acting.device("wan") == "wan0"
    assert engine.peers["wan", own("wan", 3)[0]] == "fw2"
    assert [one.interface for one in engine.status(1.0).interfaces] == ["lan", "wan"]
    settle(engine, 2.0)
    assert dict(engine.acting.node.interfaces) == {"lan": "lan0"}
    assert {interface for interface, _ in engine.peers} == {"lan"}
    again = Engine(new, now_s=0.0, counter_start_us=1, older=[config(*BOTH)])
    assert again.acting.device("wan") == "wan0"
    assert again.peers["wan", own("wan", 3)[0]] == "fw2"


# -------------------------------------------------------------------------- VIPs that come


def test_who_is_master_of_all_others_takes_a_vip_that_comes_at_once() -> None:
    engine = master()
    effects = take(engine, *THREE)
    assert moves(effects) == [
        (DMZ, State.INIT, State.BACKUP),
        (DMZ, State.BACKUP, State.MASTER),
    ]
    assert fx.TakeAddresses(DMZ) in effects
    assert set(states(engine).values()) == {State.MASTER}


def test_on_a_link_that_is_known_a_vip_that_comes_is_taken_once_hands_follow() -> None:
    engine = master()
    new = vip(LAN2)
    effects = engine.handle(fx.TakeUp(config(*BOTH, new)), 0.5)
    assert (LAN2, State.BACKUP, State.MASTER) in moves(effects)
    assert kinds(effects).index("Reconfigure") < kinds(effects).index("TakeAddresses")


def test_a_backup_leaves_a_vip_that_comes_until_settle() -> None:
    engine, peer = backup(), Sender()
    take(engine, *THREE)
    for second in range(1, 60):
        for known in BOTH:
            engine.handle(peer.says(known, 0), second)
        assert DMZ not in {key for key, _, _ in moves(run(engine, second + 0.5))}
    settle(engine, 60.0)
    for known in BOTH:
        engine.handle(peer.says(known, 0), 60.0)
    assert engine.vhosts[DMZ].deadline_s == 60.0 + 3 + 100 / 256
    assert (DMZ, State.BACKUP, State.MASTER) in moves(run(engine, 63.5))


def test_a_backup_that_has_heard_its_master_waits_as_for_all_others() -> None:
    engine, peer = backup(), Sender()
    take(engine, *THREE)
    assert engine.vhosts[DMZ].deadline_s is None
    engine.handle(peer.says(vip(DMZ), 0), 1.0)
    assert engine.vhosts[DMZ].deadline_s == 1.0 + 3 + 100 / 256


def test_a_backup_that_takes_the_others_over_takes_it_with_them() -> None:
    engine = backup()
    take(engine, *THREE)
    assert {key for key, _, new in moves(run(engine, 5.0)) if new is State.MASTER} == {
        *(LAN, WAN, DMZ)
    }


def test_a_vip_in_place_of_the_only_one_goes_where_that_one_is() -> None:
    engine = master(config(OLD))
    effects = take(engine, vip(LAN2))
    assert (LAN2, State.BACKUP, State.MASTER) in moves(effects)


def test_the_only_vip_waits_its_normal_interval() -> None:
    engine = backup(config(OLD))
    assert engine.deadline_s == 3 + 100 / 256
    assert moves(run(engine, 4.0)) == [(LAN, State.BACKUP, State.MASTER)]


def test_a_process_that_is_started_while_a_vip_comes_leaves_it_to_the_groups_master() -> None:
    engine = Engine(config(*THREE), now_s=0.0, counter_start_us=1, older=[config(*BOTH)])
    peer = Sender()
    for interface in ("lan", "wan", "dmz"):
        engine.handle(up(interface), 0.0)
    for second in range(1, 20):
        for known in BOTH:
            engine.handle(peer.says(known, 0), second)
        assert moves(run(engine, second + 0.5)) == []
    assert {key for key, _, _ in moves(run(engine, 25.0))} == {LAN, WAN, DMZ}


def test_a_process_that_owned_it_goes_on_owning_it() -> None:
    engine = Engine(config(*THREE), now_s=0.0, counter_start_us=1, older=[config(*BOTH)])
    for interface in ("lan", "wan", "dmz"):
        engine.handle(up(interface), 0.0)
    engine.handle(fx.Adopt(frozenset((LAN, WAN, DMZ))), 0.0)
    run(engine, 3.0)
    assert set(states(engine).values()) == {State.MASTER}
    assert not any(vhost.leaving or vhost.fresh for vhost in engine.vhosts.values())


def test_a_vip_that_comes_to_a_disabled_node_is_disabled() -> None:
    engine = master()
    engine.handle(fx.SetDisabled(True), 0.5)
    run(engine, 1.0)
    take(engine, *THREE, now_s=1.0)
    assert set(states(engine).values()) == {State.DISABLED}
    engine.handle(fx.SetDisabled(False), 2.0)
    assert set(states(engine).values()) == {State.BACKUP}


def test_nothing_comes_to_who_is_leaving() -> None:
    engine = master()
    engine.handle(fx.Switchover(), 0.5)
    take(engine, *THREE, now_s=0.6)
    assert states(engine)[DMZ] is State.BACKUP
    peer = Sender()
    for known in BOTH:
        engine.handle(peer.says(known, 200), 0.7)
    assert set(states(engine).values()) == {State.BACKUP}


# ----------------------------------------------------------------------- mac, transport


def test_another_mac_is_released_and_taken_again_without_a_move() -> None:
    engine = master(config(OLD))
    effects = engine.handle(fx.TakeUp(config(replace(OLD, mac=MacMode.INTERFACE))), 0.5)
    order = kinds(effects)
    assert (
        order.index("ReleaseAddresses") < order.index("Reconfigure") < order.index("TakeAddresses")
    )
    assert moves(effects) == []
    assert "ReleaseAddresses" not in kinds(settle(engine, 1.0))


def test_strangers_are_refused_only_once_all_adverts_are_unicast() -> None:
    engine = backup(config(OLD))
    stranger = Sender(host=77)
    take(engine, unicast(OLD))
    engine.handle(stranger.says(OLD, 0), 1.0)
    assert engine.counters[Reject.PEER] == 0
    settle(engine, 2.0)
    engine.handle(stranger.says(OLD, 0), 2.1)
    assert engine.counters[Reject.PEER] == 1


# -------------------------------------------------------------------------------- links


def test_what_a_link_was_demoted_for_goes_with_it() -> None:
    engine = master()
    engine.handle(up("wan", ()), 0.2)
    assert reasons(engine) == ["interface wan down"]
    take(engine, vip(LAN))
    engine.handle(down("wan"), 0.5)
    effects = settle(engine, 1.0)
    assert ("demotion", "no longer demoted: interface wan down") in notes(effects)
    assert reasons(engine) == []
    assert adverts(effects)[-1].advskew == 100


def test_send_errors_go_with_their_link_and_nothing_probes_it_any_more() -> None:
    engine = master()
    for _ in range(3):
        engine.handle(fx.SendResult("wan", "no buffer space"), 0.2)
    assert reasons(engine) == ["send errors wan"]
    engine.handle(fx.TakeUp(config(vip(LAN))), 0.5)
    settle(engine, 1.0)
    assert reasons(engine) == []
    assert "SendProbe" not in kinds(run(engine, 9.0))


def test_a_refused_address_of_a_vip_that_went_demotes_nobody() -> None:
    engine = master()
    engine.handle(fx.AddressResult(WAN, "no such device"), 0.2)
    assert reasons(engine) == ["addresses 52@wan"]
    take(engine, vip(LAN))
    settle(engine, 1.0)
    assert reasons(engine) == []
    assert run(engine, 60.0)
    assert reasons(engine) == []


def test_a_link_that_comes_demotes_nobody_before_it_is_known() -> None:
    engine = master()
    effects = engine.handle(fx.TakeUp(config(*THREE)), 0.5)
    assert reasons(engine) == []
    assert "Reconfigure" in kinds(effects)
    engine.handle(down("dmz"), 0.5)
    assert reasons(engine) == ["interface dmz down"]
    engine.handle(up("dmz"), 0.6)
    assert (reasons(engine), states(engine)[DMZ]) == ([], State.MASTER)


def test_peers_are_those_of_the_new_file_at_once() -> None:
    engine = master(config(OLD))
    take_up(engine, config(OLD, peers=("fw2",)))
    assert set(engine.peers.values()) == {"fw2"}
