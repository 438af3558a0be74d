"""`script/bench sync` with a few small files: every row has a figure, and nothing is left."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.lab.syncbench.measures import ROWS
from tests.netns.test_lab_drills import traces

TIMEOUT_S = 60

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(TIMEOUT_S + 10),
    pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is what it is compared with"),
]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: names of sockets have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="cpl-") as made:
        yield Path(made)


def test_every_row_has_a_figure(directory: Path) -> None:
    """Whether targets are met says nothing here."""
    name = f"cpl-{secrets.token_hex(3)}"
    words = ["--small", "--runs", "1", "--json", "--name", name, "--directory", str(directory)]
    done = subprocess.run(
        [sys.executable, "-m", "carpool.lab.bench", "sync", *words],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stdout, done.stderr
    found = {entry["measure"]: entry for entry in json.loads(done.stdout)}
    assert list(found) == [row.measure for row in ROWS]
    assert all(entry["carpool"] > 0 for entry in found.values()), found
    beside = [row.measure for row in ROWS if row.peers]
    assert all(found[measure]["peer"] > 0 for measure in beside), found
    assert traces(name) == []
    assert list(directory.iterdir()) == []
