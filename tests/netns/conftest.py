"""Fixtures of the tests that need root: see lab.py. Without root every test here is skipped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.lab import Network
from tests.netns.pair import Pair

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this directory `root` and skip them for anybody else."""
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.root)
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root and network namespaces"))


@pytest.fixture
def network() -> Iterator[Network]:
    """An empty test network; whatever is made in it is gone after the test."""
    with Network() as made:
        yield made


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> Iterator[Pair]:
    """Two firewalls for states processes, not started yet."""
    made = Pair(network, tmp_path)
    yield made
    made.close()
