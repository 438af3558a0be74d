"""`carpool sections`: the table, its JSON, and a configuration that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carpool.cli.drift import Stands
from carpool.cli.main import main
from carpool.cli.sections import row, table
from carpool.errors import EXIT_CONFIG, EXIT_OK
from carpool.model.section import Section
from tests.unit.api.files import GROUP, write

TOLD: Stands = {
    "fw2": {"web": {"drift": "ahead", "why": "", "since": "2026-11-23T06:40:12.345Z"}},
    "fw3": {
        "web": {"drift": "unknown", "why": "cannot connect", "since": "2026-11-23T06:40:12.345Z"}
    },
}
OWN = """
[sync]
interface = "sync"
sections = ["own", "radvd"]

[section.own]
description = "ours"
installed = ["/"]
paths = ["/srv/own"]
services = ["a", "b"]

[section.none]
installed = ["/no/such/program"]
paths = ["/srv/none"]
"""


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, group=GROUP + OWN)
    assert main(["sections", "--config-dir", str(tmp_path)]) == EXIT_OK
    said = capsys.readouterr()
    assert said.err.startswith("carpool: how they stand on the peers is not known: the agent does")
    assert said.err.count("\n") == 1
    lines = {line.split()[0]: line.split()[1:] for line in said.out.splitlines()}
    assert lines["SECTION"] == ["INSTALLED", "SELECTED", "SERVICES", "ROLE", "DESCRIPTION"]
    assert lines["own"] == ["yes", "yes", "2", "both", "ours"]
    assert lines["none"] == ["no", "no", "0", "both"]
    assert lines["radvd"][1:4] == ["yes", "1", "master"]
    assert lines["carpool"][:2] == ["yes", "yes"]  # the same on all nodes, always


def test_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, group=GROUP + OWN)
    assert main(["sections", "--json", "--config-dir", str(tmp_path)]) == EXIT_OK
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["own"] == {
        "name": "own",
        "description": "ours",
        "installed": True,
        "selected": True,
        "services": 2,
        "role": "both",
        "peers": {},
    }


def test_how_they_stand_on_each_peer() -> None:
    rows = [
        row(Section("web", ("/srv/web/",)), ["web"], TOLD),
        row(Section("dns", ("/srv/dns/",)), [], TOLD),
    ]
    head, web, dns = table(rows, list(TOLD))
    assert " ON fw2 " in head and " ON fw3 " in head
    assert " ahead since 2026-11-2" in web and " unknown since 2026-11-2" in web
    assert "cannot connect" not in web
    assert dns.split() == ["dns", "no", "no", "0", "both", "-", "-"]


@pytest.mark.parametrize("sync", ['sections = ["onw"]', "port = 0"])
def test_without_a_good_configuration(
    sync: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, group=f'{GROUP}[sync]\ninterface = "sync"\n{sync}\n')
    assert main(["sections", "--config-dir", str(tmp_path)]) == EXIT_CONFIG
    assert capsys.readouterr().err == (
        "carpool: the configuration cannot be used: 1 error\n         `carpool check` tells\n"
    )
    assert main(["check", "--config-dir", str(tmp_path)]) == EXIT_CONFIG
    assert "sync." in capsys.readouterr().out
