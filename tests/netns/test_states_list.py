"""`carpool states list` beside `conntrack -L`, on one table of a real kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from ipaddress import ip_address

import pytest

from carpool.kernel.conntrack import Injector
from carpool.proto import ctmessage as ct
from carpool.proto import netlink
from tests.netns.lab import Namespace, Network, wait_until

SEEN, WHOLE = ct.SEEN_REPLY | ct.CONFIRMED, ct.SEEN_REPLY | ct.ASSURED | ct.CONFIRMED
MANY = 20_000
CLIENT, SERVER, VIP = (ip_address(text).packed for text in ("10.1.0.10", "10.2.0.10", "10.2.0.100"))
CLIENT6, SERVER6 = (ip_address(text).packed for text in ("fd01::10", "2001:db8::1:0:0:10"))


def plain(orig: ct.Tuple, status: int = WHOLE, **more: object) -> ct.Entry:
    entry = ct.Entry(orig, orig.inverted(), status, 1000)
    return replace(entry, **more)  # type: ignore[arg-type]


def every_kind() -> list[ct.Entry]:
    sctp = netlink.nested(3, netlink.u8(1, 4), netlink.be32(2, 0x1111), netlink.be32(3, 0x2222))
    kinds = [
        plain(ct.Tuple(CLIENT, SERVER, 6, 1000 + state, 80), tcp=ct.Tcp(state))
        for state in range(1, 10)
    ]
    for protocol in (17, 47, 136):
        kinds.append(plain(ct.Tuple(CLIENT, SERVER, protocol, 40_000, 53), mark=0x2A))
        kinds.append(plain(ct.Tuple(CLIENT6, SERVER6, protocol, 40_000, 53), SEEN))
    kinds += [
        plain(ct.Tuple(CLIENT, SERVER, 1, 77, 77, icmp_type=8), SEEN),
        plain(ct.Tuple(CLIENT6, SERVER6, 58, 78, 78, icmp_type=128), SEEN),
        plain(ct.Tuple(CLIENT, SERVER, 50), SEEN),
        plain(ct.Tuple(CLIENT, SERVER, 132, 4000, 9), protoinfo=sctp),
        plain(ct.Tuple(CLIENT, SERVER, 6, 2000, 80), zone=7, mark=1, tcp=ct.Tcp(3)),
        plain(ct.Tuple(CLIENT, SERVER, 17, 2001, 53), ct.CONFIRMED),
    ]
    translated = plain(ct.Tuple(CLIENT, SERVER, 6, 3000, 443), tcp=ct.Tcp(3))
    kinds.append(replace(translated, reply=replace(translated.reply, dst=VIP, dport=5000)))
    turned = plain(ct.Tuple(SERVER, VIP, 17, 3001, 8080))
    return [*kinds, replace(turned, reply=replace(turned.reply, src=CLIENT, sport=80))]


def fill(host: Namespace, entries: list[ct.Entry]) -> None:
    with host.entered():
        injector = Injector()
    for at in range(0, len(entries), 100):
        batch = entries[at : at + 100]
        failures = injector.inject(b"".join(ct.create_request(entry) for entry in batch))
        assert not failures, [failure.name for failure in failures]
    injector.close()


def carpool(host: Namespace, *options: str) -> str:
    done = host.run(sys.executable, "-m", "carpool", "states", "list", *options)
    assert not done.stderr
    return done.stdout


def without_timeout(lines: str) -> list[str]:
    """Sorted, for a table has no order; the third word counts down."""
    words = [line.split(" ") for line in lines.splitlines()]
    return sorted(
        " ".join(w for i, w in enumerate(row) if i != _timeout_at(row)).strip() for row in words
    )


def _timeout_at(row: list[str]) -> int:
    numbers = [index for index, word in enumerate(row) if word.isdigit()]
    return numbers[1]  # after that of the protocol


@pytest.fixture
def table(network: Network) -> Namespace:
    host = network.host("fw")
    host.nft("table inet t { chain c { type filter hook forward priority 0; ct state new; }; }")
    host.sysctl("net/netfilter/nf_conntrack_acct", 1)
    fill(host, every_kind())
    return host


FILTERS = (
    (),
    ("-p", "udp", "-f", "ipv6"),
    ("-s", "10.1.0.0/16", "-d", "10.2.0.10"),
    ("-q", "10.2.0.100"),
    ("-r", "10.1.0.10"),
    ("-p", "tcp", "--dport", "80"),
    ("-p", "tcp", "--orig-port-src", "3000"),
    ("-p", "tcp", "--state", "TIME_WAIT"),
    ("-u", "ASSURED"),
    ("-m", "0x20/0xf0"),
    ("-w", "7"),
    ("-n",),
    ("--dst-nat",),
    ("-j",),
)


@pytest.mark.timeout(180)
def test_the_lines_are_those_of_conntrack(table: Namespace) -> None:
    for options in FILTERS:
        # A dump may lack an entry while another one resizes the hash table, which is global.
        wait_until(partial(lines_agree, table, options), 20, f"agreement about {options}")


def lines_agree(table: Namespace, options: tuple[str, ...]) -> bool:
    theirs = without_timeout(table.run("conntrack", "-L", *options).stdout)
    assert theirs, options
    return without_timeout(carpool(table, *options)) == theirs


def test_json_is_one_document(table: Namespace) -> None:
    found = json.loads(carpool(table, "--json"))
    assert carpool(table, "--count", "-p", "tcp") == "11\n"
    assert len(found) == len(every_kind())
    (translated,) = json.loads(carpool(table, "--json", "-n"))
    assert translated["orig"] == {
        **{"src": "10.1.0.10", "dst": "10.2.0.10", "sport": 3000, "dport": 443},
        **{"packets": 0, "bytes": 0},
    }
    assert translated["reply"]["dst"] == "10.2.0.100" and translated["status"][-1] == "SRC_NAT"
    assert json.loads(carpool(table, "--json", "-p", "99")) == []


def test_a_large_table_takes_no_more_memory_and_a_closed_pipe_ends_it(network: Network) -> None:
    host = network.host("fw")
    host.nft("table inet t { chain c { type filter hook forward priority 0; ct state new; }; }")
    used = []
    code = "import sys; from carpool.cli.main import main; main(['states', 'list']);"
    code += "print(open('/proc/self/status').read(), file=sys.stderr)"
    argv = ["ip", "netns", "exec", host.name, sys.executable, "-m", "carpool", "states", "list"]
    entries = [
        plain(ct.Tuple(CLIENT, SERVER, 17, 1 + number % 60_000, 53 + number // 60_000))
        for number in range(MANY)
    ]
    for part in (entries[:100], entries[100:]):
        fill(host, part)
        told = host.run(sys.executable, "-c", code).stderr
        used.append(int(told.split("VmHWM:")[1].split()[0]))  # kB at most, since its start
    assert used[1] - used[0] < 1500, f"{used} kB: {MANY} lines have some 3,000"
    assert carpool(host, "--count") == f"{MANY}\n"
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stderr is not None
        assert child.stdout.readline().startswith(b"udp      17 ")
        child.stdout.close()
        assert child.wait(timeout=20) == 1
        assert child.stderr.read() == b""
