"""A firewall of the lab as a whole machine: it boots its own systemd, with carpool installed.

Room: lab. Written to as an administrator would: files in /etc before the first boot, `systemctl`
after it. Its disk outlives a pulled plug. Refuses to know drills, and how a container is made.
"""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import processes, rules, shell
from carpool.lab.container import Container, innermost_pid
from carpool.lab.firewall import AGENT, ROLES, WEB, Firewall, group_toml, node_toml
from carpool.lab.image import SERVICES
from carpool.lab.pages import HOST, Pages
from carpool.lab.processes import Tracked
from carpool.lab.topology import LAN, SEGMENTS, SERVER_IPV4, SYNC, WAN, Network

BOOT_WAIT_S = 60.0
RUN_WAIT_S = 120.0  # a command may install, boot or synchronise something
POLL_S = 0.05
FINE_POLL_S = 0.001


def disks(lab_root: Path) -> Path:
    """Where the disks of a lab's machines are: a file system in memory, whatever is below."""
    return lab_root / "disks"


class Machine(Firewall):
    """`lower` is what its disk lies over, besides the host's root. `bare`: a firewall by itself,
    whose administrator has not heard of carpool. `shown`: its pages are, to this host, at `port`
    (0: a free one)."""

    def __init__(
        self,
        name: str,
        network: Network,
        root: Path,
        lower: str = "",
        *,
        bare: bool = False,
        shown: bool = False,
        port: int = 0,
    ) -> None:
        console = root / "console.log"
        super().__init__(name, network, root, Pages(root / "web", port, console))
        self.bare = bare
        self.shown = shown
        self.container = Container(
            name=name,
            cgroup_name=f"carpool-lab-{network.name}-{name}",
            netns=shell.NETNS_DIR / self.namespace,
            lower=lower,
            disk=disks(root.parent) / name,
            place=root / "mnt",
            console=console,
        )

    @property
    def files(self) -> Path:
        """Its root while it runs, and what it has written while it is off."""
        leader = self.container.leader()
        return self.container.upper if leader is None else Path(f"/proc/{leader}/root")

    @property
    def run_dir(self) -> Path:
        return self.files / "run" / "carpool"

    @property
    def state_dir(self) -> Path:
        return self.files / "var" / "lib" / "carpool"

    def carpool(self, *arguments: str) -> list[str]:
        return self.inside(["carpool", *arguments])

    def log(self, role: str) -> Path:
        """Its console: what carpool says is in its journal, `last_words`."""
        return self.container.console

    def last_words(self, role: str) -> str:
        words = ["--output=cat", "--lines=1", f"--unit={unit(role)}"]
        try:
            return self.run(["journalctl", "--quiet", *words]).strip() or "it said nothing"
        except CarpoolError as error:
            return error.message

    def ended(self, role: str) -> bool:
        """Whatever ends on it, its systemd starts again, or says that it gave up: `troubles`."""
        return not self.container.running

    def inside(self, argv: Sequence[str]) -> list[str]:
        return self.container.inside(argv)

    def run(self, argv: Sequence[str], text_in: str | None = None) -> str:
        """Run one command on it to its end; KernelError with its own words if it fails."""
        return shell.run(self.inside(argv), text_in, RUN_WAIT_S)

    def troubles(self) -> list[str]:
        """Units that failed, and that it is not done with booting."""
        try:
            state = subprocess.run(
                self.inside(["systemctl", "is-system-running"]),
                capture_output=True,
                text=True,
                timeout=shell.COMMAND_TIMEOUT_S,
                check=False,
            ).stdout.strip()
            if state == "running":
                return []
            failed = self.run(["systemctl", "--failed", "--plain", "--no-legend"]).splitlines()
        except CarpoolError as error:
            return [error.message]
        units = ", ".join(line.split()[0] for line in failed)
        return [f"{self.name}: systemd is {state}" + (f", failed: {units}" if units else "")]

    # ------------------------------------------------------------------------------- power

    def prepare(self) -> None:
        """Write what its administrator would have; it is off."""
        self.root.mkdir(exist_ok=True)
        written = self.container.upper
        for path, text in self.configuration().items():
            file = written / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        self.config_dir.chmod(0o700)
        (self.config_dir / "group.toml").chmod(0o600)

    def configuration(self) -> dict[str, str]:
        """What distinguishes it from its image: path below its root, and text."""
        machine_id = uuid.uuid5(uuid.NAMESPACE_DNS, f"{self.name}.{self.network.name}.lab").hex
        ruleset = rules.firewall_rules(LAN, WAN, SYNC, web=self.shown)
        if self.bare:
            ruleset = rules.bare_rules(LAN, WAN)
        sysctls = "".join(f"{key} = {value}\n" for key, value in rules.FIREWALL_SYSCTLS.items())
        return {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {self.name}\n",
            "etc/machine-id": f"{machine_id}\n",
            "etc/network/interfaces": interfaces(self.name, gateway=self.bare),
            "etc/nftables.conf": f"#!/usr/sbin/nft -f\nflush ruleset\n{ruleset}",
            "etc/sysctl.d/90-router.conf": sysctls,
            "etc/carpool/node.toml": node_toml(self.name, self.network.firewalls),
            "etc/carpool/group.toml": group_toml(self.network.name, SERVICES, web=self.shown),
        }

    def start(self, roles: Sequence[str]) -> Iterator[str]:
        if not self.container.running:
            self._boot()
            yield f"{self.name}: boots"
            return  # what is enabled starts by itself
        self.wait_booted()
        if roles:
            self.run(["systemctl", "start", "--no-block", *map(unit, roles)])

    def _boot(self) -> None:
        """With the socket of this host for its pages, at the same port each time: its systemd gives
        it to the unit."""
        if not self.shown:
            self.container.boot()
            return
        with self.pages.listener() as listener:
            for path, text in self.handed().items():
                file = self.container.upper / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
            self.container.boot(listener)

    def handed(self) -> dict[str, str]:
        """systemd finds the unit of a socket by its address, and looks only among those that it
        has loaded when it begins: what is wanted by sockets.target."""
        name = unit(WEB).replace(".service", ".socket")
        return {
            f"etc/systemd/system/{name}": f"""\
[Unit]
Description=carpool lab: the pages, where the host of this lab sees them

[Socket]
ListenStream={HOST}:{self.pages.port}
""",
            "etc/systemd/system/sockets.target.d/carpool-lab.conf": f"[Unit]\nWants={name}\n",
        }

    def wait_booted(self, wait_s: float = BOOT_WAIT_S) -> None:
        """Until systemd has done what it does at boot; CarpoolError when it does not."""
        deadline_s = monotonic_s() + wait_s
        while self.container.leader() is None or not (self.files / "run/dbus").exists():
            if not self.container.running or monotonic_s() > deadline_s:
                raise CarpoolError(
                    f"{self.name} does not boot", hint=f"its console: {self.container.console}"
                )
            sleep_s(POLL_S)

    def only(self, roles: Sequence[str]) -> None:
        """On its disk: so that it is no other at the next boot."""
        wanted = [unit(role) for role in roles]
        unwanted = [unit(role) for role in (*ROLES, AGENT) if role not in roles]
        if self.container.leader() is None:
            return
        self.run(["systemctl", "unmask", *wanted])
        if unwanted:
            self.run(["systemctl", "mask", "--now", *unwanted])

    def cut_power(self) -> None:
        self.container.cut_power()

    def reboot(self) -> None:
        self.container.wait_off()
        self.network.reboot_firewall(self.name)

    def remove(self) -> int:
        return int(self.container.remove())

    # ---------------------------------------------------------------------------- mischief

    def end(self) -> float:
        at_s = monotonic_s()
        units = [unit(role) for role in (*ROLES, AGENT)]
        self.run(["systemctl", "stop", "--no-block", "carpool.target", *units])
        return at_s

    def power_off(self, wait_s: float) -> float:
        failover = self.tracked("failover")
        at_s = monotonic_s()
        self.run(["systemctl", "poweroff", "--no-block"])
        while failover is not None and failover.alive and monotonic_s() < at_s + wait_s:
            sleep_s(FINE_POLL_S)
        return at_s

    def kill_worker(self) -> float:
        pid = self._worker()
        at_s = monotonic_s()
        os.kill(pid, signal.SIGKILL)
        return at_s

    def kill_all(self) -> float:
        """Guard, worker and all: systemd has `carpool release` hand over, and starts them again."""
        return self._tell_all(signal.SIGKILL)

    def pause_all(self) -> float:
        return self._tell_all(signal.SIGSTOP)

    def resume_all(self) -> float:
        return self._tell_all(signal.SIGCONT)

    def _tell_all(self, number: signal.Signals) -> float:
        pids = [pid for role in (*ROLES, AGENT) for pid in self.container.pids(service(role))]
        at_s = monotonic_s()
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        return at_s

    def _worker(self) -> int:
        """The process that answers for failover, as the host numbers it."""
        inner = int(self.ask("failover", "status")["pid"])
        for pid in self.container.pids(service("failover")):
            if innermost_pid(pid) == inner:
                return pid
        raise CarpoolError(f"{self.name}: process {inner} of failover is not there")

    def tracked(self, role: str) -> Tracked | None:
        """The main process of its unit."""
        for pid in self.container.pids(service(role)):
            ticks = processes.start_ticks(pid)
            if ticks is not None:
                return Tracked(self.name, role, pid, ticks)
        return None


def mount_disks(lab_root: Path) -> None:
    """In memory, so that it is of any kernel and host the same, and quick."""
    disks(lab_root).mkdir()
    shell.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "carpool-lab", str(disks(lab_root))])


def unmount_disks(lab_root: Path) -> None:
    """Safe when there are none."""
    if disks(lab_root).is_mount():
        shell.run(["umount", "--lazy", str(disks(lab_root))])


def unit(role: str) -> str:
    return f"carpool-{role}.service"


def service(role: str) -> str:
    """Its cgroup, below that of the machine."""
    return f"system.slice/{unit(role)}"


def interfaces(name: str, *, gateway: bool = False) -> str:
    """/etc/network/interfaces, interfaces(5); with a way out by the WAN's host, or none."""
    stanzas = ["auto lo\niface lo inet loopback\n"]
    for segment in SEGMENTS:
        ipv4, ipv6 = segment.own(name)
        way = f"    gateway {SERVER_IPV4}\n" if gateway and segment is WAN else ""
        stanzas.append(
            f"auto {segment.device}\niface {segment.device} inet static\n    address {ipv4}\n{way}"
            f"iface {segment.device} inet6 static\n    address {ipv6}\n    dad-attempts 0\n"
        )
    return "\n".join(stanzas)
