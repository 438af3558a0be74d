"""Control sockets: real unix sockets in a temporary directory, both sides in one loop."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carpool.errors import KernelError
from carpool.kernel.clock import monotonic_s
from carpool.kernel.lines import LINE_MAX_BYTES, OUT_MAX_BYTES
from carpool.kernel.poller import Poller
from carpool.kernel.unixclient import RETRY_S, UnixClient
from carpool.kernel.unixserver import CLIENTS_MAX, Client, UnixServer, listen_for, make_run_dir


class Bench:
    """A server with a handler that answers by what it is asked, and the loop they run in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.poller = Poller()
        self.requests: list[dict[str, object]] = []
        self.clients: list[Client] = []
        self.gone = 0
        self.server = UnixServer(path, self.poller, self.handle)

    def handle(self, client: Client, request: dict[str, object]) -> None:
        self.requests.append(request)
        self.clients.append(client)
        client.on_gone = self.on_gone
        match request["command"]:
            case "echo":
                client.answer({"said": request.get("text")})
            case "no":
                client.refuse("no such thing", "ask for echo")
            case _:  # answered by the test, or never
                pass

    def on_gone(self) -> None:
        self.gone += 1

    def until(self, done: Callable[[], object]) -> None:
        deadline_s = monotonic_s() + 5.0
        while not done():
            assert monotonic_s() < deadline_s, "did not happen within 5 s"
            self.poller.run_once(monotonic_s() + 0.002)

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.path))
        sock.setblocking(False)
        return sock

    def line(self, sock: socket.socket) -> dict[str, object]:
        """The next line that the server sends to this client."""
        data = bytearray()

        def whole() -> bool:
            try:
                while not data.endswith(b"\n"):
                    data.extend(sock.recv(1))
            except BlockingIOError:
                return False
            return True

        self.until(whole)
        value = json.loads(data)
        assert isinstance(value, dict)
        return value

    def ended(self, sock: socket.socket) -> bool:
        """Whether the server has closed this client."""
        try:
            return sock.recv(65536) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "test.sock")
    yield made
    made.server.close()
    made.poller.close()


def test_only_its_owner_may_speak(bench: Bench) -> None:
    assert stat.S_IMODE(bench.path.stat().st_mode) == 0o600


def test_requests_of_one_client_are_answered_in_order(bench: Bench) -> None:
    with bench.connect() as sock:
        sock.send(b'{"command":"echo","text":1}\n{"command":"no"}\n{"command":"ec')
        assert bench.line(sock) == {"ok": True, "said": 1}
        assert bench.line(sock) == {"ok": False, "error": "no such thing", "hint": "ask for echo"}
        sock.send(b'ho","text":3}\n')
        assert bench.line(sock) == {"ok": True, "said": 3}


def test_a_request_can_be_answered_later_and_often(bench: Bench) -> None:
    with bench.connect() as sock:
        sock.send(b'{"command":"watch"}\n')
        bench.until(lambda: bench.requests)
        for number in range(3):
            assert bench.clients[0].send({"number": number})
        assert [bench.line(sock)["number"] for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    "line", [b"", b"nonsense", b"[1]", b'{"command":1}', b'{"x":"y"}', b"\xff\xfe", b"[" * 5000]
)
def test_what_is_no_request_is_refused_and_the_next_one_heard(bench: Bench, line: bytes) -> None:
    with bench.connect() as sock:
        sock.send(line + b'\n{"command":"echo"}\n')
        assert bench.line(sock)["ok"] is False
        assert bench.line(sock) == {"ok": True, "said": None}
    assert [request["command"] for request in bench.requests] == ["echo"]


def test_an_endless_line_ends_the_connection(bench: Bench) -> None:
    with bench.connect() as sock:
        left = b"x" * (LINE_MAX_BYTES + 1)

        def sent() -> bool:
            nonlocal left
            left = left[sock.send(left) :] if left else left
            return not left

        bench.until(sent)
        answer = bench.line(sock)
        assert answer["ok"] is False and str(LINE_MAX_BYTES) in str(answer["error"])
        bench.until(lambda: bench.ended(sock))
    assert bench.server.clients == 0


def test_a_client_that_does_not_read_is_dropped(bench: Bench) -> None:
    with bench.connect() as sock:
        sock.send(b'{"command":"watch"}\n')
        bench.until(lambda: bench.clients)
        client = bench.clients[0]
        sent = 0
        while client.send({"fill": "x" * 65536}):
            sent += 65536
            assert sent < 2 * OUT_MAX_BYTES
        assert client.closed and bench.gone == 1 and bench.server.clients == 0
        assert not client.answer()  # harmless from now on


