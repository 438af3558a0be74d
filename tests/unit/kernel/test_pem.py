"""A certificate and its key in files: taken when they are a pair, and nothing else of them."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from carpool.errors import ConfigError
from carpool.kernel.pem import FILE_MAX_BYTES, read_pair, server_context
from carpool.web.certificate import make

ONE, OTHER = make("one"), make("other")
ENCRYPTED = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"


def read(directory: Path, certificate: str | bytes, key: str | bytes) -> tuple[str, str]:
    for name, content in (("a.pem", certificate), ("a.key", key)):
        (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_pair(directory / "a.pem", directory / "a.key")


def test_a_pair_and_what_vouches_for_it(tmp_path: Path) -> None:
    assert read(tmp_path, ONE.certificate, ONE.key) == (ONE.certificate, ONE.key)
    chain = ONE.certificate + OTHER.certificate
    assert read(tmp_path, chain, ONE.key)[0] == chain
    windows = ONE.certificate.replace("\n", "\r\n")
    assert read(tmp_path, windows, ONE.key) == (ONE.certificate, ONE.key)


def test_nothing_else_of_the_files_is_given_away(tmp_path: Path) -> None:
    both = f"Certificate:\n  Data\n{ONE.certificate}root:x:0\n{ONE.key}more\n"
    assert read(tmp_path, both, both) == (ONE.certificate, ONE.key)


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        (ONE.certificate, OTHER.key, "are no pair"),
        (OTHER.certificate + ONE.certificate, ONE.key, "are no pair"),
        ("root:x:0:0", ONE.key, "a.pem holds no certificate"),
        (ONE.certificate, "", "a.key holds no key"),
        (ONE.certificate, ENCRYPTED, "a.key holds no key, or one with a passphrase"),
        (ONE.certificate[:200] + ONE.certificate[210:], ONE.key, "are no pair"),
        (b"\xff\0" * 10, ONE.key, "a.pem holds no certificate"),
        (b"a" * (FILE_MAX_BYTES + 1), ONE.key, "a.pem has more than"),
    ],
)
def test_what_cannot_be_used_is_told(
    tmp_path: Path, certificate: str | bytes, key: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        read(tmp_path, certificate, key)
    assert "x:0" not in f"{caught.value.message} {caught.value.hint}"


def test_a_server_speaks_tls_12_and_later_with_a_pair_and_asks_nobody_for_a_password() -> None:
    context = server_context(ONE.certificate, ONE.key)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    for key in (OTHER.key, ENCRYPTED):
        with pytest.raises(OSError):
            server_context(ONE.certificate, key)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.pem: No such file"):
        read_pair(tmp_path / "a.pem", tmp_path / "a.key")
    os.mkfifo(tmp_path / "a.pem")
    with pytest.raises(ConfigError, match=r"a\.pem is no file"):
        read_pair(tmp_path / "a.pem", tmp_path / "a.key")
