"""Composition root: builds hands, machine and service of a process, and runs them.

The only place where the rooms meet; imported by `carpool run` alone. Holds no logic of its own.
"""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from carpool import __version__
from carpool.api.control import FAILOVER
from carpool.kernel import clock, counterbase
from carpool.kernel.addresses import AddressHolder
from carpool.kernel.flagfile import FlagFile
from carpool.kernel.journal import Journal, never_wait_for_stderr, say, tell_console
from carpool.kernel.later import Later
from carpool.kernel.links import LinkMonitor, device_facts
from carpool.kernel.netlink import NETLINK_NETFILTER, NetlinkSocket
from carpool.kernel.notify import Notify
from carpool.kernel.poller import Poller
from carpool.kernel.process import begin_anew
from carpool.kernel.realtime import be_realtime
from carpool.kernel.unixserver import Client, UnixServer, make_run_dir
from carpool.machine import effects as fx
from carpool.machine import watch
from carpool.machine.engine import Engine
from carpool.machine.report import summary_of
from carpool.model.config import Config, Encryption
from carpool.model.status import Trouble
from carpool.model.validate import check_system
from carpool.service.failover import FailoverService, Hands
from carpool.service.groupchange import Files, Form, Start
from carpool.service.guard import guard
from carpool.service.troubles import TroubleTeller

if TYPE_CHECKING:
    from carpool.kernel.stream import Wire

FILES_HINT = "`carpool check` shows every mistake; it begins by itself when they are mended"


def run_failover(
    form: Form, files: Files, run_dir: Path, state_dir: Path, unusable: str = ""
) -> int:
    """`carpool run failover`: the guard, and the worker as its child. Returns the exit code.
    `unusable`: why `form` is not what the files say."""
    make_run_dir(run_dir)
    _warn_of_this_machine(form.config)
    started = replace(files.start(form, again=False), unusable=unusable)
    # Owned by the guard, the nft table outlives a worker: see kernel/addresses.py.
    owner = NetlinkSocket(NETLINK_NETFILTER)
    notify = Notify()  # of the guard: the process that systemd knows
    gc.freeze()  # what is loaded by now is shared by guard and worker; keep the pages so

    def worker(parent_fd: int, again: bool) -> int:
        start = files.start(form, again=True) if again else started
        start = replace(start, unusable=files.look().error) if again else start
        return _failover(start, files, run_dir, state_dir, parent_fd, owner, notify)

    return guard(worker, clock.monotonic_s)


def wait_for_files(process: str, unusable: Callable[[], str]) -> int:
    """Begin anew as soon as the files can be used; until then do nothing, and say why. Returns the
    exit code of who is told to stop first."""
    never_wait_for_stderr()
    notify = Notify()
    poller = Poller(notify)
    stopped: list[object] = []
    poller.on_signals(stopped.append)
    why = unusable()
    notify.about = lambda: f"TROUBLE: {process} waits for a configuration: {why}"
    node = socket.gethostname()  # whatever node.toml would say
    # One voice is enough: the others wait for the same.
    quiet = process != FAILOVER

    def find() -> list[Trouble]:
        text = f"{process} does nothing: {why}"
        return [] if quiet else [Trouble("files", text, FILES_HINT, 0.0)]

    teller = TroubleTeller(node, find, clock.wall_iso)
    notify.ready()  # or what boots would wait for it
    while not stopped and (why := unusable()):
        teller.on_time(clock.monotonic_s())
        poller.run_once(teller.deadline_s)
    if not stopped:
        if not quiet:
            tell_console(f"{node}: {process} begins: the configuration can be used")
        notify.reloading()
        begin_anew()
    notify.stopping("leaving")
    return 0


def leave(form: Form, files: Files, run_dir: Path, state_dir: Path) -> None:
    """Hand over what a failover process that died holds, and take it away. KernelError, also when
    another one runs."""
    make_run_dir(run_dir)
    never, ours = os.pipe2(os.O_CLOEXEC)
    owner = NetlinkSocket(NETLINK_NETFILTER)
    try:
        start = files.start(form, again=True)
        _failover(start, files, run_dir, state_dir, never, owner, Notify({}), leaving=True)
    finally:
        owner.close()
        for descriptor in (never, ours):
            os.close(descriptor)


