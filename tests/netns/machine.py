"""A whole machine that boots its own systemd: in namespaces, on an overlay of this one's files.

It starts a D-Bus and a journal and what a test asks for, nothing else: up in about a second. Needs
systemd and dbus installed, and a cgroup of its own; where there is none, `Refused` says so.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from pathlib import Path
from types import TracebackType

from tests.netns.lab import wait_until

SYSTEMD = Path("/lib/systemd/systemd")
CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))  # where cgroup v2 is
BOOT_S = 40.0
CHECKOUT = Path(__file__).parents[2]
SEEN = "/mnt/carpool"  # the checkout in there: what is below /tmp here, a service may not see
# The kernel's own, a machine of its own: /dev with what a service needs, cgroup v2 alone.
BOOT = r"""
set -eu
mount --make-rprivate /
[ -n "$DISK" ] || mount -t tmpfs -o mode=0755 tmpfs "$DIR"
mkdir -p "$DIR/upper" "$DIR/work" "$DIR/root"
mount -t overlay -o "lowerdir=/,upperdir=$DIR/upper,workdir=$DIR/work" overlay "$DIR/root"
cd "$DIR/root"
for one in run tmp dev etc/systemd/system var/log; do
    mkdir -p "$one" && mount -t tmpfs -o mode=0755 tmpfs "$one"
done
for one in null zero full random urandom tty; do
    touch "dev/$one" && mount --bind "/dev/$one" "dev/$one"
done
[ -z "$CONSOLE" ] || { touch dev/console && mount --bind "$CONSOLE" dev/console; }
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts && ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mkdir -p "$DIR/root$SEEN" && mount --bind "$CHECKOUT" "$DIR/root$SEEN"
cp -r "$UNITS/." etc/systemd/system
mkdir -p old
pivot_root . old
umount -l old
exec env -i container=carpool-test PATH="$PATH" "$SYSTEMD" --unit=test.target --show-status=no \
    --log-target=null </dev/null >/dev/null 2>&1
"""
UNITS = {
    "test.target": "[Unit]\nDefaultDependencies=no\n"
    "Wants=dbus.socket dbus.service systemd-journald.service",
    "dbus.socket": "[Unit]\nDefaultDependencies=no\n"
    "[Socket]\nListenStream=/run/dbus/system_bus_socket",
    "dbus.service": "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n[Service]\nType=notify\n"
    "ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile "
    "--systemd-activation",
}


class Refused(Exception):
    """This machine cannot boot another one; says why."""


class Machine:
    """`units`: files for /etc/systemd/system, by name. What is written to its console is in
    `console`, a file. `disk`: a mounted file system on which what it writes to its own stays
    for another boot, below `upper`."""

    def __init__(self, directory: Path, units: dict[str, str], disk: Path | None = None) -> None:
        missing = [
            name
            for name in ("dbus-daemon", "setpriv", "unshare", "busctl")
            if shutil.which(name) is None
        ]
        missing += [] if SYSTEMD.exists() else ["systemd"]
        if missing:
            raise Refused(f"needs {', '.join(missing)}")
        cgroup = next((path for path in CGROUPS if (path / "cgroup.procs").exists()), None)
        if cgroup is None or not (cgroup / "cgroup.controllers").exists():
            raise Refused("needs cgroup v2")
        self.cgroup = cgroup / f"carpool-test-{uuid.uuid4().hex[:8]}"
        written, empty = directory / "units", directory / "machine"
        shutil.rmtree(written, ignore_errors=True)  # of an earlier boot
        written.mkdir()
        empty.mkdir(exist_ok=True)
        for name, text in {**UNITS, **units}.items():
            (written / name).parent.mkdir(exist_ok=True)
            (written / name).write_text(text + "\n")
        try:
            self.cgroup.mkdir()
        except OSError as error:
            raise Refused(f"cannot make a cgroup: {error.strerror}") from error
        environment = {
            "PATH": os.environ["PATH"],
            "DIR": str(disk or empty),
            "DISK": str(disk or ""),
            "UNITS": str(written),
            "SYSTEMD": str(SYSTEMD),
            "CHECKOUT": str(CHECKOUT),
            "SEEN": SEEN,
            "CONSOLE": self._open_console(directory / "console"),
        }
        # It dies with us, and its init with it (--kill-child), and with that all in there.
        enter = f'echo $$ >"{self.cgroup}/cgroup.procs" && exec setpriv --pdeathsig KILL "$@"'
        spaces = ["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork"]
        self._unshare = subprocess.Popen(
            ["sh", "-c", enter, "sh", "unshare", *spaces, "--kill-child", "sh", "-c", BOOT],
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _open_console(self, log: Path) -> str:
        """A terminal, as journald wants one, which somebody always reads; its name."""
        self.console = log
        near, self._terminal = os.openpty()
        with log.open("ab") as file:
            self._monitor = subprocess.Popen(["cat"], stdin=near, stdout=file)
        os.close(near)
        return os.ttyname(self._terminal)

    def booted(self) -> None:
        """Wait until systemd can be spoken with. Raises Refused."""
        try:
            wait_until(self._is_up, BOOT_S, "systemd has booted")
        except AssertionError as error:
            raise Refused(str(error)) from None

    def _is_up(self) -> bool:
        if self._unshare.poll() is not None:
            assert self._unshare.stderr is not None
            raise Refused(f"it did not boot: {self._unshare.stderr.read().strip()}")
        asking = ["busctl", f"--address={self.bus}", "status", "org.freedesktop.systemd1"]
        try:
            asked = subprocess.run(asking, capture_output=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            return False  # its bus is there, and not yet itself
        return asked.returncode == 0

    @property
    def pid(self) -> int:
        """Of its init, as seen from here; 0 if there is none yet."""
        path = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        return int((path.read_text().split() or ["0"])[0])

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in there."""
        enter = ("nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-i", "-u", "--")
        done = subprocess.run(
            [*enter, *argv], capture_output=True, text=True, timeout=30, check=False
        )
        said = f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0 or not check, said
        return done

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self.pid}/root")

    @property
    def bus(self) -> str:
        return f"unix:path={self.root}/run/dbus/system_bus_socket"

    def close(self) -> None:
        self._unshare.send_signal(signal.SIGKILL)
        self._unshare.wait()
        if self._unshare.stderr is not None:
            self._unshare.stderr.close()
        self._monitor.kill()
        self._monitor.wait()
        os.close(self._terminal)
        if self.cgroup.exists():
            wait_until(self._cgroup_is_gone, 10, "its processes have ended")

    def _cgroup_is_gone(self) -> bool:
        try:
            for path in sorted(self.cgroup.rglob("*/"), reverse=True):
                if path.is_dir():
                    path.rmdir()
            self.cgroup.rmdir()
        except OSError:
            return False  # processes that were killed are still ending
        return True

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