def test_one_client_too_many_is_told_so(bench: Bench) -> None:
    held = [bench.connect() for _ in range(CLIENTS_MAX)]
    bench.until(lambda: bench.server.clients == CLIENTS_MAX)
    extra = bench.connect()
    assert str(CLIENTS_MAX) in str(bench.line(extra)["error"])
    bench.until(lambda: bench.ended(extra))
    held.pop().close()
    bench.until(lambda: bench.server.clients == CLIENTS_MAX - 1)
    with bench.connect() as sock:
        sock.send(b'{"command":"echo","text":"room"}\n')
        assert bench.line(sock)["said"] == "room"
    for sock in (*held, extra):
        sock.close()


def test_a_client_that_leaves_is_told_once(bench: Bench) -> None:
    with bench.connect() as sock:
        sock.send(b'{"command":"watch"}\n')
        bench.until(lambda: bench.clients)
    bench.until(lambda: bench.gone)
    assert bench.gone == 1 and bench.server.clients == 0


def test_the_socket_of_a_living_process_is_not_taken(bench: Bench) -> None:
    with pytest.raises(KernelError, match="another process listens"):
        UnixServer(bench.path, bench.poller, bench.handle)
    with bench.connect() as sock:  # and it still answers
        sock.send(b'{"command":"echo"}\n')
        assert bench.line(sock)["ok"] is True


def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    bench = Bench(path)
    with bench.connect() as sock:
        sock.send(b'{"command":"echo"}\n')
        assert bench.line(sock)["ok"] is True
    bench.server.close()
    assert not path.exists()


def test_a_socket_that_somebody_replaced_is_left_alone(bench: Bench) -> None:
    other = bench.path.with_name("other.sock")
    with socket.socket(socket.AF_UNIX) as newer:
        newer.bind(str(other))
        os.rename(other, bench.path)
        bench.server.close()
        assert bench.path.exists()
    bench.server = UnixServer(bench.path, bench.poller, bench.handle)


def test_a_missing_directory_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match=r"missing/x\.sock: No such file"):
        UnixServer(tmp_path / "missing" / "x.sock", Poller(), lambda client, request: None)


def test_the_other_side_follows_a_process_over_its_restarts(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "test.sock")
    ups, downs = [0], list[str]()
    answers: list[dict[str, object]] = []

    def up() -> None:
        ups[0] += 1
        assert client.send({"command": "echo", "text": ups[0]})

    client = UnixClient(
        bench.path, bench.poller, on_up=up, on_answer=answers.append, on_down=downs.append
    )
    now_s = 100.0
    client.tick(now_s)
    bench.until(lambda: answers == [{"ok": True, "said": 1}])

    bench.server.close()
    bench.until(lambda: downs)
    assert not client.connected and not client.send({"command": "echo"})
    assert client.deadline_s == now_s + RETRY_S
    client.tick(now_s + 0.5)  # not yet
    assert client.last_error == f"{bench.path}: closed by the other side"
    client.tick(now_s + RETRY_S)  # nobody there
    assert "No such file" in str(client.last_error)

    bench.server = UnixServer(bench.path, bench.poller, bench.handle)
    client.tick(now_s + 2.0)
    bench.until(lambda: len(answers) == 2)
    assert answers[1] == {"ok": True, "said": 2} and downs == ["closed by the other side"]
    client.close()
    bench.server.close()


def test_a_run_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    make_run_dir(tmp_path / "a" / "b")
    make_run_dir(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(
        KernelError, match=r"make the run directory .*/file/b: Not a directory"
    ) as told:
        make_run_dir(tmp_path / "file" / "b")
    assert "--run-dir" in told.value.hint


def test_a_socket_for_a_group_is_in_a_directory_of_its_own(tmp_path: Path) -> None:
    path, gid = tmp_path / "web" / "a.sock", os.getgid()
    before = os.umask(0o077)
    try:
        for _start in range(2):  # what a process that is gone left is taken over
            sock = listen_for(gid, path)
            modes = [stat.S_IMODE(one.stat().st_mode) for one in (path.parent, path)]
            assert modes == [0o750, 0o660]
            assert {path.stat().st_gid, path.parent.stat().st_gid} == {gid}
            with pytest.raises(KernelError, match="another process listens"):
                listen_for(gid, path)
            sock.close()
    finally:
        os.umask(before)
    (tmp_path / "file").touch()
    with pytest.raises(KernelError, match=r"file/a\.sock: File exists"):
        listen_for(gid, tmp_path / "file" / "a.sock")
