"""Who is away: what answers on this machine is a sign of life, and silence is none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from carpool.agent import absence
from carpool.agent.client import Door
from carpool.agent.group import REPLICATION
from carpool.api.settings import load
from carpool.errors import CarpoolError, PeerError, UnreachableError

NODE = """\
name = "fw1"
[interface]
lan = "none-such"
"""
GROUP = """\
name = "edge"
[[vip]]
interface = "lan"
vhid = 51
password = "rather secret"
addresses = ["192.0.2.1/24"]
"""
NOT_OURS = ip_address("192.0.2.99")
HERE = ip_address("127.0.0.1")


class Peer:
    """fw2, to be asked at a door of this machine."""

    name = "fw2"

    def __init__(self, error: CarpoolError | None, door: Door) -> None:
        self._error, self.door = error, door

    async def about(self) -> None:
        if self._error is not None:
            raise self._error


class Watched:
    async def look(self, _peers: object) -> list[dict[str, object]]:
        return [{"name": "fw2", "age_s": 90.0}]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind((str(HERE), 0))
        made.listen()
        yield made


def look(
    home: Path, error: CarpoolError | None, door: Door, stream: str = "down"
) -> tuple[absence.Found, str]:
    """And why it cannot be left out."""
    (home / "node.toml").write_text(NODE)
    (home / "group.toml").write_text(GROUP)
    config, problems = load(home)
    assert config is not None, problems

    async def replication() -> dict[str, str]:
        return {f"{REPLICATION}fw2": stream}

    made = {"config": config, "watched": Watched(), "replication": replication}
    node = cast("Any", SimpleNamespace(**made, peers={"fw2": Peer(error, door)}))

    async def work() -> tuple[absence.Found, str]:
        found = (await absence.look(node))["fw2"]
        try:
            await absence.refuse_present(node, ["fw2"])
        except CarpoolError as refused:
            return found, refused.message
        return found, ""

    return asyncio.run(work())


SILENT = UnreachableError("fw2 cannot be connected to", hint="is it up?")


def test_who_answers_nowhere_is_away(tmp_path: Path) -> None:
    found, refused = look(tmp_path, SILENT, Door(NOT_OURS, HERE, 9))
    assert found.away and not found.sign and not refused
    assert (found.why, found.hint, found.age_s) == (SILENT.message, SILENT.hint, 90.0)


def test_whose_machine_answers_is_there(tmp_path: Path, listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    found, refused = look(tmp_path, SILENT, Door(HERE, HERE, port))
    assert not found.away
    assert found.sign == "the machine of fw2 is there, at 127.0.0.1"
    assert "fw2 is not away: the machine of fw2 is there" in refused
    listening.close()  # from now on it says that nobody listens
    found, _refused = look(tmp_path, SILENT, Door(HERE, HERE, port))
    assert not found.away and found.sign


def test_who_refuses_or_answers_is_there(tmp_path: Path) -> None:
    door = Door(NOT_OURS, HERE, 9)
    found, refused = look(tmp_path, PeerError("fw2: another API"), door)
    assert not found.away and "its agent is there: fw2: another API" in refused
    found, refused = look(tmp_path, None, door)
    assert not found.away and not found.why and "it answers" in refused


def test_whose_states_are_connected_is_there(tmp_path: Path) -> None:
    found, refused = look(tmp_path, SILENT, Door(NOT_OURS, HERE, 9), stream="up")
    assert not found.away and "is connected to this node's" in refused
