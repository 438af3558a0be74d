"""What status tells, in particular its one sentence."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from carpool.machine import effects as fx
from carpool.machine.engine import Engine
from carpool.machine.report import troubles_of
from carpool.model.status import DemotionReason, InterfaceStatus, VhostStatus
from tests.unit.machine.group import LAN, WAN, Sender, backup, config, down, master, vip


def test_everything_about_one_vhost() -> None:
    engine = backup(config(vip(LAN, "46")))
    engine.handle(Sender().says(vip(LAN, "46"), 0), 1.0)
    status = engine.status(2.5)
    assert status.vhosts == (
        VhostStatus(
            interface="lan",
            vhid=51,
            state="BACKUP",
            since_s=2.5,
            reason="lan: up",
            addresses=("10.1.0.100/24", "2001:db8:1::100/64"),
            advbase_s=1,
            advskew=100,
            mac="virtual",
            transport="multicast",
            master="fw2 (10.1.0.3)",
        ),
    )
    assert status.interfaces == (InterfaceStatus("lan", "lan0", True, "up"),)
    assert (status.node, status.group, status.advskew, status.effective_advskew) == (
        "fw1",
        "pair",
        100,
        100,
    )
    assert status.counters == {"accepted": 1, "received_ipv4": 1}


def test_a_master_hears_nobody() -> None:
    assert [vhost.master for vhost in master().status(1.0).vhosts] == [None, None]


def test_demotion_is_told_by_reason() -> None:
    engine = master()
    engine.handle(fx.SetMaintenance(True), 0.5)
    status = engine.status(1.0)
    assert status.demotion == (DemotionReason("maintenance", 240),)
    assert (status.maintenance, status.enabled, status.effective_advskew) == (True, True, 240)


def test_status_is_json_as_it_stands() -> None:
    assert json.loads(json.dumps(asdict(master().status(1.0))))["role"] == "MASTER"


def new() -> Engine:
    return Engine(config(), now_s=0.0, counter_start_us=1)


def hearing() -> Engine:
    engine, peer = backup(), Sender()
    for where in (vip(LAN), vip(WAN)):
        engine.handle(peer.says(where, 0), 0.0)
    return engine


def after(engine: Engine, *events: fx.Input) -> Engine:
    for event in events:
        engine.handle(event, 0.5)
    return engine


@pytest.mark.parametrize(
    ("engine", "role", "summary"),
    [
        (
            new(),
            "INIT",
            "not taking part; demoted: interface lan down, interface wan down",
        ),
        (backup(), "BACKUP", "backup, hearing nobody yet"),
        (hearing(), "BACKUP", "backup, hearing fw2"),
        (master(), "MASTER", "master of all 2 VHIDs"),
        (
            after(master(), fx.SetMaintenance(True)),
            "MASTER",
            "master of all 2 VHIDs; demoted: maintenance",
        ),
        (
            after(master(), down("lan")),
            "MASTER",
            "master of 52@wan only; demoted: interface lan down",
        ),
        (
            after(master(), Sender().says(vip(LAN), 0)),
            "SPLIT",
            "master of 52@wan only",
        ),
        (
            after(backup(), fx.SetDisabled(True)),
            "DISABLED",
            "CARP is disabled on this node: it will not take over (carpool enable)",
        ),
    ],
    ids=["new", "backup", "hearing", "master", "maintenance", "link lost", "split", "disabled"],
)
def test_role_and_the_one_sentence(engine: Engine, role: str, summary: str) -> None:
    status = engine.status(1.0)
    assert (status.role, status.summary) == (role, summary)


def test_a_link_that_is_lost_is_told_with_who_is_the_gateway_now() -> None:
    engine = after(master(), down("lan"))
    (told,) = troubles_of(engine)
    assert told.key == "interface lan"
    assert told.text.endswith("this node is the gateway still, as nobody else is")
    (told,) = troubles_of(after(hearing(), down("wan")))
    assert told.text.endswith("fw2 is the gateway")


def test_what_somebody_asked_for_is_no_trouble_and_what_befell_the_node_is() -> None:
    assert troubles_of(after(master(), fx.SetMaintenance(True))) == []
    refused = "Operation not permitted"
    engine = after(master(), fx.AddressResult(LAN, refused))
    assert [one.key for one in troubles_of(engine)] == ["addresses 51@lan"]


def test_another_master_that_is_heard_and_does_not_hear_is_a_split_brain() -> None:
    engine = master()
    engine.handle(Sender().says(vip(LAN), 200), 1.9)
    (told,) = troubles_of(engine)
    assert told.key == "split brain 51@lan"
    assert "fw2 (10.1.0.3) is MASTER of 51@lan, too" in told.text
    assert "IGMP" in told.hint
    assert engine.counters["conflicts"] == 1
    for tenth in range(20, 70):
        engine.handle(fx.Tick(), tenth / 10)
    assert troubles_of(engine) == []
