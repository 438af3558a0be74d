"""What a token is, whatever a form says."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from carpool.errors import CarpoolError
from carpool.web.role import Role
from carpool.web.tokens import DAY_S, NAME_MAX, TOKENS_MAX, added, digest_of, found, made, read

NOW_S = 1_790_000_000.5


def test_one_is_kept_as_a_digest_and_ends() -> None:
    token = made(" grafana ", Role.OPERATOR, "90", "secret", NOW_S)
    assert (token.name, token.role, token.used_s) == ("grafana", Role.OPERATOR, 0)
    assert "secret" not in str(token)
    assert found([token], digest_of("secret"), NOW_S) == token
    assert found([token], digest_of("secret"), NOW_S + 90 * DAY_S - 1) == token
    assert found([token], digest_of("secret"), NOW_S + 90 * DAY_S) is None
    assert found([token], digest_of("Secret"), NOW_S) is None
    assert read({**asdict(token), "role": "operator"}) == token


@pytest.mark.parametrize("days", ["", "0", "366", "-1", "1.5", "9" * 5000, "03650", "²", "1\n"])
def test_days_are_days(days: str) -> None:
    with pytest.raises(CarpoolError, match="is no number of days"):
        made("x", Role.VIEWER, days, "secret", NOW_S)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[2J", "x" * (NAME_MAX + 1)])
def test_a_name_is_a_line(name: str) -> None:
    with pytest.raises(CarpoolError, match="wants a name"):
        made(name, Role.VIEWER, "1", "secret", NOW_S)


def test_there_is_an_end_for_which_those_that_are_over_make_room() -> None:
    few = tuple(made(f"{n}", Role.VIEWER, "2", f"{n}", NOW_S) for n in range(TOKENS_MAX - 1))
    many = added(few, made("old", Role.VIEWER, "1", "old", NOW_S), NOW_S)
    fresh = made("fresh", Role.VIEWER, "2", "fresh", NOW_S)
    with pytest.raises(CarpoolError, match=f"there are {TOKENS_MAX} tokens already"):
        added(many, fresh, NOW_S)
    assert added(many, fresh, NOW_S + DAY_S) == (*few, fresh)
    with pytest.raises(CarpoolError, match="there is a token 0 already"):
        added(few, made("0", Role.VIEWER, "1", "x", NOW_S), NOW_S)
