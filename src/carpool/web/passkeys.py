"""Passkeys (WebAuthn) of accounts: what is asked of a browser, and what its answers are worth.

Room: web. What comes is judged by py_webauthn, imported with the first answer. A key is bound to
the name of the node that it was made at, and its owner is verified by the authenticator, so it
stands in place of password and code. Refuses to know accounts and HTTP.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address

from carpool.errors import CarpoolError

NAME_MAX = 64
PASSKEYS_MAX = 10  # of one account
ANSWER_MAX = 16 * 1024  # characters: a large attestation has some 5000
WAIT_S = 300.0  # for a person to find the key
USED_MAX = 256  # challenges that are remembered as used
NONCE_BYTES, MAC_BYTES = 16, 16
# COSE algorithms (RFC 9053): ES256, EdDSA, RS256; authenticators have one of them.
ALGORITHMS = (-7, -8, -257)
DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Passkey:
    """`host`: the name that it is for. `count`: of its uses, if it counts."""

    name: str
    id: str  # base64url, as is `key`
    key: str
    host: str
    count: int
    made_s: int
    used_s: int = 0


class Challenges:
    """Nothing is kept until one is answered, so that nobody fills a memory with them; and each is
    good for one answer."""

    def __init__(
        self, key: bytes, now_s: Callable[[], float], random_hex: Callable[[int], str]
    ) -> None:
        self._key = key
        self._now_s = now_s
        self._random_hex = random_hex
        self._used: dict[bytes, None] = {}

    def fresh(self) -> str:
        nonce = bytes.fromhex(self._random_hex(NONCE_BYTES))
        text = nonce + int(self._now_s() + WAIT_S).to_bytes(8, "big")
        return encoded(text + self._mac(text))

    def take(self, challenge: bytes) -> bool:
        """Whether it is one of ours that waits for its answer."""
        text, mac = challenge[:-MAC_BYTES], challenge[-MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(text)) or challenge in self._used:
            return False
        if self._now_s() > int.from_bytes(text[NONCE_BYTES:], "big"):
            return False
        self._used[challenge] = None
        while len(self._used) > USED_MAX:
            del self._used[next(iter(self._used))]
        return True

    def _mac(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, sha256)[:MAC_BYTES]


def why_not(host: str) -> str:
    """Why there are none at this address; nothing if there are (WebAuthn 5.1.3: a domain)."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return "" if DOMAIN.fullmatch(host) else f"{host[:64]!r} is no name of a host"
    return f"{host} is an IP address: browsers have passkeys for names alone"


def to_make(account: str, host: str, challenge: str, have: tuple[Passkey, ...]) -> str:
    """What navigator.credentials.create() is given, as JSON with base64url for bytes."""
    excluded = [{"type": "public-key", "id": one.id} for one in have if one.host == host]
    user = encoded(sha256(f"{account}@{host}".encode()).digest())
    return json.dumps(
        {
            "challenge": challenge,
            "rp": {"id": host, "name": "carpool"},
            "user": {"id": user, "name": f"{account}@{host}", "displayName": account},
            "pubKeyCredParams": [{"type": "public-key", "alg": one} for one in ALGORITHMS],
            "authenticatorSelection": {"residentKey": "required", "userVerification": "required"},
            "excludeCredentials": excluded,
            "attestation": "none",
            "timeout": int(WAIT_S * 1000),
        }
    )


def to_ask(host: str, challenge: str) -> str:
    """What navigator.credentials.get() is given: any key for this host."""
    return json.dumps(
        {
            "challenge": challenge,
            "rpId": host,
            "userVerification": "required",
            "timeout": int(WAIT_S * 1000),
        }
    )


def made(
    name: str, answer: str, origin: str, host: str, wall_s: float, ours: Challenges
) -> Passkey:
    """Of an answer to `to_make`. Raises CarpoolError."""
    name = name.strip()
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        hint = f"which device has it, in 1 to {NAME_MAX} characters"
        raise CarpoolError("a passkey wants a name", hint=hint)
    told, challenge = _told(answer, ours)
    from webauthn import verify_registration_response

    with _Judged():
        found = verify_registration_response(
            credential=told,
            expected_challenge=challenge,
            expected_rp_id=host,
            expected_origin=origin,
            require_user_verification=True,
        )
    return Passkey(
        name,
        encoded(found.credential_id),
        encoded(found.credential_public_key),
        host,
        found.sign_count,
        int(wall_s),
    )


def id_of(answer: str) -> str:
    """Which key an answer says that it is of. Raises CarpoolError."""
    return str(_object(answer).get("id", ""))


def count_of(passkey: Passkey, answer: str, origin: str, ours: Challenges) -> int:
    """Its count after an answer to `to_ask` that it signed. Raises CarpoolError."""
    told, challenge = _told(answer, ours)
    from webauthn import verify_authentication_response

    with _Judged():
        found = verify_authentication_response(
            credential=told,
            expected_challenge=challenge,
            expected_rp_id=passkey.host,
            expected_origin=origin,
            credential_public_key=decoded(passkey.key),
            credential_current_sign_count=passkey.count,
            require_user_verification=True,
        )
    return found.new_sign_count


def encoded(text: bytes) -> str:
    return urlsafe_b64encode(text).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """Raises ValueError."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def read(row: Mapping[str, object]) -> Passkey:
    """Of the file of accounts. Raises KeyError, ValueError or TypeError."""
    texts = [str(row[key]) for key in ("name", "id", "key", "host")]
    count, made_s, used_s = (int(str(row[key])) for key in ("count", "made_s", "used_s"))
    return Passkey(texts[0], texts[1], texts[2], texts[3], count, made_s, used_s)


class _Judged:
    """What the library refuses, and what hostile bytes make it stumble over, is no key of ours."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, value: object, _trace: object) -> None:
        if kind is None or not issubclass(kind, Exception):
            return
        raise CarpoolError("that passkey was not accepted", hint=str(value)[:200]) from None


def _told(answer: str, ours: Challenges) -> tuple[dict[str, object], bytes]:
    """The answer, and the challenge that it says it is for. Raises CarpoolError."""
    told = _object(answer)
    try:
        response = told["response"]
        assert isinstance(response, dict)
        client = json.loads(decoded(str(response["clientDataJSON"])))
        challenge = decoded(str(client["challenge"]))
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise CarpoolError("that is no answer of a passkey") from error
    if not ours.take(challenge):
        raise CarpoolError("that took too long", hint="load the page again")
    return told, challenge


def _object(answer: str) -> dict[str, object]:
    try:
        told = json.loads(answer) if len(answer) <= ANSWER_MAX else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise CarpoolError("that is no answer of a passkey", hint="this page needs JavaScript")
    return told
