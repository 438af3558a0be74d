"""The same trouble is told once a minute, another one at once."""

from __future__ import annotations

from carpool.service.seldom import EVERY_S, TOLD_MAX, Seldom


def test_the_same_is_told_seldom_and_what_is_kept_of_it_is_bounded() -> None:
    now_s, said = [100.0], list[str]()
    tell = Seldom("states", lambda: now_s[0], said.append)
    for _ in range(3):
        tell("peer fw2", "no stream with fw2")
    tell("table", "put back")
    assert said == ["states: no stream with fw2", "states: put back"]
    now_s[0] += EVERY_S
    tell("peer fw2", "no stream with fw2")
    assert len(said) == 3
    for number in range(2 * TOLD_MAX):
        tell(f"stranger {number}", "refused")
    assert len(said) == 3 + 2 * TOLD_MAX
