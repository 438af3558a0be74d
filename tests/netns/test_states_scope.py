"""What is not replicated, and costs next to nothing: exclusions, half-open floods, single queries.

On real firewalls with real packets; "costs nothing" is asserted by the counters of the states
process: no event has woken it, nothing was sent.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Container, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from carpool.kernel.netlink import NETLINK_NETFILTER
from carpool.proto import ctmessage as ct
from carpool.proto import netlink
from tests.netns.lab import Namespace, Network, wait_until
from tests.netns.pair import GROUP, SERVER, SERVER6, WAN_VIP, Pair, arrives, flow

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
OTHER_SERVER, GUEST = "10.2.0.11", "10.4.0.10"
NO_SYNC = 0x80000000
EXCLUDE = (
    GROUP
    + """
exclude = [
  {{interface = "guest"}},
  {{network = "10.2.0.11/32"}},
  {{network = "fd02::/64", protocol = "tcp", port = 443}},
  {{protocol = "tcp", port = 8053}},
  {{mark = "0x0100/0xff00"}},
]
no_sync_mark = "0x80000000"
"""
)
# Marks come with a rule of the ruleset, after our own has seen the packet.
MARKS = """
table inet filter {
  chain marks { type filter hook forward priority filter + 5;
    tcp dport 8054 ct mark set 0x0142
    tcp dport 8055 ct mark set 0x80000001
  }
}
"""


MARK_LATER = """
table inet filter {{
  chain later {{ type filter hook forward priority filter - 20;
    tcp dport 80 ct mark set ct mark {}
  }}
}}
"""


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(network, tmp_path)
    yield made
    made.close()


@pytest.fixture
def guest(network: Network, pair: Pair) -> Namespace:
    """A host behind a third interface, and both nodes with exclusions."""
    host = network.host("guest")
    firewalls = [node.namespace for node in pair.nodes]
    ends = [(one, "guest0", [f"10.4.0.{n}/24"]) for n, one in enumerate(firewalls, 2)]
    network.bridge("guests", [(host, "guest0", [f"{GUEST}/24"]), *ends])
    host.run("ip", "route", "add", "default", "via", "10.4.0.2")
    pair.server.run("ip", "address", "add", f"{OTHER_SERVER}/24", "dev", "wan0")
    pair.server.run("ip", "route", "add", "10.4.0.0/24", "via", WAN_VIP)
    for node in pair.nodes:
        node.configure(group=EXCLUDE)
        config = node.directory / "node.toml"
        text = config.read_text()
        config.write_text(text.replace('sync = "sync0"', 'sync = "sync0"\nguest = "guest0"'))
        node.namespace.nft(MARKS)
    return host


def test_what_is_excluded_makes_no_event_and_is_in_no_table(pair: Pair, guest: Namespace) -> None:
    pair.start()
    client, server = pair.client, pair.server
    excluded = {
        8052: (guest, SERVER),
        8051: (client, OTHER_SERVER),
        8053: (client, SERVER),
        8054: (client, SERVER),
        8055: (client, SERVER),
        443: (client, SERVER6),
    }
    with ExitStack() as flows:
        for port, (near, to) in excluded.items():
            assert flows.enter_context(flow(TCP, near, server, (to, port))).echoes()
        assert flows.enter_context(flow(TCP, client, server, (SERVER6, 80))).echoes()
        assert flows.enter_context(flow(TCP, client, server, (SERVER, 84))).echoes()
        arrives(pair.fw2, 6, 80, ct.AF_INET6)
        arrives(pair.fw2, 6, 84)
        assert pair.fw1.counter("events") == 2  # of those two
        assert not excluded_on(pair.fw2.entries(), excluded)
        assert len(excluded_on(pair.fw1.entries(), excluded)) == len(excluded)

        # A table that is taken as a whole has passed no rule: the same holds for it.
        pair.fw2.stop()
        pair.fw2.start()
        pair.synchronised()
        assert not excluded_on(pair.fw2.entries(), excluded)
        assert pair.fw1.counter("skipped_excluded") >= len(excluded)
    # Nor do their ends wake anybody: those of the two that were told do.
    before = pair.fw1.counter("events")
    flush(pair.fw1.namespace)
    for told in ((6, 84), (6, 80, ct.AF_INET6)):
        wait_until(lambda: pair.fw2.find(*told) is None, 5, "it has ended on fw2")  # noqa: B023
    assert pair.fw1.counter("events") - before == 2


def excluded_on(entries: list[ct.Entry], excluded: Container[int]) -> list[ct.Entry]:
    return [entry for entry in entries if entry.orig.dport in excluded]


@pytest.mark.usefixtures("guest")
def test_a_mark_that_comes_later_takes_the_copy_away_and_back(pair: Pair) -> None:
    pair.start()
    with flow(TCP, pair.client, pair.server, (SERVER, 80)) as one:
        arrives(pair.fw2, 6, 80)
        pair.fw1.namespace.nft(MARK_LATER.format("or 0x80000000"))
        assert one.echoes()
        wait_until(lambda: pair.fw2.find(6, 80) is None, 5, "taken away on fw2")
        here = pair.fw1.find(6, 80)
        assert here is not None and here.mark & NO_SYNC
        pair.fw1.namespace.nft("flush chain inet filter later")
        pair.fw1.namespace.nft(MARK_LATER.format("and 0x7fffffff"))
        assert one.echoes()
        assert not arrives(pair.fw2, 6, 80).mark & NO_SYNC
        here = pair.fw1.find(6, 80)
        assert here is not None
        pair.fw1.delete(here)
        wait_until(lambda: pair.fw2.find(6, 80) is None, 5, "its end is told again")


# --------------------------------------------------------------------------------------- floods

FLOOD = 20_000
CPU_TICKS_MAX = 50  # seconds / 100 while it lasts, for all else that the process does by itself
BATCH = 100  # waits in the queues of two cores, and of a socket, all at once
DROPPED, LISTENING, DNS = 7777, 7778, 53


# The hosts stay silent where a real one would refuse what it did not ask for.
CLIENT_QUIET = f"""
table inet quiet {{
  chain prerouting {{ type filter hook prerouting priority raw;
    udp sport {DNS} drop
  }}
  chain output {{ type filter hook output priority filter;
    tcp flags rst drop
  }}
}}
"""
SERVER_QUIET = f"""
table inet quiet {{
  chain input {{ type filter hook input priority filter;
    tcp dport {DROPPED} drop
  }}
}}
"""


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    folded: int = ~(total + (total >> 16)) & 0xFFFF
    return folded


def segment(protocol: int, sport: int, dport: int) -> bytes:
    """A SYN, or a datagram, from the client to the server."""
    ends = struct.pack(">HH", sport, dport)
    if protocol == socket.IPPROTO_UDP:
        return ends + struct.pack(">HH", 12, 0) + b"who?"
    pseudo = socket.inet_aton("10.1.0.10") + socket.inet_aton(SERVER) + struct.pack(">HH", 6, 20)
    body = ends + struct.pack(">IIBBHHH", 1, 0, 0x50, 0x02, 65535, 0, 0)
    return body[:16] + struct.pack(">H", checksum(pseudo + body)) + body[18:]


def flush(namespace: Namespace) -> None:
    """Remove all entries, as their ends would."""
    with namespace.entered():
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    body = ct.NFGEN.pack(ct.AF_UNSPEC, 0, 0)
    flags = netlink.NLM_F_REQUEST | netlink.NLM_F_ACK
    with sock:
        sock.send(netlink.message(ct.MSG_DELETE, flags, 1, body))
        assert netlink.answer(next(netlink.messages(sock.recv(4096)))).errno == 0


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = fields[11:13]
    return int(user) + int(system)  # user and system, in 1/100 s


@pytest.mark.timeout(180)
def test_floods_of_half_open_connections_and_single_queries_cost_nothing(pair: Pair) -> None:
    """20,000 SYNs that nobody answers or nobody acknowledges, and 20,000 queries of one packet
    that are answered by one: nothing of it reaches the peer or wakes the process, nor their ends.
    """
    for kind in ("udp_timeout", "tcp_timeout_syn_sent", "tcp_timeout_syn_recv"):  # 30, 120, 60 s
        pair.fw1.namespace.sysctl(f"net/netfilter/nf_conntrack_{kind}", 600)
    pair.start()
    pair.client.nft(CLIENT_QUIET)
    pair.server.nft(SERVER_QUIET)
    process = pair.fw1.process
    assert process is not None
    before = pair.fw1.status()
    ticks = cpu_ticks(process.pid)
    with ExitStack() as stack:
        with pair.server.entered():
            stack.enter_context(socket.create_server(("", LISTENING), backlog=FLOOD))
            dns = stack.enter_context(socket.socket(socket.AF_INET, UDP))
        dns.bind(("", DNS))
        dns.settimeout(20)
        with pair.client.entered():
            raw = {
                number: stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_RAW, number))
                for number in (socket.IPPROTO_TCP, socket.IPPROTO_UDP)
            }
        for at in range(0, FLOOD, BATCH):
            for number in range(at, at + BATCH):
                sport, dport = 10_000 + number, (DROPPED, LISTENING)[number % 2]
                raw[6].sendto(segment(6, sport, dport), (SERVER, 0))
                raw[17].sendto(segment(17, sport, DNS), (SERVER, 0))
            for _ in range(BATCH):
                question, asker = dns.recvfrom(100)
                dns.sendto(question, asker)
    table = pair.fw1.entries()
    kinds = {
        kind: sum(1 for one in table if one.orig.dport == kind)
        for kind in (DROPPED, LISTENING, DNS)
    }
    assert kinds == {DROPPED: FLOOD / 2, LISTENING: FLOOD / 2, DNS: FLOOD}
    answered = [one for one in table if one.orig.dport in (LISTENING, DNS)]
    assert sum(1 for one in answered if one.status & ct.SEEN_REPLY) > 0.9 * len(answered)
    flush(pair.fw1.namespace)
    with flow(TCP, pair.client, pair.server, (SERVER, 80)):
        arrives(pair.fw2, 6, 80)  # what came before it in the stream would be here too
    after = pair.fw1.status()
    assert after["counters"]["events"] - before["counters"].get("events", 0) <= 3  # of the last
    assert after["peers"][0]["sent"] - before["peers"][0]["sent"] <= 3
    assert len(pair.fw2.entries()) < 20
    assert cpu_ticks(process.pid) - ticks < CPU_TICKS_MAX
