"""Services through a real systemd, which a machine of the test's own boots."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from carpool.agent.scriptrun import Call, Ran
from carpool.agent.services import Action, ServiceError, ServiceState
from carpool.agent.switch import switch
from carpool.agent.systemd import SystemdServices
from carpool.agent.transient import TransientRunner
from carpool.kernel.clock import monotonic_s
from carpool.machine.roles import deeds
from carpool.model.section import Service
from tests.netns.machine import Machine, Refused
from tests.unit.agent.home import until

T = TypeVar("T")

HEAD = "[Unit]\nDefaultDependencies=no\n[Service]\n"
INSTALL = "\n[Install]\nWantedBy=test.target"
UNITS = {
    "plain.service": f"{HEAD}ExecStart=/bin/sleep infinity{INSTALL}",
    # Notes each reload; takes it up when it is told to.
    "reloads.service": f"{HEAD}ExecStart=/bin/sleep infinity\n"
    "ExecReload=/bin/sh -c 'echo reloaded >>/run/reloads'",
    "broken.service": f"{HEAD}Type=oneshot\n"
    "ExecStart=/bin/sh -c 'echo the reason is on line 7; exit 1'",
    "stubborn.service": f"{HEAD}Type=oneshot\nExecStart=/bin/sleep infinity",
    "quick.service": f"{HEAD}Type=oneshot\nExecStart=/bin/true",
    "many@.service": f"{HEAD}ExecStart=/bin/sleep infinity",
    "pulled.service": f"{HEAD}ExecStart=/bin/sleep infinity{INSTALL}",
    "puller.service": "[Unit]\nDefaultDependencies=no\nWants=pulled.service\n"
    "[Service]\nExecStart=/bin/sleep infinity",
    "knocked.service": f"{HEAD}ExecStart=/bin/sleep infinity",
    "knocked.socket": "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/knocked",
    "nightly.service": f"{HEAD}Type=oneshot\nExecStart=/bin/true",
    "nightly.timer": f"[Unit]\nDefaultDependencies=no\n[Timer]\nOnCalendar=daily{INSTALL}",
}
SCRIPT = """#!/bin/sh
### BEGIN INIT INFO
# Provides:          scripted
# Required-Start:
# Required-Stop:
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: of olden times
### END INIT INFO
exit 0
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    try:
        with Machine(tmp_path_factory.mktemp("machine"), UNITS) as made:
            made.booted()
            yield made
    except Refused as error:
        pytest.skip(f"no machine of our own: {error}")


def on(machine: Machine, use: Callable[[SystemdServices], Awaitable[T]]) -> T:
    """Open a connection, use it, close it."""

    async def session() -> T:
        journal = ("journalctl", "--directory", f"{machine.root}/run/log/journal")
        enter = ("nsenter", "-t", str(machine.pid), "-m", "-p", "--")
        sysv_install = (*enter, "/lib/systemd/systemd-sysv-install")
        services = SystemdServices(machine.bus, journal, sysv_install)
        try:
            return await use(services)
        finally:
            await services.close()

    return asyncio.run(session())


def act(machine: Machine, name: str, action: Action, timeout_s: float = 10) -> None:
    on(machine, lambda services: services.act(name, action, timeout_s))


def state(machine: Machine, name: str) -> ServiceState:
    (found,) = on(machine, lambda services: services.states([name]))
    return found


def test_a_service_is_started_and_stopped(machine: Machine) -> None:
    act(machine, "plain", Action.START)
    running = state(machine, "plain")
    assert (running.installed, running.active, running.sub) == (True, True, "running")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", running.since)
    assert running.memory_bytes is None or running.memory_bytes > 0
    act(machine, "plain", Action.STOP)
    stopped = state(machine, "plain")
    assert (stopped.active, stopped.sub) == (False, "dead")


def test_a_restart_is_another_process(machine: Machine) -> None:
    async def pids(services: SystemdServices) -> tuple[str, str]:
        await services.act("plain", Action.START)
        before = processes_of(machine, "plain")
        await services.act("plain", Action.RESTART)
        return before, processes_of(machine, "plain")

    before, after = on(machine, pids)
    assert before
    assert after
    assert before != after


def test_reload_leaves_the_process_and_a_stopped_service_alone(machine: Machine) -> None:
    noted = machine.root / "run" / "reloads"
    act(machine, "reloads", Action.RELOAD)
    assert not state(machine, "reloads").active
    act(machine, "reloads", Action.START)
    before = processes_of(machine, "reloads")
    act(machine, "reloads", Action.RELOAD)
    assert noted.read_text() == "reloaded\n"
    assert processes_of(machine, "reloads") == before


