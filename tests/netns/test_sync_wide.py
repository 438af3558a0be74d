"""A section of many files, each with a content of its own: broken off in the middle, then whole.

`script/soak sync FILES` runs it with as many (CARPOOL_SOAK_FILES), the suite with some hundred.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.agents import made_group
from tests.netns.faulty import Faulty, Running, picture, without_times
from tests.netns.lab import Network, wait_until
from tests.netns.nursery import NurseryNode, Stop
from tests.netns.pair import PAIR
from tests.netns.test_sync import outcome
from tests.unit.kernel.trees import IN_MEMORY

FILES = int(os.environ.get("CARPOOL_SOAK_FILES", "500"))
PATIENCE_S = 30 + FILES / 100  # for any one step; it takes a fraction
A_DIRECTORY = 300  # files


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir=IN_MEMORY))
    try:
        yield made
    finally:
        wait_until(lambda: _is_removed(made), 30, "a git that outlived its agent ends")


def _is_removed(directory: Path) -> bool:
    shutil.rmtree(directory, ignore_errors=True)
    return not directory.exists()


@pytest.fixture
def pair(network: Network, directory: Path) -> tuple[Faulty, Faulty]:
    """fw2 has half of the files, as they were before."""
    fw1, fw2 = map(Faulty, made_group(network, directory, PAIR, NurseryNode))
    for node in (fw1, fw2):
        node.write("etc/web.conf", "good 1\n")
    for number in range(FILES):
        name = f"etc/web/{number // A_DIRECTORY}/{number}"
        if number % A_DIRECTORY == 0:
            for node in (fw1, fw2):
                node.path(name).parent.mkdir()
        fw1.path(name).write_text(f"new {number}\n")
        if number % 2:
            fw2.path(name).write_text(f"old {number}\n")
    for node in (fw1, fw2):
        begin(node)
    return fw1, fw2


def begin(node: Faulty) -> None:
    """Its agent; one that puts files back first takes its time."""
    node.node.start()
    wait_until(node.node.answers, PATIENCE_S, f"{node.node.name} answers")


def ended(running: Running) -> tuple[str, str]:
    wait_until(lambda: bool(running.error) or over(running), PATIENCE_S, "it has ended")
    return outcome(running.ended())


def over(running: Running) -> bool:
    return bool(running.events) and running.events[-1]["step"] == "over"


@pytest.mark.timeout(60 + 6 * PATIENCE_S)
def test_many_files_are_all_new_or_all_old(pair: tuple[Faulty, Faulty]) -> None:
    fw1, fw2 = pair
    before = picture(fw2.web)
    fw2.node.child.stop_at(Stop("os.rename", "'.carpool-", FILES // 2))
    running = Running(fw1)
    wait_until(lambda: fw2.node.child.stopped, PATIENCE_S, "it is halfway through the swap")
    assert picture(fw2.web) != before
    fw2.kill()
    begin(fw2)
    why = ended(running)[1]
    assert "everything is as it was before" in why
    assert picture(fw2.web) == before
    assert fw2.clean()

    assert ended(Running(fw1)) == ("applied", "")
    assert without_times(picture(fw2.web)) == without_times(picture(fw1.web))
    assert ended(Running(fw1)) == ("nothing to do", "")
    fw1.write("etc/web/0/1", "newer\n")
    running = Running(fw1)
    assert ended(running) == ("applied", "")
    (plan,) = [event for event in running.events if event["step"] == "plan"]
    assert plan["changes"] == 1
    assert fw2.read("etc/web/0/1") == "newer\n"
    wait_until(fw2.clean, PATIENCE_S, "nothing is left")
