"""A container that boots: systemd-nspawn's hands, from the plug put in to the plug pulled.

Room: lab. Knows cgroups, mounts and nspawn; refuses to know what the machine in there is for. What
it mounts is in a mount namespace of the container's own and ends with it; what stays is a cgroup,
which `remove` takes away, and the disk, which is its owner's.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from carpool.errors import CarpoolError, KernelError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import processes

CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))  # where cgroup v2 may be
END_WAIT_S = 10.0
POLL_S = 0.01
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Beyond what nspawn gives by itself: what carpool's units ask for, or what they need to get it.
CAPABILITIES = "CAP_NET_ADMIN,CAP_IPC_LOCK,CAP_SYS_NICE"
SYSTEM_CALLS = "@memlock @resources"
# The kernel's own tools see cgroup v2 alone, whatever the host has; /run/systemd of the host, where
# nspawn leaves things when it is killed, is not seen at all.
BOOT = r"""
set -eu
echo $$ >"$CGROUP/cgroup.procs"
exec unshare --mount --propagation slave sh -euc '
mkdir -p /run/systemd "$PLACE"
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs /run/systemd
mount -t tmpfs -o mode=0755 tmpfs "$PLACE"
mkdir "$PLACE/root"
mount -t overlay -o "lowerdir=$LOWER,upperdir=$DISK/upper,workdir=$DISK/work" overlay "$PLACE/root"
boot() {
    # Whoever is handed a socket is named by its pid, sd_listen_fds(3).
    sh -c "LISTEN_PID=\$\$ exec \"\$@\"" sh \
        systemd-nspawn --quiet --boot --register=no --keep-unit --directory="$PLACE/root" \
        --machine="$NAME" --network-namespace-path="$NETNS" --capability="$CAPABILITIES" \
        --system-call-filter="$SYSTEM_CALLS" --console=read-only --link-journal=no \
        --resolv-conf=off --timezone=off
}
# What a reboot empties in a kernel.
empty() {
    nsenter --net="$NETNS" sh -euc "nft flush ruleset; conntrack -F; ip link set group default down
        ip addr flush scope global"
}
while :; do
    code=0
    boot || code=$?
    [ "$code" -eq 133 ] || exit "$code" # systemd-nspawn@.service knows it: it wants to reboot
    empty
done
'
"""


def require_tools() -> None:
    """CarpoolError when this host cannot boot containers."""
    if shutil.which("systemd-nspawn") is None:
        raise CarpoolError(
            "machines need systemd-nspawn, which this host does not have",
            hint="install systemd-container",
        )
    cgroup_root()


def cgroup_root() -> Path:
    """Where cgroup v2 is mounted; CarpoolError when it is nowhere."""
    for path in CGROUPS:
        if (path / "cgroup.controllers").exists():
            return path
    raise CarpoolError(
        "machines need cgroup v2, and it is mounted neither at "
        + " nor at ".join(map(str, CGROUPS))
    )


@dataclass(frozen=True, slots=True)
class Container:
    """`name` is its host name, `place` an empty directory for its root, `disk` what it writes."""

    name: str
    cgroup_name: str  # of nobody else on this host
    netns: Path
    lower: str  # directories that lie over the host's root, the uppermost first, by colons
    disk: Path
    place: Path
    console: Path

    @property
    def cgroup(self) -> Path:
        return cgroup_root() / self.cgroup_name

    @property
    def upper(self) -> Path:
        """What the disk has: to be written only while it is off."""
        return self.disk / "upper"

    @property
    def running(self) -> bool:
        """Whether any process of it is left."""
        try:
            events = (self.cgroup / "cgroup.events").read_text(encoding="ascii")
        except OSError:
            return False
        return "populated 1" in events

    def boot(self, listener: socket.socket | None = None) -> None:
        """Put the plug in; systemd begins. KernelError when a cgroup is refused. `listener` is
        handed to it, at each boot until the plug is pulled: it is for the unit that names its
        address."""
        try:
            self.cgroup.mkdir(exist_ok=True)
        except OSError as error:
            raise KernelError(f"cannot make the cgroup {self.cgroup}: {error.strerror}") from error
        for part in ("upper", "work"):
            (self.disk / part).mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": PATH,
            "CGROUP": str(self.cgroup),
            "PLACE": str(self.place),
            "LOWER": f"{self.lower}:/",
            "DISK": str(self.disk),
            "NAME": self.name,
            "NETNS": str(self.netns),
            "CAPABILITIES": CAPABILITIES,
            "SYSTEM_CALLS": SYSTEM_CALLS,
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",  # /proc/sys/net, of its own namespace
        }
        if listener is not None:
            environment["LISTEN_FDS"] = "1"
        self.console.touch(mode=0o600)  # the one-time password of the pages is said there
        pid = processes.spawn(["sh", "-c", BOOT], self.console, environment, listener)
        ticks = processes.start_ticks(pid)
        while processes.start_ticks(pid) == ticks is not None and not self.running:
            sleep_s(POLL_S)

    def cut_power(self) -> None:
        """SIGKILL to every process of it, at once; does not wait for their end."""
        try:
            (self.cgroup / "cgroup.kill").write_text("1", encoding="ascii")
        except FileNotFoundError:
            pass  # it is off, and was removed

    def wait_off(self, wait_s: float = END_WAIT_S) -> None:
        """Until nothing of it runs; CarpoolError when it does for longer."""
        deadline_s = monotonic_s() + wait_s
        while self.running:
            if monotonic_s() > deadline_s:
                raise CarpoolError(f"processes in {self.cgroup} do not end")
            sleep_s(POLL_S)

    def remove(self) -> bool:
        """End it by force and take its cgroup away; whether there was one."""
        if not self.cgroup.exists():
            return False
        self.cut_power()
        self.wait_off()
        for directory, _, _ in os.walk(self.cgroup, topdown=False):
            os.rmdir(directory)
        return True

    # ------------------------------------------------------------------------- from within

    def leader(self) -> int | None:
        """Its systemd, as the host numbers it; None while there is none."""
        for pid in self.pids("init.scope"):
            if innermost_pid(pid) == 1:
                return pid
        return None

    def pids(self, unit: str) -> list[int]:
        """The processes of a unit (`system.slice/NAME.service`), those of its worker too."""
        path = self.cgroup / "payload" / unit / "cgroup.procs"
        try:
            return [int(word) for word in path.read_text(encoding="ascii").split()]
        except OSError:
            return []

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in there, as root; CarpoolError when it is off."""
        leader = self.leader()
        if leader is None:
            raise CarpoolError(f"{self.name} does not run", hint=f"its console: {self.console}")
        enter = ["nsenter", "-t", str(leader), *"-m -u -i -n -p -C -r -w".split(), "--"]
        terminal = os.environ.get("TERM", "dumb")
        settings = [f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8", f"TERM={terminal}"]
        return [*enter, "env", "-i", *settings, *argv]


def innermost_pid(pid: int) -> int | None:
    """What a process calls itself, in its own PID namespace."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return None