def run_states(config: Config, run_dir: Path, config_dir: Path, read: Callable[[], Config]) -> int:
    """`carpool run states`; `read` gives what the files say later. Returns the exit code."""
    make_run_dir(run_dir)
    from carpool.service import states  # what failover does not need, it does not load

    never_wait_for_stderr()
    notify = Notify()
    poller = Poller(notify)
    service = states.StatesService(
        config,
        os.fspath(run_dir),
        poller,
        clock.monotonic_s,
        _wire(config, config_dir),
        read,
        Journal(run_dir / "states.events"),
    )

    def stop() -> None:
        notify.stopping("leaving")
        service.stop()

    poller.on_signals(lambda _number: stop())
    say(f"states {__version__} of node {config.node.name} runs, pid {os.getpid()}")
    notify.about = service.about
    gc.freeze()  # what lives from here on is short-lived
    service.run(notify.ready)
    if service.begins_anew:
        notify.reloading()
        begin_anew()
    return 0


def _wire(config: Config, config_dir: Path) -> Wire:
    """What group.toml asks for; nothing of TLS is loaded for a plain stream."""
    from carpool.kernel import stream

    if config.group.states is not None and config.group.states.encryption is Encryption.NONE:
        say('states: the streams are NOT encrypted: encryption = "none" in group.toml')
        return stream.Wire()
    from carpool.kernel.keys import DIRECTORY
    from carpool.kernel.tls import Tls

    return Tls(config_dir / DIRECTORY, config.node.name)


def _warn_of_this_machine(config: Config) -> None:
    """What `carpool check` would refuse on this machine. A firewall that boots with a wrong mask is
    better than none, so this is told and not more."""
    for problem in check_system(config, device_facts(config.node.interfaces.values())):
        say(f"failover: {problem}; `carpool check` tells more")


def _failover(
    start: Start,
    files: Files,
    run_dir: Path,
    state_dir: Path,
    parent_fd: int,
    owner: NetlinkSocket,
    notify: Notify,
    *,
    leaving: bool = False,
) -> int:
    config = start.form.config
    never_wait_for_stderr()
    refused = be_realtime()
    for words in refused:
        say(f"failover: {words}")
    poller = Poller(notify)
    later = Later("files", poller)
    flag = FlagFile(state_dir / "maintenance", later)
    engine = Engine(
        config,
        now_s=clock.monotonic_s(),
        counter_start_us=counterbase.start_us(run_dir, clock.monotonic_s(), clock.wall_us()),
        maintenance=flag.is_set(),
        maintenance_reason=flag.text(),
        await_bulk=config.group.states is not None,
        older=[one.config for one in start.older],
    )
    config = engine.acting
    links = LinkMonitor(watch.links_of(config))
    holder = AddressHolder(config, run_dir, owner)
    hands = Hands(
        poller=poller,
        links=links,
        holder=holder,
        journal=Journal(run_dir / "failover.events"),
        flag=flag,
        files=files,
        later=later,
        now_s=clock.monotonic_s,
        wall_iso=clock.wall_iso,
        suspended_s=clock.suspended_s,
    )
    identity = {
        "process": "failover",
        "version": __version__,
        "pid": os.getpid(),
        "guard_pid": os.getppid(),
        "refused": refused,
    }
    service = FailoverService(engine, hands, identity, start)

    def on_request(client: Client, request: dict[str, object]) -> None:
        service.on_request(client, request)

    def stop() -> None:
        notify.stopping("leaving: a peer is asked to take over")
        service.put(fx.Stop())

    poller.add(parent_fd, stop)
    poller.on_signals(lambda _number: stop())
    server = UnixServer(run_dir / "failover.sock", poller, on_request)
    say(f"failover {__version__} of node {config.node.name} runs, pid {os.getpid()}")
    notify.about = lambda: service.troubles.about(summary_of(engine))
    # A bug ends the process in there, and the next one takes over what it held.
    service.run(stop if leaving else notify.ready)
    server.close()
    holder.cleanup()
    later.close()
    return 0