def test_who_cannot_reload_is_restarted(machine: Machine) -> None:
    act(machine, "plain", Action.START)
    before = processes_of(machine, "plain")
    act(machine, "plain", Action.RELOAD)
    assert processes_of(machine, "plain") not in ("", before)


def test_a_failed_start_is_told_in_the_words_of_the_service(machine: Machine) -> None:
    with pytest.raises(ServiceError) as caught:
        act(machine, "broken", Action.START)
    assert caught.value.message.startswith("start of broken: failed")
    assert "the reason is on line 7" in caught.value.message
    assert caught.value.hint == "systemctl status broken.service; journalctl -u broken.service"
    failed = state(machine, "broken")
    assert (failed.active, failed.sub) == (False, "failed")
    assert failed.since.endswith("Z")


def test_a_start_that_takes_too_long(machine: Machine) -> None:
    with pytest.raises(ServiceError, match=r"start of stubborn: not done in 0\.3 s"):
        act(machine, "stubborn", Action.START, 0.3)
    act(machine, "stubborn", Action.STOP)


def test_enable_and_disable_change_the_next_boot_alone(machine: Machine) -> None:
    act(machine, "plain", Action.STOP)
    assert state(machine, "plain").enabled is False
    act(machine, "plain", Action.ENABLE)
    enabled = state(machine, "plain")
    assert (enabled.enabled, enabled.active) == (True, False)
    act(machine, "plain", Action.DISABLE)
    assert state(machine, "plain").enabled is False


def test_what_cannot_be_enabled_says_so(machine: Machine) -> None:
    assert state(machine, "quick").enabled is None
    with pytest.raises(ServiceError, match=r"quick\.service cannot be enabled"):
        act(machine, "quick", Action.ENABLE)


def test_a_service_that_is_not_installed(machine: Machine) -> None:
    assert state(machine, "no-such") == ServiceState("no-such", installed=False)
    with pytest.raises(ServiceError, match=r"no-such\.service"):
        act(machine, "no-such", Action.START)


def test_many_at_once_each_get_their_own_answer(machine: Machine) -> None:
    async def burst(services: SystemdServices) -> list[BaseException | None]:
        names = ["quick", "broken", *(f"many@{number}" for number in range(20))]
        started = (services.act(name, Action.START, 10) for name in names)
        ends = list(await asyncio.gather(*started, return_exceptions=True))
        stopped = (services.act(name, Action.STOP, 10) for name in names[2:])
        return ends + list(await asyncio.gather(*stopped, return_exceptions=True))

    quick, broken, *others = on(machine, burst)
    assert quick is None
    assert isinstance(broken, ServiceError)
    assert others == [None] * 40


def test_a_lost_connection_is_made_again(machine: Machine) -> None:
    async def twice(services: SystemdServices) -> list[ServiceState]:
        await services.act("plain", Action.STOP)
        await services.close()
        return await services.states(["dbus"])

    (dbus,) = on(machine, twice)
    assert dbus.active


def script(machine: Machine, text: str) -> str:
    path = machine.root / "run" / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return "/run/hook"


def hook(machine: Machine, text: str, timeout_s: float = 10) -> Ran:
    call = Call(
        "carpool-hook-try",
        (script(machine, text), "group", "MASTER"),
        {"CARPOOL_TO": "MASTER"},
        b'{"version": 1}\n',
        timeout_s,
    )
    return on(machine, lambda services: TransientRunner(services, monotonic_s).run(call))


def test_a_hook_is_a_unit_of_its_own(machine: Machine) -> None:
    ran = hook(machine, 'cat; echo "$1 $2 $CARPOOL_TO"; cat /proc/self/cgroup >&2; exit 3')
    assert (ran.status, ran.words) == (3, "exit status 3")
    assert '{"version": 1}\ngroup MASTER MASTER\n' in ran.output
    assert "/carpool-hook-try.service" in ran.output
    assert hook(machine, "kill -KILL $$").words == "ended by SIGKILL"
    assert hook(machine, "true").ok, "and nothing is left of the one before"
    assert not state(machine, "carpool-hook-try").installed


