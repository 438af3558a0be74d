"""Reads a certificate and its key from files of the user's: only when they are a pair.

Room: kernel. Gives the PEM blocks of certificates and of the key, and nothing else that a file may
hold, and the TLS of a server that has them; refuses to judge who made them, and until when they
hold.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from pathlib import Path

from carpool.errors import ConfigError

FILE_MAX_BYTES = 256 * 1024
_CERTIFICATES = re.compile(
    r"^-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----$", re.M
)
_KEY = re.compile(
    r"^-----BEGIN ((?:RSA |EC )?PRIVATE KEY)-----\n[A-Za-z0-9+/=\n]+-----END \1-----$", re.M
)


def read_pair(certificate: Path, key: Path) -> tuple[str, str]:
    """Certificates and key, as PEM; the key is that of the first certificate. Blocking. Raises
    ConfigError."""
    chain = [found[0] for found in _CERTIFICATES.finditer(_text(certificate))]
    if not chain:
        raise ConfigError(
            f"{certificate} holds no certificate", hint='PEM begins "-----BEGIN CERTIFICATE-----"'
        )
    secret = _KEY.search(_text(key))
    if secret is None:
        raise ConfigError(
            f"{key} holds no key, or one with a passphrase",
            hint='PEM begins "-----BEGIN PRIVATE KEY-----"; `openssl pkey` takes a passphrase off',
        )
    pair = "\n".join([*chain, ""]), f"{secret[0]}\n"
    try:
        server_context(*pair)
    except OSError as error:
        raise ConfigError(
            f"{certificate} and {key} are no pair: {error}",
            hint="the first certificate is to be that of the key; those that vouch for it follow",
        ) from error
    return pair


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """For a server with these, as PEM: TLS 1.2 and later. Raises OSError when they are no pair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # `ssl` reads files only; this one is on no disk.
    with open(os.memfd_create("pair"), "wb") as file:
        file.write(f"{key}\n{certificate}".encode())
        file.flush()
        # With an empty password nobody is asked for one at a terminal.
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password="")
    return context


def _text(path: Path) -> str:
    try:
        # A named pipe would be waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path} is no file")
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    if len(data) > FILE_MAX_BYTES:
        raise ConfigError(f"{path} has more than {FILE_MAX_BYTES} bytes")
    return data.decode(errors="replace").replace("\r\n", "\n")
