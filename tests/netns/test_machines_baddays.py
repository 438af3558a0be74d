"""Bad days on machines that boot: the units as they are installed, a console, and one peer.

One machine boots twice, from the same disk, and lives through all of them.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.api.identity import introduce, keys_of
from tests.netns.lab import Network, wait_until
from tests.netns.machine import SEEN, Machine, Refused
from tests.netns.node import CarpNode
from tests.netns.test_baddays import small
from tests.netns.test_states_tls import dated
from tests.netns.test_units import becomes, python, shown, units
from tests.netns.wallclock import WallClock

OURS = ("failover", "states", "agent")  # the pages look at no clock of ours
NODE = """name = "fw1"
[interface]
lan = "lan0"
wan = "wan0"
[address]
lan = "10.10.1.2"
[peer.fw2.address]
lan = "10.10.1.3"
wan = "10.10.2.3"
"""
PEER = """name = "fw2"
advskew = 100
[interface]
lan = "lan0"
wan = "wan0"
[address]
lan = "10.10.1.3"
[peer.fw1.address]
lan = "10.10.1.2"
wan = "10.10.2.2"
"""
GROUP = """name = "test"
[[vip]]
interface = "lan"
vhid = 51
password = "secret"
addresses = ["10.10.1.1/24"]
[[vip]]
interface = "wan"
vhid = 52
password = "secret"
addresses = ["10.10.2.1/24"]
[states]
interface = "lan"
[sync]
interface = "lan"
"""
CLOCK = "/mnt/clock"
BOOTS = "[Unit]\nDefaultDependencies=no\n"
SMALL = """
mkdir -p /run/carpool && mount -t tmpfs -o size=256k,mode=0700 tmpfs /run/carpool
mkdir /mnt/kept && cp -a /var/lib/carpool/. /mnt/kept
mount -t tmpfs -o size=1m,mode=0700 tmpfs /var/lib/carpool && cp -a /mnt/kept/. /var/lib/carpool
for one in /run/carpool /var/lib/carpool; do cat /dev/zero >$one/filler 2>/dev/null || true; done
"""


class Site:
    """fw1 is a machine; fw2 lives in a namespace, and has failover and states."""

    def __init__(self, network: Network, directory: Path, disk: Path) -> None:
        self.network, self.directory, self.disk = network, directory, disk
        self.fw2 = CarpNode(network.host("fw2", forwarding=True), directory, "fw2", 100)
        self.switches = [
            network.bridge(name, [(self.fw2.namespace, f"{name}0", (f"10.10.{net}.3/24",))])
            for net, name in ((1, "lan"), (2, "wan"))
        ]
        (self.fw2.directory / "node.toml").write_text(PEER)
        (self.fw2.directory / "group.toml").write_text(GROUP)
        self.etc = disk / "upper/etc/carpool"  # of fw1, also while it is off
        self.etc.mkdir(parents=True, mode=0o700)
        (self.etc / "node.toml").write_text(NODE)
        (self.etc / "group.toml").write_text(GROUP)
        keys_of(self.etc, "fw1").store_identity(dated("fw1", 2025, 2999))
        keys_of(self.fw2.directory, "fw2").store_identity(dated("fw2", 2001, 2002))
        introduce({"fw1": self.etc, "fw2": self.fw2.directory})
        self.clock = WallClock(disk / "upper" / CLOCK.lstrip("/"), CLOCK, f"{SEEN}/src")
        self.machine: Machine | None = None

    @contextlib.contextmanager
    def boots(self, *, starts: bool) -> Iterator[Machine]:
        """As after power came: what is on its disk is there, and nothing else."""
        variables = "".join(f'Environment="{k}={v}"\n' for k, v in self.clock.variables.items())
        made = units()
        for process in OURS:
            made[f"carpool-{process}.service.d/clock.conf"] = f"[Service]\n{variables}"
        if starts:
            made["test.target.d/carpool.conf"] = "[Unit]\nWants=carpool.target"
        with Machine(self.directory, made, self.disk) as self.machine:
            self.machine.booted()
            on_disk, self.clock.directory = self.clock.directory, self.machine.root / CLOCK[1:]
            try:
                yield self.machine
            finally:
                self.clock.directory = on_disk

    def cable(self) -> None:
        """Its network cards appear late."""
        assert self.machine is not None
        fw1 = self.network.attach("fw1", self.machine.pid)
        for net, switch in enumerate(self.switches, 1):
            device = ("lan0", "wan0")[net - 1]
            self.network.veth(switch, "fw1", fw1, device, right_addresses=(f"10.10.{net}.2/24",))
            switch.run("ip", "link", "set", "fw1", "master", "br0")

    def uncable(self) -> None:
        """It was switched off."""
        fw1 = self.network.hosts.pop("fw1")
        subprocess.run(("ip", "netns", "del", fw1.name), check=True, capture_output=True)

    def start_fw2s_states(self) -> None:
        env = {"CARPOOL_CONFIG_DIR": str(self.fw2.directory)}
        env["CARPOOL_RUN_DIR"] = str(self.fw2.directory / "run")
        self.fw2.namespace.start(sys.executable, "-m", "carpool", "run", "states", env=env)

    def carpool(self, *words: str) -> str:
        """What it prints, in one line."""
        assert self.machine is not None
        done = self.machine.run(
            *("env", f"PYTHONPATH={SEEN}/src", python(), "-m", "carpool", *words), check=False
        )
        return " ".join(done.stdout.split())

    def console_says(self, words: str, timeout_s: float = 20) -> None:
        wait_until(lambda: words in self.console, timeout_s, f"the console says {words!r}")

    @property
    def console(self) -> str:
        return " ".join((self.directory / "console").read_text(errors="replace").split())


@pytest.fixture
def site(network: Network, tmp_path: Path) -> Iterator[Site]:
    with small(tmp_path / "disk", megabytes=64) as disk:
        yield Site(network, tmp_path, disk)


@pytest.mark.long
@pytest.mark.timeout(150)
def test_two_boots_on_which_everything_is_wrong(site: Site) -> None:
    try:
        _first_boot(site)
        _second_boot(site)
    except Refused as error:
        pytest.skip(f"no machine of our own: {error}")
    except AssertionError as error:
        pytest.fail(f"{error}\n\n{site.console}")


def _first_boot(site: Site) -> None:
    """The clock stands in 1970, no network card is there, the peer is dead."""
    site.clock.stand_in_1970()
    with site.boots(starts=True) as machine:
        for process in OURS:
            becomes(machine, process, "active")
        site.console_says("fw1: lan: device lan0 is gone: this node is no gateway. It is taken up")
        said = site.carpool("status")
        assert "lan: device lan0 is gone: this node is no gateway (for " in said
        assert "the clock of this machine says 1970-01-01" in said
        site.cable()
        site.console_says("fw1: over: lan: device lan0 is gone")
        site.console_says("fw1: the clock of this machine says 1970-01-01", 30)
        site.console_says("fw1: no stream of states with fw2 (10.10.1.3) since it began", 30)
        said = site.carpool("status")
        assert "fw1: master of all 2 VHIDs" in said
        assert "no stream of states with fw2 (10.10.1.3) since it began" in said
        assert "TROUBLE: no stream" in shown(machine, "states", "StatusText")["StatusText"]

        site.fw2.start()
        site.start_fw2s_states()
        site.console_says("fw1: over: no stream of states")  # whatever the dates of certificates
        site.clock.right()
        site.console_says("fw1: over: the clock of this machine says 1970-01-01")
        site.console_says("peers/fw2.pem expired")
        site.carpool("status")  # sections are looked at anew
        said = site.carpool("status")
        assert "fw1: master of all 2 VHIDs" in said
        assert "peers/fw2.pem expired" in said and "1970" not in said
    site.uncable()
    site.fw2.becomes("MASTER")


def _second_boot(site: Site) -> None:
    """The disk took half of group.toml, and is full."""
    group = site.etc / "group.toml"
    group.write_text(GROUP[: len(GROUP) // 2])
    with site.boots(starts=False) as machine:
        machine.run("sh", "-ec", SMALL)
        machine.run("systemctl", "start", "--no-block", "carpool.target")
        site.cable()
        site.console_says("this node goes by what counted before. `carpool check`")
        site.console_says("No space left on device. Make room; it is written again by itself then")
        wait_until(lambda: site.fw2.role == "BACKUP", 20, "fw1 is the gateway again")
        said = site.carpool("status")
        assert "fw1: master of all 2 VHIDs" in said
        assert "group.toml" in said and "the event log cannot be written" in said

        machine.run("sh", "-c", "rm /run/carpool/filler /var/lib/carpool/filler")
        (machine.root / "etc/carpool/group.toml").write_text(GROUP)
        site.console_says("fw1: over: group.toml")
        site.console_says("fw1: over: the event log cannot be written", 30)
        said = site.carpool("status")
        assert "fw1: master of all 2 VHIDs" in said
        assert "goes by what counted" not in said and "No space" not in said