def test_what_needs_the_network_alone_is_nobody_in_particular(machine: Machine) -> None:
    text = "cat; id -un; cat /etc/shadow; echo x >/etc/x; echo x >/var/lib/x; ls /root; exit 7"
    call = Call("carpool-alert-ops", (script(machine, text),), {"HOME": "/"}, b"told\n", 10)
    shut = replace(call, unprivileged=True)
    ran = on(machine, lambda services: TransientRunner(services, monotonic_s).run(shut))
    assert ran.status == 7, ran
    assert ran.output.startswith("told\ncarpool-alert\n"), ran.output
    refusals = [line for line in ran.output.splitlines()[2:] if line]
    assert len(refusals) == 4, ran.output  # four were tried, and each was refused


def test_a_hook_that_hangs_is_ended_with_all_that_it_started(machine: Machine) -> None:
    def hung(limit_s: float) -> Ran:
        ran = hook(machine, 'echo before; trap "" TERM; setsid sleep 1000 & wait; wait', limit_s)
        assert (ran.status, ran.words) == (None, f"did not end in {limit_s:g} s, and was ended")
        return ran

    ran = hung(0.3)
    if not ran.output:  # this machine is too busy to begin in that time
        ran = hung(10)
    assert ran.last_line == "before"
    assert processes_of(machine, "carpool-hook-try") == ""


def test_a_hook_runs_serially_with_itself_whoever_began_it(machine: Machine) -> None:
    """An agent that is started again waits for the hook that the one before it began."""

    async def twice(services: SystemdServices) -> list[Ran]:
        path = script(machine, "echo in >>/run/turns; sleep 0.3; echo out >>/run/turns")
        call = Call("carpool-hook-try", (path,), {}, b"", 10)
        runners = [TransientRunner(services, monotonic_s) for _ in range(2)]
        return list(await asyncio.gather(*(runner.run(call) for runner in runners)))

    assert all(ran.ok for ran in on(machine, twice))
    assert (machine.root / "run" / "turns").read_text().split() == ["in", "out"] * 2


def test_a_systemd_that_hung_does_not_keep_the_name_of_a_hook(machine: Machine) -> None:
    call = Call("carpool-hook-try", (script(machine, "exit 0"),), {}, b"", 0.5)

    async def hung(services: SystemdServices) -> tuple[Ran, Ran]:
        await services.states(["dbus"])  # so that there is a connection
        runner = TransientRunner(services, monotonic_s, patience_s=0.1)
        os.kill(machine.pid, signal.SIGSTOP)
        try:
            first = await runner.run(call)
        finally:
            os.kill(machine.pid, signal.SIGCONT)
        return first, await TransientRunner(services, monotonic_s).run(replace(call, timeout_s=10))

    first, second = on(machine, hung)
    assert first.words == "systemd did not say how it ended"
    assert second.ok, second


def test_a_hook_that_is_no_program(machine: Machine) -> None:
    call = Call("carpool-hook-try", ("/run/none",), {}, b"", 10)
    ran = on(machine, lambda services: TransientRunner(services, monotonic_s).run(call))
    assert not ran.ok
    assert ran.words == "cannot be started: /run/none is no program"


def test_a_command_that_switches_a_service_is_a_unit_of_its_own(machine: Machine) -> None:
    words = ("sh", "-c", 'cat /proc/self/cgroup; echo "$HOME $$ ${0}" | tr -d 0-9 >&2; exit 3')
    service = Service("many@a", on_master=words, on_backup=("none-such",))

    async def switched(services: SystemdServices, master: bool) -> None:
        await switch(service, master, TransientRunner(services, monotonic_s))

    with pytest.raises(ServiceError) as failed:
        on(machine, lambda services: switched(services, True))
    assert "exit status 3:" in failed.value.message
    assert "/carpool-switch-many:a.service\n/root  sh" in failed.value.message, "words as written"
    with pytest.raises(ServiceError, match="`none-such`: cannot be started: none-such is no prog"):
        on(machine, lambda services: switched(services, False))


def test_a_switch_that_is_overtaken_ends_at_once_with_all_that_it_started(machine: Machine) -> None:
    up, down = ("sh", "-c", "touch /run/up; setsid sleep 1000 & wait"), ("touch", "/run/down")
    service = Service("ospf", on_master=up, on_backup=down, timeout_s=20)

    async def overtaken(services: SystemdServices) -> float:
        runner = TransientRunner(services, monotonic_s)
        hangs = asyncio.create_task(switch(service, True, runner))
        await until((machine.root / "run/up").exists, "it runs")
        begun_s = monotonic_s()
        hangs.cancel()
        await asyncio.wait([hangs])
        assert hangs.cancelled() and processes_of(machine, "carpool-switch-ospf") == ""
        await switch(service, False, runner)
        return monotonic_s() - begun_s

    assert on(machine, overtaken) < service.timeout_s
    assert (machine.root / "run/down").exists()


