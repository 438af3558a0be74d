"""Clean Debians: root file systems of both releases, made once, in which tests do as they like.

What a test changes is in memory, over the root that is kept. There is no network, and nothing of
the machine but its kernel. `CARPOOL_ROOTS` says where the roots are; it may go at any time.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fcntl import LOCK_EX, flock
from pathlib import Path
from types import TracebackType

from carpool.lab import image

RELEASES = ("bookworm", "trixie")  # Debian 12 and 13
# What the package depends on: it is installed without network. And apt, which installs it.
PACKAGES = "systemd,nftables,iproute2,procps,git,python3,passwd,init-system-helpers"
MAKE = ("mmdebstrap", "--mode=root", "--variant=apt", "--dpkgopt=force-unsafe-io")
MAKE_S = 900.0  # a slow mirror
COMMAND_S = 120.0
# dpkg, apt and logs write about everything; the rest is no file system of the machine.
NOT_OURS = re.compile(
    r"(?:var/lib/(?:dpkg|apt)|var/log|var/cache|tmp|run|dev|proc)(?:/.*)?|etc/[^/]*-"
)
HOLD = 'mount --make-rprivate /; mount -t tmpfs -o mode=0755 tmpfs "$1"; echo held; exec cat'
LAY = r"""
mkdir "$1" "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=0755 tmpfs dev
for one in null zero urandom; do touch "dev/$one" && mount --bind "/dev/$one" "dev/$one"; done
"""
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
}


# ------------------------------------------------------------------------- made once, kept


def roots() -> dict[str, Path]:
    """A root file system of each release: half a minute the first time, then at once."""
    with ThreadPoolExecutor(len(RELEASES)) as pool:
        return dict(zip(RELEASES, pool.map(_root, RELEASES), strict=True))


def package() -> Path:
    """The .deb of this checkout, or `CARPOOL_DEB`."""
    given = os.environ.get("CARPOOL_DEB")
    return Path(given) if given else image.package_of_checkout(print)


def _root(release: str) -> Path:
    recipe = hashlib.sha256(" ".join((*MAKE, PACKAGES)).encode()).hexdigest()[:12]

    def make(place: Path) -> None:
        of_debian = ("Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main")
        told = said(["apt-get", "indextargets", "--format", "$(REPO_URI)", *of_debian])
        mirror = told.split()[:1]  # that of this machine's apt
        said([*MAKE, f"--include={PACKAGES}", release, str(place), *mirror])

    return kept(f"{release}-{recipe}", make)


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """Whoever comes first makes it, others wait; what is half made is never there by its name."""
    directory = Path(os.environ.get("CARPOOL_ROOTS") or "/var/cache/carpool-roots")
    directory.mkdir(parents=True, exist_ok=True)
    place, fresh = directory / name, directory / f"{name}.new"
    with (directory / f"{name}.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not place.exists():
            shutil.rmtree(fresh, ignore_errors=True)
            make(fresh)
            fresh.rename(place)
    return place


def said(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=MAKE_S, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr[-2000:]}"
    return done.stdout


# ------------------------------------------------------------------------------ used by tests


class Debian:
    """Namespaces over one root file system, with as many copies of it as are asked for."""

    def __init__(self, base: Path, place: Path) -> None:
        """`place`: an empty directory, where the copies are, for those in the namespaces."""
        self.base, self._place = base, place
        unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        self._holder = subprocess.Popen(
            [*unshare, "sh", "-euc", HOLD, "hold", str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"held\n"
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self.pid = int(children.read_text())

    def __enter__(self) -> Debian:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._holder.kill()
        self._holder.communicate()

    def copy(self, name: str, over: Copy | None = None) -> Copy:
        """What is clean, or what `over` was when it was closed."""
        uppers = [self._place / name / "upper", *(over.uppers if over else ())]
        lower = ":".join(map(str, [*uppers[1:], self.base]))
        self.call("sh", "-euc", LAY, "lay", str(self._place / name), lower)
        return Copy(self, self._place / name / "root", uppers)

    def call(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """In the namespaces, with the machine's own files."""
        done = self.try_call(*argv)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
        return done

    def try_call(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", *argv],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def seen(self, path: Path) -> Path:
        """A path of the namespaces, from outside of them."""
        return Path(f"/proc/{self.pid}/root") / path.relative_to("/")


class Copy:
    """A root file system that a test may change."""

    def __init__(self, debian: Debian, root: Path, uppers: list[Path]) -> None:
        self.debian, self.root, self.uppers = debian, root, uppers

    def run(self, *argv: str, code: int = 0) -> str:
        """What it says on stdout and stderr; fails on another exit code than that."""
        done = self.debian.try_call("chroot", str(self.root), *argv)
        told = f"{done.stdout}{done.stderr}"
        assert done.returncode == code, f"{' '.join(argv)}: exit code {done.returncode}\n{told}"
        return told

    def close(self) -> None:
        """It stays as it is, but for what is in memory by nature; others are laid over it."""
        self.debian.call("umount", "--recursive", str(self.root))

    def path(self, name: str) -> Path:
        """For a test to read and write."""
        return self.debian.seen(self.root) / name.lstrip("/")

    def changes(self) -> list[str]:
        """Every path that is not as it was in the clean root."""
        return [
            name
            for name in sorted({*self._touched()})
            if not NOT_OURS.fullmatch(name)
            and looks(self.path(name)) != looks(self.debian.base / name)
        ]

    def _touched(self) -> Iterator[str]:
        for upper in map(self.debian.seen, self.uppers):
            for place, directories, files in os.walk(upper):
                inside = Path(place).relative_to(upper)
                before = self.debian.base / inside
                hidden = os.listdir(before) if before.is_dir() else ()
                for name in (*directories, *files, *hidden):
                    yield str(inside / name)


def looks(path: Path) -> tuple[object, ...] | None:
    """All that one could see of it, without times."""
    try:
        stat = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    what: object = None
    if path.is_symlink():
        what = path.readlink()
    elif path.is_file():
        what = path.read_bytes()
    return stat.st_mode, stat.st_uid, stat.st_gid, what
