"""A change of the group while disks are full and nobody confirms: what counts, and what is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import pytest

from carpool.errors import KernelError
from carpool.kernel.appliedfile import Sources
from carpool.kernel.clock import monotonic_s
from carpool.kernel.later import Later
from carpool.kernel.poller import Poller
from carpool.machine import effects as fx
from carpool.machine.engine import Engine
from carpool.model.config import Problem
from carpool.service.groupchange import Files, Form, GroupChange, Look, Start, Wish
from tests.unit.machine.group import LAN, config, own, up, vip
from tests.unit.service.asker import Asker

FULL = "write applied.json: No space left on device"
OLD = Form(config(vip(LAN)), Sources("node", "old"))
NEW = Form(config(replace(vip(LAN), password=b"another")), Sources("node", "new"))


class Disk(Files):
    """Of one node. `full`: nothing more is written; `files_full`: not where the files are."""

    def __init__(self) -> None:
        self.files = NEW.texts
        self.kept: list[tuple[Form, Form | None]] = []  # now, and what is to be put back
        self.full = self.files_full = False
        self.files_form = NEW

    def last(self) -> tuple[Form, Form | None]:
        return self.kept[-1]

    def start(self, given: Form, *, again: bool) -> Start:
        raise NotImplementedError

    def read(self, *, proposed: bool = False) -> tuple[Form | None, list[Problem]]:
        return (self.files_form if self.files == NEW.texts else OLD), []

    def look(self) -> Look:
        raise NotImplementedError

    def keep(self, now: Form, older: Sequence[Form], before: Form | None) -> None:
        self._write()
        self.kept.append((now, before))

    def put_back(self, texts: Sources) -> list[str]:
        self._write(self.files_full)
        self.files = texts
        return ["group.toml"]

    def _write(self, full: bool = False) -> None:
        if full or self.full:
            raise KernelError(FULL)


class Node:
    """One whose group.toml was edited while it went by the one before."""

    def __init__(self) -> None:
        self.poller = Poller()
        self.later = Later("test", self.poller)
        self.disk = Disk()
        self.now_s = 0.0
        self.put_back = 0
        self.refusal = ""  # of the kernel
        self.engine = Engine(OLD.config, now_s=0.0, counter_start_us=1)
        self.begin(OLD)

    def begin(self, form: Form) -> None:
        """What this node goes by from now on."""
        self.change = GroupChange(
            self.engine,
            Start(form),
            self.disk,
            self.later,
            self._put,
            lambda: self.now_s,
            self._on_put_back,
        )
        self.run_until(lambda: self.disk.kept[-1:] == [(form, None)])

    def _put(self, event: fx.Input) -> None:
        self.engine.handle(event, self.now_s)
        if self.refusal and event == fx.TakeUp(NEW.config):
            self.change.failures.append(self.refusal)

    def _on_put_back(self) -> None:
        self.put_back += 1

    def run_until(self, done: Callable[[], bool]) -> None:
        deadline_s = monotonic_s() + 10
        while not done() and monotonic_s() < deadline_s:
            self.poller.run_once(deadline_s)
        assert done()

    def told(self, ask: Callable[[Asker], None]) -> Mapping[str, object]:
        """The answer to a command."""
        asker = Asker()
        ask(asker)
        self.run_until(lambda: bool(asker.told))
        (answer,) = asker.told
        return answer

    def apply(
        self, confirm_within_s: float | None, *, dry_run: bool = False
    ) -> Mapping[str, object]:
        return self.told(
            lambda asker: self.change.reload(Wish(asker, dry_run, False, confirm_within_s))
        )


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.later.close()
    made.poller.close()


def test_what_is_confirmed_is_put_back_by_nobody(node: Node) -> None:
    assert node.apply(60)["waits"]
    assert node.disk.last() == (NEW, OLD)
    assert node.told(node.change.confirm) == {"ok": True}
    assert node.disk.last() == (NEW, None)
    node.now_s = 61.0
    node.change.on_time()
    assert (node.change.deadline_s, node.engine.config) == (None, NEW.config)


def test_while_one_waits_there_is_no_other_and_no_settling(node: Node) -> None:
    node.apply(60)
    node.now_s = 20.0
    change = node.change.status()["change"]
    assert isinstance(change, dict) and change["confirm_left_s"] == 40
    assert change["older"] == [OLD.digest]
    waits = "a change of the group waits to be confirmed here"
    assert node.apply(None)["error"] == waits
    digest = NEW.digest
    assert node.told(lambda asker: node.change.settle(asker, digest))["error"] == waits
    node.told(node.change.confirm)
    told = node.told(lambda asker: node.change.settle(asker, OLD.digest))
    assert told["error"] == "this node goes by another group.toml than that"
    for changed in (True, False):
        told = node.told(lambda asker: node.change.settle(asker, digest))
        assert told == {"ok": True, "changed": changed}
    assert node.engine.older == []


def test_what_the_disk_does_not_take_is_not_confirmed_and_can_be_again(node: Node) -> None:
    """Or a process that starts again would put back what somebody was told to have kept."""
    node.apply(60)
    node.disk.full = True
    told = node.told(node.change.confirm)
    assert told["error"] == f"{FULL}; the change waits to be confirmed as before"
    assert node.change.status()["change"] is not None
    node.disk.full = False
    assert node.told(node.change.confirm)["ok"]
    assert (node.change.deadline_s, node.disk.last()) == (None, (NEW, None))


def test_time_runs_out_before_the_confirmation_is_on_the_disk(node: Node) -> None:
    node.apply(60)
    asker = Asker()
    node.change.confirm(asker)
    node.now_s = 60.0
    node.change.on_time()
    node.run_until(lambda: bool(asker.told) and node.put_back == 1)
    assert asker.told[0]["error"] == "it was put back before that was on the disk"
    assert (node.disk.files, node.engine.config) == (OLD.texts, OLD.config)


def test_files_that_cannot_be_put_back_are_so_by_the_next_process(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    node.apply(60)
    node.disk.files_full = True
    node.now_s = 60.0
    node.change.on_time()
    assert node.engine.config == OLD.config
    node.run_until(lambda: node.disk.last() == (OLD, OLD))
    assert f"counts again, but not in the files: {FULL}" in capfd.readouterr().err
    assert node.put_back == 1


def test_who_asks_for_it_is_told_that_the_files_are_not_back(node: Node) -> None:
    node.apply(60)
    node.disk.full = True
    told = node.told(node.change.take_back)
    assert told["error"] == f"what was before counts again, but not in the files: {FULL}"
    assert "put them back by hand" in str(told["hint"])
    assert node.told(node.change.confirm)["error"] == (
        "no change of the group waits to be confirmed here"
    )


def test_what_the_kernel_refuses_is_as_it_was_and_no_peer_is_to_learn_of_it(node: Node) -> None:
    node.refusal = "opening lan0: no"
    assert node.apply(60)["error"] == "opening lan0: no; everything is as it was"
    assert (node.engine.config, node.engine.older) == (OLD.config, [])
    node.run_until(lambda: node.disk.last() == (OLD, None))
    assert node.change.status()["change"] is None
    node.refusal = ""  # that was then
    assert node.apply(None) == {
        "ok": True,
        "changes": ["51@lan: another password"],
        "transition": True,
        "waits": False,
    }


def test_a_dry_run_tells_and_takes_nothing_up(node: Node) -> None:
    assert node.apply(None, dry_run=True)["changes"] == ["51@lan: another password"]
    assert (node.engine.config, node.disk.last()) == (OLD.config, (OLD, None))


def test_where_nothing_waits_nothing_is_confirmed_or_taken_back(node: Node) -> None:
    node.apply(None)
    for ask in (node.change.confirm, node.change.take_back):
        told = node.told(ask)
        assert told["error"] == "no change of the group waits to be confirmed here"
    node.change.take_back(None)
    assert node.engine.config == NEW.config


@pytest.mark.parametrize(("lacked", "refused"), [("46", False), ("4", True)])
def test_only_a_family_that_is_new_on_a_link_needs_an_own_address_there(
    node: Node, lacked: str, refused: bool
) -> None:
    """A node that has just come back has no IPv6 address yet, and is brought up to date at once."""
    before = Form(config(vip(LAN, lacked)), Sources("node", "before"))
    after = Form(config(replace(vip(LAN, "46"), password=b"another")), Sources("node", "after"))
    node.engine = Engine(before.config, now_s=0.0, counter_start_us=1)
    node.engine.handle(up("lan", own("lan")[:1]), 0.0)
    node.disk.files_form = after
    node.begin(before)
    told = node.apply(None)
    if refused:
        assert "51@lan: no own ipv6 address on lan" in str(told["error"])
    else:
        assert told["ok"]


def test_a_time_limit_that_cannot_be_kept_changes_nothing(node: Node) -> None:
    node.disk.full = True
    assert node.apply(60)["error"] == f"{FULL}; nothing was changed"
    assert (node.engine.config, node.change.deadline_s) == (OLD.config, None)
    told = node.apply(None)
    assert told["error"] == f"done, but it will not survive a restart: {FULL}"
    assert node.engine.config == NEW.config
