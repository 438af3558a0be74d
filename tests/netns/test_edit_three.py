"""group.toml edited as the pages do it, on three nodes of which one fails: all are back, byte for
byte, and nothing waits or is locked; and what a node that died meanwhile does when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from carpool.agent.groupedits import JOURNAL
from carpool.agent.localclient import LocalClient
from tests.netns.agents import made_group, start
from tests.netns.faulty import Faulty, Running
from tests.netns.groupkeeper import GroupKeeper
from tests.netns.lab import Network, wait_until
from tests.netns.nursery import NurseryNode, Stop
from tests.netns.pair import TRIO

GROUP = "etc/carpool/group.toml"
DMZ = {"interface": "sync", "vhid": 52, "password": "another", "addresses": ["10.3.0.7/24"]}
ADD = {"op": "add_vip", "values": DMZ}
HALFWAY = Stop("os.rename", "'.carpool-", 1)  # the first file is being put in place


class Trio:
    def __init__(self, nodes: list[Faulty]) -> None:
        self.nodes = nodes
        self.fw1, self.fw2, self.fw3 = nodes
        self.keeper = GroupKeeper(self.fw1.node.run_dir / "failover.sock", self.fw1.path(GROUP))
        self.text = self.fw1.read(GROUP)

    def begin(self) -> None:
        """Each test: all run, and have the same."""
        for one in self.nodes:
            if one.node.child.poll() is not None:
                one.again()
        self.text = self.fw1.read(GROUP)
        assert {one.read(GROUP) for one in self.nodes} == {self.text}

    def body(self, within_s: float = 60.0, **more: object) -> dict[str, object]:
        with LocalClient(self.fw1.node.run_dir) as agent:
            digest = agent.get("/v1/group")["digest"]
        return {"digest": digest, "edits": [ADD], "confirm_within_s": within_s, **more}

    def edit(self, within_s: float = 60.0, **more: object) -> list[dict[str, Any]]:
        with LocalClient(self.fw1.node.run_dir) as agent:
            body = self.body(within_s, **more)
            return list(agent.stream("POST", "/v1/group/apply", body))

    def decide(self, what: str) -> dict[str, Any]:
        found: dict[str, Any] = self.fw1.post(f"/v1/{what}", peers=[])["done"]
        return found

    def is_as_before(self) -> bool:
        return not self.differs()

    def differs(self) -> list[str]:
        """Where it is not as before, or something waits, lies about, or is locked."""
        found = [f"{one.node.name} has another one" for one in self.nodes if not self.has_it(one)]
        found += [f"{one.node.name} waits" for one in self.nodes if _waiting(one)]
        dirs = {one.node.name: one.node.state_dir / "sync" / "transaction" for one in self.nodes}
        found += [f"{name} is at it" for name, path in dirs.items() if path.exists()]
        left = [JOURNAL, "sync/unconfirmed.json"]
        found += [name for name in left if (self.fw1.node.state_dir / name).exists()]
        return found + (["failover of fw1 waits"] if self.keeper.waits else [])

    def has_it(self, one: Faulty) -> bool:
        return one.read(GROUP) == self.text

    def becomes_as_before(self, why: str) -> None:
        try:
            wait_until(self.is_as_before, 20, why)
        except AssertionError:
            raise AssertionError(f"{why}: {self.differs()}") from None

    def edits_again(self) -> None:
        """So nothing is locked."""
        last = self.edit()[-1]
        assert last == {"step": "over", "failed": []}
        done = self.decide("take-back")
        assert not any("error" in one for one in done.values()), done
        self.becomes_as_before("taken back")


def _waiting(one: Faulty) -> bool:
    with LocalClient(one.node.run_dir) as agent:
        return agent.get("/v1/drift", {"wait_s": "0.01"})["waiting"] is not None


def _changing(agent: LocalClient) -> bool:
    failover: Any = agent.get("/v1/status")["failover"]
    return failover["change"] is not None


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    with Network() as network:
        directory = tmp_path_factory.mktemp("firewalls")
        nodes = [Faulty(one) for one in made_group(network, directory, TRIO, NurseryNode)]
        for one in nodes:
            one.node.state_dir.mkdir(exist_ok=True)
        trio = Trio(nodes)
        start(*(one.node for one in nodes))
        trio.fw1.sync("carpool")  # they agree on one
        yield trio
        trio.keeper.close()


@pytest.fixture
def trio(made: Trio) -> Trio:
    made.begin()
    return made


def ends(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    assert all("peer" in one for one in events if one["step"] == "end"), events
    return [(one["peer"], one["outcome"]) for one in events if one["step"] == "end"]


def test_one_that_refuses_has_all_put_back(trio: Trio) -> None:
    trio.fw3.write(GROUP, f"{trio.text}# by hand, in an emergency\n")
    events = trio.edit()
    assert ends(events) == [("fw2", "waiting"), ("fw3", "failed")]
    (failed,) = [one for one in events if one.get("error")]
    assert "changed on fw3 itself" in failed["error"] or "changed here" in failed["error"], failed
    assert events[-2]["text"] == "everything is put back as it was"
    assert events[-1] == {"step": "over", "failed": ["fw3"]}
    trio.fw3.write(GROUP, trio.text)
    assert not trio.differs()
    trio.edits_again()


def test_one_that_dies_midway_has_all_put_back(trio: Trio) -> None:
    trio.fw3.node.child.stop_at(HALFWAY)
    running = Running(trio.fw1, path="/v1/group/apply", body=trio.body())
    trio.fw3.node.wait_stopped()
    assert trio.fw2.read(GROUP) != trio.text, "it has taken the new one, and waits"
    trio.fw3.kill()
    trio.fw3.again()
    events = running.ended()
    assert ends(events) == [("fw2", "waiting"), ("fw3", "failed")]
    (failed,) = [one for one in events if one["step"] == "end" and one.get("error")]
    assert failed["peer"] == "fw3" and "everything is as it was before" in failed["error"]
    assert events[-2]["text"] == "everything is put back as it was"
    assert not trio.differs()
    trio.edits_again()


def test_a_peer_that_dies_while_it_waits_is_told_of_and_is_back_at_its_start(trio: Trio) -> None:
    assert ends(trio.edit()) == [("fw2", "waiting"), ("fw3", "waiting")]
    trio.fw3.kill()
    done = trio.decide("take-back")
    assert "cannot connect to the agent of fw3" in done["fw3"]["error"]
    assert "error" not in done["fw1"] and "error" not in done["fw2"]
    assert trio.fw1.read(GROUP) == trio.fw2.read(GROUP) == trio.text
    trio.fw3.again()
    trio.becomes_as_before("its next agent puts it back")
    trio.edits_again()


def test_a_primary_that_dies_while_it_waits_is_confirmed_with_all(trio: Trio) -> None:
    assert ends(trio.edit()) == [("fw2", "waiting"), ("fw3", "waiting")]
    trio.fw1.kill()
    trio.fw1.again()
    done = trio.decide("confirm")
    assert {*done} == {"fw1", "fw2", "fw3"}
    assert not any("error" in one for one in done.values()), done
    new = trio.fw1.read(GROUP)
    trio.text = new
    assert "vhid = 52" in new and not trio.differs()
    trio.fw1.kill()
    trio.fw1.again()
    trio.text = new
    with LocalClient(trio.fw1.node.run_dir) as agent:
        group = agent.get("/v1/group")
        edit = {"op": "remove_vip", "vip": "52@sync"}
        body = {"digest": group["digest"], "edits": [edit], "confirm_within_s": 5.0}
        assert ends(list(agent.stream("POST", "/v1/group/apply", body)))[-1][1] == "waiting"
    trio.fw1.kill()
    trio.fw1.again()
    trio.becomes_as_before("nobody confirms it: all put it back by themselves")
    with LocalClient(trio.fw1.node.run_dir) as agent:
        wait_until(lambda: not _changing(agent), 20, "all have one, and say so")


def test_a_peer_that_died_before_it_was_kept_is_told_of(trio: Trio) -> None:
    with LocalClient(trio.fw1.node.run_dir) as agent:
        group = agent.get("/v1/group")
        edit = {"op": "remove_vip", "vip": "52@sync"}
        body = {"digest": group["digest"], "edits": [edit], "confirm_within_s": 60.0}
        list(agent.stream("POST", "/v1/group/apply", body))
    trio.fw3.kill()
    done = trio.decide("confirm")
    assert "cannot connect to the agent of fw3" in done["fw3"]["error"]
    kept = trio.fw1.read(GROUP)
    assert "vhid = 52" not in kept and trio.fw2.read(GROUP) == kept
    trio.fw3.again()
    assert trio.fw3.read(GROUP) == trio.text, "it was not told to keep it"
    events = trio.fw1.sync("carpool", peers=["fw3"], force=False)
    assert ends(events) == [("fw3", "applied")]
    assert trio.fw3.read(GROUP) == kept
    trio.text = kept
    assert not trio.differs()