def test_without_a_bus_a_hook_runs_within_the_agent(tmp_path: Path) -> None:
    async def ask() -> Ran:
        services = SystemdServices(f"unix:path={tmp_path}/none")
        call = Call("carpool-hook-try", ("/bin/echo", "moved"), {}, b"", 10)
        return await TransientRunner(services, monotonic_s).run(call)

    ran = asyncio.run(ask())
    assert (ran.ok, ran.last_line) == (True, "moved")


def test_without_a_bus_the_error_says_so(tmp_path: Path) -> None:
    async def ask() -> None:
        await SystemdServices(f"unix:path={tmp_path}/none").states(["dbus"])

    with pytest.raises(ServiceError, match="no D-Bus") as caught:
        asyncio.run(ask())
    assert "[services] in node.toml" in caught.value.hint


def processes_of(machine: Machine, name: str) -> str:
    """Process ids of a service, as its cgroup has them."""
    found = ""
    for place, _, _ in os.walk(machine.cgroup):  # which goes on where one ends meanwhile
        if Path(place).name == f"{name}.service":
            with contextlib.suppress(OSError):
                found += (Path(place) / "cgroup.procs").read_text()
    return found


def test_a_service_of_the_master_alone_fits_each_role_after_its_deeds(machine: Machine) -> None:
    act(machine, "plain", Action.ENABLE)
    act(machine, "plain", Action.START)

    def todo(master: bool) -> list[tuple[str, tuple[str, ...]]]:
        names = ["plain", "broken", "absent"]
        return deeds(master, on(machine, lambda services: services.states(names)))

    assert todo(True) == [("plain", ("disable",)), ("broken", ("start",))]
    assert todo(False) == [("plain", ("stop", "disable"))]
    for verb in ("stop", "disable"):
        act(machine, "plain", Action(verb))
    assert todo(False) == []
    assert dict(todo(True))["plain"] == ("start",)
    act(machine, "plain", Action.START)
    assert "plain" not in dict(todo(True))


def test_a_stop_ends_the_socket_too_that_would_begin_it_again(machine: Machine) -> None:
    machine.run("systemctl", "start", "knocked.socket")
    act(machine, "knocked", Action.START)
    act(machine, "knocked", Action.STOP)
    assert not state(machine, "knocked").active
    asked = machine.run("systemctl", "is-active", "knocked.socket", check=False)
    assert asked.stdout == "inactive\n"


def test_a_timer_can_be_of_the_master_alone(machine: Machine) -> None:
    act(machine, "nightly.timer", Action.ENABLE)
    act(machine, "nightly.timer", Action.START)
    runs = state(machine, "nightly.timer")
    assert (runs.active, runs.enabled, runs.sub) == (True, True, "waiting")
    assert deeds(False, [runs]) == [("nightly.timer", ("stop", "disable"))]
    act(machine, "nightly.timer", Action.DISABLE)
    act(machine, "nightly.timer", Action.STOP)
    rests = state(machine, "nightly.timer")
    assert (rests.active, rests.enabled) == (False, False)


def test_an_init_script_is_kept_from_starting_at_boot(machine: Machine) -> None:
    script = machine.root / "etc" / "init.d" / "scripted"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    machine.run("update-rc.d", "scripted", "defaults")
    machine.run("systemctl", "daemon-reload")
    found = state(machine, "scripted")
    assert (found.installed, found.enabled) == (True, True)
    assert deeds(False, [found]) == [("scripted", ("disable",))]
    act(machine, "scripted", Action.DISABLE)
    assert state(machine, "scripted").enabled is False
    act(machine, "scripted", Action.ENABLE)
    assert state(machine, "scripted").enabled is True


def test_a_reload_is_a_change_and_a_look_is_none(machine: Machine) -> None:
    act(machine, "reloads", Action.START)
    begun = state(machine, "reloads")
    assert begun.changed and state(machine, "reloads").changed == begun.changed
    machine.run("systemctl", "reload", "reloads")
    assert state(machine, "reloads").changed != begun.changed


def test_what_another_unit_starts_is_told_although_it_is_not_enabled(machine: Machine) -> None:
    machine.run("systemctl", "start", "puller")
    act(machine, "pulled", Action.DISABLE)
    found = state(machine, "pulled")
    assert (found.enabled, found.wanted_by) == (False, ("puller.service",))
    assert state(machine, "plain").wanted_by == ()
