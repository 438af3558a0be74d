"""Whom an agent asks and lets in follows node.toml while it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from carpool.agent.agent import Agent
from carpool.agent.apply import Refused
from carpool.agent.job import Event
from carpool.agent.plan import Plan
from carpool.agent.receive import Offer
from carpool.agent.send import Wish
from carpool.api.identity import introduce
from carpool.api.settings import load
from carpool.errors import CarpoolError, UnreachableError
from tests.unit.agent.home import ADDRESSES, agent_of, config_of, failover, free_port, serving

CONFIG_DIR = "etc/carpool"
TRIO = {**ADDRESSES, "fw3": "127.0.0.13"}
NODE = """name = "fw1"
[interface]
lan = "nolan0"
sync = "nosync0"
[address]
sync = "192.0.2.1"
"""
PEER = '[peer.fw{0}.address]\nsync = "192.0.2.{0}"\n'
GROUP = """name = "test"
[[vip]]
interface = "lan"
vhid = 51
password = "secret"
addresses = ["198.51.100.1/24"]
"""
LINK = '[sync]\ninterface = "sync"\n'


def node(*peers: int) -> str:
    return NODE + "".join(map(PEER.format, peers))


def started(root: Path, group: str = GROUP + LINK) -> Agent:
    """fw1 of files that name fw2; nobody else is there."""
    home = root / CONFIG_DIR
    home.mkdir(parents=True)
    (home / "group.toml").write_text(group)
    (home / "node.toml").write_text(node(2))
    config, problems = load(home)
    assert config is not None, problems
    introduce({"fw1": home})
    return Agent(config, config_dir=home, run_dir=root, state_dir=root / "state", root=root)


def test_a_peer_that_comes_is_asked_and_let_in_and_one_that_leaves_is_not(tmp_path: Path) -> None:
    port = free_port()
    fw1, fw2 = agent_of(tmp_path, "fw1", port), agent_of(tmp_path, "fw2", port)
    (tmp_path / "fw3").mkdir()
    home = tmp_path / "fw3"
    fw3 = Agent(config_of("fw3", port, TRIO), config_dir=home, run_dir=home, state_dir=home)
    introduce({name: tmp_path / name for name in TRIO})

    async def scenario() -> None:
        async with serving(fw1), serving(fw2), serving(fw3):
            with pytest.raises(CarpoolError):
                await fw3.peers["fw1"].about()
            goes_on = fw1.peers["fw2"]
            await goes_on.about()
            await fw1.go_by(config_of("fw1", port, TRIO), {})
            assert fw1.peers["fw2"] is goes_on
            assert [one.name for one in fw1.configuration.sender.peers(())] == ["fw2", "fw3"]
            assert (await fw1.peers["fw3"].about()).name == "fw3"
            assert (await fw3.peers["fw1"].about()).name == "fw1"
            await fw1.go_by(config_of("fw1", port), {})
            with pytest.raises(CarpoolError):  # by the connection that it has, or by a new one
                await fw3.peers["fw1"].about()
            assert list(fw1.peers) == ["fw2"]

    asyncio.run(scenario())


def test_a_sync_goes_to_the_peers_that_count_once_the_files_are_taken_up(tmp_path: Path) -> None:
    fw1 = started(tmp_path)
    (tmp_path / CONFIG_DIR / "node.toml").write_text(node(2, 3))

    async def scenario() -> list[Event]:
        wish = Wish("tester", force=True)
        return [event async for event in fw1.configuration.sync(["carpool"], [], wish)]

    assert asyncio.run(scenario())[-1] == {"step": "over", "failed": ["fw2", "fw3"]}


def test_nothing_is_settled_while_a_peer_of_node_toml_cannot_be_asked(tmp_path: Path) -> None:
    """Without [sync] there is nobody to ask, and a change begun here goes on."""
    fw1 = started(tmp_path, GROUP)
    asked: list[object] = []

    async def scenario() -> list[Event]:
        async with failover(tmp_path, asked):
            wish = Wish("tester", force=True)
            return [event async for event in fw1.configuration.sync(["carpool"], [], wish)]

    events = {event["step"]: event for event in asyncio.run(scenario())}
    assert events["unsettled"]["without"].keys() == {"fw2"}  # type: ignore[attr-defined]
    with pytest.raises(Refused, match="no peer fw2") as told:
        fw1.configuration.sender.peer("fw2")
    assert told.value.hint == "there is none: [sync] in group.toml"
    assert "settle" not in asked


def test_a_process_that_hangs_up_is_asked_once_more_and_is_no_success(tmp_path: Path) -> None:
    """One that is not there at all is one: it reads the files when it starts."""
    asked: list[object] = []

    async def scenario() -> None:
        fw1 = started(tmp_path)
        assert await fw1.group.take_up() == []
        async with failover(tmp_path, asked, dies=True):
            with pytest.raises(UnreachableError):
                await fw1.group.take_up()

    asyncio.run(scenario())
    assert asked == ["reload", "reload"]


def test_what_failover_did_not_take_up_it_takes_up_with_files_that_are_the_same(
    tmp_path: Path,
) -> None:
    asked: list[object] = []

    async def scenario() -> list[Event]:
        fw1 = started(tmp_path)
        section = fw1.sections["carpool"]
        have = fw1.configuration._place.have(section)
        plan = Plan.of(section, have, have, lambda _entry: tmp_path)
        async with failover(tmp_path, asked):
            applier = fw1.configuration._applier
            return [event async for event in applier.apply([plan], what="sync", by="tester")]

    assert [event["step"] for event in asyncio.run(scenario())] == ["group"]
    assert "reload" in asked


def test_an_offer_of_who_left_node_toml_is_refused(tmp_path: Path) -> None:
    configuration = started(tmp_path).configuration
    with pytest.raises(Refused, match="is no peer in node"):
        configuration.search(Offer("fw9", "", "", {}))


def test_replication_is_not_compared_over_states_that_begin_anew(tmp_path: Path) -> None:
    """A peer that has not got the new port yet cannot be reached on it."""
    before = {"51@lan": "BACKUP", "replication with fw3": "up"}

    async def scenario() -> None:
        fw1 = started(tmp_path)
        await fw1.group.take_up()
        assert fw1.group.comparable(before) == before
        async with failover(tmp_path, [], name="states"):
            await fw1.group.take_up()
        assert fw1.group.comparable(before) == {"51@lan": "BACKUP"}
        assert fw1.group.comparable(before, force=True) == {}, "what is forced may move VIPs"

    asyncio.run(scenario())


def test_a_rollback_by_force_may_demote_this_node(tmp_path: Path) -> None:
    asked: list[object] = []

    async def scenario() -> None:
        fw1 = started(tmp_path)
        file = tmp_path / CONFIG_DIR / "group.toml"
        for text in (GROUP, GROUP.replace("secret", "another")):
            file.write_text(text)
            section = fw1.sections["carpool"]
            have = fw1.configuration._place.have(section)
            plan = Plan.of(section, have, have, lambda _entry: file)
            await fw1.configuration.remember([plan], kind="applied", by="tester@fw1")
        (_newer, older) = (await fw1.configuration.settled()).log(2, None)
        async with failover(tmp_path, asked):
            job = fw1.configuration.rollback(older.short, (), by="tester", force=True)
            events = [event async for event in job.follow()]
        assert events[-1]["outcome"] == "applied", events
        assert file.read_text() == GROUP

    asyncio.run(scenario())
    assert asked[asked.index("reload") + 1] == "force"
