"""The engine's surface: links, moving as a group, sending, addresses, time."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.machine import effects as fx
from carpool.machine.effects import State
from carpool.machine.engine import PROBE_EVERY_S, RETRY_AFTER_S, SEND_ERRORS_MAX, Engine
from carpool.machine.vhost import ADDRESS_LIFETIME_S, HOLD_EVERY_S
from carpool.model.config import Family, VhostKey
from tests.unit.machine.group import (
    ALL_BACKUP,
    ALL_INIT,
    ALL_MASTER,
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
    skews,
    states,
    up,
    vip,
)

DOWN_S = 3 + 100 / 256
FAILED = fx.SendResult("lan", "no buffer space")
SENT = fx.SendResult("lan", None)
LAN2 = VhostKey("lan", 53)


# ----------------------------------------------------------------------------------- links


def test_a_new_engine_waits_for_its_links_and_is_demoted_until_they_are_there() -> None:
    engine = Engine(config(), now_s=0.0, counter_start_us=1)
    assert states(engine) == ALL_INIT
    assert (reasons(engine), engine.deadline_s) == (
        ["interface lan down", "interface wan down"],
        None,
    )
    assert moves(engine.handle(up("lan"), 1.0)) == [(LAN, State.INIT, State.BACKUP)]
    assert reasons(engine) == ["interface wan down"]
    assert engine.deadline_s == 1.0 + 3 + 240 / 256
    engine.handle(up("wan"), 2.0)
    assert (reasons(engine), engine.deadline_s) == ([], 1.0 + DOWN_S)


def test_a_lost_link_lets_go_there_and_tells_all_others_at_once() -> None:
    engine = master()
    effects = engine.handle(down("lan"), 0.5)
    assert kinds(effects) == ["ReleaseAddresses", "Transition", "Note", "SendAdvert"]
    assert moves(effects) == [(LAN, State.MASTER, State.INIT)]
    (advert,) = adverts(effects)
    assert (advert.vhid, advert.advskew, advert.demote) == (WAN.vhid, 240, 32)
    assert notes(effects) == [("demotion", "demoted: interface lan down")]


def test_two_lost_links_are_worse_than_one() -> None:
    three = config(vip(LAN), vip(WAN), vip(VhostKey("dmz", 1)))
    engine = master(three)
    engine.handle(down("lan"), 0.5)
    (advert,) = adverts(engine.handle(down("wan"), 0.6))
    assert (advert.advskew, advert.demote) == (240, 64)


def test_a_link_that_comes_back_starts_as_backup_and_ends_the_demotion() -> None:
    engine = master()
    engine.handle(down("lan"), 0.5)
    effects = engine.handle(up("lan"), 0.9)
    assert moves(effects) == [(LAN, State.INIT, State.BACKUP)]
    assert skews(effects) == [100]
    assert states(engine) == {LAN: State.BACKUP, WAN: State.MASTER}


@pytest.mark.parametrize("event", [up("lan"), down("lan")])
def test_the_same_news_twice_changes_nothing(event: fx.InterfaceChanged) -> None:
    engine = master()
    engine.handle(event, 0.5)
    deadline_s = engine.deadline_s
    assert engine.handle(event, 0.6) == []
    assert engine.deadline_s == deadline_s


def test_a_link_without_vips_is_none_of_our_business() -> None:
    engine = master()
    assert engine.handle(fx.InterfaceChanged("sync", False, "no carrier"), 0.5) == []
    assert engine.handle(fx.SendResult("sync", "gone"), 0.5) == []


def test_a_link_without_own_address_is_down() -> None:
    engine = master()
    effects = engine.handle(up("lan", addresses=()), 0.5)
    assert moves(effects) == [(LAN, State.MASTER, State.INIT)]
    assert engine.vhosts[LAN].reason == "lan: no own ipv4 address"
    assert reasons(engine) == ["interface lan down"]


def test_an_ipv6_vhid_needs_a_link_local_address() -> None:
    settings = config(vip(LAN, "6"))
    engine = Engine(settings, now_s=0.0, counter_start_us=1)
    engine.handle(up("lan", (IPv4Address("10.1.0.2"), ip_address("2001:db8:1::2"))), 0.0)
    assert states(engine) == {LAN: State.INIT}
    engine.handle(up("lan", (ip_address("2001:db8:1::2"), ip_address("fe80::1:2"))), 1.0)
    assert states(engine) == {LAN: State.BACKUP}
    assert engine.vhosts[LAN].own == {Family.IPV6: ip_address("fe80::1:2")}


def test_a_dual_stack_vhid_lives_with_either_family_but_behind_who_has_both() -> None:
    settings = config(vip(LAN, "46"))
    for address, family in zip(own("lan"), Family, strict=True):
        engine = Engine(settings, now_s=0.0, counter_start_us=1)
        engine.handle(up("lan", (address,)), 0.0)
        (missing,) = set(Family) - {family}
        assert reasons(engine) == [f"no own {missing} address on lan"]
        effects = engine.handle(fx.Tick(), 3 + 240 / 256)
        assert [e.family for e in effects if isinstance(e, fx.SendAdvert)] == [family]


def test_a_node_whose_ipv6_is_not_ready_yet_does_not_preempt() -> None:
    """Duplicate address detection takes the kernel a second or two: until then it would be the
    gateway of one family only."""
    where = vip(LAN, "46")
    engine, peer = Engine(config(where), now_s=0.0, counter_start_us=1), Sender()
    engine.handle(up("lan", own("lan")[:1]), 0.0)
    engine.handle(peer.says(where, 200), 0.5)
    assert states(engine) == {LAN: State.BACKUP}
    engine.handle(up("lan", own("lan")), 1.0)
    assert reasons(engine) == []
    engine.handle(peer.says(where, 200), 1.5)
    assert states(engine) == {LAN: State.MASTER}


def test_an_advert_in_either_family_proves_that_the_master_lives() -> None:
    where = vip(LAN, "46")
    engine, peer = backup(config(where)), Sender()
    engine.handle(peer.says(where, 0), 1.0)
    engine.handle(peer.says(where, 0, family=Family.IPV6), 2.0)
    assert engine.deadline_s == 2.0 + DOWN_S


def test_a_vhid_that_cannot_take_part_demotes_the_node() -> None:
    engine = master(config(vip(LAN, "4"), vip(LAN2, "6")))
    engine.handle(up("lan", own("lan")[:1]), 0.5)
    assert states(engine) == {LAN: State.MASTER, LAN2: State.INIT}
    assert reasons(engine) == ["no own ipv6 address on lan"]


# ----------------------------------------------------------------------- moving as a group


def test_who_preempts_one_vhid_takes_all_in_the_same_instant() -> None:
    """Rule 3: the master lost lan, where nothing is heard any more; we hear it on wan."""
    engine, peer = backup(), Sender()
    engine.handle(peer.says(vip(LAN), 0), 1.0)
    effects = engine.handle(peer.says(vip(WAN), 240, demote=32), 1.5)
    assert kinds(effects) == ["TakeAddresses", "Announce", "SendAdvert", "Transition"] * 2
    assert moves(effects) == [(WAN, State.BACKUP, State.MASTER), (LAN, State.BACKUP, State.MASTER)]
    assert engine.vhosts[LAN].reason == ("moving with 52@wan: preempting 10.2.0.3, which is slower")
    assert engine.counters["preemptions"] == 1


def test_without_preemption_a_demoted_master_loses_all_too() -> None:
    engine, peer = backup(config(preempt=False)), Sender()
    engine.handle(peer.says(vip(LAN), 0), 1.0)
    assert engine.handle(peer.says(vip(WAN), 200), 1.2) == []
    engine.handle(peer.says(vip(WAN), 240, demote=32), 1.5)
    assert states(engine) == ALL_MASTER


def test_without_preemption_a_leaving_master_is_replaced() -> None:
    engine, peer = backup(config(preempt=False)), Sender()
    engine.handle(peer.leaves(vip(LAN)), 1.0)
    assert states(engine) == ALL_MASTER


def test_without_preemption_a_better_node_that_returns_does_not_take_back() -> None:
    engine, peer = backup(config(advskew=0, preempt=False)), Sender()
    for second in range(1, 20):
        for where in (vip(LAN), vip(WAN)):
            assert engine.handle(peer.says(where, 100), float(second)) == []
    assert states(engine) == ALL_BACKUP


def test_silence_on_one_link_moves_that_vhid_only() -> None:
    """A cut between switches: both nodes are well, the other links stay where they are."""
    engine, peer = backup(), Sender()
    for tenth in range(1, 40):
        engine.handle(peer.says(vip(WAN), 0), tenth / 10)
    engine.handle(fx.Tick(), 3.95)
    assert states(engine) == {LAN: State.MASTER, WAN: State.BACKUP}


def test_a_vhid_without_link_does_not_move() -> None:
    engine, peer = backup(), Sender()
    engine.handle(down("lan"), 0.5)
    engine.handle(peer.leaves(vip(WAN)), 1.0)
    assert states(engine) == {LAN: State.INIT, WAN: State.MASTER}


def test_several_vhids_on_one_link_are_told_apart() -> None:
    settings = config(vip(LAN), vip(LAN2, "6"))
    engine, peer = backup(settings), Sender()
    engine.handle(peer.says(vip(LAN), 0), 1.0)
    engine.handle(peer.says(vip(LAN2, "6"), 0, family=Family.IPV6), 2.0)
    assert [v.master for v in engine.vhosts.values()] == [
        ip_address("10.1.0.3"),
        ip_address("fe80::1:3"),
    ]
    assert engine.deadline_s == 1.0 + DOWN_S
    engine.handle(fx.Tick(), 1.0 + DOWN_S)
    assert states(engine) == {LAN: State.MASTER, LAN2: State.BACKUP}


# --------------------------------------------------------------------------------- sending


def fail(engine: Engine, times: int, now_s: float) -> list[fx.Effect]:
    return [effect for _ in range(times) for effect in engine.handle(FAILED, now_s)]


def test_three_send_errors_in_a_row_demote_and_start_probes() -> None:
    engine = master()
    assert fail(engine, SEND_ERRORS_MAX - 1, 0.5) == []
    effects = fail(engine, 1, 0.6)
    assert reasons(engine) == ["send errors lan"]
    assert skews(effects) == [240, 240]
    assert notes(effects)[-1] == ("send", "lan: sending failed: no buffer space")
    assert engine.counters["send_errors"] == SEND_ERRORS_MAX


def test_a_success_in_between_starts_the_count_anew() -> None:
    engine = master()
    for _ in range(10):
        fail(engine, SEND_ERRORS_MAX - 1, 0.5)
        engine.handle(SENT, 0.5)
    assert reasons(engine) == []


def test_errors_are_counted_by_link() -> None:
    engine = master()
    fail(engine, 2, 0.5)
    engine.handle(fx.SendResult("wan", "gone"), 0.5)
    assert reasons(engine) == []


def test_probes_go_on_every_second_and_three_successes_end_the_demotion() -> None:
    engine = backup()
    fail(engine, SEND_ERRORS_MAX, 0.5)
    probed = []
    for _ in range(SEND_ERRORS_MAX):
        due_s = min(p.probe_at_s for p in engine.ports.values() if p.probe_at_s is not None)
        assert engine.deadline_s is not None
        assert engine.deadline_s <= due_s
        assert fx.SendProbe("lan") in engine.handle(fx.Tick(), due_s)
        probed.append(due_s)
        engine.handle(SENT, due_s)
    assert probed == [0.5 + PROBE_EVERY_S * n for n in (1, 2, 3)]
    assert reasons(engine) == []
    assert fx.SendProbe("lan") not in engine.handle(fx.Tick(), 10.0)


def test_a_failing_probe_starts_the_count_of_successes_anew() -> None:
    engine = backup()
    fail(engine, SEND_ERRORS_MAX, 0.5)
    for result in (SENT, SENT, FAILED, SENT, SENT):
        engine.handle(result, 1.0)
    assert reasons(engine) == ["send errors lan"]
    engine.handle(SENT, 1.0)
    assert reasons(engine) == []


def test_send_errors_end_with_the_link_and_are_counted_anew_when_it_is_back() -> None:
    engine = backup()
    fail(engine, SEND_ERRORS_MAX, 0.5)
    engine.handle(down("lan"), 1.0)
    assert reasons(engine) == ["interface lan down"]
    engine.handle(up("lan"), 2.0)
    assert reasons(engine) == []
    fail(engine, SEND_ERRORS_MAX - 1, 2.5)
    assert reasons(engine) == []
    fail(engine, 1, 2.5)
    assert reasons(engine) == ["send errors lan"]


# ------------------------------------------------------------------------------- addresses


def test_a_master_that_cannot_have_its_addresses_is_demoted_and_tries_again_later() -> None:
    engine = master()
    effects = engine.handle(fx.AddressResult(LAN, "no such device"), 0.5)
    assert skews(effects) == [240, 240]
    assert reasons(engine) == ["addresses 51@lan"]
    engine.handle(Sender().says(vip(LAN), 200), 0.6)
    engine.handle(fx.Tick(), 0.5 + RETRY_AFTER_S)
    assert reasons(engine) == []


def test_addresses_that_could_be_had_end_the_demotion() -> None:
    engine = master()
    engine.handle(fx.AddressResult(LAN, "no such device"), 0.5)
    assert skews(engine.handle(fx.AddressResult(LAN, None), 1.5)) == [100, 100]
    assert engine.handle(fx.AddressResult(LAN, None), 1.6) == []


# ------------------------------------------------------------------------------------ time


def test_a_master_extends_its_addresses_in_time() -> None:
    assert 2 * HOLD_EVERY_S < ADDRESS_LIFETIME_S
    engine = master()
    effects = engine.handle(fx.Tick(), 1.0)
    assert effects == [fx.HoldAddresses(LAN), fx.HoldAddresses(WAN)]
    assert engine.deadline_s == 1.0 + 100 / 256


@pytest.mark.parametrize(
    "event",
    [fx.Tick(), fx.SetMaintenance(True), down("wan"), Sender().says(vip(LAN), 200), SENT],
    ids=["tick", "command", "link", "packet", "send result"],
)
def test_a_stalled_master_steps_down_before_it_sends_anything(event: fx.Input) -> None:
    """Its addresses ran out; somebody else may have been master for long."""
    engine = master()
    effects = engine.handle(event, 10.0)
    assert kinds(effects)[:6] == ["Note", "ReleaseAddresses", "Transition"] * 2
    assert notes(effects)[0][0] == "stall"
    assert fx.HoldAddresses(LAN) not in effects
    if not isinstance(event, fx.PacketReceived):
        assert adverts(effects) == []
        assert State.MASTER not in states(engine).values()


def test_a_stalled_master_waits_like_any_backup_before_it_takes_over_again() -> None:
    engine = master()
    engine.handle(fx.Tick(), 10.0)
    assert states(engine) == ALL_BACKUP
    assert engine.deadline_s == 10.0 + 3 + 240 / 256  # demoted: it slept


def test_early_and_spurious_ticks_do_nothing() -> None:
    for engine in (backup(), master()):
        deadline_s = engine.deadline_s
        for hundredth in range(10):
            assert engine.handle(fx.Tick(), hundredth / 100) == []
        assert engine.deadline_s == deadline_s


def test_equal_nodes_that_are_both_master_agree_on_the_lower_address() -> None:
    """Exactly one of the two yields, whoever is heard first."""
    engine = master()
    higher, lower = Sender(host=3), Sender(host=1)
    assert moves(engine.handle(higher.says(vip(LAN), 100), 0.5)) == []
    assert moves(engine.handle(lower.says(vip(LAN), 100), 0.6)) == [
        (LAN, State.MASTER, State.BACKUP)
    ]


# --------------------------------------------------------------- any inputs, in any order


def inputs() -> st.SearchStrategy[fx.Input]:
    peers = {host: Sender(host) for host in (1, 3)}
    keys = st.sampled_from((LAN, WAN))
    packets = st.builds(
        lambda host, key, advskew, demote, advbase_s: peers[host].says(
            vip(key), advskew, demote=demote, advbase_s=advbase_s
        ),
        st.sampled_from((1, 3)),
        keys,
        st.sampled_from((0, 100, 200, 240, 255)),
        st.sampled_from((0, 1, 32)),
        st.sampled_from((1, 2, 10, 255)),
    )
    interfaces = st.sampled_from(("lan", "wan", "sync"))
    return st.one_of(
        packets,
        st.builds(up, st.sampled_from(("lan", "wan"))),
        st.builds(down, st.sampled_from(("lan", "wan"))),
        st.builds(fx.SendResult, interfaces, st.sampled_from((None, None, "gone"))),
        st.builds(fx.AddressResult, keys, st.sampled_from((None, None, "gone"))),
        st.builds(fx.SetMaintenance, st.booleans()),
        st.builds(fx.SetDisabled, st.booleans()),
        st.builds(fx.SetBulkSync, st.booleans()),
        st.builds(fx.Adopt, st.frozensets(keys)),
        st.just(fx.Switchover()),
        st.just(fx.Tick()),
    )


@given(
    steps=st.lists(st.tuples(inputs(), st.sampled_from((0.0, 0.01, 0.3, 1.0, 4.0))), max_size=60),
    preempt=st.booleans(),
)
def test_whatever_comes_addresses_follow_states_and_time_goes_on(
    steps: list[tuple[fx.Input, float]], preempt: bool
) -> None:
    engine = Engine(config(preempt=preempt), now_s=0.0, counter_start_us=1)
    now_s, owned = 0.0, set[VhostKey]()
    asked = answered = 0
    for event, pause_s in steps:
        now_s += pause_s
        effects = engine.handle(event, now_s)
        for _ in range(3 if isinstance(event, fx.Tick) else 0):
            effects += engine.handle(fx.Tick(), now_s)  # the end of a demotion may make more due
        let_go = set[VhostKey]()
        for effect in effects:
            match effect:
                case fx.TakeAddresses(key):
                    owned.add(key)
                case fx.ReleaseAddresses(key):
                    owned.discard(key)
                    let_go.add(key)
                case fx.HoldAddresses(key) | fx.Announce(key):
                    assert key in owned
                case fx.SendAdvert(key):
                    assert key in owned | let_go  # the last word of who yields
                case fx.SwitchoverDone():
                    answered += 1
                case _:
                    pass
        asked += isinstance(event, fx.Switchover | fx.Adopt)
        masters = {key for key, state in states(engine).items() if state is State.MASTER}
        assert owned == masters
        if isinstance(event, fx.Tick):
            assert engine.deadline_s is None or engine.deadline_s > now_s
        engine.status(now_s)
    engine.handle(fx.Tick(), now_s + 2.0)
    assert answered <= asked
