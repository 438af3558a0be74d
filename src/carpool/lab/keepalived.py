"""keepalived in the topology of a lab, for comparison: the same cables, rules, load and faults.

Room: lab. VRRPv3, one group of both VIPs, IPv6 as addresses that go along. Its connections have no
replication, so only probes count. Refuses to know how figures are judged.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import processes, shell
from carpool.lab.channel import Report
from carpool.lab.faults import Cutter
from carpool.lab.load import Load
from carpool.lab.processes import Tracked
from carpool.lab.topology import FIREWALLS, SEGMENTS, VIP_SEGMENTS, Network, Segment

MASTER, BACKUP = FIREWALLS
PRIORITY = {MASTER: 150, BACKUP: 100}
SETTLE_S = 2.5  # announcements are over, neighbours heed new ones again
WAIT_S = 20.0
AFTER_S = 1.0
POLL_S = 0.02
RULE = "add rule inet filter input meta l4proto 112 accept\n"


def require() -> None:
    """CarpoolError when there is none."""
    if shutil.which("keepalived") is None:
        raise CarpoolError("there is no keepalived on this machine", hint="install keepalived")


class Keepalived:
    """A network of its own with keepalived on both firewalls; use as a context manager."""

    def __init__(self, name: str, root: Path, advert_ms: int) -> None:
        self.network = Network(name)
        self.advert_ms = advert_ms
        self._root = root
        self._running: dict[str, Tracked] = {}

    def __enter__(self) -> Self:
        self._root.mkdir(parents=True, exist_ok=True)
        self.network.remove()
        try:
            for _step in self.network.build():
                pass
        except BaseException:
            self.network.remove()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._end()
        finally:
            self.network.remove()
            shutil.rmtree(self._root, ignore_errors=True)

    def run(self, fault: str, connections: int) -> Report:
        """One fault under the load of a drill; gap and lost probes."""
        self._fresh()
        if fault == "return":
            self.crash()
            self._wait_master(BACKUP)
        deeds: dict[str, Callable[[], float]] = {
            "crash": self.crash,
            "stop": self.stop,
            "switchover": self.switchover,
            "return": self.come_back,
        }
        with Load(self.network, connections) as load:
            load.wait_flowing()
            since_s = monotonic_s()
            load.open_young()
            sleep_s(1.15)
            fault_s = deeds[fault]()
            load.fault(fault_s)
            self._wait_master(MASTER if fault == "return" else BACKUP)
            moved_s = monotonic_s()
            while not load.probes_flow(moved_s) and monotonic_s() < moved_s + WAIT_S:
                sleep_s(POLL_S)
                load.refresh()
            sleep_s(AFTER_S)
            return load.measure_probes(since_s, fault_s, sleep_s)

    # ----------------------------------------------------------------------------- faults

    def crash(self) -> float:
        """As in the drill: the processes first, by a hair."""
        cutter = Cutter(self, SEGMENTS)
        try:
            at_s = monotonic_s()
            processes.send([self._running[MASTER]], signal.SIGKILL)
            cutter.cut()
        finally:
            cutter.close()
        return at_s

    def stop(self) -> float:
        at_s = monotonic_s()
        os.kill(self._running[MASTER].pid, signal.SIGTERM)
        return at_s

    def switchover(self) -> float:
        """Its priority falls below that of the other one, by the file that it watches."""
        at_s = monotonic_s()
        (self._root / f"{MASTER}.demoted").write_text("-100\n", encoding="ascii")
        return at_s

    def come_back(self) -> float:
        self._boot(MASTER)
        return self._start(MASTER)

    # ---------------------------------------------------------------------------- its life

    def _fresh(self) -> None:
        """Both as after a boot, with the preferred one master."""
        self._end()
        for name in FIREWALLS:
            self._boot(name)
        for name in FIREWALLS:
            self._start(name)
        self._wait_master(MASTER)
        sleep_s(SETTLE_S)

    def _boot(self, name: str) -> None:
        self.network.reboot_firewall(name)
        shell.nft(self.network.namespace(name), RULE)
        shell.sysctl(self.network.namespace(name), {"net.ipv4.ip_nonlocal_bind": 1})

    def _start(self, name: str) -> float:
        demoted = self._root / f"{name}.demoted"
        demoted.unlink(missing_ok=True)
        config = self._root / f"{name}.conf"
        config.write_text(configuration(name, self.advert_ms, demoted), encoding="ascii")
        pids = [self._root / f"{name}.{kind}.pid" for kind in ("main", "vrrp")]
        for pid in pids:
            pid.unlink(missing_ok=True)
        words = ["keepalived", "-n", "-l", "-D", "-P", "-f", config, "-p", pids[0], "-r", pids[1]]
        at_s = monotonic_s()
        self._running[name] = processes.start(
            self.network.namespace(name),
            name,
            "keepalived",
            [str(word) for word in words],
            self._root / f"{name}.log",
        )
        return at_s

    def _end(self) -> None:
        processes.end(list(self._running.values()))
        self._running = {}

    def _wait_master(self, name: str) -> None:
        """Until it has all VIPs."""
        deadline_s = monotonic_s() + WAIT_S
        vips = {str(own.ip) for segment in VIP_SEGMENTS for own in segment.vip()}
        while True:
            shown = shell.ip(self.network.namespace(name), "-o", "address")
            if all(f" {vip}/" in shown for vip in vips):
                return
            if monotonic_s() > deadline_s:
                log = self._root / f"{name}.log"
                lines = log.read_text("utf-8", errors="replace").splitlines()[-3:]
                raise CarpoolError(f"keepalived on {name} has not all VIPs: {'; '.join(lines)}")
            sleep_s(POLL_S)


def configuration(name: str, advert_ms: int, demoted: Path) -> str:
    """keepalived.conf(5) of a firewall."""
    instances = "".join(_instance(segment, name, advert_ms) for segment in VIP_SEGMENTS)
    names = " ".join(segment.name for segment in VIP_SEGMENTS)
    return f"""\
global_defs {{
  router_id {name}
  vrrp_version 3
  vrrp_garp_master_delay 1
}}
track_file demoted {{
  file "{demoted}"
  weight 1
  init_file 0 overwrite
}}
vrrp_sync_group all {{
  group {{ {names} }}
  track_file {{ demoted }}
}}
{instances}"""


def _instance(segment: Segment, name: str, advert_ms: int) -> str:
    ipv4, ipv6 = segment.vip()
    return f"""\
vrrp_instance {segment.name} {{
  state BACKUP
  interface {segment.device}
  virtual_router_id {segment.vhid}
  priority {PRIORITY[name]}
  advert_int {advert_ms / 1000:g}
  virtual_ipaddress {{
    {ipv4}
  }}
  virtual_ipaddress_excluded {{
    {ipv6}
  }}
}}
"""
