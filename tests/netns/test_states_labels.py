"""Labels between two real nodes that number them differently: they arrive by name."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from carpool.proto import ctlabels
from carpool.proto import ctmessage as ct
from tests.netns.lab import Network, wait_until
from tests.netns.pair import SERVER, Pair, StatesNode, arrives, flow

TCP = socket.SOCK_STREAM
NAMES = {"fw1": "5 voip\n9 office\n10 both\n", "fw2": "70 voip\n10 both\n71 late\n"}
# A kernel keeps labels only where a rule is about them.
RULES = """
table inet labels {{
  chain forward {{ type filter hook forward priority filter + 5;
    {}
    ct label 1 counter
  }}
}}
"""
FIRST = "tcp dport 80 ct state new ct label set 5\n    tcp dport 80 ct state new ct label set {}"


def give_names(node: StatesNode, names: str) -> Path:
    """An /etc of its own for the process, with a file of names above the real one."""
    above = node.directory / "etc"
    (above / "xtables").mkdir(parents=True)
    file = above / "xtables" / "connlabel.conf"
    file.write_text(names)
    mount = f'mount -t overlay overlay -o lowerdir={above}:/etc /etc && exec "$@"'
    node.wrapper = ("sh", "-c", mount, "sh")
    return file


def refuse_nft(node: StatesNode) -> tuple[Path, Path]:
    """Two files: while the first is there, nft refuses all, and makes the second."""
    refuses, asked = node.directory / "refuses", node.directory / "asked"
    nft = node.directory / "bin" / "nft"
    nft.parent.mkdir()
    nft.write_text(
        f"#!/bin/sh\nif [ -e {refuses} ]; then touch {asked}; echo busy >&2; exit 1; fi\n"
        f'exec {shutil.which("nft")} "$@"\n'
    )
    nft.chmod(0o755)
    node.wrapper = ("env", f"PATH={nft.parent}:{os.environ['PATH']}", *node.wrapper)
    return refuses, asked


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(network, tmp_path)
    yield made
    made.close()


def asks_for_labels(node: StatesNode) -> bool:
    """Whether a change of labels is an event."""
    table = node.namespace.run("nft", "list", "table", "inet", "carpool_states").stdout
    return "label" in table


def labels(entry: ct.Entry) -> set[int]:
    return set(ctlabels.bits(entry.labels or bytes(16)))


def copy_of(node: StatesNode, sport: int) -> ct.Entry | None:
    return next((entry for entry in node.entries() if entry.orig.sport == sport), None)


def test_labels_arrive_by_name(pair: Pair) -> None:
    for node in pair.nodes:
        give_names(node, NAMES[node.name])
        node.namespace.nft(RULES.format(FIRST.format(10) if node is pair.fw1 else ""))
    pair.start()
    with flow(TCP, pair.client, pair.server, (SERVER, 80)) as one:
        assert one.echoes()
        assert labels(arrives(pair.fw2, 6, 80)) == {70, 10}
        here = pair.fw1.find(6, 80)
        assert here is not None and labels(here) == {5, 10}
        # One that comes later comes too; those without a name there, or any, are told.
        later = "flush chain inet labels forward\n" + RULES.format(
            "tcp dport 80 ct label set 9\n    tcp dport 80 ct label set 11"
        )
        assert pair.fw2.counter("taken_without_label") == 0
        pair.fw1.namespace.nft(later)
        assert one.echoes()
        wait_until(lambda: pair.fw2.counter("taken_without_label") >= 2, 5, "two labels are lost")
        assert labels(arrives(pair.fw2, 6, 80)) == {70, 10}
        # And a whole table tells them as news do.
        pair.fw2.stop()
        assert "without the label 'office'" in pair.fw2.output
        assert "without the label 'number 11'" in pair.fw2.output
        pair.fw2.delete(arrives(pair.fw2, 6, 80))
        pair.fw2.start()
        pair.synchronised()
        assert labels(arrives(pair.fw2, 6, 80)) == {70, 10}
    for node in pair.nodes:
        assert node.peer_status()["errors"] == 0


def test_a_name_that_is_given_later_counts_from_then_on(pair: Pair) -> None:
    files = [give_names(node, NAMES[node.name]) for node in pair.nodes]
    for node in pair.nodes:
        node.namespace.nft(RULES.format(FIRST.format(11) if node is pair.fw1 else ""))
    pair.start()
    assert pair.fw1.counter("events") == 0
    for file in files:
        file.write_text("11 late\n" if file is files[0] else "71 late\n")

    def arrived() -> bool:
        with flow(TCP, pair.client, pair.server, (SERVER, 80)) as one:
            assert one.echoes()
            # Those of the tries before are there for two minutes more: only this one counts.
            sport = one.near.getsockname()[1]
            copy = wait_until(lambda: copy_of(pair.fw2, sport), 5, "the try's entry on fw2")
            assert copy is not None
            return labels(copy) == {71}

    wait_until(arrived, 40, "the new name is in use on both")


def test_names_that_nft_refuses_once_are_in_use_the_next_time(pair: Pair) -> None:
    files = [give_names(node, "") for node in pair.nodes]
    refuses, asked = refuse_nft(pair.fw1)
    pair.fw1.namespace.nft(RULES.format(FIRST.format(11)))
    pair.fw2.namespace.nft(RULES.format(""))
    pair.start()
    refuses.touch()
    for file in files:
        file.write_text("11 late\n" if file is files[0] else "71 late\n")
    wait_until(asked.exists, 5, "nft has been asked for another mask")
    refuses.unlink()

    for node in pair.nodes:
        wait_until(partial(asks_for_labels, node), 5, f"{node.name} has heard of its names")
    with flow(TCP, pair.client, pair.server, (SERVER, 80)) as one:
        assert one.echoes()
        assert labels(arrives(pair.fw2, 6, 80)) == {71}
    assert pair.fw1.stop() == 0
    assert "nft refused table inet carpool_states: busy" in pair.fw1.output


def test_where_nothing_is_labelled_nothing_is_asked(pair: Pair) -> None:
    pair.start()
    with flow(TCP, pair.client, pair.server, (SERVER, 80)) as one:
        assert one.echoes()
        assert labels(arrives(pair.fw2, 6, 80)) == set()
    assert pair.fw1.counter("events") == 1
    assert not asks_for_labels(pair.fw1)
