"""Network namespaces for tests: a real kernel, real links, nothing of the host touched.

`Network` makes namespaces under a name that no other run has, and removes them however a
test ends.
Conditions are polled with a deadline (`wait_until`); nothing here sleeps and hopes.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar

from carpool.kernel.clock import monotonic_s, sleep_s

T = TypeVar("T")

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
RUN_DIR = "/run/netns"  # where `ip netns` keeps its handles
COMMAND_TIMEOUT_S = 30.0
WAIT_S = 20.0  # for what comes at once where nobody else wants the processor
POLL_S, POLL_MAX_S = 0.005, 0.025
CLAIM_MAX_S, PATIENT_S = 5.0, 30.0  # see wait_until
PATIENCE = 0.1  # of what was waited so far: to look each 5 ms for seconds costs half a core

_libc = ctypes.CDLL(None, use_errno=True)


def wait_until(predicate: Callable[[], T], timeout_s: float = 5.0, what: str = "") -> T:
    """Poll until `predicate()` is true and return its value; AssertionError after `timeout_s`.

    Less than CLAIM_MAX_S is what a test claims of carpool. From there on it is patience, and a
    machine that four files of tests share is given PATIENT_S of it at least.
    """
    since_s = monotonic_s()
    if timeout_s >= CLAIM_MAX_S:
        timeout_s = max(timeout_s, PATIENT_S)
    while True:
        value = predicate()
        if value:
            return value
        waited_s = monotonic_s() - since_s
        if waited_s >= timeout_s:
            raise AssertionError(
                f"not within {timeout_s:g} s: {what or predicate}; last: {value!r}"
            )
        sleep_s(min(max(POLL_S, waited_s * PATIENCE), POLL_MAX_S))


def holds_for(predicate: Callable[[], object], duration_s: float, what: str = "") -> None:
    """AssertionError as soon as `predicate()` is false within the next `duration_s` seconds."""
    deadline_s = monotonic_s() + duration_s
    while monotonic_s() < deadline_s:
        assert predicate(), f"did not stay true for {duration_s:g} s: {what or predicate}"
        sleep_s(POLL_S)


def answer_of(client: socket.socket) -> dict[str, Any]:
    """The line that a control socket answers with; an OSError from a process that died over it."""
    with client.makefile("rb") as answers:
        line = answers.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError(f"the answer is cut off: {line!r}")
    answer: dict[str, Any] = json.loads(line)
    return answer


@dataclass(slots=True)
class Namespace:
    """One network namespace: a host of the test network."""

    name: str  # as `ip netns` knows it
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(
        self, *argv: str, input_text: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespace; a failure shows itself as an AssertionError."""
        # `ip netns exec` gives mounts of its own, which takes as long again; `ip` needs none
        inside = ("ip", "-n", self.name) if argv[0] == "ip" else ("ip", "netns", "exec", self.name)
        done = subprocess.run(
            (*inside, *(argv[1:] if argv[0] == "ip" else argv)),
            input=input_text,
            text=True,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def sh(self, script: str) -> str:
        """Run shell lines (each must succeed) and return what they print."""
        return self.run("sh", "-e", "-c", script).stdout

    def ip(self, *lines: str) -> None:
        """Run `ip` once for several commands of it (each must succeed)."""
        self.run("ip", "-batch", "-", input_text="\n".join(lines))

    def nft(self, ruleset: str) -> None:
        self.run("nft", "-f", "-", input_text=ruleset)

    def start(self, *argv: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command and return it; it is killed with the network at the latest."""
        child = subprocess.Popen(
            ("ip", "netns", "exec", self.name, *argv),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=None if env is None else {**os.environ, **env},
        )
        self.children.append(child)
        return child

    def sysctl(self, key: str, value: int | str) -> None:
        """Write /proc/sys/`key` (slashes, since device names may hold dots) of this namespace."""
        with self.entered(), open(f"/proc/sys/{key}", "w", encoding="ascii") as file:
            file.write(str(value))

    def read_sysctl(self, key: str) -> str:
        with self.entered(), open(f"/proc/sys/{key}", encoding="ascii") as file:
            return file.read().strip()

    def mac(self, device: str) -> str:
        """The MAC address of a device, in lower case with colons."""
        line = self.run("ip", "-o", "link", "show", "dev", device).stdout
        return line.split("link/ether ")[1].split()[0]

    def neighbour_mac(self, address: str) -> str | None:
        """The MAC address that this host has for `address`, or None."""
        for line in self.run("ip", "neigh", "show", address).stdout.splitlines():
            words = line.split()
            if "lladdr" in words and "FAILED" not in words:
                return words[words.index("lladdr") + 1]
        return None

    def forget_neighbours(self) -> None:
        self.run("ip", "neigh", "flush", "all")

    def pings(self, address: str, timeout_s: float = 1.0) -> bool:
        """Whether one echo request to `address` is answered in time."""
        done = self.run("ping", "-n", "-c", "1", "-W", f"{timeout_s:g}", address, check=False)
        return done.returncode == 0

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put the calling thread into the namespace: sockets made inside belong to it for good."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        inside = os.open(f"{RUN_DIR}/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(inside)
            try:
                yield
            finally:
                _set_namespace(before)
        finally:
            os.close(inside)
            os.close(before)

    def kill_children(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
            child.communicate(timeout=COMMAND_TIMEOUT_S)
        self.children.clear()


class Network:
    """Namespaces and the links between them; use as a context manager."""

    def __init__(self) -> None:
        self.prefix = f"cpt{secrets.token_hex(3)}"
        self.hosts: dict[str, Namespace] = {}
        self._index = 100

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill what was started and remove every namespace (and so every link) of this network."""
        for host in self.hosts.values():
            host.kill_children()
        for host in self.hosts.values():
            subprocess.run(("ip", "netns", "del", host.name), check=False, capture_output=True)
        self.hosts.clear()

    def host(self, name: str, *, forwarding: bool = False) -> Namespace:
        """A new namespace with `lo` up and, on request, forwarding of both families."""
        namespace = Namespace(f"{self.prefix}-{name}")
        subprocess.run(("ip", "netns", "add", namespace.name), check=True, capture_output=True)
        self.hosts[name] = namespace
        namespace.run("ip", "link", "set", "lo", "up")
        if forwarding:
            namespace.sysctl("net/ipv4/ip_forward", 1)
            namespace.sysctl("net/ipv6/conf/all/forwarding", 1)
        return namespace

    def attach(self, name: str, pid: int) -> Namespace:
        """The namespace of a process that is there, until this network is closed."""
        namespace = Namespace(f"{self.prefix}-{name}")
        subprocess.run(
            ("ip", "netns", "attach", namespace.name, str(pid)), check=True, capture_output=True
        )
        self.hosts[name] = namespace
        namespace.run("ip", "link", "set", "lo", "up")
        return namespace

    def veth(
        self,
        left: Namespace,
        left_device: str,
        right: Namespace,
        right_device: str,
        *,
        left_addresses: Sequence[str] = (),
        right_addresses: Sequence[str] = (),
        left_master: str = "",
    ) -> None:
        """A cable between two hosts: both ends up, with these addresses (`10.0.0.1/24`, no DAD)."""
        # Different numbers: the kernel tells of a lost carrier at once when a device's number is
        # not that of its other end, and otherwise up to 1 s after the link event before it.
        self._index += 2
        left.run(
            *("ip", "link", "add", left_device, "index", str(self._index), "type", "veth"),
            *("peer", "name", right_device, "index", str(self._index + 1), "netns", right.name),
        )
        configure(left, left_device, left_addresses, left_master)
        configure(right, right_device, right_addresses)
        wait_until(lambda: is_up(left, left_device) and is_up(right, right_device))

    def bridge(self, name: str, ends: Sequence[tuple[Namespace, str, Sequence[str]]]) -> Namespace:
        """A switch in its own namespace; `p0`, `p1`... lead to (host, device, addresses)."""
        switch = self.host(name)
        switch.ip("link add br0 up type bridge forward_delay 0")
        for number, (host, device, addresses) in enumerate(ends):
            self.veth(
                *(switch, f"p{number}", host, device),
                right_addresses=addresses,
                left_master="br0",
            )
        return switch


def configure(host: Namespace, device: str, addresses: Sequence[str], master: str = "") -> None:
    """Set a device up without duplicate address detection and give it addresses."""
    host.sysctl(f"net/ipv6/conf/{device}/accept_dad", 0)
    host.ip(
        *(f"address add {address} dev {device}" for address in addresses),
        f"link set {device} up {master and f'master {master}'}",
    )


def is_up(host: Namespace, device: str) -> bool:
    """Whether a device is up, has carrier, and its operational state has followed."""
    return " state UP " in host.run("ip", "link", "show", "dev", device).stdout


def kernel_has_link_type(kind: str) -> bool:
    """Whether this kernel can make links of a type (`vlan`, `bond`...): tried in a namespace."""
    with Network() as network:
        host = network.host("try")
        host.run("ip", "link", "add", "lower0", "type", "veth", "peer", "name", "lower1")
        more = ("id", "7") if kind == "vlan" else ()
        done = host.run(
            "ip", "link", "add", "link", "lower0", "name", "x0", "type", kind, *more, check=False
        )
        return done.returncode == 0


def enter(name: str) -> None:
    """Put the calling thread into a namespace for good."""
    inside = os.open(f"{RUN_DIR}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    _set_namespace(inside)
    os.close(inside)


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")
