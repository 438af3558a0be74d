"""A second factor of an account: codes of an app (TOTP, RFC 6238), and recovery codes.

Room: web. Pure: time and chance are handed in. A code is good once, a recovery code, too. Refuses
to know accounts and HTTP.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

STEP_S = 30  # RFC 6238 4.1; SHA-1 and six digits, as apps take for granted
AROUND = 1  # steps before and after that count, too: clocks differ, and people type (RFC 6238 5.2)
RECOVERY_CODES = 10
ISSUER = "carpool"
HOST_MAX = 64  # characters of a host in a QR code
DIGITS = re.compile(r"[0-9]{6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Second:
    """`secret` has to be kept as it is (base32): codes are made of it. `recovery`: digests of 64
    bits of chance each. Who reads the file has the secret anyway, so a slow digest wins nothing."""

    secret: str
    last_step: int
    recovery: tuple[str, ...]

    def after(self, told: str, wall_s: float) -> Second | None:
        """What is left when this code was shown; None if it is none of ours, or was used."""
        code = re.sub(r"[\s-]", "", told).lower()
        if DIGITS.fullmatch(code):
            step = step_of(self.secret, code, wall_s)
            return replace(self, last_step=step) if step > self.last_step else None
        digest = digest_of(code)
        if digest not in self.recovery:
            return None
        return replace(self, recovery=tuple(one for one in self.recovery if one != digest))


def begun(secret: str, code: str, recovery: Sequence[str], wall_s: float) -> Second | None:
    """Once an app has shown its first code; None if it is another one."""
    blank = Second(secret, 0, tuple(digest_of(re.sub("-", "", one)) for one in recovery))
    return blank.after(code, wall_s) if DIGITS.fullmatch(re.sub(r"\s", "", code)) else None


def step_of(secret: str, code: str, wall_s: float) -> int:
    """The newest step around now that has this code; 0 if none has."""
    import pyotp  # with the first code

    otp, now = pyotp.TOTP(secret), int(wall_s) // STEP_S
    found = 0
    for step in range(max(1, now - AROUND), now + AROUND + 1):
        if hmac.compare_digest(otp.generate_otp(step), code):
            found = step
    return found


def fresh_secret() -> str:
    """160 bits, as RFC 4226 (4, R6) recommends."""
    import pyotp

    return pyotp.random_base32()


def address_of(secret: str, name: str, host: str) -> str:
    """What a QR code says to an app: otpauth://."""
    import pyotp

    return pyotp.TOTP(secret).provisioning_uri(name=f"{name}@{host[:HOST_MAX]}", issuer_name=ISSUER)


def digest_of(code: str) -> str:
    return sha256(code.encode(errors="replace")).hexdigest()


def read(row: Mapping[str, object]) -> Second:
    """Of the file of accounts. Raises KeyError, ValueError or TypeError."""
    recovery = row["recovery"]
    if not isinstance(recovery, list):
        raise TypeError("recovery is no list")
    return Second(str(row["secret"]), int(str(row["last_step"])), tuple(map(str, recovery)))
