"""Which services sections name, how they do, and that no other one is acted on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from carpool.agent.apply import Refused
from carpool.agent.roster import Roster
from carpool.agent.rulesets import Rulesets
from carpool.agent.services import Action, CommandServices, ServiceError
from carpool.model.section import RolePolicy, Section, Service

SCRIPT = """#!/bin/sh
cd "$(dirname "$0")"
case "$2" in status) test "$1" != absent || exit 4; test -e "$1.runs" || exit 3; exit 0; esac
echo "$2 $1" >>log
case "$2" in start) touch "$1.runs" ;; stop) rm -f "$1.runs" ;; reload) exit 1; esac
"""
SECTIONS = {
    one.name: one
    for one in (
        Section("web", ("/etc/web/",), services=(Service("webd"), Service("absent"))),
        Section(
            "wg",
            ("/etc/wg/",),
            nosync=("/etc/wg/own.conf",),
            services=(Service("wg@", files="/etc/wg/*.conf"),),
            role=RolePolicy.MASTER,
        ),
        Section(
            "ra", ("/etc/ra",), services=(Service("webd"), Service("radvd")), role=RolePolicy.MASTER
        ),
        Section("unselected", ("/etc/x",), services=(Service("xd"),), role=RolePolicy.MASTER),
    )
}


@pytest.fixture
def roster(tmp_path: Path) -> Roster:
    """Of a node that is MASTER."""
    return roster_of(tmp_path, master=True)


def roster_of(
    tmp_path: Path, *, master: bool, sections: dict[str, Section] | None = None
) -> Roster:
    script = tmp_path / "act"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    directory = tmp_path / "etc/wg"
    directory.mkdir(parents=True)
    for name in ("wg1.conf", "wg0.conf", "own.conf", "notes"):
        (directory / name).touch()
    services = CommandServices([str(script), "{service}", "{action}"])
    rulesets = Rulesets(tmp_path / "state", tmp_path)

    async def masters() -> list[str]:
        return ["51@lan"] if master else []

    names = ("web", "wg", "ra", "dial")
    return Roster(sections or SECTIONS, names, services, rulesets, tmp_path, masters)


def test_services_of_selected_sections_that_are_installed(roster: Roster) -> None:
    rows = {str(row["name"]): row for row in asyncio.run(roster.rows())}
    assert list(rows) == ["radvd", "webd", "wg@wg0", "wg@wg1"]
    assert rows["wg@wg0"]["sections"] == ["wg"]
    assert rows["wg@wg0"]["role"] is RolePolicy.MASTER
    assert (rows["webd"]["sections"], rows["webd"]["role"]) == (["web", "ra"], RolePolicy.BOTH)
    assert not rows["webd"]["active"]


def test_those_of_the_master_alone(roster: Roster, tmp_path: Path) -> None:
    assert sorted(roster.elsewhere(())) == ["radvd", "wg@wg0", "wg@wg1"]
    (tmp_path / "etc/wg/wg1.conf").unlink()
    assert sorted(roster.elsewhere(())) == ["radvd", "wg@wg0"]
    for file in (tmp_path / "etc/wg").iterdir():
        file.unlink()
    (tmp_path / "etc/wg").rmdir()
    assert roster.elsewhere(()) == ["radvd"]
    assert roster.has_role


def test_acting_on_one(roster: Roster, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    row = asyncio.run(roster.act("wg@wg1", Action.START, "alice"))
    assert (row["name"], row["active"]) == ("wg@wg1", True)
    assert asyncio.run(roster.act("xd", Action.START, "alice"))["active"]  # known, not selected
    with pytest.raises(ServiceError, match="reload of wg@wg1 failed"):
        asyncio.run(roster.act("wg@wg1", Action.RELOAD, "alice"))
    told = capfd.readouterr().err
    assert "start wg@wg1 by alice: done" in told and "reload wg@wg1 by alice: failed" in told


@pytest.mark.parametrize("name", ["sshd", "wg@", "wg@wg2", "wg@own", "wg@../x", "-x", "", "webd\n"])
def test_what_no_section_names_is_not_touched(roster: Roster, tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match="names a service"):
        asyncio.run(roster.act(name, Action.STOP, "alice"))
    assert not (tmp_path / "log").exists()


def test_what_runs_on_the_master_only_begins_nowhere_else(tmp_path: Path) -> None:
    backup = roster_of(tmp_path, master=False)
    for action in (Action.START, Action.RESTART, Action.ENABLE):
        with pytest.raises(Refused, match="it runs on the master only, and this node is not"):
            asyncio.run(backup.act("radvd", action, "alice"))
    assert not (tmp_path / "log").exists()
    asyncio.run(backup.act("radvd", Action.STOP, "alice"))
    asyncio.run(backup.act("webd", Action.START, "alice"))  # of a section for all nodes as well
    asyncio.run(backup.act("xd", Action.START, "alice"))  # not selected: no agent keeps it
    assert (tmp_path / "log").read_text().split("\n")[:-1] == [
        "stop radvd",
        "start webd",
        "start xd",
    ]


def test_a_service_that_follows_one_vip_begins_where_that_is(tmp_path: Path) -> None:
    section = Section(
        "dial",
        (),
        role=RolePolicy.MASTER,
        services=(Service("ppp@lan", follows="lan"), Service("ppp@wan", follows="52@wan")),
    )
    roster = roster_of(tmp_path, master=True, sections={"dial": section})
    assert roster.elsewhere(["51@lan"]) == ["ppp@wan"]
    assert roster.elsewhere(["51@lan", "52@wan"]) == []
    with pytest.raises(Refused, match="this node is not MASTER of 52@wan"):
        asyncio.run(roster.act("ppp@wan", Action.START, "alice"))
    row = asyncio.run(roster.act("ppp@lan", Action.START, "alice"))
    assert (row["active"], row["role"], row["follows"]) == (True, RolePolicy.MASTER, "lan")
    assert (row["switched"], row["moved"]) == (False, None)
