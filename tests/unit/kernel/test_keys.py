"""The files of pairing: whole, secret, and told about when they are missing or broken."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from carpool.api.identity import introduce, keys_of
from carpool.errors import KernelError
from carpool.kernel.keys import Keys, Trouble, fingerprint, shown


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """fw1, paired with fw2."""
    introduce({"fw1": tmp_path, "fw2": tmp_path / "fw2"})
    return keys_of(tmp_path, "fw1")


def test_only_root_may_read_them_and_nothing_else_is_left(keys: Keys) -> None:
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in keys.directory.rglob("*")}
    assert found == {
        keys.identity_path: 0o600,
        keys.directory / "peers": 0o700,
        keys.peer_path("fw2"): 0o600,
    }
    assert stat.S_IMODE(keys.directory.stat().st_mode) == 0o700


def test_each_has_the_certificate_of_the_other(keys: Keys, tmp_path: Path) -> None:
    other = keys_of(tmp_path / "fw2", "fw2")
    assert (keys.pinned("fw2"), keys.own()) == (other.own(), other.pinned("fw1"))
    found = keys.credentials("fw2")
    assert (found.own, found.pinned) == (keys.own(), other.own())
    assert fingerprint(keys.own()) == hashlib.sha256(keys.own()).hexdigest()
    assert shown(keys.own()) == f"SHA-256 {fingerprint(keys.own())[:16]}..."


def test_who_is_pinned_no_more_is_not_trusted(keys: Keys) -> None:
    assert keys.names() == ["fw2"]
    assert keys.unpin("fw2")
    assert not keys.unpin("fw2")
    assert keys.names() == []
    with pytest.raises(Trouble, match="fw1 is not paired with fw2") as caught:
        keys.credentials("fw2")
    assert caught.value.cause == "not_paired"
    assert "`carpool join` on fw2" in caught.value.hint


def test_no_identity(tmp_path: Path) -> None:
    with pytest.raises(Trouble, match="fw1 has no key and certificate") as caught:
        keys_of(tmp_path, "fw1").credentials("fw2")
    assert caught.value.cause == "no_identity"
    assert str(tmp_path / "identity" / "node.pem") in caught.value.message


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN CERTIFICATE-----\n!\n" * 999],
    ids=["empty", "bytes", "cut", "endless"],
)
def test_a_broken_file_is_named(keys: Keys, content: bytes) -> None:
    keys.peer_path("fw2").write_bytes(content)
    with pytest.raises(Trouble, match=r"peers/fw2\.pem holds no certificate") as caught:
        keys.credentials("fw2")
    assert caught.value.cause == "unreadable"


def test_a_directory_in_the_place_of_a_file(keys: Keys) -> None:
    keys.unpin("fw2")
    keys.peer_path("fw2").mkdir()
    with pytest.raises(Trouble, match=r"cannot read .*fw2\.pem: Is a directory"):
        keys.pinned("fw2")
    with pytest.raises(KernelError, match=r"cannot write .*fw2\.pem: Is a directory"):
        keys.pin("fw2", keys.own())
    with pytest.raises(KernelError, match=r"cannot remove .*fw2\.pem"):
        keys.unpin("fw2")
    assert os.listdir(keys.directory / "peers") == ["fw2.pem"]  # no half-written one
