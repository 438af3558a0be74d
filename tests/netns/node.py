"""A carpool node in a namespace: its configuration written, its processes real.

Used by the tests of whole processes; asks them over their control sockets, as users do.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.netns.lab import WAIT_S, Namespace, answer_of, wait_until

GROUP = """\
name = "test"
preempt = {preempt}
{vips}"""
VIP = """
[[vip]]
interface = "{interface}"
vhid = {vhid}
password = "{password}"
addresses = {addresses}
mac = "{mac}"
transport = "{transport}"
"""


def vip(
    interface: str = "lan",
    vhid: int = 51,
    addresses: tuple[str, ...] = ("10.10.1.1/24",),
    *,
    password: str = "secret",
    mac: str = "virtual",
    transport: str = "multicast",
) -> str:
    """One `[[vip]]` of group.toml."""
    return VIP.format(
        interface=interface,
        vhid=vhid,
        password=password,
        addresses=json.dumps(addresses),
        mac=mac,
        transport=transport,
    )


class CarpNode:
    """One node's failover process; `lan` is its device `lan0`, `wan` its `wan0`."""

    def __init__(self, namespace: Namespace, directory: Path, name: str, advskew: int) -> None:
        self.namespace = namespace
        self.directory = directory / name
        self.name = name
        self.advskew = advskew
        self.process: subprocess.Popen[str] | None = None
        self.wrapper: tuple[str, ...] = ()  # a command that becomes the process
        self.directory.mkdir(parents=True, exist_ok=True)

    def configure(
        self,
        *vips: str,
        peers: dict[str, dict[str, str]] | None = None,
        interfaces: tuple[str, ...] = ("lan",),
        preempt: bool = True,
    ) -> None:
        lines = [f'name = "{self.name}"', f"advskew = {self.advskew}", "[interface]"]
        lines += [f'{interface} = "{interface}0"' for interface in interfaces]
        for peer, addresses in (peers or {}).items():
            lines.append(f"[peer.{peer}.address]")
            lines += [f'{interface} = "{address}"' for interface, address in addresses.items()]
        (self.directory / "node.toml").write_text("\n".join(lines) + "\n")
        group = GROUP.format(preempt="true" if preempt else "false", vips="".join(vips))
        (self.directory / "group.toml").write_text(group)

    def start(self) -> None:
        argv = [*self.wrapper, sys.executable, "-m", "carpool", "run", "failover"]
        self.process = self.namespace.start(*argv, env=self.environment)
        wait_until(self.answers, 30, f"{self.name} answers on its control socket")

    def carpool(self, *verb: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of the command as a user would."""
        variables = [f"{key}={value}" for key, value in self.environment.items()]
        argv = ("env", *variables, sys.executable, "-m", "carpool", *verb)
        return self.namespace.run(*argv, check=False)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "CARPOOL_CONFIG_DIR": str(self.directory),
            "CARPOOL_RUN_DIR": str(self.directory / "run"),
            "CARPOOL_STATE_DIR": str(self.directory / "state"),
        }

    def ask(self, command: str, **fields: object) -> dict[str, Any]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            client.connect(str(self.directory / "run" / "failover.sock"))
            client.sendall(json.dumps({"command": command, **fields}).encode() + b"\n")
            return answer_of(client)

    def answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            out = self.process.stdout.read() if self.process.stdout else ""
            raise AssertionError(f"{self.name} ended with {self.process.returncode}: {out}")
        try:
            return bool(self.ask("status")["ok"])
        except OSError:
            return False

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    @property
    def role(self) -> str:
        """MASTER, BACKUP, INIT, DISABLED or SPLIT; `down` while the process does not answer."""
        try:
            return str(self.status()["role"])
        except OSError:
            return "down"

    def becomes(self, role: str, timeout_s: float = WAIT_S) -> None:
        wait_until(lambda: self.role == role, timeout_s, f"{self.name} becomes {role}")

    def transitions(self) -> list[str]:
        """`51@lan BACKUP MASTER`, oldest first."""
        events = self.ask("events", limit=1000)["events"]
        return [
            f"{event['vhost']} {event['old']} {event['new']}"
            for event in events
            if event["kind"] == "transition"
        ]

    def owns(self, address: str) -> bool:
        """Whether the kernel of this node has the address on a device that is up."""
        shown = self.namespace.run("ip", "-j", "address", "show", "up").stdout
        return any(
            info.get("local") == address
            for link in json.loads(shown or "[]")
            for info in link.get("addr_info", [])
        )

    def worker_pid(self) -> int:
        return int(self.status()["pid"])

    def stop(self) -> int:
        """Gracefully; returns the exit code."""
        assert self.process is not None
        self._signal_guard(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode

    def crash(self) -> None:
        """SIGKILL for guard and worker, the guard first."""
        worker = self.worker_pid()
        self._signal_guard(signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
        assert self.process is not None
        self.process.communicate(timeout=30)

    def _signal_guard(self, number: signal.Signals) -> None:
        """`ip netns exec` becomes the program it runs: its pid is the guard's."""
        assert self.process is not None
        os.kill(self.process.pid, number)


@contextlib.contextmanager
def running(*nodes: CarpNode) -> Iterator[None]:
    """Started one after the other, and stopped gracefully at the end if they still run."""
    try:
        for node in nodes:
            node.start()
        yield
    finally:
        for node in nodes:
            if node.process is not None and node.process.poll() is None:
                node.stop()
