"""`carpool run web` as its own process, on loopback with its own TLS, and raw bytes to it: whatever
a client library would put right first."""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

from argon2 import PasswordHasher

from carpool.lab.processes import Tracked, end, spawn, start_ticks
from carpool.web.accounts import Accounts, Role
from carpool.web.second import Second, digest_of
from tests.visitor import TOKEN

HERE = "127.0.0.1"
WAIT_S = 20.0
FILES_MAX = 320  # its unit has 1024: it takes as long to fill as that is more
PASSWORD = "twelve or more of them"
RECOVERY = ("abcd-0001", "abcd-0002")  # codes of dora
DIGESTS = tuple(digest_of(one.replace("-", "")) for one in RECOVERY)
NAMES = ("ann", "bob", "carl", "dora")


class Raw:
    """One connection from an address of this host."""

    def __init__(self, port: int, source: str = HERE) -> None:
        self.socket = socket.create_connection((HERE, port), WAIT_S, (source, 0))
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.tls = context.wrap_socket(self.socket)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        self.tls.close()

    def says(self, *lines: str, body: str = "") -> Answer:
        """The answer to these lines as they are."""
        self.sends("\r\n".join((*lines, "", "")) + body)
        return self.hears()

    def sends(self, text: str) -> None:
        with suppress(OSError):  # it may have refused the rest already
            self.tls.sendall(text.encode("latin-1"))

    def hears(self) -> Answer:
        """The next one; status 0: it hung up."""
        with suppress(OSError):
            while b"\r\n\r\n" not in self._rest and (data := self.tls.recv(65536)):
                self._rest += data
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        if not head:
            return Answer(0, {}, "")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): text for name, _, text in (one.partition(": ") for one in lines)}
        length = int(headers.get("content-length", 1 << 20))
        with suppress(OSError):
            while len(self._rest) < length and (data := self.tls.recv(65536)):
                self._rest += data
        body, self._rest = self._rest[:length], self._rest[length:]
        return Answer(int(first.split()[1]), headers, body.decode("latin-1"))

    def get(self, target: str, *headers: str) -> Answer:
        return self.says(f"GET {target} HTTP/1.1", "Host: fw1", *headers)

    def post(self, path: str, form: dict[str, str], *headers: str) -> Answer:
        self.posts(path, form, *headers)
        return self.hears()

    def posts(self, path: str, form: dict[str, str], *headers: str) -> None:
        body = urlencode(form)
        head = (f"POST {path} HTTP/1.1", "Host: fw1", f"Content-Length: {len(body)}", *headers)
        self.sends("\r\n".join((*head, "", body)))


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: str) -> None:
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self) -> str:
        return f"{self.status} {self.headers} {self.body[:200]!r}"

    @property
    def cookie(self) -> str:
        """As a browser sends it back."""
        return f"Cookie: {self.headers['set-cookie'].partition(';')[0]}"


class RealWeb:
    """Its process."""

    def __init__(self, pid: int, port: int, log: Path) -> None:
        self.pid, self.port, self._log = pid, port, log

    def raw(self, source: str = HERE) -> Raw:
        return Raw(self.port, source)

    def get(self, target: str, *headers: str) -> Answer:
        """Over a connection of its own."""
        with self.raw() as raw:
            return raw.get(target, *headers)

    def log_in(self, name: str, password: str, source: str = HERE) -> Answer:
        with self.raw(source) as raw:
            return raw.post("/login", {"name": name, "password": password})

    def token(self, cookie: str) -> str:
        found = TOKEN.search(self.get("/password", cookie).body)
        assert found is not None
        return found[1]

    @property
    def files(self) -> int:
        """That it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")


@contextmanager
def real_web(directory: Path) -> Iterator[RealWeb]:
    """With an admin of each of NAMES; dora has a second factor, too. No agent is there."""
    accounts = Accounts(directory, PasswordHasher(1, 8, parallelism=1))
    accounts.open(lambda: "first")
    for name in NAMES:
        accounts.add(name, Role.ADMIN, "first")
        accounts.set_password(name, PASSWORD)
    accounts.change("dora", lambda one: replace(one, second=Second("A" * 32, 0, DIGESTS)))
    log = directory / "log"
    argv = ["prlimit", f"--nofile={FILES_MAX}", sys.executable, "-m", "carpool"]
    argv += ["--run-dir", str(directory), "--state-dir", str(directory), "run", "web"]
    with socket.create_server((HERE, 0)) as listener:
        port = listener.getsockname()[1]
        handed = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": "0"}
        pid = spawn(argv, log, handed, listener)
    ticks = start_ticks(pid)
    assert ticks is not None
    try:
        yield RealWeb(pid, port, log)
    finally:
        end([Tracked("here", "web", pid, ticks)])
