"""Where the agent listens: unix sockets for this machine and its pages, TLS 1.3 for paired peers.

Room: agent. Finds out who is there, and lets in whose certificate is pinned for the address that
they come from; the HTTP that follows is uvicorn's, and who may ask what is the doorman's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from functools import partial
from ipaddress import ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from carpool.agent import webdoor
from carpool.agent.agent import Agent
from carpool.agent.client import SOCKET_OPTIONS
from carpool.agent.doorman import SCOPE_PEER, SCOPE_WEB
from carpool.agent.uvicornhttp import http_config
from carpool.agent.webdoor import WebDoor
from carpool.errors import KernelError
from carpool.kernel.keys import Credentials, Trouble
from carpool.kernel.stream import socket_at
from carpool.kernel.tls import explained, on_certificate, pinning, wrong_certificate
from carpool.kernel.unixserver import forget, listen
from carpool.machine.bucket import Bucket
from carpool.model.config import Address, Config

QUIET_MAX_S = 30.0  # without a whole request: idle connections, and heads that trickle in
HANDSHAKE_WAIT_S = 5.0
GOODBYE_WAIT_S = 1.0  # for TLS to be closed properly
CONNECTIONS_MAX = 8  # of one peer, handshakes included
CONNECTIONS_PER_S, CONNECTIONS_BURST = 10.0, 20  # of one peer: each costs a handshake
ALL_CONNECTIONS_MAX = 128  # uvicorn's own last resort, and the unix socket's only one
LOOK_EVERY_S = 1.0  # at quiet connections, and at the files of pairing
BREATH_S = 0.1  # when the system has no descriptor left
BACKLOG = 16
Where = tuple[Address, int]
_RESET_ON_CLOSE = struct.pack("=ii", 1, 0)  # struct linger


class Connection(H11Protocol):
    """One HTTP connection that knows whose it is: a peer's, or this machine's (None)."""

    def __init__(
        self,
        listeners: Listeners,
        peer: str | None = None,
        credentials: Credentials | None = None,
        *,
        web: bool = False,
    ) -> None:
        super().__init__(listeners.http, listeners.state, {})
        self.peer = peer
        self.web = web  # it came by the socket of the pages
        self.credentials = credentials
        self.where: Where | None = None  # of ours, where a peer came
        self._listeners = listeners
        self._application: ASGIApp = self.app
        self.app = self._introduced
        self.busy = False  # with a request whose head is complete
        self.quiet_since_s = listeners.agent.now_s()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        if self.peer is not None:
            host, port = transport.get_extra_info("sockname")[:2]
            self.where = ip_address(host.partition("%")[0]), port
        if self.web and self._listeners.count_web() > webdoor.CONNECTIONS_MAX:
            transport.abort()
        if self.credentials is None:
            return
        tls = transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True)
        if shown != self.credentials.pinned:
            trouble = wrong_certificate(str(self.peer), self.credentials, shown)
            self._listeners.refused(trouble, str(self.peer), str(self.client))
            transport.abort()

    def on_response_complete(self) -> None:
        self.busy = False
        self.quiet_since_s = self._listeners.agent.now_s()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._listeners.lost()

    def cut(self) -> None:
        """End it now, whatever is under way."""
        self.transport.abort()

    async def _introduced(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.busy = True
        scope[SCOPE_PEER], scope[SCOPE_WEB] = self.peer, self.web
        if self.where is not None and not self._listeners.listens(self.where):
            send = _last_one(send)
        await self._application(scope, receive, send)


class Listeners:
    """All listeners of an agent, and their connections.

    `claim`, `open`, then `serve` in a task until it is cancelled, then `close`.
    """

    def __init__(self, agent: Agent, app: ASGIApp, pages_group: str = webdoor.GROUP) -> None:
        self.agent = agent
        self.state = ServerState()
        self.http = http_config(
            app, Connection, connections_max=ALL_CONNECTIONS_MAX, quiet_s=QUIET_MAX_S
        )
        self._buckets: dict[str, Bucket] = {}  # of each peer that ever came
        self._greeting: dict[asyncio.Task[None], str] = {}  # handshakes under way: with whom
        self._claimed: socket.socket | None = None  # for the unix socket
        self._sockets: dict[Where, socket.socket] = {}
        self._accepting: dict[Where, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None  # while we serve
        self._unix: list[asyncio.Server] = []
        self._web = WebDoor(agent.run_dir, pages_group)
        self._empty = asyncio.Event()  # of connections
        self._inode = 0

    async def claim(self) -> None:
        """Be the only agent of this node; who connects waits for `open`. Raises KernelError when
        another one answers on the unix socket, or its path cannot be had."""
        self._claimed = await asyncio.to_thread(listen, self.agent.socket)
        self._inode = self.agent.socket.stat().st_ino
        await self._web.claim()

    async def open(self) -> None:
        """Listen. Raises KernelError for an address that cannot be had."""
        loop = asyncio.get_running_loop()
        doors = [(self._claimed, False), (self._web.socket, True)]
        for sock, web in doors:
            if sock is not None:
                made = partial(Connection, self, web=web)
                self._unix.append(await loop.create_unix_server(made, sock=sock))
        self.listen(self.agent.config)
        self.agent.listen = self.listen

    def listen(self, config: Config) -> None:
        """For peers there, and nowhere else any more; connections that there are go on. Raises
        KernelError; then we listen where we did."""
        if config.group.web is not None:
            self._web.tell()
        sync = config.group.sync
        own = () if sync is None else config.node.addresses.get(sync.interface, ())
        wanted = [(address, sync.port) for address in own if sync is not None]
        fresh: dict[Where, socket.socket] = {}
        try:
            for where in wanted:
                if where not in self._sockets:
                    fresh[where] = socket_at(*where)
                    fresh[where].listen(BACKLOG)
        except (KernelError, OSError) as error:
            for sock in fresh.values():
                sock.close()
            if isinstance(error, OSError):
                raise KernelError(f"listen at {wanted}: {error.strerror}") from error
            raise
        for where in self._sockets.keys() - set(wanted):
            self._let_go(where)
        self._sockets |= fresh
        self._accept_all()

    def listens(self, where: Where) -> bool:
        """Whether peers are to come there."""
        return where in self._sockets

    async def serve(self) -> None:
        """Let peers in, and look after connections; never returns."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                self._accept_all()
                await self._look_after()
            finally:
                self._tasks = None

    async def close(self, wait_s: float) -> None:
        """Take no more, let requests under way end for `wait_s` seconds, and cut the others."""
        self.agent.listen = lambda _config: None
        for where in list(self._sockets):
            self._let_go(where)
        for server in self._unix:
            server.close()
        self._web.close()
        if self._claimed is not None:
            self._claimed.close()
            forget(self.agent.socket, self._inode)
        for connection in self._connections():
            connection.shutdown()
        if self.state.tasks:
            _done, late = await asyncio.wait(set(self.state.tasks), timeout=wait_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._empty.clear()
        if self.state.connections:
            with contextlib.suppress(TimeoutError):  # last words are still being sent
                await asyncio.wait_for(self._empty.wait(), GOODBYE_WAIT_S)
        for connection in self._connections():
            connection.cut()

    def lost(self) -> None:
        """A connection has ended."""
        if not self.state.connections:
            self._empty.set()

    def count_web(self) -> int:
        """Connections of the pages."""
        return sum(each.web for each in self._connections())

    def _connections(self) -> list[Connection]:
        return [each for each in self.state.connections if isinstance(each, Connection)]

    # -------------------------------------------------------------------------------- peers

    def _accept_all(self) -> None:
        if self._tasks is not None:
            for where in self._sockets.keys() - self._accepting.keys():
                accepting = self._accept(self._sockets[where], self._tasks)
                self._accepting[where] = self._tasks.create_task(accepting)

    def _let_go(self, where: Where) -> None:
        """Who is about to come there finds nobody, and asks at the other door (`client.py`)."""
        sock, accepting = self._sockets.pop(where), self._accepting.pop(where, None)
        if accepting is None or accepting.done():
            sock.close()
        else:
            accepting.cancel()
            accepting.add_done_callback(lambda _task: sock.close())

    async def _accept(self, listener: socket.socket, tasks: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, name = await loop.sock_accept(listener)
            except OSError as error:
                self.agent.refusals.add("accept", "somebody", f"accept: {error.strerror}")
                await asyncio.sleep(BREATH_S)
                continue
            peer = self._admitted(sock, ip_address(name[0].partition("%")[0]))
            if peer is not None:
                task = tasks.create_task(self._greet(sock, peer, f"{name[0]} port {name[1]}"))
                self._greeting[task] = peer
                task.add_done_callback(self._greeting.pop)

    def _admitted(self, sock: socket.socket, source: Address) -> str | None:
        """Whose address it is, if that peer may connect; others get a reset."""
        peer = _peers(self.agent).get(source)
        refusals = self.agent.refusals
        if peer is None:
            refusals.add("stranger", str(source), "no peer in node.toml has this address")
        elif self._count(peer) >= CONNECTIONS_MAX:
            refusals.add("too_many", f"{peer} ({source})", f"it has {CONNECTIONS_MAX} connections")
        elif not self._bucket(peer).take(self.agent.now_s()):
            why = f"it connects more than {CONNECTIONS_PER_S:g} times a second"
            refusals.add("too_often", f"{peer} ({source})", why)
        else:
            return peer
        _reset(sock)
        return None

    def _bucket(self, peer: str) -> Bucket:
        if peer not in self._buckets:
            now_s = self.agent.now_s()
            self._buckets[peer] = Bucket(CONNECTIONS_PER_S, CONNECTIONS_BURST, now_s)
        return self._buckets[peer]

    def _count(self, peer: str) -> int:
        """Connections of a peer. One that has just been greeted may count twice for a moment."""
        open_ = sum(each.peer == peer for each in self._connections())
        return open_ + sum(name == peer for name in self._greeting.values())

    async def _greet(self, sock: socket.socket, peer: str, source: str) -> None:
        """The TLS handshake, with the keys as they are in the files now."""
        try:
            credentials = self.agent.keys.credentials(peer)
            context = pinning(credentials, server=True)
        except Trouble as trouble:
            self.refused(trouble, peer, source)
            _reset(sock)
            return
        shown: list[bytes] = []
        on_certificate(context, shown.append)
        try:
            _configure(sock)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self, peer, credentials),
                sock,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_WAIT_S,
                ssl_shutdown_timeout=GOODBYE_WAIT_S,
            )
        except OSError as error:
            names = (self.agent.name, peer)
            certificate = shown[0] if shown else None
            self.refused(explained(error, names, credentials, certificate), peer, source)
        finally:
            on_certificate(context, None)

    def refused(self, trouble: Trouble, peer: str, source: str) -> None:
        """Count and tell that somebody at a peer's address was not let in."""
        self.agent.refusals.add(trouble.cause, f"who comes from {source} as {peer}", str(trouble))

    # ------------------------------------------------------------------- while connections last

    async def _look_after(self) -> None:
        """Cut connections that are quiet for too long, and those of who is not paired any more."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now_s = self.agent.now_s()
            for connection in self._connections():
                if not connection.busy and now_s - connection.quiet_since_s > QUIET_MAX_S:
                    connection.cut()
                elif connection.peer is not None and not self._still_paired(connection):
                    connection.cut()

    def _still_paired(self, connection: Connection) -> bool:
        peer = str(connection.peer)
        if peer not in self.agent.peers:
            return False  # it was told, or will be when it comes again
        try:
            found = self.agent.keys.credentials(peer)
            if found == connection.credentials:
                return True
            trouble = Trouble("paired_anew", f"{self.agent.name} and {peer} were paired anew")
        except Trouble as why:
            trouble = why
        self.refused(trouble, peer, str(connection.client))
        return False


def _peers(agent: Agent) -> dict[Address, str]:
    """Who has which address on the interface that we listen on, by node.toml as it is now."""
    sync = agent.link
    if sync is None:
        return {}
    return {
        address: peer.name
        for peer in agent.config.node.peers
        if peer.name in agent.peers
        for address in peer.addresses.get(sync.interface, ())
    }


def _last_one(send: Send) -> Send:
    """An answer after which the other end is to come by the door that there is now. To hang up
    without a word might cross its next request."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    return told


def _configure(sock: socket.socket) -> None:
    """A peer that is gone, or that does not read, is noticed."""
    for level, option, value in SOCKET_OPTIONS:
        sock.setsockopt(level, option, value)


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()
