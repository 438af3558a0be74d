"""Codes: those of RFC 6238, each good once, and recovery codes."""

from __future__ import annotations

from dataclasses import asdict

import pyotp
import pytest

from carpool.web.second import STEP_S, Second, address_of, begun, fresh_secret, read, step_of

RFC = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"  # "12345678901234567890" (RFC 6238, appendix B)
RECOVERY = ["0123-4567-89ab-cdef", "aaaa-bbbb-cccc-dddd"]
NOW_S = 1_790_000_010.0


@pytest.mark.parametrize(
    ("wall_s", "code"),
    [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")],
)
def test_codes_are_those_of_the_rfc(wall_s: float, code: str) -> None:
    assert step_of(RFC, code, wall_s) == wall_s // STEP_S


def test_a_step_to_either_side_counts_and_no_further() -> None:
    now = int(NOW_S) // STEP_S
    otp = pyotp.TOTP(RFC)
    for away in range(-3, 4):
        found = step_of(RFC, otp.generate_otp(now + away), NOW_S)
        assert found == (now + away if abs(away) <= 1 else 0)


def test_a_code_is_good_once_and_none_before_it_after_it() -> None:
    now = int(NOW_S) // STEP_S
    first, second, third = (pyotp.TOTP(RFC).generate_otp(now + away) for away in range(3))
    factor = begun(RFC, first, RECOVERY, NOW_S)
    assert factor is not None
    assert factor.after(first, NOW_S) is None, "the one that switched it on"
    later = factor.after(second, NOW_S)
    assert later is not None
    assert later.after(second, NOW_S) is None
    assert later.after(first, NOW_S + STEP_S) is None
    assert later.after(third, NOW_S + STEP_S) is not None
    assert factor.after(f" {second[:3]} {second[3:]} ", NOW_S) == later


def test_a_recovery_code_is_good_once() -> None:
    factor = begun(RFC, pyotp.TOTP(RFC).at(int(NOW_S)), RECOVERY, NOW_S)
    assert factor is not None and all(one not in str(factor) for one in RECOVERY)
    left = factor.after(f" {RECOVERY[0].upper()} ", NOW_S)
    assert left is not None and len(left.recovery) == 1
    assert left.after(RECOVERY[0], NOW_S) is None
    assert left.after(RECOVERY[1].replace("-", ""), NOW_S) is not None
    assert begun(RFC, RECOVERY[0], RECOVERY, NOW_S) is None, "an app has to show that it works"


@pytest.mark.parametrize(
    "code", ["", "12345", "1234567", "é" * 6, "\uff11" * 6, "\ud800", "x" * 9999]
)
def test_what_is_no_code_does_not_do(code: str) -> None:
    assert Second(RFC, 0, ()).after(code, NOW_S) is None


def test_it_is_read_as_it_was_written() -> None:
    factor = Second(fresh_secret(), 7, ("a", "b"))
    assert read({**asdict(factor), "recovery": ["a", "b"]}) == factor
    assert len(factor.secret) == 32
    for row in ({}, {"secret": "x", "last_step": "y", "recovery": []}, {"secret": "x"}):
        with pytest.raises((KeyError, ValueError, TypeError)):
            read(row)


def test_an_app_is_told_whose_it_is() -> None:
    address = address_of(RFC, "admin", "fw1.example" + "x" * 999)
    assert address.startswith("otpauth://totp/carpool:admin%40fw1.examplexxx")
    assert f"secret={RFC}" in address and "issuer=carpool" in address and len(address) < 200
