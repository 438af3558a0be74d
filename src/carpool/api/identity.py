"""A node's identity: its key and self-signed certificate made, and both ends' certificates judged.

Room: api. The only place that uses `cryptography`, and where nodes of one machine are introduced to
each other; refuses to know how two machines come to trust one another (`api/pairing.py`).
"""

from __future__ import annotations

import itertools
import stat
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from carpool.errors import CarpoolError, ConfigError, KernelError, PeerError
from carpool.kernel.keys import DIRECTORY, Keys, Trouble
from carpool.kernel.tls import bare
from carpool.model.config import Config, Encryption, Problem
from carpool.model.finding import NODE_FILE
from carpool.model.keypath import render

# A certificate of ours is trusted because it is pinned and until it is not; a firewall whose clock
# died must still come up. So these are the ends of time (RFC 5280 4.1.2.5).
NOT_BEFORE = datetime(1970, 1, 1, tzinfo=UTC)
NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def keys_of(config_dir: Path, node: str) -> Keys:
    """The pairing of the node whose node.toml is in `config_dir`."""
    return Keys(config_dir / DIRECTORY, node)


def ensure(keys: Keys) -> tuple[bytes, bool]:
    """This node's certificate (DER), and whether it has just been made.

    Raises Trouble for one that cannot be used, ConfigError for one that is another node's.
    """
    if not keys.identity_path.exists():
        keys.store_identity(make(keys.node))
        return keys.own(), True
    return verified(keys), False


def make(node: str) -> bytes:
    """A fresh Ed25519 key and its self-signed certificate for the node of this name, as PEM."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def verified(keys: Keys) -> bytes:
    """This node's certificate (DER), which fits its key and is in its name.

    Raises Trouble for one that cannot be used, ConfigError for one that is another node's.
    """
    own = keys.own()
    bare(keys.identity_path, server=True)
    try:
        name = name_in(own)
    except PeerError as error:
        raise Trouble(
            "unreadable", f"{keys.identity_path}: {error.message}", hint="remove it and pair again"
        ) from error
    if name != keys.node:
        raise ConfigError(
            f"{keys.identity_path} is the identity of {name}, and this node is {keys.node}",
            hint=f"was {keys.directory.parent} copied from {name}? remove {keys.directory} and "
            "pair this node with each of its peers",
        )
    return own


def name_in(certificate: bytes) -> str:
    """The name of the node in a certificate (DER) of ours. Raises PeerError for any other."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        names = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, x509.InvalidVersion) as error:
        raise PeerError("that is no certificate") from error
    if len(names) != 1:
        raise PeerError(f"a certificate with {len(names)} names, expected the node's")
    return str(names[0].value)


def readers(keys: Keys) -> dict[Path, Callable[[], bytes]]:
    """By file, what reads a certificate (DER) that this node shows, or has pinned; each raises
    Trouble."""
    found: dict[Path, Callable[[], bytes]] = {keys.identity_path: keys.own}
    found |= {keys.peer_path(name): partial(keys.pinned, name) for name in keys.names()}
    return found


def validity(certificate: bytes) -> tuple[float, float]:
    """From when to when a certificate (DER) is valid, in seconds since 1970. Raises PeerError."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
    except ValueError as error:
        raise PeerError("that is no certificate") from error
    # The names of these without _utc are deprecated, and the only ones of older versions.
    begins = getattr(parsed, "not_valid_before_utc", None)
    ends = getattr(parsed, "not_valid_after_utc", None)
    if begins is None or ends is None:
        begins = parsed.not_valid_before.replace(tzinfo=UTC)
        ends = parsed.not_valid_after.replace(tzinfo=UTC)
    return begins.timestamp(), ends.timestamp()


def problems(config: Config, config_dir: Path) -> list[Problem]:
    """What keeps this node from encrypted streams with its peers, for `carpool check`: nothing that
    keeps it from starting."""
    if config.group.states is None or config.group.states.encryption is Encryption.NONE:
        return []
    keys, found = keys_of(config_dir, config.node.name), []
    try:
        verified(keys)
    except CarpoolError as error:
        return [_problem("name", error)]  # nobody can be paired with it yet
    mode = stat.S_IMODE(keys.identity_path.stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        hint = f"it holds this node's key: chmod 600 {keys.identity_path}"
        wrong = KernelError(f"{keys.identity_path} has mode {mode:04o}", hint=hint)
        found.append(_problem("name", wrong))
    for peer in config.node.peers:
        try:
            keys.pinned(peer.name)
        except Trouble as error:
            found.append(_problem(render(("peer", peer.name)), error))
    return found


def _problem(key: str, error: CarpoolError) -> Problem:
    found = f'encryption = "tls", but {error.message}'
    expected = "a key that only root can read, and the certificate of every peer"
    return Problem(NODE_FILE, key, found, expected, error.hint, fatal=False)


def introduce(config_dirs: Mapping[str, Path]) -> None:
    """Pair nodes whose configuration is on this machine, each with all others: the lab."""
    rings = [keys_of(directory, node) for node, directory in config_dirs.items()]
    certificates = {keys.node: ensure(keys)[0] for keys in rings}
    for here, there in itertools.permutations(rings, 2):
        here.pin(there.node, certificates[there.node])
