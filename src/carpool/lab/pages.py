"""The pages of a firewall of the lab, where a browser of this host sees them.

Room: lab. Its network has no way to the host's: a socket that listens on 127.0.0.1 of the host is
handed in, at the same port after each start. Refuses to know what the pages show.
"""

from __future__ import annotations

import re
import secrets
import socket
import ssl
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from carpool.errors import KernelError

HOST = "127.0.0.1"
ANSWER_WAIT_S = 3.0
BACKLOG = 64
# Below those of outgoing connections (ip_local_port_range: 32768 to 60999), one of which might have
# it when the firewall is switched on again.
FREE = range(20_000, 32_768)
FREE_TRIES = 100
_PASSWORD = re.compile(r"log in as (\S+) with the one-time password (\S+)")


def _listening(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


class Pages:
    """`directory` is root's alone. `log`: where the process says the one-time password, a file of
    that directory if nobody says another. `port`: 0 takes a free one."""

    def __init__(self, directory: Path, port: int = 0, log: Path | None = None) -> None:
        self.directory = directory
        self.log = log or directory / "web.log"
        self._wanted = port

    @property
    def _port_file(self) -> Path:
        return self.directory / "port"

    @property
    def port(self) -> int:
        """Where they were at the last start; 0: never started."""
        try:
            return int(self._port_file.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return 0

    @property
    def link(self) -> str:
        return f"https://{HOST}:{self.port}/"

    def listener(self) -> socket.socket:
        """KernelError when somebody else has the port."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        wanted = self.port or self._wanted
        sock, why = None, ""
        for port in [wanted] if wanted else secrets.SystemRandom().sample(FREE, FREE_TRIES):
            try:
                sock = _listening(port)
                break
            except OSError as error:
                why = f"the pages cannot be at {HOST} port {port}: {error.strerror}"
        if sock is None:
            hint = "end what listens there, or build the lab with another --port"
            raise KernelError(why, hint=hint)
        self._port_file.write_text(str(sock.getsockname()[1]), encoding="ascii")
        return sock

    def first_login(self) -> tuple[str, str]:
        """Name and one-time password, as the process said them; empty before that."""
        try:
            said = _PASSWORD.search(self.log.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            said = None
        return (said[1], said[2]) if said else ("", "")

    def sentence(self) -> str:
        """Where they are, and how to get in."""
        name, password = self.first_login()
        return f"{self.link} log in as {name} with {password}, once" if name else self.link

    def troubles(self) -> list[str]:
        """What keeps them from being shown."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is of its own
        asking = HTTPSConnection(HOST, self.port, timeout=ANSWER_WAIT_S, context=context)
        try:
            asking.request("GET", "/login")
            status = asking.getresponse().status
        except (OSError, HTTPException) as error:
            return [f"the pages do not answer at {self.link}: {error}"]
        finally:
            asking.close()
        return [] if status == 200 else [f"{self.link}login answers {status}, expected 200"]
