"""What the lab's machines have on disk before they are configured: layers over the host's root.

Room: lab. Two layers, each made once and kept: the services, and carpool's own package, installed
by apt from a local repository as an operator would. Refuses to know the lab's network and how a
machine boots. Nothing on the host changes but the cache.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

import carpool
from carpool.errors import CarpoolError, KernelError
from carpool.lab import layer

CACHE = Path("/var/cache/carpool-lab")
BARE = "bare"  # the layer with the package that waits
KEPT = 4  # of each kind: checkouts that are worked in side by side
SERVICES = ("nftables", "dnsmasq", "chrony", "nginx", "haproxy")
# What they run on, and what a drill or a person calls in there; most of it is on any Debian.
BASE = (
    *("systemd-sysv", "dbus", "ifupdown", "iproute2", "procps", "iputils-ping", "conntrack"),
    *("git", "python3", "init-system-helpers"),
)
COMMAND_TIMEOUT_S = 600.0  # a slow mirror
STATUS = Path("/var/lib/dpkg/status")
# What the package is made from, in a checkout.
SOURCES = (
    *("src/carpool", "packaging", "docs/man", "requirements.txt", "pyproject.toml"),
    *("script/build-deb", "LICENSE", "CHANGELOG.md"),
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Image:
    """Layers as archives, the uppermost first; a package that is not installed lies in /root."""

    layers: tuple[Path, ...]
    package: Path | None = None

    def places(self, directory: Path) -> str:
        """Where `unpack` lays them, as an overlay's `lowerdir` says it."""
        names = [archive.stem for archive in self.layers]
        if self.package is not None:
            names.insert(0, BARE)
        return ":".join(str(directory / name) for name in names)

    def unpack(self, directory: Path) -> None:
        for archive in self.layers:
            layer.unpack(archive, directory / archive.stem)
        if self.package is not None:
            home = directory / BARE / "root"
            home.mkdir(mode=0o700, parents=True)
            shutil.copy(self.package, home)


def made(say: Say, deb: Path | None = None, cache: Path = CACHE, *, bare: bool = False) -> Image:
    """The image for this host, with `deb` or with what this checkout makes; minutes the first time.
    `bare`: the package is there, and not installed.

    CarpoolError when there is no package to install, KernelError with the words of what failed.
    """
    package = deb or package_of_checkout(say, cache)
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        host = _host()
        recipe = _content([Path(layer.__file__)])
        base = _digest(host, " ".join((*SERVICES, *BASE)), recipe)
        services = cache / f"services-{base}.tar"
        if not _fresh(services):
            say(f"installing {', '.join(SERVICES)} for the machines; once, it is kept")
            repository = cache / f"packages-{base}"
            _download(repository)
            layer.build(services, repository, (*BASE, *SERVICES))
        if bare:
            return Image((services,), package)
        ours = cache / f"carpool-{_digest(base, _content([package]))}.tar"
        if not _fresh(ours):
            say(f"installing {package.name} for the machines; once, it is kept")
            with _repository_of(cache, package) as repository:
                layer.build(ours, repository, ("carpool",), (services,))
        for kind in ("services-*", "packages-*", "carpool-*"):
            _forget(cache, kind)
    return Image((ours, services))


def package_of_checkout(say: Say, cache: Path = CACHE) -> Path:
    """The .deb alone, the same that machines have; made anew when a source has changed. Under a
    lock of its own: nobody who wants a package waits for an image, which takes minutes."""
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    with _locked(cache / "package.lock"):
        made_now = _package(cache, say)
        for kind in ("package-*", "libraries-*"):
            _forget(cache, kind)
    return made_now


def _fresh(path: Path) -> bool:
    """Whether it is there; then it counts as used just now."""
    if not path.exists():
        return False
    os.utime(path)
    return True


def _forget(cache: Path, pattern: str) -> None:
    """Remove what was not used for longest."""
    found = sorted(cache.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[KEPT:]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Several labs may want the same: the second one waits, and finds it made."""
    with path.open("w") as lock:
        flock(lock, LOCK_EX)
        yield


# -------------------------------------------------------------------------------- packages


def _package(cache: Path, say: Say) -> Path:
    """The .deb of this checkout, made anew when a source has changed."""
    checkout = Path(carpool.__file__).parents[2]
    script = checkout / "script" / "build-deb"
    if not script.exists():
        raise CarpoolError(
            "machines install carpool from its Debian package, and this is no checkout to make one",
            hint="name a package: --deb FILE",
        )
    directory = cache / f"package-{_content(checkout / source for source in SOURCES)}"
    if not _fresh(directory):
        say("making the Debian package of this checkout: script/build-deb")
        fresh = directory.with_name("new-package")
        shutil.rmtree(fresh, ignore_errors=True)
        kept = [f"CARPOOL_BUILD_CACHE={cache}", "CARPOOL_BUILD_COMPRESSION=none"]
        _run(["env", *kept, str(script), str(fresh)])
        fresh.rename(directory)
    return next(directory.glob("carpool_*.deb"))


def _download(repository: Path) -> None:
    """The packages and all that this host lacks to run them, from the host's own apt sources."""
    shutil.rmtree(repository, ignore_errors=True)
    fresh = repository.with_name("new-packages")
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "partial").mkdir(parents=True)
    install = ["install", "--download-only", "--no-install-recommends"]
    # Without locks: what is written is ours alone, and another apt may be at work here.
    options = (f"Dir::Cache::archives={fresh}", "APT::Sandbox::User=root", "Debug::NoLocking=1")
    ours = [word for option in options for word in ("-o", option)]
    apt = ["apt-get", "-qq", "-y", *ours]
    wanted = [[*install, *BASE, *SERVICES], [*install, "--reinstall", *_installed(SERVICES)]]
    try:
        for words in wanted:
            _run([*apt, *words])
    except KernelError:  # what this host knows of its sources may be old; it is not told
        lists = fresh / "lists"
        (lists / "partial").mkdir(parents=True)
        apt += ["-o", f"Dir::State::lists={lists}"]
        _run([*apt, "update"])
        for words in wanted:
            _run([*apt, *words])
        shutil.rmtree(lists)
    shutil.rmtree(fresh / "partial")
    layer.index(fresh)
    fresh.rename(repository)


def _installed(names: Iterable[str]) -> list[str]:
    """Those of the packages that this host has itself: the machines get them new all the same."""
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n"]
    words = _run(query).splitlines()
    return [name for name in names if f"{name} installed" in words]


@contextmanager
def _repository_of(cache: Path, package: Path) -> Iterator[Path]:
    """A repository with this one package."""
    place = cache / "new-repository"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    shutil.copy(package, place)
    layer.index(place)
    try:
        yield place
    finally:
        shutil.rmtree(place)


# --------------------------------------------------------------------------------- digests


def _host() -> str:
    """What the layers lie over: other packages there, and they do not fit any more."""
    return _digest(STATUS.read_text("utf-8", "replace"), *sorted(os.listdir("/")))


def _content(paths: Iterable[Path]) -> str:
    """A digest of files, and of all files below directories."""
    digest = hashlib.sha256()
    for path in paths:
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in below:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(path)} {file.stat().st_mode}\n".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _run(argv: Sequence[str]) -> str:
    return layer.run(argv, COMMAND_TIMEOUT_S)
