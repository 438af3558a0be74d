"""`script/bench states` with tiny loads: every measure finds something, and nothing is left."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys

import pytest

from carpool.lab.statesbench.limits import SYSCTLS, WANTED
from carpool.lab.statesbench.measures import MEASURES
from tests.netns.test_lab_drills import traces

TIMEOUT_S = 170
CONTENDERS = ("carpool", "conntrackd FTFW direct")

pytestmark = [
    pytest.mark.long,  # it changes the size of the kernel's connection table, too
    pytest.mark.timeout(TIMEOUT_S + 10),
    pytest.mark.skipif(shutil.which("cc") is None, reason="the loads are written in C"),
]


def limits() -> list[str]:
    return [(SYSCTLS / name).read_text() for name in WANTED]


def test_every_measure_finds_something() -> None:
    """Beside conntrackd where it is installed. Whether targets are met says nothing here."""
    name, before = f"cpl-{secrets.token_hex(3)}", limits()
    only = CONTENDERS if shutil.which("conntrackd") else CONTENDERS[:1]
    words = ["--small", "--runs", "1", "--json", "--name", name]
    chosen = [word for contender in only for word in ("--only", contender)]
    done = subprocess.run(
        [sys.executable, "-m", "carpool.lab.bench", "states", *words, *chosen],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout, done.stderr
    found = {entry["measure"]: entry for entry in json.loads(done.stdout)}
    assert list(found) == [row.measure for measure in MEASURES for row in measure.rows]
    silent = [what for what, entry in found.items() if entry["carpool"] is None]
    assert silent == [], done.stderr
    if len(only) > 1:
        assert found[MEASURES[0].rows[0].measure]["peer_name"] == only[1]
    assert found["states missing after it"]["carpool"] == 0
    assert (traces(name), limits()) == ([], before)
