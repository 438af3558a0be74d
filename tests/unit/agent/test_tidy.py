"""The history is tidied in the background, and that hinders nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

from carpool.agent.history import PACKS_MAX
from carpool.agent.tidy import Tidy
from tests.unit.agent.desk import Desk
from tests.unit.agent.home import rooted_pair, until


def packs(desk: Desk) -> int:
    return len(list((desk.path / "objects" / "pack").glob("*.pack")))


def many(directory: Path) -> Desk:
    """More packs than there should be."""
    desk = Desk(directory)
    for number in range(PACKS_MAX + 1):
        desk.made(dns=[desk.put("/etc/a", b"%d" % number)])
    return desk


def test_many_packs_become_few_by_themselves(tmp_path: Path) -> None:
    desk = many(tmp_path)

    async def main() -> None:
        tidy = Tidy(desk.history, 0.01)
        tidy.soon()
        tidy.soon()
        await until(lambda: packs(desk) < 5, "they are joined")
        tidy.stop()

    asyncio.run(main())
    desk.fsck()


def test_an_agent_that_ends_does_not_wait_for_it(tmp_path: Path) -> None:
    desk = many(tmp_path)

    async def main() -> None:
        tidy = Tidy(desk.history, 0)
        tidy.stop()
        tidy.soon()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

    asyncio.run(main())
    assert packs(desk) == PACKS_MAX + 1, "it has given way"
    desk.made(dns=[desk.put("/etc/a", b"another")])
    desk.fsck()


def test_a_revision_of_the_agent_has_it_tidied(tmp_path: Path) -> None:
    fw1, _fw2 = rooted_pair(tmp_path)

    async def main() -> None:
        configuration = fw1.configuration
        told = [configuration.tidy.waits]
        await configuration.remember([], kind="found", by="alice")
        told.append(configuration.tidy.waits)
        await fw1.close()
        await asyncio.sleep(0)
        told.append(configuration.tidy.waits)
        assert told == [False, True, False]

    asyncio.run(main())
