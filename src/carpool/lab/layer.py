"""One layer of a machine's disk: packages that apt installs over the host's root, into an archive.

Room: lab. `build` starts this file as a process in namespaces of its own, where it works in memory:
the host's root is never written, and nothing is left when it is killed. What is the host's alone
(its services, homes, logs, data) is hidden from the machines.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from carpool.errors import KernelError

BUILD_TIMEOUT_S = 900.0
REPOSITORY = Path("/srv/repository")  # in the machines: apt there knows no other
TAR = ("tar", "--numeric-owner", "--xattrs", "--xattrs-include=trusted.overlay.*")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
OPAQUE = "trusted.overlay.opaque"  # kernel: Documentation/filesystems/overlayfs.rst
DEVICES = ("null", "zero", "full", "random", "urandom")

# Of what is below /, a machine sees these; the rest is the host's alone, with what is listed next.
SEEN = frozenset(
    "bin boot dev etc home lib lib32 lib64 libx32 media mnt opt proc root run sbin srv sys tmp usr "
    "var".split()
)
STATE_SEEN = frozenset("dpkg pam ucf polkit-1".split())  # of /var/lib
EMPTY = (
    *("boot", "home", "media", "mnt", "opt", "root", "srv", "usr/local"),
    *("var/backups", "var/cache", "var/log", "var/mail", "var/spool", "var/tmp", "var/www"),
    *("etc/systemd/system", "etc/systemd/network", "etc/network", "etc/sysctl.d", "etc/carpool"),
    *("etc/apt/sources.list.d", "etc/cron.d", "etc/modules-load.d", "etc/nftables.d"),
)
ABSENT = ("etc/fstab", "etc/crypttab", "etc/sysctl.conf", "etc/apt/sources.list", "etc/machine-id")
MADE = (
    *("var/cache/debconf", "var/cache/apt/archives/partial", "var/log/apt", "var/log/journal"),
    *(f"etc/network/{name}.d" for name in ("if-up", "if-down", "if-pre-up", "if-post-down")),
)
OURS = {  # configuration of services, for machines of a lab
    "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nSystemMaxUse=16M\n",
    # The clock is the host's: chronyd serves it as it is.
    "etc/systemd/system/chrony.service.d/lab.conf": "[Unit]\nConditionCapability=\n"
    "[Service]\nExecStart=\nExecStart=!/usr/sbin/chronyd -x $DAEMON_OPTS\n",
    "etc/apt/sources.list.d/lab.list": f"deb [trusted=yes] file:{REPOSITORY} ./\n",
}
# Packages that the host may have with a configuration of its own: the machines get them as new.
RENEWED = ("carpool", "nginx", "nginx-common", "dnsmasq", "dnsmasq-base", "chrony", "haproxy")
ENABLED = ("networking", "nftables")  # Debian enables nftables for nobody


def build(
    archive: Path, repository: Path, packages: Sequence[str], below: Sequence[Path] = ()
) -> None:
    """Install packages of a repository over the host's root and the layers `below`, the lowest
    first. KernelError with the last words of what failed."""
    fresh = archive.with_suffix(".new")
    spaces = ["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
    ours = [sys.executable, "-m", "carpool.lab.layer", str(fresh), str(repository)]
    run(["unshare", *spaces, *ours, ",".join(packages), *map(str, below)], BUILD_TIMEOUT_S)
    fresh.rename(archive)


def unpack(archive: Path, directory: Path) -> None:
    """Lay a layer out."""
    directory.mkdir(parents=True)
    run([*TAR, "--extract", "--directory", str(directory), "--file", str(archive)])


def index(repository: Path) -> None:
    """Write what apt needs to know of the packages in a directory."""
    entries = []
    for deb in sorted(repository.glob("*.deb")):
        deb.chmod(0o644)
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        entries.append(
            f"{run(['dpkg-deb', '--field', str(deb)])}Filename: ./{deb.name}\n"
            f"Size: {deb.stat().st_size}\nSHA256: {digest}\n"
        )
    (repository / "Packages").write_text("\n".join(entries), encoding="utf-8")


def run(argv: Sequence[str], timeout_s: float = 60.0) -> str:
    """Run a command to its end, give its output; KernelError with its last words if it fails."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise KernelError(f"`{argv[0]}` failed: {error}") from error
    if done.returncode != 0:
        said = "\n".join(done.stdout.strip().splitlines()[-12:])
        raise KernelError(f"`{' '.join(argv)}` failed with {done.returncode}: {said}")
    return done.stdout


# -------------------------------------------------------------------- in its own namespaces


