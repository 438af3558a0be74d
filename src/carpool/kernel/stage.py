"""Contents that have arrived, each under the name of its digest, until a transaction takes them.

Room: kernel. Checks what it is given, and what an earlier process left; refuses to know what the
contents are for. Nothing is synced to the disk: what a power cut tore no longer has its digest, and
a transaction syncs what it copies or moves from here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from carpool.errors import KernelError, PeerError
from carpool.kernel.rooted import Piece, failed, write_all
from carpool.kernel.tree import Digests

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_ARRIVING = "arriving-"  # begins the name of what is not whole yet


class Stage:
    """The contents below `directory`, which is made when the first one comes (0700). What they are
    is told to `digests`, so that nobody has to read them again to know."""

    def __init__(self, directory: Path, digests: Digests | None = None) -> None:
        self.directory = directory
        self._digests = digests
        self._sizes: dict[str, int] | None = None  # by digest; None: not looked at yet

    def have(self) -> frozenset[str]:
        """The digests of what is here, whole. Raises KernelError."""
        return frozenset(self._known())

    def __contains__(self, sha256: str) -> bool:
        """Whether this content is here, whole. Raises KernelError."""
        return sha256 in self._known()

    def path(self, sha256: str) -> Path:
        """Where a content is, or would be. Raises PeerError for what is no digest."""
        if not _DIGEST.fullmatch(sha256):
            raise PeerError(
                f"{sha256[:80]!a} is no SHA-256 digest", hint="expected 64 hexadecimal digits"
            )
        return self.directory / sha256

    def put(self, sha256: str, chunks: Iterable[Piece], size_max: int) -> None:
        """Take a content of at most `size_max` bytes. Raises PeerError when it is longer or not
        what its digest says, KernelError when it cannot be written; then nothing of it stays."""
        with self.incoming(sha256, size_max) as write:
            for chunk in chunks:
                write(chunk)

    @contextmanager
    def incoming(self, sha256: str, size_max: int) -> Iterator[Callable[[Piece], None]]:
        """The same, for who gets the pieces one by one: a function that takes the next piece."""
        path, known = self.path(sha256), self._known()
        fresh = self.directory / f"{_ARRIVING}{secrets.token_hex(8)}"
        hashed, size = hashlib.sha256(), 0

        def write(chunk: Piece) -> None:
            nonlocal size
            size += len(chunk)
            if size > size_max:
                raise PeerError(
                    f"content {sha256[:16]}... is longer than {size_max} bytes",
                    hint="its file changed while it was sent; try again",
                )
            hashed.update(chunk)
            try:
                write_all(descriptor, chunk)
            except OSError as error:
                raise failed("write", str(fresh), error) from error

        descriptor = self._create(fresh)
        try:
            yield write
            if hashed.hexdigest() != sha256:
                raise PeerError(
                    f"content {sha256[:16]}... arrived as {hashed.hexdigest()[:16]}...",
                    hint="its file changed while it was sent; try again",
                )
            fresh.rename(path)
            if self._digests is not None:
                self._digests.trust(os.fstat(descriptor), sha256)
            known[sha256] = size
        except BaseException:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise
        finally:
            os.close(descriptor)

    def check_room(self, sizes: Collection[int]) -> None:
        """Raise KernelError where contents of these sizes would not fit."""
        try:
            self.directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            room = os.statvfs(self.directory.parent)
        except OSError as error:
            raise failed("look at", str(self.directory.parent), error) from error
        need = sum(-(-size // room.f_frsize) * room.f_frsize for size in sizes)
        if need > room.f_bavail * room.f_frsize:
            raise KernelError(
                f"the file system of {self.directory.parent} has "
                f"{room.f_bavail * room.f_frsize // 1024} KiB free, and {need // 1024} KiB are to "
                "come",
                hint="make room there; nothing was changed",
            )
        if room.f_files and len(sizes) > room.f_favail:  # 0: it counts none
            raise KernelError(
                f"the file system of {self.directory.parent} has room for {room.f_favail} more "
                f"files, and {len(sizes)} are to come",
                hint="remove files there; nothing was changed",
            )

    def remove(self) -> None:
        """All contents, and the directory. Raises KernelError."""
        self._sizes = None
        try:
            shutil.rmtree(self.directory)
        except FileNotFoundError:
            return
        except OSError as error:
            raise failed("remove", str(self.directory), error) from error

    def _create(self, fresh: Path) -> int:
        try:
            try:
                return os.open(fresh, _CREATE, 0o600)
            except FileNotFoundError:
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                return os.open(fresh, _CREATE, 0o600)
        except OSError as error:
            raise failed("write", str(fresh), error) from error

    def _known(self) -> dict[str, int]:
        """What is here; at the first look, all of it is read."""
        if self._sizes is None:
            try:
                self._sizes = self._look()
            except OSError as error:
                raise failed("look into", str(self.directory), error) from error
        return self._sizes

    def _look(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        if not os.path.lexists(self.directory):
            return sizes
        if self.directory.is_symlink():
            raise KernelError(f"{self.directory} is a symbolic link", hint="remove it")
        self.directory.chmod(0o700)
        for path in self.directory.iterdir():
            if _DIGEST.fullmatch(path.name) and _digest(path) == path.name:
                sizes[path.name] = path.stat().st_size
            elif _DIGEST.fullmatch(path.name) or path.name.startswith(_ARRIVING):
                path.unlink()  # a cut link or a power cut left half of it
        return sizes


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
