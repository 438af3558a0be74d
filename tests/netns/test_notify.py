"""What each process tells systemd: a socket of the test's own stands where systemd's is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.api import control
from carpool.kernel.clock import monotonic_s
from carpool.kernel.notify import EVERY_MAX_S
from tests.netns.lab import Namespace, Network, wait_until

NODE = """name = "fw1"
[interface]
lan = "lan0"
[address]
lan = "10.1.0.2"
[peer.fw2.address]
lan = "10.1.0.3"
"""
GROUP = """name = "test"
[[vip]]
interface = "lan"
vhid = 51
password = "secret"
addresses = ["10.1.0.1/24"]
[states]
interface = "lan"
encryption = "none"
[sync]
interface = "lan"
"""
WATCHDOG_S = 0.3


class Unit:
    """A process, and what it has told so far, a datagram each."""

    def __init__(self, firewall: Namespace, directory: Path, process: str) -> None:
        self.run_dir = directory / "run"
        self.told: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(directory / "notify"))
        self._socket.setblocking(False)
        env = {
            "CARPOOL_CONFIG_DIR": str(directory),
            "CARPOOL_RUN_DIR": str(self.run_dir),
            "CARPOOL_STATE_DIR": str(directory / "state"),
            "NOTIFY_SOCKET": str(directory / "notify"),
            "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6)),
        }
        # `exec` after WATCHDOG_PID is set to the pid that the process will have, as systemd does.
        script = 'export WATCHDOG_PID=$$; exec "$@"'
        argv = (sys.executable, "-m", "carpool", "run", process)
        self.process: subprocess.Popen[str] = firewall.start(
            "sh", "-c", script, "sh", *argv, env=env
        )

    def hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                lines = self._socket.recv(4096).decode().splitlines()
                self.told.append(dict(line.split("=", 1) for line in lines))

    def has_told(self, name: str, text: str) -> bool:
        self.hear()
        return any(text in one.get(name, "") for one in self.told)

    def hears(self, name: str, text: str, timeout_s: float = 45) -> None:
        wait_until(lambda: self.has_told(name, text), timeout_s, f"it tells {name}={text}")

    def silent_for_s(self) -> float:
        """How long no WATCHDOG=1 comes, up to twice the time that systemd gives it."""
        self.hear()
        self.told.clear()
        began_s = monotonic_s()
        with contextlib.suppress(AssertionError):
            self.hears("WATCHDOG", "1", 2 * WATCHDOG_S)
        return monotonic_s() - began_s

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["failover", "states", "agent"])
def unit(request: pytest.FixtureRequest, network: Network, tmp_path: Path) -> Iterator[Unit]:
    firewall, other = network.host("fw1", forwarding=True), network.host("other")
    network.bridge("lan", [(firewall, "lan0", ["10.1.0.2/24"]), (other, "lan0", ["10.1.0.3/24"])])
    (tmp_path / "node.toml").write_text(NODE)
    (tmp_path / "group.toml").write_text(GROUP)
    with contextlib.closing(Unit(firewall, tmp_path, request.param)) as made:
        yield made


def test_ready_when_it_is_alive_while_it_turns_and_stopping_at_the_end(
    unit: Unit, request: pytest.FixtureRequest
) -> None:
    process = request.node.callspec.params["unit"]
    unit.hears("READY", "1")
    first = next(number for number, one in enumerate(unit.told) if "READY" in one)
    assert all(one.keys() == {"WATCHDOG"} for one in unit.told[:first])
    if process != "agent":
        assert not isinstance(control.status(unit.run_dir, process), Exception)
    else:
        assert (unit.run_dir / "agent.sock").is_socket()
    about = {
        "failover": "master of all 1 VHIDs",
        "states": "streams with 0 of 1 peers",
        "agent": "listens to this machine and to fw2",
    }
    unit.hears("STATUS", about[process])
    unit.hears("WATCHDOG", "1")
    unit.process.send_signal(signal.SIGTERM)
    said, _ = unit.process.communicate(timeout=20)
    assert unit.process.returncode == 0, said
    unit.hear()
    assert unit.has_told("STOPPING", "1")
    assert unit.has_told("STATUS", "leaving")


@pytest.mark.parametrize("unit", ["failover"], indirect=True)
def test_a_worker_that_hangs_falls_silent_and_goes_on_when_it_can(unit: Unit) -> None:
    unit.hears("READY", "1")
    assert WATCHDOG_S / 3 < EVERY_MAX_S
    status = control.status(unit.run_dir, "failover")
    assert isinstance(status, dict)
    worker = int(str(status["pid"]))
    assert worker != unit.process.pid
    os.kill(worker, signal.SIGSTOP)
    try:
        unit.silent_for_s()  # what was on its way
        assert unit.silent_for_s() >= 2 * WATCHDOG_S
    finally:
        os.kill(worker, signal.SIGCONT)
    unit.told.clear()
    unit.hears("WATCHDOG", "1")


@pytest.mark.parametrize("unit", ["states"], indirect=True)
def test_states_that_begin_anew_are_the_same_service(unit: Unit, tmp_path: Path) -> None:
    unit.hears("READY", "1")
    unit.told.clear()
    group = tmp_path / "group.toml"
    group.write_text(group.read_text().replace('encryption = "none"', "port = 4000"))
    states = control.socket_of(unit.run_dir, "states")
    answer = control.request(states, {"command": "reload"}, 10)
    assert answer["restarts"]
    unit.hears("RELOADING", "1")
    unit.hears("READY", "1")
    assert unit.process.poll() is None
