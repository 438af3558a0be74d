"""A node's key and certificate: what they are made of, and what is no good."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from carpool.api import identity
from carpool.errors import ConfigError, PeerError
from carpool.kernel.keys import Trouble, fingerprint
from carpool.model.config import Encryption, States
from tests.unit.model.configs import GROUP, config

VERSION_3 = b"\xa0\3\2\1\2"  # in the DER of a certificate


def openssl(*arguments: str, text: str) -> str:
    """Another reader of the same certificate."""
    done = subprocess.run(
        ["openssl", "x509", "-noout", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout


def test_it_is_made_once_and_in_the_name_of_the_node(tmp_path: Path) -> None:
    keys = identity.keys_of(tmp_path, "fw1")
    own, fresh = identity.ensure(keys)
    assert fresh and identity.ensure(keys) == (own, False)
    assert identity.name_in(own) == "fw1"
    pem = keys.identity_path.read_text()
    assert openssl("-subject", text=pem).strip() == "subject=CN = fw1"
    digits = openssl("-fingerprint", "-sha256", text=pem).partition("=")[2].strip()
    assert digits.replace(":", "").lower() == fingerprint(own)
    assert "ED25519" in openssl("-text", text=pem)


def test_it_is_good_whatever_the_clock_says(tmp_path: Path) -> None:
    """A firewall whose clock died starts in 1970; one that is not replaced runs for long."""
    pem = identity.make("fw1").decode()
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index(ssl.PEM_HEADER) :])
    assert identity.validity(der) == (0.0, identity.NOT_AFTER.timestamp())
    with pytest.raises(PeerError):
        identity.validity(b"0")
    assert openssl("-startdate", text=pem).strip() == "notBefore=Jan  1 00:00:00 1970 GMT"
    assert openssl("-enddate", text=pem).strip() == "notAfter=Dec 31 23:59:59 9999 GMT"


def test_the_identity_of_another_node_is_refused(tmp_path: Path) -> None:
    identity.ensure(identity.keys_of(tmp_path, "fw1"))
    with pytest.raises(ConfigError, match="is the identity of fw1, and this node is fw2") as caught:
        identity.verified(identity.keys_of(tmp_path, "fw2"))
    assert f"was {tmp_path} copied from fw1? remove {tmp_path}/identity" in caught.value.hint


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    keys = identity.keys_of(tmp_path, "fw1")
    mixed = identity.make("fw1").partition(b"-----BEGIN CERT")
    other = identity.make("fw1").partition(b"-----BEGIN CERT")
    keys.store_identity(mixed[0] + other[1] + other[2])
    with pytest.raises(Trouble, match="cannot use the key and certificate"):
        identity.ensure(keys)


def test_what_is_no_certificate_of_ours(tmp_path: Path) -> None:
    own, _ = identity.ensure(identity.keys_of(tmp_path, "fw1"))
    version_5 = own.replace(VERSION_3, VERSION_3[:-1] + b"\4")
    for data in (b"", b"\x30\x03abc", b"\x30\x84\xff\xff\xff\xff", version_5):
        with pytest.raises(PeerError, match="no certificate"):
            identity.name_in(data)


def test_check_tells_what_is_missing_and_what_mends_it(tmp_path: Path) -> None:
    keys = identity.keys_of(tmp_path, "fw1")
    told = identity.problems(config(), tmp_path)
    assert [(problem.key, problem.fatal) for problem in told] == [("name", False)]
    identity.ensure(keys)
    told = identity.problems(config(), tmp_path)
    assert [problem.key for problem in told] == ["peer.fw2"]
    assert "fw1 is not paired with fw2" in told[0].found and "`carpool init`" in told[0].hint
    identity.introduce({"fw1": tmp_path, "fw2": tmp_path / "fw2"})
    assert identity.problems(config(), tmp_path) == []
    keys.identity_path.chmod(0o644)
    told = identity.problems(config(), tmp_path)
    assert "has mode 0644" in told[0].found and "chmod 600" in told[0].hint


def test_nobody_needs_an_identity_for_plain_text(tmp_path: Path) -> None:
    plain = replace(GROUP, states=States("sync", encryption=Encryption.NONE))
    assert identity.problems(config(group=plain), tmp_path) == []
    alone = replace(GROUP, states=None)
    assert identity.problems(config(group=alone), tmp_path) == []
