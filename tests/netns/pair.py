"""Firewalls that replicate states, a client and a server, for the tests of the states process.

Two of them, if a test does not ask for three.

    client ── lan switch ──┬─ fw1 ─┬── wan switch ── server
                           │  sync │
                           └─ fw2 ─┘

The VIPs are moved by hand, and a small unix server stands in for the failover process: the same
protocol, and a test says who is master.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from carpool.api.identity import introduce
from carpool.kernel.conntrack import Dump, Injector
from carpool.proto import ctmessage as ct
from tests.netns.lab import WAIT_S, Namespace, Network, answer_of, wait_until

LAN_VIP, WAN_VIP = "10.1.0.1", "10.2.0.100"
CLIENT, SERVER = "10.1.0.10", "10.2.0.10"
LAN_VIP6, WAN_VIP6 = "fd01::1", "fd02::100"
CLIENT6, SERVER6 = "fd01::10", "fd02::10"
NAT_BITS = 0x30  # IPS_SRC_NAT, IPS_DST_NAT
VIPS = [
    *(("lan0", f"{LAN_VIP}/24"), ("wan0", f"{WAN_VIP}/24")),
    *(("lan0", f"{LAN_VIP6}/64"), ("wan0", f"{WAN_VIP6}/64")),
]
SYNC = {"fw1": "10.3.0.1", "fw2": "10.3.0.2", "fw3": "10.3.0.3"}
PAIR, TRIO = ("fw1", "fw2"), ("fw1", "fw2", "fw3")
OUTSIDER = "10.3.0.77"  # on the sync link, in no node.toml
PATIENT_S = 10.0  # for a packet or an end that comes; a test that waits for none says how long

# Source NAT to the VIP (with a range of ports for 81), none for ports 82, destination NAT to the
# client for 8080. Whatever belongs to no connection is dropped.
RULES = f"""
table inet filter {{
  chain input {{ type filter hook input priority filter; policy accept;
    ct state invalid drop
  }}
  chain forward {{ type filter hook forward priority filter; policy drop;
    ct state invalid counter drop
    ct state established,related accept
    ct state new ct mark set 0x2a accept
  }}
}}
table ip nat {{
  chain prerouting {{ type nat hook prerouting priority dstnat;
    ip daddr {WAN_VIP} tcp dport 8080 dnat to {CLIENT}:80
    ip daddr {WAN_VIP} udp dport 8080 dnat to {CLIENT}
  }}
  chain postrouting {{ type nat hook postrouting priority srcnat;
    ip saddr 10.1.0.0/24 tcp dport 81 snat to {WAN_VIP}:5000-5999
    ip saddr 10.1.0.0/24 meta l4proto {{ tcp, udp }} th dport 82 accept
    ip saddr 10.1.0.0/24 oifname wan0 snat to {WAN_VIP}
  }}
}}
table ip6 nat {{
  chain prerouting {{ type nat hook prerouting priority dstnat;
    ip6 daddr {WAN_VIP6} tcp dport 8080 dnat to [{CLIENT6}]:80
  }}
  chain postrouting {{ type nat hook postrouting priority srcnat;
    ip6 saddr fd01::/64 tcp dport 81 snat to [{WAN_VIP6}]:5000-5999
    ip6 saddr fd01::/64 meta l4proto {{ tcp, udp }} th dport 82 accept
    ip6 saddr fd01::/64 oifname wan0 snat to {WAN_VIP6}
  }}
}}
"""

GROUP = """name = "test"
[[vip]]
interface = "lan"
vhid = 51
password = "secret"
addresses = ["10.1.0.1/24", "fd01::1/64"]
[[vip]]
interface = "wan"
vhid = 52
password = "secret"
addresses = ["10.2.0.100/24", "fd02::100/64"]
[states]
interface = "sync"
scope = "{scope}"
"""
NODE = """name = "{name}"
[interface]
lan = "lan0"
wan = "wan0"
sync = "sync0"
[address]
sync = "{sync}"
"""
PEER = """[peer.{peer}.address]
sync = "{sync}"
"""


class StandInFailover:
    """The failover process's control socket, as far as the states process uses it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bulks: list[tuple[bool, str]] = []  # every `bulk` command, in order
        self.master = False
        self._clients: list[socket.socket] = []
        self._lock = threading.Lock()
        path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def be(self, master: bool) -> None:
        with self._lock:
            self.master = master
            for client in self._clients:
                self._tell(client)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        with self._lock:
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
        self.path.unlink(missing_ok=True)

    def _tell(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.sendall(json.dumps({"master": self.master}).encode() + b"\n")

    def _accept(self) -> None:
        while True:
            try:
                client, _name = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as lines, contextlib.suppress(OSError):
            for line in lines:
                request = json.loads(line)
                with self._lock:
                    if request["command"] == "watch":
                        self._clients.append(client)
                        self._tell(client)
                    elif request["command"] == "bulk":
                        self.bulks.append((request["on"], request["reason"]))
                        client.sendall(b'{"ok":true}\n')


class StatesNode:
    """A firewall with its states process and the stand-in for its failover process."""

    def __init__(
        self, namespace: Namespace, directory: Path, name: str, group: Sequence[str] = PAIR
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.peers = [peer for peer in group if peer != name]
        self.directory = directory / name
        self.run_dir = self.directory / "run"
        self.run_dir.mkdir(parents=True)
        self.failover: StandInFailover | None = None
        self.process: subprocess.Popen[str] | None = None
        self.output = ""
        self.wrapper: tuple[str, ...] = ()  # a command that becomes the process
        self.configure()

    def configure(self, scope: str = "assured", group: str = GROUP) -> None:
        node = NODE.format(name=self.name, sync=SYNC[self.name])
        node += "".join(PEER.format(peer=peer, sync=SYNC[peer]) for peer in self.peers)
        (self.directory / "node.toml").write_text(node)
        (self.directory / "group.toml").write_text(group.format(scope=scope))

    def start_failover(self, *, master: bool) -> None:
        self.failover = StandInFailover(self.run_dir / "failover.sock")
        self.failover.be(master)

    def start(self) -> None:
        env = {"CARPOOL_CONFIG_DIR": str(self.directory), "CARPOOL_RUN_DIR": str(self.run_dir)}
        argv = [*self.wrapper, sys.executable, "-m", "carpool", "run", "states"]
        self.process = self.namespace.start(*argv, env=env)
        wait_until(self.answers, 30, f"{self.name} answers on states.sock")

    def answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            out = self.process.stdout.read() if self.process.stdout else ""
            raise AssertionError(f"{self.name} ended with {self.process.returncode}: {out}")
        try:
            return bool(self.status()["ok"])
        except OSError:
            return False

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        """The answer of the states process to a command on its socket."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(self.run_dir / "states.sock"))
            client.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
            return answer_of(client)

    def counter(self, name: str) -> int:
        return int(self.status()["counters"].get(name, 0))

    def peer_status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.status()["peers"][0]
        return status

    def whole(self) -> bool:
        """Whether it has its peers' tables, and knows what its failover process says."""
        status = self.status()
        wanted = self.failover is not None and self.failover.master
        bulks = {peer["bulk"] for peer in status["peers"]}
        return bool(bulks == {"complete"} and status["master"] == wanted)

    def lost_peer(self) -> bool:
        return not self.peer_status()["connected"]

    def delete(self, entry: ct.Entry) -> None:
        """Remove an entry of this kernel, as its end or an operator would."""
        self.inject(ct.delete_request(entry))

    def inject(self, *requests: bytes) -> None:
        """Change this kernel's table from outside of the states process."""
        with self.namespace.entered():
            injector = Injector()
        failures = injector.inject(b"".join(requests))
        injector.close()
        assert not failures, [failure.name for failure in failures]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Returns the exit code; what it said is in `output`."""
        assert self.process is not None
        os.kill(self.process.pid, number)  # `ip netns exec` becomes the program it runs
        self.output, _ = self.process.communicate(timeout=40)
        code, self.process = self.process.returncode, None
        return code

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()
        if self.failover is not None:
            self.failover.close()

    def entries(self) -> list[ct.Entry]:
        """This kernel's table."""
        return entries_of(self.namespace)

    def find(self, protocol: int, dport: int, family: int = ct.AF_INET) -> ct.Entry | None:
        """The entry of this kernel for a forwarded flow to this port (ICMP and portless: any)."""
        for entry in self.entries():
            fits = protocol not in ct.LASTING or entry.orig.dport == dport
            if (entry.orig.protocol, entry.orig.family) == (protocol, family) and fits:
                return entry
        return None

    def move_here(self) -> None:
        """Take the VIPs: what the failover process does."""
        self.namespace.ip(*(f"address add {vip} dev {device}" for device, vip in VIPS))

    def move_away(self) -> None:
        self.namespace.ip(*(f"address del {vip} dev {device}" for device, vip in VIPS))


class Pair:
    """The whole lab. fw1 has the VIPs at first. Of each switch, p0 leads to the host, p1 to fw1."""

    def __init__(self, network: Network, directory: Path, names: Sequence[str] = PAIR) -> None:
        self.network = network
        self.client, self.server = network.host("client"), network.host("server")
        namespaces = {name: network.host(name, forwarding=True) for name in names}
        numbered = list(enumerate(namespaces.values(), 2))
        network.bridge(
            "lan",
            [
                (self.client, "lan0", [f"{CLIENT}/24", f"{CLIENT6}/64"]),
                *((fw, "lan0", [f"10.1.0.{n}/24", f"fd01::{n}/64"]) for n, fw in numbered),
            ],
        )
        network.bridge(
            "wan",
            [
                (self.server, "wan0", [f"{SERVER}/24", f"{SERVER6}/64"]),
                *((fw, "wan0", [f"10.2.0.{n}/24", f"fd02::{n}/64"]) for n, fw in numbered),
            ],
        )
        network.bridge(
            "sync",
            [
                *((fw, "sync0", [f"{SYNC[name]}/24"]) for name, fw in namespaces.items()),
                (self.server, "sync0", [f"{OUTSIDER}/24"]),
            ],
        )
        self.client.ip(f"route add default via {LAN_VIP}", f"route add default via {LAN_VIP6}")
        self.server.ip(
            f"route add 10.1.0.0/24 via {WAN_VIP}", f"route add fd01::/64 via {WAN_VIP6}"
        )
        for namespace in namespaces.values():
            namespace.nft(RULES)
            namespace.sysctl("net/netfilter/nf_conntrack_tcp_loose", 0)
        self.nodes = [
            StatesNode(namespace, directory, name, names) for name, namespace in namespaces.items()
        ]
        self.fw1, self.fw2 = self.nodes[:2]
        introduce({node.name: node.directory for node in self.nodes})
        self.fw1.move_here()

    def start(self) -> None:
        """All states processes, connected and with each other's table; fw1 is master."""
        for node in self.nodes:
            node.start_failover(master=node is self.fw1)
        for node in self.nodes:
            node.start()
        self.synchronised()

    def synchronised(self) -> None:
        for node in self.nodes:
            wait_until(node.whole, 30, f"{node.name} has the table of its peer")

    def fail_over(self) -> None:
        """fw1 lets go of the VIPs, fw2 takes them; the neighbours learn it at once."""
        self.move(self.fw1, self.fw2)

    def move(self, old: StatesNode, new: StatesNode) -> None:
        """The VIPs alone; a test says who is master."""
        old.move_away()
        new.move_here()
        for host in (self.client, self.server):
            host.forget_neighbours()

    def close(self) -> None:
        for node in self.nodes:
            node.close()


class Flow:
    """A TCP connection or UDP exchange between two hosts of the lab, with real packets."""

    def __init__(
        self, kind: socket.SocketKind, near: Namespace, far: Namespace, to: tuple[str, int], at: int
    ) -> None:
        self.kind = kind
        family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
        with far.entered():
            self._listener = socket.socket(family, kind)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("", at))
        self._listener.settimeout(PATIENT_S)
        with near.entered():
            self.near = socket.socket(family, kind)
        self.near.settimeout(PATIENT_S)
        if kind is socket.SOCK_STREAM:
            self._listener.listen()
            self.near.connect(to)
            self.far, _name = self._listener.accept()
            self.far.settimeout(PATIENT_S)
        else:
            self.near.connect(to)
            self.far = self._listener
            self.near.send(b"first")
            _data, peer = self.far.recvfrom(100)
            self.far.connect(peer)
            self.far.send(b"answer")
            self.near.recv(100)

    @property
    def port(self) -> int:
        """The source port that the client chose."""
        port: int = self.near.getsockname()[1]
        return port

    def echoes(self, data: bytes = b"ping") -> bool:
        """Whether a message passes in each direction, in time."""
        try:
            self.near.send(data)
            there = self.far.recv(100)
            self.far.send(there[::-1])
            return self.near.recv(100) == data[::-1]
        except OSError:
            return False

    def close(self) -> None:
        for sock in (self.near, self.far, self._listener):
            sock.close()


@contextlib.contextmanager
def flow(
    kind: socket.SocketKind,
    near: Namespace,
    far: Namespace,
    to: tuple[str, int],
    at: int | None = None,
) -> Iterator[Flow]:
    """A connection from `near` to `to`, answered in `far` on port `at` (the same if not given)."""
    made = Flow(kind, near, far, to, to[1] if at is None else at)
    try:
        yield made
    finally:
        made.close()


def packed(address: str) -> bytes:
    return IPv4Address(address).packed


def entries_of(namespace: Namespace) -> list[ct.Entry]:
    """The table of its kernel."""
    with namespace.entered():
        dump = Dump()
    found: list[ct.Entry] = []
    while (piece := dump.read()) is not None:
        found += [entry for raw in piece if isinstance(entry := ct.parse(raw), ct.Entry)]
    dump.close()
    return found


def arrives(node: StatesNode, protocol: int, dport: int, family: int = ct.AF_INET) -> ct.Entry:
    entry = wait_until(
        lambda: node.find(protocol, dport, family),
        WAIT_S,
        f"protocol {protocol} port {dport} on {node.name}",
    )
    assert entry is not None
    return entry


def assure(pair: Pair, udp: Flow) -> None:
    """Traffic both ways for as long as the kernel wants before it calls UDP assured (2 s)."""

    family = ct.AF_INET if udp.near.family == socket.AF_INET else ct.AF_INET6

    def assured() -> bool:
        assert udp.echoes()
        entry = pair.fw1.find(17, udp.near.getpeername()[1], family)
        return entry is not None and entry.assured

    wait_until(assured, WAIT_S, "UDP assured")


def same(here: ct.Entry, there: ct.Entry) -> None:
    """Field by field: what a copy must have in common with its original."""
    assert there.orig == here.orig
    assert there.reply == here.reply
    assert (there.mark, there.zone) == (here.mark, here.zone)
    kept = ct.SEEN_REPLY | ct.ASSURED | ct.CONFIRMED | NAT_BITS
    assert there.status & kept == here.status & kept
    assert ct.QUIET_TIMEOUT_S - 60 <= there.timeout_s <= ct.QUIET_TIMEOUT_S
    if here.tcp is None:
        assert there.tcp is None
        return
    assert there.tcp is not None
    ours = (here.tcp.state, here.tcp.wscale_orig, here.tcp.wscale_reply)
    assert (there.tcp.state, there.tcp.wscale_orig, there.tcp.wscale_reply) == ours
    for theirs, own in (
        (there.tcp.flags_orig, here.tcp.flags_orig),
        (there.tcp.flags_reply, here.tcp.flags_reply),
    ):
        assert theirs & ct.BE_LIBERAL
        assert theirs & (ct.WINDOW_SCALE | ct.SACK_PERM) == own & (ct.WINDOW_SCALE | ct.SACK_PERM)
