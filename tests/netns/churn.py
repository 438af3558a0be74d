"""Churn through the firewalls of `pair.py`: connections that come, speak and go, in every shape.

Real packets from a thread of the test; bounded in number and, by its socket timeouts, in time. What
it does is drawn from a seed; what the network does to it is not.
"""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import threading

from tests.netns.lab import Namespace
from tests.netns.pair import SERVER, SERVER6, WAN_VIP, WAN_VIP6, Pair

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
SERVER_PORTS, CLIENT_PORTS = (80, 81, 82), (80, 8080)
WAIT_S = 0.25  # for an answer; what is cut off is no reason to wait
OPEN_MAX = 300
PAUSE_S = 0.002


class Echoes(threading.Thread):
    """Answers every TCP connection and every datagram to a few ports of a host, both families."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._selector = selectors.DefaultSelector()
        self._stopped = threading.Event()

    def listen(self, host: Namespace, ports: tuple[int, ...]) -> None:
        for family in FAMILIES.values():
            for port in ports:
                for kind in (TCP, UDP):
                    with host.entered():
                        sock = socket.socket(family, kind)
                    if family is socket.AF_INET6:
                        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    sock.bind(("", port))
                    if kind is TCP:
                        sock.listen(1024)
                    sock.setblocking(False)
                    serve = self._accept if kind is TCP else self._answer
                    self._selector.register(sock, selectors.EVENT_READ, serve)

    def run(self) -> None:
        while not self._stopped.is_set():
            for key, _mask in self._selector.select(0.1):
                with contextlib.suppress(BlockingIOError):
                    key.data(key.fileobj)

    def stop(self) -> None:
        self._stopped.set()
        self.join(10)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _accept(self, listener: socket.socket) -> None:
        sock, _peer = listener.accept()
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ, self._echo)

    def _echo(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(4096)
            if data:
                sock.send(data)
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._selector.unregister(sock)
        sock.close()

    def _answer(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data, peer = sock.recvfrom(4096)
            sock.sendto(data, peer)


class Churn(threading.Thread):
    """Opens, uses and closes flows until `stop`; what is open then stays so until `close`."""

    def __init__(self, pair: Pair, seed: int) -> None:
        super().__init__(daemon=True)
        self.opened = self.failed = self.lost = 0
        self._pair = pair
        self._rng = random.Random(seed)
        self._flows: list[socket.socket] = []
        self._stopped = threading.Event()

    @property
    def open(self) -> int:
        return len(self._flows)

    def run(self) -> None:
        while not self._stopped.wait(PAUSE_S):
            self._step()

    def stop(self) -> None:
        self._stopped.set()
        self.join(10)

    def ends(self) -> set[tuple[int, int, int]]:
        """Protocol and ports of what is open, as the entries of the firewalls name them."""
        protocols = {TCP: 6, UDP: 17}
        return {
            (protocols[flow.type], flow.getsockname()[1], flow.getpeername()[1])
            for flow in self._flows
        }

    def drop_lost(self) -> int:
        """Try all that are open, after `stop`; how many do not pass any more."""
        living = [flow for flow in self._flows if speaks(flow)]
        lost = len(self._flows) - len(living)
        for flow in set(self._flows) - set(living):
            flow.close()
        self._flows = living
        return lost

    def close(self) -> None:
        for flow in self._flows:
            flow.close()
        self._flows.clear()

    def _step(self) -> None:
        what = self._rng.random()
        if len(self._flows) < OPEN_MAX and what < 0.4:
            self._open()
        elif self._flows and what < 0.65:
            flow = self._flows.pop(self._rng.randrange(len(self._flows)))
            if self._rng.random() < 0.2:  # RST instead of FIN
                linger = (1).to_bytes(4, "little") + bytes(4)
                flow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            flow.close()
        elif self._flows:
            at = self._rng.randrange(len(self._flows))
            if not speaks(self._flows[at]):
                self.lost += 1
                self._flows.pop(at).close()

    def _open(self) -> None:
        """Source NAT (with a range of ports), none, destination NAT; UDP becomes assured when it is
        used for more than two seconds."""
        pair, rng = self._pair, self._rng
        family, kind = rng.choice((4, 6)), rng.choice((TCP, TCP, TCP, UDP))
        near, to = pair.client, SERVER if family == 4 else SERVER6
        port = rng.choice((*SERVER_PORTS, 8080))
        if port == 8080:  # inwards, to the client behind the VIP
            near, to = pair.server, WAN_VIP if family == 4 else WAN_VIP6
            if (family, kind) == (6, UDP):  # no such rule
                return
        with near.entered():
            flow = socket.socket(FAMILIES[family], kind)
        flow.settimeout(WAIT_S)
        try:
            flow.connect((to, port))
        except OSError:
            self.failed += 1
            flow.close()
            return
        if speaks(flow):
            self.opened += 1
            self._flows.append(flow)
        else:
            self.failed += 1
            flow.close()


def speaks(flow: socket.socket) -> bool:
    """Whether a message and its answer pass, in time."""
    try:
        flow.send(b"echo")
        return flow.recv(100) == b"echo"
    except OSError:
        return False
