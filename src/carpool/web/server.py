"""`carpool run web`: the loop of the process, its listeners and its certificate.

Room: web. Asks the agent where to listen and with which certificate; listens at addresses that
this node may not have yet (IP_FREEBIND, ip(7)), so that pages are there wherever the VIP is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from ipaddress import ip_address
from pathlib import Path

from starlette.types import ASGIApp
from uvicorn.server import ServerState

from carpool import __version__
from carpool.agent.objectlines import Answer
from carpool.agent.uvicornhttp import http_config
from carpool.errors import EXIT_OK, CarpoolError
from carpool.kernel import clock
from carpool.kernel.heap import give_back_pieces
from carpool.kernel.journal import never_wait_for_stderr, say, tell_console
from carpool.kernel.notify import Notify
from carpool.web.accounts import FIRST, Accounts, one_time_password
from carpool.web.app import Web, build
from carpool.web.ask import Ask
from carpool.web.certificate import Pair, own_pair
from carpool.web.connection import LIMITS, Connection, Limits
from carpool.web.door import Door
from carpool.web.idle import agent_socket

IP_FREEBIND, IPV6_FREEBIND = 15, 78  # linux/in.h, linux/in6.h
BACKLOG = 64
LOOK_EVERY_S = 5.0  # at what the agent says about where to listen
LOOK_AFTER_S = 1.0
STOP_WAIT_S = 2.0
LISTEN_FDS_START = 3  # sd_listen_fds(3)


def run(run_dir: Path, state_dir: Path, notify: Notify) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. `run_dir`: where the agent's socket is. Raises
    CarpoolError."""
    never_wait_for_stderr()
    give_back_pieces()
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    accounts = Accounts(state_dir)
    password = accounts.open(one_time_password)
    if password:
        tell_console(f"web: log in as {FIRST} with the one-time password {password}")
    asyncio.run(_serve(agent_socket(run_dir), accounts, own_pair(state_dir), notify))
    return EXIT_OK


async def _serve(path: Path, accounts: Accounts, own: Pair, notify: Notify) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    ask = Ask(path)
    web = Web(ask, accounts, mark_of(own))
    listeners = Listeners(build(web), own)
    try:
        listeners.inherit()
        await _follow(ask, listeners)
        say(f"web {__version__} runs, pid {os.getpid()}, certificate {own.fingerprint}")
        notify.ready()
        async with asyncio.TaskGroup() as tasks:
            keeping = [
                tasks.create_task(_keep_following(web, listeners)),
                tasks.create_task(listeners.look_after()),
                tasks.create_task(_keep_telling(notify)),
            ]
            await stopping.wait()
            notify.stopping("leaving")
            for task in keeping:
                task.cancel()
    finally:
        await listeners.close()
        await web.jobs.close()
        await ask.close()


def mark_of(own: Pair) -> str:
    """Of this node, the same after each start."""
    return own.fingerprint.replace(":", "")[:8].lower()


async def _keep_following(web: Web, listeners: Listeners) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        web.look_at_accounts()
        await _follow(web.ask, listeners)


async def _follow(ask: Ask, listeners: Listeners) -> None:
    """Listen where the agent says; while it says nothing, where we do."""
    try:
        listeners.go_by(await ask.get("/v1/web"))
    except CarpoolError as error:
        listeners.trouble(error.message)


async def _keep_telling(notify: Notify) -> None:
    while notify.deadline_s is not None:
        notify.alive(clock.monotonic_s())
        await asyncio.sleep(max(0.0, notify.deadline_s - clock.monotonic_s()))


class Listeners:
    """Where we listen, and with which certificate."""

    def __init__(self, app: ASGIApp, own: Pair, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._http = http_config(
            app,
            Connection,
            connections_max=2 * limits.connections,  # never reached: `Connection` makes room before
            quiet_s=limits.quiet_s + 1,
        )
        self._state = ServerState()
        self._pair = self._own = own
        self._tls = self._shown = own.context()
        self._tls.sni_callback = self._show  # of each handshake, whatever name is asked for
        self._doors: dict[tuple[str, int], Door] = {}
        self._inherited: list[Door] = []
        self._told = ""

    def inherit(self) -> None:
        """Sockets that were opened for us: sd_listen_fds(3)."""
        if os.environ.get("LISTEN_PID") not in (str(os.getpid()), "0"):
            return
        for number in range(int(os.environ.get("LISTEN_FDS", "0"))):
            sock = socket.socket(fileno=LISTEN_FDS_START + number)
            self._inherited.append(self._door(sock))

    def go_by(self, told: Answer) -> None:
        """What the agent says: `addresses`, `port`, and perhaps `certificate` and `key`, or why
        they cannot be used (`error`)."""
        pair = self._own
        if told.get("certificate"):
            pair = Pair(str(told["certificate"]), str(told["key"]))
        if pair != self._pair:
            self._shown, self._pair = pair.context(), pair
            say(f"web: shows the certificate {pair.fingerprint}")
        addresses = told.get("addresses")
        assert isinstance(addresses, list)
        port = int(str(told["port"]))
        failed = self._listen({(str(one), port) for one in addresses})
        self.trouble(failed or str(told.get("error", "")))

    def trouble(self, text: str) -> None:
        if text != self._told:
            self._told = text
            say(f"web: {text or 'listens where it is to'}")

    def listens(self, address: str, port: int) -> bool:
        return (address, port) in self._doors

    def _show(self, tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """The certificate of now: listeners keep the context that they began with."""
        tls.context = self._shown

    def _listen(self, wanted: set[tuple[str, int]]) -> str:
        """There and nowhere else; why that cannot be."""
        for where in self._doors.keys() - wanted:
            self._doors.pop(where).close()
        failed = ""
        for where in sorted(wanted - self._doors.keys()):
            try:
                sock = _bound(*where)
            except OSError as error:
                failed = f"cannot listen at {where[0]} port {where[1]}: {error.strerror}"
                continue
            self._doors[where] = self._door(sock)
        return failed

    def _door(self, sock: socket.socket) -> Door:
        return Door(sock, self._tls, lambda: Connection(self._http, self._state, self._limits))

    async def look_after(self, every_s: float = LOOK_AFTER_S) -> None:
        """Cut connections that hold a place for too long."""
        while True:
            await asyncio.sleep(every_s)
            for one in self._connections():
                if one.is_overdue(clock.monotonic_s()):
                    one.cut()

    def _connections(self) -> list[Connection]:
        return [one for one in self._state.connections if isinstance(one, Connection)]

    async def close(self) -> None:
        for door in (*self._doors.values(), *self._inherited):
            door.close()
        if self._state.tasks:
            _done, late = await asyncio.wait(set(self._state.tasks), timeout=STOP_WAIT_S)
            for task in late:
                task.cancel()
        for one in self._connections():
            one.cut()


def _bound(address: str, port: int) -> socket.socket:
    is_six = ip_address(address).version == 6
    sock = socket.socket(socket.AF_INET6 if is_six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_six:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        sock.setblocking(False)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
