"""A process of this node as tests play it: a thread behind a real control socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_S = 10.0  # more than any test needs

Play = Callable[[socket.socket, bytes], None]


@contextmanager
def process(path: Path, play: Play) -> Iterator[None]:
    """Serve one client: read its line, then `play(connection, line)`."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.settimeout(WAIT_S)
    server.bind(str(path))
    server.listen(1)

    def serve() -> None:
        try:
            connection, _ = server.accept()
        except OSError:  # nobody came: the test has failed before it asked
            return
        with connection:
            connection.settimeout(WAIT_S)
            line = b""
            while not line.endswith(b"\n"):
                line += connection.recv(4096)
            play(connection, line)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join(WAIT_S)
        server.close()
        assert not thread.is_alive()


def saying(*parts: bytes) -> Play:
    """Send these pieces one after the other, then hang up."""

    def play(connection: socket.socket, line: bytes) -> None:
        for part in parts:
            connection.sendall(part)

    return play
