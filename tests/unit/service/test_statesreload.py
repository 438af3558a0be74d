"""What of another configuration the states process begins anew for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.errors import ConfigError, KernelError
from carpool.model.config import Config, Encryption, Scope, States
from carpool.service.statesreload import Read, reasons, reload
from tests.unit.model.configs import FW2, GROUP, LAN, NODE, config, ips
from tests.unit.service.asker import Asker

OLD = config()


@pytest.mark.parametrize(
    "new",
    [
        OLD,
        config(lan=replace(LAN, password=b"another", advbase_s=3)),
        config(vips=(LAN,)),
        config(group=replace(GROUP, preempt=False)),
        config(node=replace(NODE, advskew=100)),
    ],
)
def test_what_is_failovers_alone_is_taken_up(new: Config) -> None:
    assert reasons(OLD, new) == []


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (config(group=replace(GROUP, states=None)), ["[states]"]),
        (config(group=replace(GROUP, states=States("lan"))), ["[states] interface"]),
        (
            config(group=replace(GROUP, states=States("sync", port=1, scope=Scope.ALL))),
            ["[states] port", "[states] scope"],
        ),
        (
            config(group=replace(GROUP, states=States("sync", encryption=Encryption.NONE))),
            ["[states] encryption"],
        ),
        (config(group=replace(GROUP, name="other")), ["name of the group"]),
        (config(node=replace(NODE, name="fw9")), ["name of this node"]),
        (config(node=replace(NODE, interfaces={**NODE.interfaces, "sync": "eth7"})), ["devices"]),
        (
            config(node=replace(NODE, addresses={"sync": ips("10.10.3.9")})),
            ["addresses of this node"],
        ),
        (config(node=replace(NODE, peers=())), ["peers"]),
        (
            config(node=replace(NODE, peers=(replace(FW2, addresses={}),))),
            ["peers"],
        ),
    ],
)
def test_for_all_else_it_begins_anew(new: Config, expected: list[str]) -> None:
    assert reasons(OLD, new) == expected


def test_a_group_that_begins_to_replicate_is_one_reason() -> None:
    without = config(group=replace(GROUP, states=None))
    assert reasons(without, OLD) == ["[states]"]
    assert reasons(without, without) == []


class Service:
    """The states process, as far as a reload goes."""

    def __init__(self, read: Read) -> None:
        self.read = read
        self.config = OLD
        self.began_anew = 0
        self.trouble: KernelError | None = None

    def take_up(self, config: Config) -> None:
        self.config = config
        if self.trouble is not None:
            raise self.trouble

    def begin_anew(self) -> None:
        self.began_anew += 1


def refused() -> Config:
    raise ConfigError("group.toml: no [[vip]]")


def test_it_takes_up_or_begins_anew_or_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    fewer = config(vips=(LAN,))
    service = Service(lambda: fewer)
    reload(service)
    assert (service.config, service.began_anew) == (fewer, 0)
    service = Service(lambda: config(node=replace(NODE, peers=())))
    reload(service)
    assert (service.config, service.began_anew) == (OLD, 1)
    service = Service(refused)
    reload(service)
    assert (service.config, service.began_anew) == (OLD, 0)
    said = capfd.readouterr().err
    assert "begins anew for peers" in said
    assert "goes by the old configuration: group.toml: no [[vip]]" in said


def test_who_asks_for_it_is_told_what_begins_anew_or_what_is_wrong() -> None:
    told = []
    for read in (lambda: OLD, lambda: config(node=replace(NODE, peers=())), refused):
        asker = Asker()
        reload(Service(read), asker)
        told += asker.told
    assert told == [
        {"ok": True, "restarts": []},
        {"ok": True, "restarts": ["peers"]},
        {"ok": False, "error": "group.toml: no [[vip]]", "hint": ""},
    ]


def test_a_kernel_that_does_not_answer_ends_no_process(capfd: pytest.CaptureFixture[str]) -> None:
    fewer = config(vips=(LAN,))
    service = Service(lambda: fewer)
    service.trouble = KernelError("list addresses: changed 5 times while it was read [EINTR]")
    reload(service)
    assert service.config == fewer
    assert "changed 5 times while it was read [EINTR]: tried again" in capfd.readouterr().err
