"""Revisions: in the order in which they were asked for, and not while a transfer is under way."""

from __future__ import annotations

import asyncio
from pathlib import Path

from carpool.agent.history import History
from carpool.agent.plan import Plan
from carpool.agent.revisions import Revisions
from carpool.agent.tidy import Tidy
from carpool.kernel.tree import Digests, scan
from carpool.model.section import Section
from tests.unit.agent.home import until

WEB = Section("web", ("/etc/web/",))


def plan(root: Path, text: str) -> Plan:
    """Of a file that has this content now."""
    path = root / "etc/web/site.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    have = scan(WEB, Digests(), root)
    return Plan.of(WEB, have, have, lambda _entry: path)


def made(tmp_path: Path) -> tuple[Revisions, History, Tidy]:
    history = History(tmp_path / "history")
    tidy = Tidy(history)
    return Revisions(history, tidy, tmp_path / "root", "fw1"), history, tidy


def test_what_can_wait_gives_way_until_somebody_asks_for_it(tmp_path: Path) -> None:
    revisions, history, tidy = made(tmp_path)

    async def main() -> None:
        revisions.give_way()
        revisions.remember_soon(
            [plan(tmp_path / "root", "sent\n")], kind="applied", by="alice", reason="one"
        )
        for _ in range(20):  # it would have begun, if it did not wait
            await asyncio.sleep(0)
        assert history.log(5) == []
        await revisions.settled()
        tidy.stop()

    asyncio.run(main())
    assert [one.reason for one in history.log(5)] == ["one"]


def test_the_next_revision_comes_after_one_that_gives_way(tmp_path: Path) -> None:
    revisions, history, tidy = made(tmp_path)
    root = tmp_path / "root"

    async def main() -> None:
        revisions.give_way()
        before = plan(root, "sent\n")
        revisions.remember_soon([before], kind="applied", by="alice", reason="one")
        await asyncio.sleep(0)
        await revisions.remember([before], kind="found", by="bob", reason="same", before=True)
        now = plan(root, "found\n")
        await revisions.remember([now], kind="found", by="bob", reason="two", before=True)
        tidy.stop()

    asyncio.run(main())
    assert [one.reason for one in history.log(5)] == ["two", "one"]


def test_once_the_contents_are_out_it_is_written(tmp_path: Path) -> None:
    revisions, history, tidy = made(tmp_path)

    async def main() -> None:
        revisions.give_way()
        revisions.remember_soon(
            [plan(tmp_path / "root", "sent\n")], kind="applied", by="alice", reason="one"
        )
        revisions.go_on()
        await until(lambda: bool(history.log(5)), "it is there")
        tidy.stop()

    asyncio.run(main())