def main(argv: Sequence[str]) -> int:
    archive, repository, packages, *below = argv
    try:
        _build(Path(archive), Path(repository), packages.split(","), [Path(one) for one in below])
    except KernelError as error:
        print(error.message)
        return 1
    return 0


def _build(archive: Path, repository: Path, packages: Sequence[str], below: list[Path]) -> None:
    memory = Path("/mnt")
    run(["mount", "--make-rprivate", "/"])
    run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(memory)])
    upper, work, root = (memory / name for name in ("upper", "work", "root"))
    for directory in (upper, work, root):
        directory.mkdir()
    lower = "/"
    for number, one in enumerate(below):
        unpack(one, memory / str(number))
        lower = f"{memory / str(number)}:{lower}"
    if not below:
        hide(upper, Path("/"))
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    run(["mount", "-t", "overlay", "-o", options, "overlay", str(root)])
    _furnish(root)
    held = root / REPOSITORY.relative_to("/")
    held.mkdir(parents=True, exist_ok=True)
    for deb in repository.glob("*.deb"):
        shutil.copy(deb, held)
    index(held)
    _install(root, packages, renew=not below)
    for deb in held.glob("*.deb"):
        deb.unlink()
    index(held)  # room for packages to come: apt in there knows no other place
    run(["umount", "--recursive", str(root)])
    run([*TAR, "--create", "--directory", str(upper), "--file", str(archive), "."])


def hide(upper: Path, host: Path) -> None:
    """Fill the upper side of an overlay so that nothing of the host's own is seen through it."""
    for name in sorted(set(os.listdir(host)) - SEEN):
        _whiteout(upper, name)
    for name in sorted(set(os.listdir(host / "var/lib")) - STATE_SEEN):
        _whiteout(upper, f"var/lib/{name}", host)
    for name in ABSENT:
        if os.path.lexists(host / name):
            _whiteout(upper, name, host)
    for name in (*EMPTY, "tmp"):
        if (host / name).is_dir() and not (host / name).is_symlink():
            _like(upper, name, host)
            os.setxattr(upper / name, OPAQUE, b"y")
    for name in MADE:
        (upper / name).mkdir(parents=True, exist_ok=True)
    for name, text in OURS.items():
        _like(upper, str(Path(name).parent), host)
        (upper / name).write_text(text, encoding="utf-8")


def _whiteout(upper: Path, name: str, host: Path = Path("/")) -> None:
    _like(upper, str(Path(name).parent), host)
    os.mknod(upper / name, stat.S_IFCHR, os.makedev(0, 0))


def _like(upper: Path, name: str, host: Path) -> None:
    """A directory with those above it, with the owners and modes that they have on the host."""
    for part in (*reversed(Path(name).parents), Path(name)):
        if not (upper / part).is_dir():
            (upper / part).mkdir()
            if (host / part).is_dir():
                found = (host / part).stat()
                os.chown(upper / part, found.st_uid, found.st_gid)
                (upper / part).chmod(stat.S_IMODE(found.st_mode))


def _furnish(root: Path) -> None:
    """What a chroot needs to run maintainers' scripts."""
    run(["mount", "-t", "proc", "proc", str(root / "proc")])
    for name, mode in (("run", "0755"), ("dev", "0755"), ("tmp", "1777")):
        run(["mount", "-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", str(root / name)])
    for name in DEVICES:
        (root / "dev" / name).touch()
        run(["mount", "--bind", f"/dev/{name}", str(root / "dev" / name)])


def _install(root: Path, packages: Iterable[str], *, renew: bool) -> None:
    policy = root / "usr/sbin/policy-rc.d"  # nothing is started in here
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    policy.chmod(0o755)
    if renew:
        _forget(root, RENEWED)
    apt = ["apt-get", "-q", "-y", "-o", "APT::Sandbox::User=root"]
    _inside(root, *apt, "update")
    _inside(root, *apt, "--no-install-recommends", "install", *packages)
    if renew:
        _inside(root, "systemctl", "enable", *ENABLED)
    _inside(root, "apt-get", "clean")
    policy.unlink()


def _forget(root: Path, names: Iterable[str]) -> None:
    """Purge packages of the host, whoever needs them: they are installed again at once."""
    for name in names:
        if (root / f"var/lib/dpkg/info/{name}.list").exists():
            _inside(root, "dpkg", "--purge", "--force-all", name)
            shutil.rmtree(root / "etc" / name, ignore_errors=True)


def _inside(root: Path, *argv: str) -> None:
    settings = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
    run(["chroot", str(root), "env", "-i", *settings, *argv], BUILD_TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
