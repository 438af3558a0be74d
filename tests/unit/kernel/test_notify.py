"""What systemd hears, on a real socket."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carpool.kernel.clock import monotonic_s
from carpool.kernel.notify import RETRY_S, Notify
from carpool.kernel.poller import Poller


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "path":
        return str(tmp_path / "notify")
    return f"@carpool-test-{uuid.uuid4()}"


@pytest.fixture
def systemd(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as made:
        made.bind(address.replace("@", "\0", 1))
        yield made


def heard(systemd: socket.socket) -> list[str]:
    """Each datagram, its lines joined."""
    found = []
    while True:
        try:
            found.append(" ".join(systemd.recv(4096).decode().splitlines()))
        except BlockingIOError:
            return found


Made = Callable[..., Notify]


@pytest.fixture
def made() -> Iterator[Made]:
    with contextlib.ExitStack() as all_of_them:

        def make(address: str, **more: str) -> Notify:
            notify = Notify({"NOTIFY_SOCKET": address, **more})
            all_of_them.callback(notify.close)
            return notify

        yield make


def test_ready_reloading_stopping(systemd: socket.socket, address: str, made: Made) -> None:
    notify = made(address)
    notify.ready()
    notify.reloading()
    notify.stopping("leaving")
    assert heard(systemd) == ["READY=1", "RELOADING=1", "STOPPING=1 STATUS=leaving"]


def test_last_words_are_a_status_that_nothing_follows(
    systemd: socket.socket, address: str, made: Made
) -> None:
    notify = made(address)
    notify.about = lambda: "well"
    notify.alive(0.0)
    notify.last_words("TROUBLE: it ended:\n no room")
    notify.alive(100.0)
    assert heard(systemd)[-1] == "STATUS=TROUBLE: it ended: no room"


def test_alive_in_a_third_of_the_watchdogs_time(
    systemd: socket.socket, address: str, made: Made
) -> None:
    notify = made(address, WATCHDOG_USEC="6000000", WATCHDOG_PID=str(os.getpid()))
    times_s = [at / 10 for at in range(100, 200)]
    told_s = []
    for now_s in times_s:
        notify.alive(now_s)
        told_s += [now_s for _ in heard(systemd)]
    assert told_s == [10.0, 12.0, 14.0, 16.0, 18.0]
    assert notify.deadline_s == 20.0


@pytest.mark.parametrize(
    "watchdog", [{}, {"WATCHDOG_USEC": "6000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}]
)
def test_no_watchdog_or_that_of_another_process(
    systemd: socket.socket, address: str, made: Made, watchdog: dict[str, str]
) -> None:
    notify = made(address, **watchdog)
    assert not notify.watched
    for now_s in range(10, 20):
        notify.alive(now_s)
    assert heard(systemd) == []


def test_the_status_is_told_when_it_is_another(
    systemd: socket.socket, address: str, made: Made
) -> None:
    notify = made(address)
    said = ["backup", "backup", "master\nREADY=1 " + "x" * 300]
    notify.about = said.pop
    said.reverse()
    for now_s in (10.0, 20.0, 30.0):
        notify.alive(now_s)
    first, second = heard(systemd)
    assert first == "STATUS=backup"
    assert second.startswith("STATUS=master READY=1 xxx")  # one line, whatever is in it
    assert len(second) == 207


def test_what_does_not_fit_now_is_told_later(
    systemd: socket.socket, address: str, made: Made
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
        other.connect(systemd.getsockname())
        with pytest.raises(BlockingIOError):  # net.unix.max_dgram_qlen
            for _ in range(100_000):
                other.send(b"X")
    notify = made(address, WATCHDOG_USEC="3000000")
    notify.ready()
    notify.alive(10.0)
    assert notify.deadline_s == 10.0 + RETRY_S
    assert set(heard(systemd)) == {"X"}
    notify.alive(notify.deadline_s)
    assert heard(systemd) == ["READY=1 WATCHDOG=1"]


def test_a_systemd_that_is_gone_for_a_moment(tmp_path: Path, made: Made) -> None:
    address = str(tmp_path / "notify")
    notify = made(address)
    notify.ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as back:
        back.bind(address)
        notify.alive(10.0)
        assert heard(back) == ["READY=1"]


def test_without_systemd_nothing_is_told_and_nobody_wakes_for_it() -> None:
    notify = Notify({})
    for tell in (notify.ready, notify.reloading, lambda: notify.stopping("")):
        tell()
    notify.alive(10.0)
    assert notify.deadline_s is None


def test_a_loop_tells_as_long_as_it_turns(systemd: socket.socket, address: str, made: Made) -> None:
    poller = Poller(made(address, WATCHDOG_USEC="60000"))
    end_s = monotonic_s() + 0.3
    while monotonic_s() < end_s:
        poller.run_once(None)  # comes back by itself: nobody else wakes it
    assert len(heard(systemd)) >= 3
    poller.close()
