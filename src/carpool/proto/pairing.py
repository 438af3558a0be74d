"""What two nodes say within TLS while they are paired, and how they prove the code.

Room: proto. Bytes only; refuses to know sockets, files and what is answered to what.

    message  length of the rest (4 bytes, network order), one JSON object with "say"
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import struct
from dataclasses import asdict, dataclass, fields
from enum import StrEnum

VERSION = 1
MESSAGE_MAX_BYTES = 16 * 1024
SHOWN_MAX_BYTES = 1024 * 1024  # files of FILE_MAX_BYTES (api/tomlfile.py), in base 64
TEXT_MAX = 1000  # characters of a reason; names are judged by their reader
LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Hello:
    """First of all, from the initiator, whose certificate the joiner has checked by then."""

    node: str
    group: str
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Join:
    """From the joiner: who it is, and that it knows the code."""

    node: str
    group: str
    certificate: bytes  # DER
    proof: bytes


@dataclass(frozen=True, slots=True)
class Welcome:
    """From the initiator: that it knows the code, too."""

    proof: bytes


@dataclass(frozen=True, slots=True)
class Look:
    """In place of Join: knows the code, and asks what group it would join. Nothing is pinned."""

    proof: bytes


@dataclass(frozen=True, slots=True)
class Shown:
    """The answer to Look: the initiator's files, node.toml as far as it concerns others."""

    node_toml: bytes
    group_toml: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """From either: the other one's certificate is pinned."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """From either, the last word."""

    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """Bytes that are no message."""

    reason: str


Message = Hello | Join | Welcome | Look | Shown | Done | Refuse
_KINDS: dict[str, type[Message]] = {
    kind.__name__.lower(): kind for kind in (Hello, Join, Welcome, Look, Shown, Done, Refuse)
}


class Role(StrEnum):
    """Whose proof it is: neither can be sent back as the other's."""

    INITIATOR = "initiator"
    JOINER = "joiner"
    LOOKER = "looker"


@dataclass(frozen=True, slots=True)
class Parties:
    """What both nodes must agree about."""

    group: str
    initiator: str
    initiator_fingerprint: bytes  # SHA-256 of the certificate
    joiner: str
    joiner_fingerprint: bytes


def proof(secret: int, role: Role, parties: Parties) -> bytes:
    """HMAC-SHA256 with the secret of the code over all that is agreed, and whose proof it is."""
    texts = (VERSION.to_bytes(2, "big"), role.encode())
    texts += tuple(
        value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        for value in (getattr(parties, field.name) for field in fields(parties))
    )
    said = b"carpool pair\0" + b"".join(LENGTH.pack(len(text)) + text for text in texts)
    return hmac.digest(secret.to_bytes(16, "big"), said, hashlib.sha256)


def same(one: bytes, other: bytes) -> bool:
    """Compare two proofs in a time that tells nothing."""
    return hmac.compare_digest(one, other)


def build(message: Message) -> bytes:
    """A message with its length before it; reasons are cut to TEXT_MAX."""
    said: dict[str, object] = {"say": type(message).__name__.lower()}
    for key, value in asdict(message).items():
        said[key] = base64.b64encode(value).decode() if isinstance(value, bytes) else value
    if isinstance(message, Refuse):
        said["reason"] = message.reason[:TEXT_MAX]
    text = json.dumps(said).encode()
    assert len(text) <= max_bytes(type(message)), len(text)
    return LENGTH.pack(len(text)) + text


def max_bytes(kind: type[object]) -> int:
    """How long a message of this kind may be."""
    return SHOWN_MAX_BYTES if kind is Shown else MESSAGE_MAX_BYTES


def parse(text: bytes) -> Message | Broken:
    """One message, without its length. Keys that are not known are passed over."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return Broken("that is no JSON")
    kind = _KINDS.get(str(said.get("say"))) if isinstance(said, dict) else None
    if kind is None:
        return Broken("that is no message of a pairing")
    values: dict[str, object] = {}
    for field in fields(kind):
        value = _value(said.get(field.name), str(field.type))
        if value is None:
            return Broken(f"a {kind.__name__} without a good {field.name!r}")
        values[field.name] = value
    return kind(**values)  # type: ignore[arg-type]  # each was just judged by its field's type


def _value(value: object, kind: str) -> str | bytes | int | None:
    """A value of the type that a field is declared with; None for any other."""
    if kind == "int":
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if not isinstance(value, str):
        return None
    if kind == "str":  # it is shown on a terminal
        return "".join(char if char.isprintable() else "?" for char in value[:TEXT_MAX])
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
