"""What is told as a move, and when."""

from __future__ import annotations

from carpool.machine.moves import LOST, LOST_S, SPLIT_S, Move, Moves

LAN, WAN = "51@lan", "52@wan"


def heard(moves: Moves, role: str, now_s: float, whole: bool = False, **states: str) -> None:
    vips = {{"lan": LAN, "wan": WAN}[name]: (state, f"{name}!") for name, state in states.items()}
    moves.heard(role, vips, whole, now_s)


def begun() -> Moves:
    """A backup, as it was found at 0."""
    moves = Moves(0.0)
    heard(moves, "BACKUP", 0.0, whole=True, lan="BACKUP", wan="BACKUP")
    assert moves.due(0.0) == [
        Move("group", None, "BACKUP", "lan!"),
        Move(LAN, None, "BACKUP", "lan!"),
        Move(WAN, None, "BACKUP", "wan!"),
    ]
    assert moves.deadline_s is None
    return moves


def test_each_move_is_told_once_the_group_first() -> None:
    moves = begun()
    heard(moves, "MASTER", 1.0, lan="MASTER", wan="MASTER")
    assert moves.due(1.0) == [
        Move("group", "BACKUP", "MASTER", "lan!"),
        Move(LAN, "BACKUP", "MASTER", "lan!"),
        Move(WAN, "BACKUP", "MASTER", "wan!"),
    ]
    assert moves.due(2.0) == []


def test_a_group_is_split_when_that_lasts() -> None:
    moves = begun()
    heard(moves, "SPLIT", 1.0, lan="MASTER")
    assert moves.due(1.0) == [Move(LAN, "BACKUP", "MASTER", "lan!")]
    assert moves.deadline_s == 1.0 + SPLIT_S
    heard(moves, "MASTER", 1.5, wan="MASTER")
    assert moves.due(1.5) == [
        Move("group", "BACKUP", "MASTER", "wan!"),
        Move(WAN, "BACKUP", "MASTER", "wan!"),
    ]
    heard(moves, "SPLIT", 3.0, wan="BACKUP")
    assert [move.subject for move in moves.due(3.0)] == [WAN]
    assert moves.due(3.0 + SPLIT_S) == [Move("group", "MASTER", "SPLIT", "wan!")]
    assert moves.deadline_s is None


def test_what_came_and_went_is_not_told() -> None:
    moves = begun()
    heard(moves, "MASTER", 1.0, lan="MASTER", wan="MASTER")
    heard(moves, "BACKUP", 1.1, lan="BACKUP", wan="BACKUP")
    assert moves.due(1.1) == []


def test_a_silent_failover_is_in_init_after_its_addresses_have_ended() -> None:
    moves = begun()
    moves.lost(10.0)
    assert moves.due(10.0) == []
    moves.lost(11.0)  # said again: the wait is not prolonged
    assert moves.deadline_s == 10.0 + LOST_S
    assert {(one.subject, one.new, one.reason) for one in moves.due(10.0 + LOST_S)} == {
        ("group", "INIT", LOST),
        (LAN, "INIT", LOST),
        (WAN, "INIT", LOST),
    }
    moves.lost(20.0)
    assert moves.deadline_s is None


def test_a_failover_that_is_back_in_time_was_never_lost() -> None:
    moves = begun()
    moves.lost(10.0)
    heard(moves, "BACKUP", 12.0, whole=True, lan="BACKUP", wan="BACKUP")
    assert moves.due(10.0 + LOST_S) == []


def test_a_failover_that_never_answers() -> None:
    moves = Moves(0.0)
    assert moves.due(0.0) == []
    assert moves.deadline_s == LOST_S
    assert moves.due(LOST_S) == [Move("group", None, "INIT", LOST)]


def test_a_vip_that_is_taken_out_of_the_group() -> None:
    moves = begun()
    heard(moves, "BACKUP", 1.0, whole=True, lan="BACKUP")
    assert moves.due(1.0) == [Move(WAN, "BACKUP", "INIT", "no VIP of this group any more")]
