"""Requests to a real unix socket, behind which a thread plays well- and ill-behaved processes."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from carpool.api.control import ANSWER_MAX_BYTES, request, socket_of
from carpool.errors import EXIT_FAILED, EXIT_UNREACHABLE, CarpoolError, UnreachableError
from carpool.kernel.clock import monotonic_s
from tests.unit.api.process import WAIT_S, process, saying


def test_a_request_is_one_line_and_so_is_its_answer(tmp_path: Path) -> None:
    path, heard = socket_of(tmp_path, "failover"), list[bytes]()

    def play(connection: socket.socket, line: bytes) -> None:
        heard.append(line)
        connection.sendall(b'{"ok": true, "changed": false, "text": "\\u00e4"}\n')

    with process(path, play):
        answer = request(path, {"command": "maintenance", "on": True}, WAIT_S)
    assert answer == {"ok": True, "changed": False, "text": "ä"}
    assert heard[0].endswith(b"}\n")
    assert heard[0].count(b"\n") == 1
    assert json.loads(heard[0]) == {"command": "maintenance", "on": True}


def test_an_answer_may_come_in_pieces_and_be_followed_by_others(tmp_path: Path) -> None:
    path = tmp_path / "failover.sock"
    long = json.dumps({"ok": True, "text": "x" * 300_000}).encode()
    with process(path, saying(long[:7], long[7:200_000], long[200_000:] + b"\n{")):
        assert len(str(request(path, {"command": "status"}, WAIT_S)["text"])) == 300_000


def test_a_refusal_is_told_in_the_words_of_the_process(tmp_path: Path) -> None:
    path = tmp_path / "failover.sock"
    line = b'{"ok": false, "error": "this node is not master", "hint": "ask the other"}\n'
    with process(path, saying(line)), pytest.raises(CarpoolError) as caught:
        request(path, {"command": "switchover"}, WAIT_S)
    assert (caught.value.message, caught.value.hint) == ("this node is not master", "ask the other")
    assert caught.value.exit_code == EXIT_FAILED


def unreachable(path: Path, timeout_s: float = WAIT_S) -> UnreachableError:
    with pytest.raises(UnreachableError) as caught:
        request(path, {"command": "status"}, timeout_s)
    assert caught.value.exit_code == EXIT_UNREACHABLE
    assert str(path) in caught.value.message
    return caught.value


def test_nobody_is_there(tmp_path: Path) -> None:
    path = tmp_path / "states.sock"
    error = unreachable(path)
    assert error.message.startswith("the states process does not answer on ")
    assert error.message.endswith("No such file or directory")
    assert error.hint == "is it running? start it with `carpool run states`"


def test_a_socket_that_a_dead_process_left(tmp_path: Path) -> None:
    path = tmp_path / "failover.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    error = unreachable(path)
    assert "Connection refused" in error.message
    assert error.hint == "is it running? start it with `carpool run failover`"


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    assert "path too long" in unreachable(tmp_path / ("x" * 120) / "failover.sock").message


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b'"ok"', b"{", b'{"ok": 1}', b"HTTP/1.1 400 Bad Request", b"[" * 200_000],
    ids=lambda line: line[:12].decode(),
)
def test_what_is_no_answer(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "failover.sock"
    with process(path, saying(line + b"\n")):
        error = unreachable(path)
    assert "it answered " in error.message
    assert len(error.message) < 400


def test_a_process_that_hangs_up(tmp_path: Path) -> None:
    path = tmp_path / "failover.sock"
    with process(path, saying(b'{"ok": tr')):
        assert "hung up" in unreachable(path).message


def test_an_answer_without_end(tmp_path: Path) -> None:
    path = tmp_path / "failover.sock"

    def play(connection: socket.socket, line: bytes) -> None:
        with pytest.raises(BrokenPipeError):  # the client hangs up
            while True:
                connection.sendall(b"x" * 65536)

    with process(path, play):
        error = unreachable(path)
    assert f"more than {ANSWER_MAX_BYTES} bytes" in error.message


def test_the_time_is_for_the_whole_answer(tmp_path: Path) -> None:
    path = tmp_path / "failover.sock"
    over = threading.Event()

    def play(connection: socket.socket, line: bytes) -> None:
        while not over.wait(0.02):  # always in time for one `recv`, never done
            connection.sendall(b" ")

    started_s = monotonic_s()
    with process(path, play):
        error = unreachable(path, 0.2)
        over.set()
    assert error.message.endswith("no answer within 0.2 s")
    assert 0.2 <= monotonic_s() - started_s < WAIT_S / 2
