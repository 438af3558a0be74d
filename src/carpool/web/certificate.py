"""The certificate that browsers are shown: one of our own making, or the user's.

Room: web. Refuses to know the keys of the group: this one is for people, and proves nothing between
nodes.
"""

from __future__ import annotations

import os
import socket
import ssl
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from carpool.errors import ConfigError
from carpool.kernel.pem import server_context

END = "-----END CERTIFICATE-----\n"
FILE = "web.pem"  # in the state directory of the web process: key and certificate
# Whatever the clock of a firewall says, its pages are there: nobody but the user vouches for it.
NOT_BEFORE, NOT_AFTER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC)


class Pair:
    """A certificate (with those that vouch for it) and its key, as PEM."""

    def __init__(self, certificate: str, key: str) -> None:
        self.certificate = certificate
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pair) and (self.certificate, self.key) == (
            other.certificate,
            other.key,
        )

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, as browsers show it."""
        der = ssl.PEM_cert_to_DER_cert(self.certificate[: self.certificate.index(END) + len(END)])
        return ":".join(f"{byte:02X}" for byte in sha256(der).digest())

    def context(self) -> ssl.SSLContext:
        """Raises ConfigError when they do not fit."""
        try:
            return server_context(self.certificate, self.key)
        except OSError as error:
            raise ConfigError(
                f"the certificate of the pages cannot be used: {error}",
                hint="`certificate` and `key` of [web] are to be a pair, in PEM",
            ) from error


def own_pair(directory: Path) -> Pair:
    """Ours, made when there is none. Raises ConfigError."""
    path = directory / FILE
    if not path.exists():
        pair = make(socket.gethostname())
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(pair.key + pair.certificate)
        return pair
    try:
        text = path.read_text()
        begins = text.index("-----BEGIN CERTIFICATE-----")
    except (OSError, ValueError) as error:
        hint = "remove it: the next start makes another one"
        raise ConfigError(f"{path} holds no certificate: {error}", hint=hint) from error
    return Pair(text[begins:], text[:begins])


def make(name: str) -> Pair:
    """A fresh one for the host of this name."""
    key = ec.generate_private_key(ec.SECP256R1())  # what every browser takes, Ed25519 is not
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"carpool on {name}"[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(certificate.public_bytes(Encoding.PEM).decode(), private.decode())
