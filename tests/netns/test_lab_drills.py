"""`carpool lab` as a person uses it: drills that must pass, one that must fail, no trace after.

Few connections and runs: this proves the lab; `script/bench` measures.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carpool.lab.faults import SCENARIOS
from carpool.lab.lab import LABS_DIR, Lab
from tests.netns.lab import wait_until

pytestmark = pytest.mark.timeout(180)

COMMAND_TIMEOUT_S = 150
CONNECTIONS = "30"


def carpool_lab(verb: str, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `carpool lab VERB --name NAME WORDS` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "carpool", "lab", verb, "--name", name, *words],
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


def start(verb: str, name: str, *words: str) -> subprocess.Popen[bytes]:
    """Start it in a process group of its own, as a terminal would."""
    return subprocess.Popen(
        [sys.executable, "-m", "carpool", "lab", verb, "--name", name, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def traces(name: str) -> list[str]:
    """What is left of a lab: namespaces, files, processes."""
    left = [f"namespace {namespace}" for namespace in Lab(name).network.existing()]
    left += [f"file {path}" for path in LABS_DIR.glob(f"{name}*")]
    mark = f"{LABS_DIR / name}/".encode()
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit() and int(directory.name) != os.getpid():
            try:
                command = (directory / "cmdline").read_bytes()
            except OSError:
                continue
            if mark in command:
                left.append(f"process {directory.name}: {command.decode(errors='replace')}")
    return left


@pytest.fixture
def name() -> Iterator[str]:
    """A name that no other lab has; whatever a test leaves of it is removed."""
    chosen = f"cpl-{secrets.token_hex(3)}"
    try:
        yield chosen
    finally:
        done = carpool_lab("down", chosen)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def healthy() -> Iterator[str]:
    """One lab for all the tests that leave it as healthy as they found it."""
    chosen = f"cpl-{secrets.token_hex(3)}"
    try:
        done = carpool_lab("up", chosen, "--no-agent")
        assert done.returncode == 0, done.stderr
        yield chosen
    finally:
        carpool_lab("down", chosen)
        assert traces(chosen) == []


def drill(name: str, scenario: str, *words: str) -> tuple[int, dict[str, Any], str]:
    done = carpool_lab("drill", name, scenario, "--connections", CONNECTIONS, "--json", *words)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report, done.stderr


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(one, marks=pytest.mark.long if one in ("kill", "pause") else ())
        for one in SCENARIOS
    ],
)
def test_nobody_dies_in_any_drill(healthy: str, scenario: str) -> None:
    code, report, said = drill(healthy, scenario)
    assert report["scenario"] == scenario
    (run,) = report["runs"]
    assert run["connections"] == {"opened": int(CONNECTIONS), "survived": int(CONNECTIONS)}, said
    assert run["young"]["survived"] == run["young"]["opened"] > 0, said
    assert run["took_over_ms"] is not None, said
    assert run["lost_before"] == 0
    assert run["ipv6"]["gap_ms"] < 5000
    assert code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("partition", "--direction", "out", "--seconds", "4"),
        *(
            pytest.param(words, marks=pytest.mark.long)
            for words in (
                ("stop-off",),
                ("partition", "--links", "lan,wan"),
                ("partition", "--direction", "in"),
                ("starve",),
                ("clock",),
                ("sync-cut",),
            )
        ),
    ],
    ids=" ".join,
)
def test_nobody_dies_in_half_a_network_nor_out_of_time(
    healthy: str, words: tuple[str, ...]
) -> None:
    scenario, *options = words
    code, report, said = drill(healthy, scenario, *options)
    (run,) = report["runs"]
    assert run.get("faults", []) == [], said
    assert run["connections"]["survived"] == int(CONNECTIONS), said
    assert code == 0
    if "out" in words:  # it was a partition
        assert run["two_owners_ms"] > 0
        assert run["moves"] == 1


@pytest.mark.long
def test_the_third_takes_over_when_both_others_died(name: str) -> None:
    code, report, said = drill(name, "three")
    (run,) = report["runs"]
    assert run["connections"]["survived"] == int(CONNECTIONS), said
    assert run["first_took_over_ms"] < 5000
    assert code == 0
    assert traces(name) == []


def test_without_replication_connections_die_and_the_drill_fails(healthy: str) -> None:
    code, report, _ = drill(healthy, "crash", "--without-states")
    (run,) = report["runs"]
    assert run["connections"]["opened"] == int(CONNECTIONS)
    assert run["connections"]["survived"] == 0
    assert run["young"]["survived"] == 0 < run["young"]["opened"]
    assert run["took_over_ms"] is not None  # the gateway lives; the connections do not
    assert code == 1


def test_status_shows_both_nodes_and_how_to_enter_them(healthy: str) -> None:
    done = carpool_lab("status", healthy)
    assert done.returncode == 0, done.stderr
    for wanted in ("fw1", "fw2", "MASTER", "BACKUP", "51@lan", f"lab shell NODE --name {healthy}"):
        assert wanted in done.stdout
    assert "not healthy" not in done.stdout


def test_a_command_runs_on_the_node_that_is_named(healthy: str) -> None:
    done = carpool_lab("exec", healthy, "fw2", "ip", "-br", "addr", "show", "sync0")
    assert "10.10.3.3" in done.stdout, done.stderr


def test_up_does_not_touch_a_lab_that_is_up(healthy: str) -> None:
    done = carpool_lab("up", healthy)
    assert done.returncode == 1
    assert f"carpool lab down --name {healthy}" in done.stderr
    assert "not healthy" not in carpool_lab("status", healthy).stdout


def test_two_commands_do_not_work_on_one_lab(healthy: str) -> None:
    with Lab(healthy).held():
        done = carpool_lab("down", healthy)
    assert done.returncode == 1
    assert "another command is working on the lab" in done.stderr
    assert Lab(healthy).is_up


def test_the_host_is_not_touched(healthy: str) -> None:
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True)
    assert "lan0" not in links.stdout and "wan0" not in links.stdout
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    assert "carpool" not in tables.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("when", ["the first namespace", "the first process"])
def test_down_removes_what_a_broken_up_has_left(
    name: str, when: str, number: signal.Signals
) -> None:
    lab = Lab(name)
    up = start("up", name)
    try:
        if when == "the first namespace":
            wait_until(lab.network.existing, timeout_s=20)
        else:
            wait_until(lambda: any("process" in trace for trace in traces(name)), timeout_s=20)
        os.killpg(up.pid, number)
    finally:
        up.wait(20)
    assert carpool_lab("down", name).returncode == 0
    assert traces(name) == []
    again = carpool_lab("down", name)
    assert again.returncode == 0
    assert "there is no lab" in again.stderr


def test_the_demo_for_machines_tells_crash_and_return(name: str) -> None:
    done = carpool_lab("demo", name, "--once", "--json")
    assert done.returncode == 0, done.stderr
    scenarios = json.loads(done.stdout)["scenarios"]
    assert [entry["scenario"] for entry in scenarios] == ["crash", "return"]
    for entry in scenarios:
        (run,) = entry["runs"]
        assert run["connections"]["survived"] == run["connections"]["opened"] > 0
    assert traces(name) == []


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
@pytest.mark.parametrize("when", ["while it builds", "while traffic flows"])
def test_a_demo_that_is_interrupted_leaves_nothing(
    name: str, when: str, number: signal.Signals
) -> None:
    lab = Lab(name)
    demo = start("demo", name)
    try:
        if when == "while it builds":
            wait_until(lab.network.existing, timeout_s=20)
        else:
            wait_until(lambda: traffic_of(lab), timeout_s=60)
        os.killpg(demo.pid, number)
    finally:
        code = demo.wait(30)
    assert code == 130
    wait_until(lambda: traces(name) == [])


def traffic_of(lab: Lab) -> bool:
    """Whether the client's streams run."""
    namespace = lab.network.namespace("client")
    if namespace not in lab.network.existing():
        return False
    pids = subprocess.run(
        ["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False
    )
    return len(pids.stdout.split()) >= 3
