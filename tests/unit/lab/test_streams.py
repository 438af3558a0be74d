"""Streams: what they send, how a wrong byte is found, and who counts as a survivor."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.lab.streams import Ledger, Stream, message, tally

MESSAGES = [message(stream, number) for stream in range(3) for number in range(5)]


def sent(ledger: Ledger, messages: int) -> bytes:
    """Send so many messages in one piece each; gives what the server will echo."""
    out = b""
    for _ in range(messages):
        data = ledger.next()
        out += data
        ledger.took(len(data))
    return out


def test_no_two_messages_are_alike() -> None:
    assert len(set(MESSAGES)) == len(MESSAGES)
    assert {len(data) for data in MESSAGES} == {32}


@given(st.lists(st.integers(min_value=1, max_value=50), min_size=1, max_size=20))
def test_any_cutting_of_the_right_bytes_is_right(cuts: list[int]) -> None:
    ledger = Ledger(7)
    data = sent(ledger, 10)
    offset = 0
    for cut in cuts:
        ledger.came(data[offset : offset + cut])
        offset = min(len(data), offset + cut)
    assert ledger.error is None
    assert ledger.echoed == offset


@given(st.integers(min_value=0, max_value=319), st.integers(min_value=1, max_value=64))
def test_lost_bytes_are_found_by_the_next_message_at_the_latest(at: int, count: int) -> None:
    ledger = Ledger(7)
    data = sent(ledger, 10)
    after = sent(ledger, 1)
    ledger.came(data[:at] + data[at + count :] + after)
    assert ledger.error is not None
    assert ledger.echoed == 0


@pytest.mark.parametrize(
    "wrong",
    [message(7, 0) * 2, message(7, 1), message(8, 0), bytes(32), message(7, 0) + b"x"],
    ids=["doubled", "out of order", "of another stream", "zeros", "one too many"],
)
def test_foreign_doubled_and_reordered_bytes_are_found(wrong: bytes) -> None:
    ledger = Ledger(7)
    sent(ledger, 2)
    ledger.came(wrong)
    assert ledger.error == "wrong bytes after 0 right ones"


def test_what_the_kernel_did_not_take_is_sent_again() -> None:
    ledger = Ledger(7)
    ledger.next()
    ledger.took(10)
    assert ledger.next() == message(7, 0)[10:]
    ledger.took(22)
    assert ledger.next() == message(7, 1)
    ledger.came(message(7, 0))
    assert (ledger.error, ledger.echoed) == (None, 32)


def stream(number: int, opened_s: float | None, *, young: bool, echoed: int = 64) -> Stream:
    """A stream that had to get 64 bytes back to count as survived."""
    with socket.socket() as sock:
        made = Stream(sock, Ledger(number), young, opened_s)
    made.goal = 64
    made.ledger.echoed = echoed
    made.silence_s = 0.1
    return made


def test_streams_count_by_their_age_at_the_fault() -> None:
    found = tally(
        [
            stream(0, 90.0, young=False),
            stream(1, 91.0, young=False, echoed=63),
            stream(2, 98.5, young=True),  # older than a second: neither young nor steady
            stream(3, 99.1, young=True),
            stream(4, 99.85, young=True, echoed=0),
            stream(5, 99.95, young=True),  # younger than 100 ms
            stream(6, 100.2, young=True, echoed=0),  # opened after the fault
            stream(7, None, young=True),  # never established
        ],
        fault_s=100.0,
    )
    assert found["connections"] == {"opened": 2, "survived": 1}
    assert found["young"] == {"opened": 2, "survived": 1}
    assert found["young_under_100ms"] == {"opened": 1, "survived": 1}
    assert found["errors"] == ["silent"]


def test_a_stream_with_wrong_bytes_has_not_survived_whatever_it_echoed() -> None:
    broken = stream(0, 90.0, young=False)
    broken.ledger.error = "wrong bytes after 12 right ones"
    found = tally([broken], fault_s=100.0)
    assert found["connections"] == {"opened": 1, "survived": 0}
    assert found["errors"] == ["wrong bytes after 12 right ones"]
