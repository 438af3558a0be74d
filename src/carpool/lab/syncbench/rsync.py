"""The measure of it: rsync from one firewall to a daemon of it on the other, over the same link.

Room: lab. Its daemon listens in the other firewall's namespace alone; refuses to know what is
copied.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import cost, processes, shell
from carpool.lab.lab import Lab
from carpool.lab.processes import Tracked
from carpool.lab.syncbench.timed import Took, timed
from carpool.lab.topology import SYNC, other

PORT = 873
START_WAIT_S = 10.0
POLL_S = 0.02
_CONF = """\
pid file = {directory}/pid
log file = {directory}/log
use chroot = no
uid = 0
gid = 0
[copy]
path = {directory}/copy
read only = no
"""


@dataclass(frozen=True, slots=True)
class Rsync:
    """Carries `source` of the firewall `node` to the other one."""

    lab: Lab
    node: str
    source: Path
    directory: Path
    daemon: Tracked

    @property
    def copy(self) -> Path:
        return self.directory / "copy"

    def forget(self) -> None:
        """As if nothing had ever been copied."""
        shutil.rmtree(self.copy, ignore_errors=True)
        self.copy.mkdir()

    def run(self, *options: str) -> Took:
        """Raises CarpoolError."""
        target = f"rsync://{_address(self.node)}:{PORT}/copy/"
        line = ["rsync", "-a", "--checksum", *options, f"{self.source}/", target]
        return timed(shell.inside(self.lab.network.namespace(self.node), line))

    def cpu_s(self) -> float:
        """Of the daemon's side so far; of a child of its, when it is buried."""
        deadline_s = monotonic_s() + START_WAIT_S
        while len(cost.family(self.daemon.pid)) > 1 and monotonic_s() < deadline_s:
            sleep_s(POLL_S)
        return cost.with_children_s(self.daemon.pid)


@contextmanager
def serving(lab: Lab, node: str, source: Path) -> Iterator[Rsync]:
    """The daemon on the other firewall, until the end of it. Raises CarpoolError."""
    if shutil.which("rsync") is None:
        raise CarpoolError("this machine has no rsync to compare with", hint="apt install rsync")
    there = other(node)
    namespace = lab.network.namespace(there)
    directory = lab.root / "rsync"
    directory.mkdir()
    conf = directory / "rsyncd.conf"
    conf.write_text(_CONF.format(directory=directory), encoding="utf-8")
    accept = f"iifname {SYNC.device} tcp dport {PORT} accept"
    shell.nft(namespace, f"add rule inet filter input {accept}\n")
    line = ["rsync", "--daemon", "--no-detach", f"--config={conf}", f"--port={PORT}"]
    daemon = processes.start(namespace, there, "rsync", line, directory / "said")
    try:
        _wait(lab, node, daemon, directory)
        found = Rsync(lab, node, source, directory, daemon)
        found.forget()
        yield found
    finally:
        processes.end([daemon])


def _wait(lab: Lab, node: str, daemon: Tracked, directory: Path) -> None:
    """Until it answers."""
    deadline_s = monotonic_s() + START_WAIT_S
    line = ["rsync", "--contimeout=1", f"rsync://{_address(node)}:{PORT}/"]
    while True:
        try:
            shell.run(shell.inside(lab.network.namespace(node), line))
            return
        except CarpoolError as error:
            if not daemon.alive or monotonic_s() > deadline_s:
                said = (directory / "said").read_text(encoding="utf-8", errors="replace")
                raise CarpoolError(f"rsync does not serve: {said.strip() or error}") from error
        sleep_s(POLL_S)


def _address(node: str) -> str:
    """Of the other firewall, on the link of [sync]."""
    return str(SYNC.own(other(node))[0].ip)
