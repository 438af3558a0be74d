"""A node is updated or synchronised, one after the other: two agents, the real peer between them,
and a program that speaks as apt does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from carpool.agent.check import Refused
from carpool.agent.job import Event
from carpool.agent.schedule import WISH as SCHEDULE
from carpool.agent.send import PREFIX, Wish
from carpool.errors import KernelError
from tests.unit.agent.home import rooted_pair, until
from tests.unit.agent.test_send import offer, row
from tests.unit.agent.test_updates import Node

FORCED = Wish("tester", force=True)


@pytest.fixture
def nodes(tmp_path: Path) -> tuple[Node, Node]:
    """fw1 is MASTER; the packages of fw2 take as long as the file `hold` of it is there."""
    found: list[Node] = []
    for agent, state in zip(rooted_pair(tmp_path), ("MASTER", "BACKUP"), strict=True):
        agent.state_dir.mkdir(exist_ok=True)
        (agent.root / "etc/web/site.conf").write_text(f"of {agent.name}\n")
        node = Node(agent, state)
        (agent.state_dir / "hold").touch()
        text = node.program.read_text()
        wait = f"*upgrade*) while [ -e {agent.state_dir}/hold ]; do sleep 0.02; done; "
        node.program.write_text(text.replace("*upgrade*) ", wait))
        found.append(node)
    return found[0], found[1]


async def synchronised(node: Node, wish: Wish = FORCED) -> Event:
    """What came of it on the peer."""
    events = [one async for one in node.agent.configuration.sync(("web",), (), wish)]
    return next(one for one in events if one.get("step") == "end")


def test_a_synchronisation_is_refused_while_packages_are_updated(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    there = second.agent.root / "etc/web/site.conf"

    async def story() -> None:
        async with first.running(), second.running():
            await second.agent.updates.begin("ann on fw1", install=True, reboot=False)
            for wish in (FORCED, SCHEDULE):
                end = await synchronised(first, wish)
                assert "packages of fw2 are being updated: ann on fw1 since" in str(end["error"])
                assert "`carpool update --follow` on fw2" in str(end["hint"])
            assert there.read_text() == "of fw2\n"
            with pytest.raises(Refused, match="packages of fw2 are being updated"):
                await synchronised(second)  # and it sends nothing, by force neither
            diff = await first.agent.configuration.diff(("web",), (), FORCED)
            assert "error" not in diff["fw2"], "who looks changes nothing"  # type: ignore[operator]

            second.begins_anew()  # its agent, by its own upgrade
            again = await synchronised(first)
            assert "packages of fw2 are being updated" in str(again["error"])

            (second.agent.state_dir / "hold").unlink()
            task = asyncio.create_task(second.agent.updates.run())
            await until(lambda: not second.agent.meanwhile.updating, "the update is over")
            assert (await synchronised(first))["outcome"] == "applied"
            task.cancel()
            for node in nodes:
                await node.agent.configuration.settled()

    asyncio.run(story())
    assert there.read_text() == "of fw1\n"


def test_an_update_is_refused_while_a_synchronisation_arrives(nodes: tuple[Node, Node]) -> None:
    first, second = nodes

    async def story() -> None:
        async with first.running(), second.running():
            peer = first.agent.peers["fw2"]
            told = await peer.post(f"{PREFIX}/sync", offer(row("/etc/web/x")))
            with pytest.raises(Refused, match="fw2 is being synchronised: tester on fw1 since"):
                await second.agent.updates.begin("ann", install=True, reboot=False)
            await peer.post(f"{PREFIX}/sync/{told['number']}/abandon", {})

            with first.agent.configuration.sender.at_it("bob"):
                with pytest.raises(Refused, match="fw1 itself synchronises or pulls: bob"):
                    await first.agent.updates.begin("ann", install=True, reboot=False)

            assert second.commands == [] and not second.agent.meanwhile.updating

    asyncio.run(story())


def test_an_update_that_could_not_begin_holds_nothing_up(nodes: tuple[Node, Node]) -> None:
    first, second = nodes
    (second.agent.state_dir / "update").write_text("no directory\n")

    async def story() -> None:
        async with first.running(), second.running():
            with pytest.raises(KernelError, match="File exists"):
                await second.agent.updates.begin("ann", install=True, reboot=False)
            assert not second.maintenance
            assert (await synchronised(first))["outcome"] == "applied"
            for node in nodes:
                await node.agent.configuration.settled()

    asyncio.run(story())
