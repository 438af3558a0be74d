"""Sessions: how they end, and whose form it is."""

from __future__ import annotations

from carpool.web.session import IDLE_MAX_S, LIFE_MAX_S, SESSIONS_MAX, Sessions, is_token_of
from tests.unit.web.clock import Clock

HERE = "10.0.0.5"


def test_a_key_finds_its_session_and_no_other_word_does() -> None:
    clock = Clock()
    sessions = Sessions(clock, clock.random_hex)
    key = sessions.begin("anna", HERE)
    found = sessions.find(key, by_hand=True)
    assert found is not None and (found.account, found.source) == ("anna", HERE)
    for other in ("", key[:-1], key.upper() + "x", found.token, "\udcff"):
        assert sessions.find(other, by_hand=True) is None
    assert key not in repr(sessions.__dict__), "the key itself is not kept"


def test_it_ends_when_nobody_uses_it_and_a_page_that_renews_itself_is_nobody() -> None:
    clock = Clock()
    sessions = Sessions(clock, clock.random_hex)
    used, watched = sessions.begin("anna", HERE), sessions.begin("anna", HERE)
    for _minute in range(int(IDLE_MAX_S // 60)):
        clock.now_s += 60
        assert sessions.find(used, by_hand=True) and sessions.find(watched, by_hand=False)
    clock.now_s += 1
    assert sessions.find(used, by_hand=True) and not sessions.find(watched, by_hand=False)
    clock.now_s -= 60
    assert not sessions.find(watched, by_hand=True), "what is over stays over"


def test_it_ends_after_half_a_day_whatever_is_done() -> None:
    clock = Clock()
    sessions = Sessions(clock, clock.random_hex)
    key, begun_s = sessions.begin("anna", HERE), clock.now_s
    while clock.now_s + IDLE_MAX_S <= begun_s + LIFE_MAX_S:
        clock.now_s += IDLE_MAX_S
        assert sessions.find(key, by_hand=True)
    clock.now_s = begun_s + LIFE_MAX_S + 1
    assert not sessions.find(key, by_hand=True)


def test_all_of_an_account_end_at_once() -> None:
    clock = Clock()
    sessions = Sessions(clock, clock.random_hex)
    anna = [sessions.begin("anna", source) for source in (HERE, "10.0.0.6", HERE)]
    bert = sessions.begin("bert", "fd00::1")
    assert sessions.sources("anna") == [HERE, "10.0.0.6"]
    sessions.end(anna[1])
    assert sessions.sources("anna") == [HERE]
    sessions.end_all("anna")
    assert not any(sessions.find(key, by_hand=True) for key in anna)
    assert sessions.find(bert, by_hand=True) and sessions.sources("anna") == []
    clock.now_s += IDLE_MAX_S + 1
    assert sessions.sources("bert") == []


def test_the_one_that_is_idle_longest_makes_room() -> None:
    clock = Clock()
    sessions = Sessions(clock, clock.random_hex)
    keys = []
    for _one in range(SESSIONS_MAX):
        keys.append(sessions.begin("anna", HERE))
        clock.now_s += 0.1
    sessions.find(keys[0], by_hand=True)
    sessions.begin("bert", HERE)
    assert sessions.find(keys[0], by_hand=True) and not sessions.find(keys[1], by_hand=True)
    assert all(sessions.find(key, by_hand=True) for key in keys[2:])


def test_a_form_is_of_its_own_session() -> None:
    clock = Clock()
    sessions = Sessions(clock, clock.random_hex)
    found = [sessions.find(sessions.begin("anna", HERE), by_hand=True) for _one in range(2)]
    one, other = found
    assert one is not None and other is not None
    assert is_token_of(one, one.token)
    for token in ("", other.token, one.token + "0", "ü"):
        assert not is_token_of(one, token)
