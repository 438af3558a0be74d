"""The one-time code of `carpool init`: a fingerprint and a secret, as people read and type them.

Room: proto. Text and numbers only; refuses to know who makes a code and how long it is good.

    7K3QD-0VH2M-...   30 characters: 16 for the first 80 bits of the SHA-256 of the initiator's
                      certificate, 13 for the secret (65 bits), 1 to tell typing mistakes
"""

from __future__ import annotations

from dataclasses import dataclass

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
FINGERPRINT_BYTES = 10
SECRET_BITS = 65
LENGTH = 30
_GROUP = 5
_READ_AS = str.maketrans("OIL", "011", "- \t\r\n")


@dataclass(frozen=True, slots=True)
class Code:
    """What a code says."""

    fingerprint: bytes  # the first FINGERPRINT_BYTES of the SHA-256 of a certificate
    secret: int  # SECRET_BITS bits

    def __str__(self) -> str:
        number = int.from_bytes(self.fingerprint, "big") << SECRET_BITS | self.secret
        values = [number >> 5 * place & 31 for place in reversed(range(LENGTH - 1))]
        text = "".join(ALPHABET[value] for value in (*values, _step(_syndrome(values))))
        return "-".join(text[at : at + _GROUP] for at in range(0, LENGTH, _GROUP))

    def is_of(self, fingerprint: bytes) -> bool:
        """Whether this code was made for the certificate with this SHA-256."""
        return fingerprint[:FINGERPRINT_BYTES] == self.fingerprint


def parse(text: str) -> Code | str:
    """A code as it was typed, or what is wrong with it: one character that is wrong and two that
    have changed places are always noticed."""
    plain = text[: 4 * LENGTH].upper().translate(_READ_AS)
    for character in plain:
        if character not in ALPHABET:
            return f"{character!a} is no character of a code"
    if len(plain) != LENGTH:
        return f"it has {len(plain)} characters, expected {LENGTH}"
    values = [ALPHABET.index(character) for character in plain]
    if _syndrome(values):
        return "its last character does not fit the others"
    number = 0
    for value in values[:-1]:
        number = number << 5 | value
    fingerprint = (number >> SECRET_BITS).to_bytes(FINGERPRINT_BYTES, "big")
    return Code(fingerprint, number & (1 << SECRET_BITS) - 1)


def _step(value: int) -> int:
    """Times x in the field of 32 elements, modulo x^5 + x^2 + 1, whose powers of x all differ."""
    return value << 1 ^ (0b100101 if value & 16 else 0)


def _syndrome(values: list[int]) -> int:
    """Zero for what ends with its check character; each place has a weight of its own."""
    total = 0
    for value in values:
        total = _step(total) ^ value
    return total
