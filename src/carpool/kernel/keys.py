"""The files of pairing: this node's key and certificate, and the certificates of its peers.

Room: kernel. Reads, writes and removes them, whole or not at all; refuses to know how keys are made
(`api/identity.py`) and what is said with them (`kernel/tls.py`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path

from carpool.errors import KernelError

DIRECTORY = "identity"  # in the directory of node.toml
PEM_MAX_BYTES = 16 * 1024  # a key and a certificate of ours are 1 kB
SHOWN_DIGITS = 16  # of a fingerprint in a sentence: 64 bits; `carpool peers` shows all of them
_SEQUENCE = b"\x30"  # what every certificate in DER begins with


class Trouble(KernelError):
    """Why there can be no trusted stream: `cause` is its counter, and what tells of it are one."""

    def __init__(self, cause: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a stream with one peer rests on: both ends' certificates, as they are in the files."""

    path: Path  # of our key and certificate
    own: bytes  # DER
    pinned: bytes  # DER


class Keys:
    """The pairing of the node called `node`, in `directory`."""

    def __init__(self, directory: Path, node: str) -> None:
        self.directory = directory
        self.node = node

    @property
    def identity_path(self) -> Path:
        """One file for key and certificate: there is never half an identity."""
        return self.directory / "node.pem"

    def peer_path(self, peer: str) -> Path:
        return self.directory / "peers" / f"{peer}.pem"

    def own(self) -> bytes:
        """Our certificate (DER). Raises Trouble."""
        der = _read(self.identity_path)
        if der is None:
            raise Trouble(
                "no_identity",
                f"{self.node} has no key and certificate ({self.identity_path})",
                hint="pair it: `carpool init` on one node, then `carpool join` on the other",
            )
        return der

    def pinned(self, peer: str) -> bytes:
        """The certificate of a peer (DER). Raises Trouble."""
        der = _read(self.peer_path(peer))
        if der is None:
            raise Trouble(
                "not_paired",
                f"{self.node} is not paired with {peer} ({self.peer_path(peer)} is missing)",
                hint=f"`carpool init` on {self.node}, then `carpool join` on {peer}, or the other "
                "way round",
            )
        return der

    def credentials(self, peer: str) -> Credentials:
        """What a stream with this peer needs. Raises Trouble."""
        return Credentials(self.identity_path, self.own(), self.pinned(peer))

    def names(self) -> list[str]:
        """Who has a certificate here, by name."""
        return sorted(path.stem for path in (self.directory / "peers").glob("*.pem"))

    def store_identity(self, key_and_certificate: bytes) -> None:
        """Write our key and certificate; raises KernelError."""
        _write(self.identity_path, key_and_certificate)

    def pin(self, peer: str, certificate: bytes) -> None:
        """Trust this certificate (DER) from now on to be the peer's; raises KernelError."""
        _write(self.peer_path(peer), ssl.DER_cert_to_PEM_cert(certificate).encode())

    def unpin(self, peer: str) -> bool:
        """Trust the peer no more; whether it was trusted. Raises KernelError."""
        path = self.peer_path(peer)
        try:
            path.unlink()
            _sync(path.parent)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise KernelError(f"cannot remove {path}: {error.strerror}") from error
        return True


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate (DER), 64 hexadecimal digits, as `openssl x509 -fingerprint`."""
    return hashlib.sha256(certificate).hexdigest()


def shown(certificate: bytes) -> str:
    """A certificate in a sentence."""
    return f"SHA-256 {fingerprint(certificate)[:SHOWN_DIGITS]}..."


def _read(path: Path) -> bytes | None:
    """The certificate (DER) of a PEM file; None when there is no file. Raises Trouble."""
    begin, end = ssl.PEM_HEADER, ssl.PEM_FOOTER
    try:
        with path.open("rb") as file:
            text = file.read(PEM_MAX_BYTES).decode("ascii", errors="replace")
        der = ssl.PEM_cert_to_DER_cert(begin + text.split(begin)[1].split(end)[0] + end)
        if not der.startswith(_SEQUENCE):
            raise ValueError
        return der
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Trouble("unreadable", f"cannot read {path}: {error.strerror}") from error
    except (IndexError, ValueError) as error:
        raise Trouble(
            "unreadable",
            f"{path} holds no certificate",
            hint="restore it, or remove it and pair again",
        ) from error


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing, also when the power goes; for root's eyes only."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.parent.mkdir(mode=0o700, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
        _sync(path.parent)
    except OSError as error:
        raise KernelError(
            f"cannot write {path}: {error.strerror}", hint="run as root; is the disk full?"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
