"""The command backend, with a real init script in shell."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from carpool.agent.services import (
    Action,
    CommandServices,
    ServiceError,
    Services,
    ServiceState,
    checked,
    run,
)
from tests.netns.lab import wait_until
from tests.unit.agent.home import until
from tests.unit.agent.offspring import children

SCRIPT = r"""#!/bin/sh
# Knows the services that have a directory here: NAME/run when it runs. NAME/says holds what to
# say and the exit status of the next action.
cd "$(dirname "$0")" || exit 1
name=$1 action=$2
[ -d "$name" ] || exit 4
echo "$action" >>"$name/log"
if [ -e "$name/$action.says" ]; then
    cat "$name/$action.says"
    exit "$(cat "$name/$action.exit")"
fi
case $action in
start | restart) touch "$name/run" ;;
stop) rm -f "$name/run" ;;
status) [ -e "$name/run" ] || exit 3 ;;
esac
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    script = tmp_path / "service"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    for name in ("web", "dns"):
        (tmp_path / name).mkdir()
    return tmp_path


def services(here: Path) -> Services:
    return CommandServices([f"{here}/service", "{service}", "{action}"])


def act(here: Path, name: str, action: Action, timeout_s: float = 10) -> None:
    asyncio.run(services(here).act(name, action, timeout_s))


def answers(here: Path, action: str, status: int, said: str = "") -> None:
    (here / "web" / f"{action}.says").write_text(said)
    (here / "web" / f"{action}.exit").write_text(str(status))


def log(here: Path) -> list[str]:
    return (here / "web" / "log").read_text().split()


def test_what_services_are_at(here: Path) -> None:
    act(here, "web", Action.START)
    assert asyncio.run(services(here).states(["web", "none", "dns"])) == [
        ServiceState("web", installed=True, active=True, sub="running"),
        ServiceState("none", installed=False),
        ServiceState("dns", installed=True, sub="stopped"),
    ]


def test_a_service_that_died_has_failed(here: Path) -> None:
    answers(here, "status", 1)
    (state,) = asyncio.run(services(here).states(["web"]))
    assert (state.installed, state.active, state.sub) == (True, False, "failed")


@pytest.mark.parametrize("action", list(Action))
def test_each_action_reaches_the_command(here: Path, action: Action) -> None:
    act(here, "web", action)
    assert log(here) == [action]


def test_a_failure_is_told_in_the_words_of_the_command(here: Path) -> None:
    answers(here, "start", 1, "x" * 9000 + "\nbad line 7")
    with pytest.raises(ServiceError) as caught:
        act(here, "web", Action.START)
    assert caught.value.message.startswith("start of web failed")
    assert "gave exit status 1:\n" in caught.value.message
    assert caught.value.message.endswith("bad line 7")
    assert len(caught.value.message) < 5000


@pytest.mark.parametrize("status", [3, 7])
def test_who_cannot_reload_is_restarted_if_it_runs(here: Path, status: int) -> None:
    answers(here, "reload", status)
    act(here, "web", Action.RELOAD)
    assert log(here) == ["reload", "status"]
    act(here, "web", Action.START)
    act(here, "web", Action.RELOAD)
    assert log(here)[3:] == ["reload", "status", "restart"]


def test_at_the_limit_the_command_is_killed_with_its_children(here: Path) -> None:
    sleeper = here / "sleeper"
    sleeper.symlink_to(shutil.which("sleep") or "sleep")
    command = CommandServices(["sh", "-c", f"{sleeper} 1000 & {sleeper} 1000; : {{service}}"])
    with pytest.raises(ServiceError, match=r"did not end in 0\.3 s"):
        asyncio.run(command.act("web", Action.STOP, 0.3))

    def alive() -> list[bytes]:
        line = ["pgrep", "-f", str(sleeper)]
        return subprocess.run(line, capture_output=True, check=False).stdout.split()

    try:
        asyncio.run(until(lambda: not alive(), "all are dead"))
    finally:
        for pid in alive():
            os.kill(int(pid), signal.SIGKILL)


def test_a_daemon_that_holds_the_output_does_not_hold_us(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    argv = ["sh", "-c", f"sleep 1000 & echo $! >{pid}; echo started"]
    try:
        assert asyncio.run(run(argv, 10)) == (0, "started")
    finally:
        subprocess.run(["kill", pid.read_text().strip()], check=True)


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(ServiceError, match="cannot run `/no/such`: No such file"):
        asyncio.run(CommandServices(["/no/such", "{action}"]).act("web", Action.STOP))


@pytest.mark.parametrize(
    "name", ["", "-x", "a b", "a;b", "a/b", "../x", "a\n", "x" * 300, "{action}"]
)
def test_what_is_no_name_is_refused(name: str, here: Path) -> None:
    with pytest.raises(ServiceError, match="is no name of a service"):
        act(here, name, Action.STOP)


@pytest.mark.parametrize(
    "name", ["dnsmasq", "openvpn@site-1", "wg-quick@wg0", "a\\x2db", "dbus.socket"]
)
def test_names_of_units(name: str) -> None:
    assert checked(name) == name


def test_who_is_cancelled_twice_still_waits_for_the_child_that_it_killed(tmp_path: Path) -> None:
    began = tmp_path / "began"

    async def days() -> None:
        task = asyncio.create_task(run(["/bin/sh", "-c", f"touch {began}; sleep 60"], 60))
        await until(began.exists, "it runs")
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    others = children()
    asyncio.run(days())
    assert children() == others


def test_one_that_ends_as_it_is_cancelled_is_not_killed_again() -> None:
    """asyncio may not have said yet what a thread of its own has reaped."""

    async def cancelled() -> None:
        before = children()
        task = asyncio.create_task(run(["sleep", "0.2"], 10))
        await until(lambda: children() - before, "it has begun")
        (pid,) = children() - before
        wait_until(lambda: reaped(pid), 10)  # in this loop nothing runs meanwhile
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(cancelled())


def reaped(pid: int) -> bool:
    """By a thread, before Python 3.12."""
    return sys.version_info >= (3, 12) or not Path(f"/proc/{pid}").exists()
