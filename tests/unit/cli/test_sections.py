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
    assert lines["SECTION"] == ["INSTALLED", "SELECTED", "DESCRIPTION"]
    assert lines["own"] == ["yes", "yes", "ours"]
    assert lines["none"] == ["no", "no"]
    assert lines["radvd"][1] == "yes"
    assert max(map(len, said.out.splitlines())) <= 80
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
    _head, web, fw2, fw3, dns = table(rows, list(TOLD))
    assert web.split() == ["web", "no", "yes"]
    assert fw2.startswith("  on fw2: ahead since 2026-11-2")
    assert fw3.startswith("  on fw3: unknown since 2026-11-2")
    assert "cannot connect" not in fw3
    assert dns.split() == ["dns", "no", "no"]


def test_it_fits_into_80_columns_whatever_its_names_are() -> None:
    name, peer = "a" * 32, "p" * 32
    about = "what there is to say of a section in more than a few words " * 3
    told: Stands = {
        peer: {name: {"drift": "differs on the backup", "since": "2026-11-23T06:40:12.345Z"}}
    }
    lines = table([row(Section(name, ("/srv/web/",), description=about), [], told)], [peer])
    assert max(map(len, lines)) <= 80
    shown = " ".join(" ".join(lines).split())
    assert about.strip() in shown and "differs on the backup since 2026-11-2" in shown


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
