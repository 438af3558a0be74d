"""An nftables file loaded over a running ruleset: what stays, what goes, and what is told."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from carpool.agent.rulesets import Loaded, Rulesets
from carpool.errors import KernelError
from carpool.kernel.clock import monotonic_s
from carpool.kernel.netlink import NETLINK_NETFILTER, NetlinkSocket, Request
from carpool.proto import nftables as nft
from carpool.proto.nftlisting import Block, Ruleset, parse
from tests.netns.lab import Namespace, Network, wait_until

FILE = "/etc/nftables.conf"
BANS = "set bans {{ type ipv4_addr; flags dynamic,timeout; timeout {}; {} }}"
FILTER = """#!/usr/sbin/nft -f
# flush ruleset, said here, is a comment
flush ruleset

table inet filter {{
  counter seen {{ comment "named" }}
  quota month {{ over 100 mbytes }}
  {sets}
  set allowed {{ type ipv4_addr; elements = {{ 10.0.0.1 }}; }}
  map where {{ type inet_service : verdict; elements = {{ 22 : jump known }}; }}
  chain known {{ accept; }}
  chain input {{
    type filter hook input priority 0; policy accept;
    counter name seen quota name "month" drop
    tcp dport vmap @where
    {rules}
  }}
}}
"""


def conf(*sets: str, rules: str = "") -> str:
    return FILTER.format(sets="\n  ".join(sets), rules=rules)


class Firewall:
    """A namespace whose nftables file is below a directory."""

    def __init__(self, network: Network, root: Path, name: str = "fw") -> None:
        self.host: Namespace = network.host(name)
        self.root = root
        self.rulesets = Rulesets(root / "state", root)

    def write(self, text: str, path: str = FILE) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def boot(self, text: str) -> None:
        """As the service does it, when nothing is loaded yet."""
        self.write(text)
        self.host.run("nft", "-f", str(self.root / FILE.lstrip("/")))

    def change(self, text: str) -> Loaded:
        """As the agent does it: look, change the file, load it."""
        with self.host.entered():
            asyncio.run(self.rulesets.note([FILE]))
            self.write(text)
            return asyncio.run(self.rulesets.load(FILE))

    def set_of(self, name: str, table: tuple[str, str] = ("inet", "filter")) -> Block:
        return parse(self.rules())[table]["map" if name == "marks" else "set", name]

    def keys(self, name: str, table: str = "filter") -> set[str]:
        return set(self.set_of(name, ("inet", table)).elements)

    def rules(self) -> str:
        return self.host.sh("nft list ruleset")

    def left_s(self, name: str, key: str) -> float:
        """The time that an element has left."""
        found = re.search(r"expires (\S+)", self.set_of(name).elements[key].text)
        assert found is not None
        units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
        return sum(int(n) * units[u] for n, u in re.findall(r"(\d+)(ms|h|m|s)", found[1]))


@pytest.fixture
def fw(network: Network, tmp_path: Path) -> Firewall:
    return Firewall(network, tmp_path)


def test_sets_that_rules_fill_stay_to_the_last_byte_and_millisecond(fw: Firewall) -> None:
    bans = BANS.format("1h", "size 1000; counter; elements = { 10.9.9.8, 10.9.9.9 timeout 2h };")
    marks = "map marks { type ipv4_addr : mark; flags dynamic,timeout; timeout 1m; }"
    rates = "set rates { type ipv4_addr . inet_service; flags dynamic; size 99; }"
    learn = (
        "ip saddr 127.0.0.0/8 add @bans { ip saddr timeout 30m } update @marks { ip saddr : 0x7 }\n"
        "udp dport 9 add @rates { ip daddr . udp dport limit rate over 10/second }"
    )
    fw.boot(conf(bans, marks, rates, rules=learn))
    assert fw.host.pings("127.0.0.1")
    fw.host.run("nft", "add element inet filter bans { 192.0.2.7 timeout 10m expires 5m }")
    fw.host.run("nft", "add element inet filter rates { 192.0.2.7 . 80 limit rate over 5/minute }")
    before = parse(fw.rules())["inet", "filter"]
    handles = fw.host.sh("nft -a list sets")
    since_s = monotonic_s()

    loaded = fw.change(conf(bans, marks, rates, rules=learn + "\ntcp dport 443 accept"))

    assert loaded.told == ()
    after = parse(fw.rules())["inet", "filter"]
    assert "tcp dport 443 accept" in fw.rules()
    for known in (("set", "bans"), ("map", "marks"), ("set", "rates")):
        now, then = after[known].elements, before[known].elements
        assert {key: one.definition for key, one in now.items()} == {
            key: one.definition for key, one in then.items()
        }, known
    assert "limit rate over 5/minute" in after["set", "rates"].elements["192.0.2.7 . 80"].text
    assert after["counter", "seen"].lines == before["counter", "seen"].lines
    assert "used" in after["quota", "month"].lines[0]
    # Nobody took it out and put it in again: it is the same set, and time goes on in it.
    assert re.search(r"set bans \{ # handle \d+", handles)[0] in fw.host.sh("nft -a list sets")  # type: ignore[index]
    assert fw.left_s("bans", "192.0.2.7") <= 300.0
    assert fw.left_s("bans", "192.0.2.7") > 295.0 - (monotonic_s() - since_s)


def test_what_the_file_says_of_a_set_holds_beside_what_was_added(fw: Firewall) -> None:
    fw.boot(conf(BANS.format("1h", "elements = { 10.0.0.1, 10.0.0.2 timeout 2h, 10.0.0.3 };")))
    fw.host.run("nft", "add element inet filter bans { 192.0.2.1, 192.0.2.2 timeout 5m }")
    fw.host.run("nft", "add element inet filter allowed { 192.0.2.9 }")

    new = "elements = { 10.0.0.2 timeout 3h, 10.0.0.3, 10.0.0.4, 192.0.2.2 timeout 4h };"
    fw.change(conf(BANS.format("1h", new)))

    assert fw.keys("bans") == {"10.0.0.2", "10.0.0.3", "10.0.0.4", "192.0.2.1", "192.0.2.2"}
    assert "timeout 3h" in fw.set_of("bans").elements["10.0.0.2"].text
    assert "timeout 4h" in fw.set_of("bans").elements["192.0.2.2"].text  # the file's word counts
    # A set without `dynamic` or `timeout` has what the file says: the rest was drift.
    assert fw.keys("allowed") == {"10.0.0.1"}


def test_a_set_that_is_declared_otherwise_gets_its_elements_back_or_they_are_told(
    fw: Firewall,
) -> None:
    sets = [BANS.format("1h", "").replace("bans", name) for name in ("bans", "shape", "gone")]
    fw.boot(conf(*sets))
    for name in ("bans", "shape", "gone"):
        fw.host.run("nft", f"add element inet filter {name} {{ 192.0.2.1 expires 9m, 192.0.2.2 }}")

    shape = "set shape { type inet_service; flags dynamic,timeout; timeout 1h; }"
    loaded = fw.change(conf(BANS.format("2m", "size 500;"), shape))

    assert fw.keys("bans") == {"192.0.2.1", "192.0.2.2"}
    assert 500.0 < fw.left_s("bans", "192.0.2.1") <= 540.0  # not lengthened, nor cut to 2 minutes
    assert 3500.0 < fw.left_s("bans", "192.0.2.2") <= 3600.0
    assert fw.keys("shape") == set()
    assert ("set", "gone") not in parse(fw.rules())["inet", "filter"]
    told = sorted(loaded.told)
    assert len(told) == 3
    assert told[0].startswith("set inet filter bans: was `")
    assert told[0].endswith("its 2 elements were put back")
    assert told[1] == ("set inet filter gone: is not in the file any more; 2 elements are gone")
    assert "was `type ipv4_addr`, is `type inet_service`; 2 elements are gone" in told[2]


def test_intervals_stay_unless_the_file_changes_its_own(fw: Firewall) -> None:
    nets = "set nets {{ type ipv4_addr; flags interval,timeout; auto-merge; elements = {{ {} }}; }}"
    fw.boot(conf(nets.format("10.1.0.0/16")))
    fw.host.run("nft", "add element inet filter nets { 192.0.2.0/25 timeout 1h }")

    assert fw.change(conf(nets.format("10.1.0.0/16"), rules="tcp dport 1 drop")).told == ()
    assert fw.keys("nets") == {"10.1.0.0/16", "192.0.2.0/25"}

    told = fw.change(conf(nets.format("192.0.0.0/8"))).told
    assert fw.keys("nets") == {"192.0.0.0/8"}
    assert "which might overlap; 1 element is gone" in told[0]


def test_meters_begin_anew_and_what_somebody_added_by_hand_is_gone(fw: Firewall) -> None:
    meter = "meter rate size {} {{ ip saddr timeout 1m limit rate 9/second }} accept"
    bans = BANS.format("1h", "")
    fw.boot(conf(bans, rules=meter.format(100)))
    fw.host.run("nft", "add element inet filter bans { 192.0.2.1 }")
    fw.host.nft("table inet filter { chain late { jump known; }; }")
    fw.host.nft("add element inet filter where { 23 : goto late }")
    assert fw.change(conf(bans, rules=meter.format(200))).told == ()
    assert "size 200" in fw.host.sh("nft list meter inet filter rate")
    assert fw.keys("bans") == {"192.0.2.1"}
    assert "late" not in fw.rules()


def test_what_cannot_stay_does_not_hinder_the_file(fw: Firewall) -> None:
    fw.boot(conf(BANS.format("1h", "")))
    fw.host.run("nft", "add element inet filter bans { 192.0.2.1, 192.0.2.2 }")
    told = fw.change(conf(BANS.format("1h", "size 1;"))).told  # no room for two
    assert told[0].startswith("sets could not stay as they were: ")
    assert told[1] == "set inet filter bans: 2 elements are gone"
    assert fw.keys("bans") == set()
    assert "size 1" in fw.rules()


def test_tables_of_other_programs_stay_and_those_of_the_file_go(fw: Firewall) -> None:
    fw.boot(conf() + "table ip nat { chain post { type nat hook postrouting priority 100; }; }\n")
    fw.host.nft("table inet f2b-table { set addr { type ipv4_addr; elements = { 1.2.3.4 }; }; }")
    fw.host.nft("table ip docker { chain x { counter; }; }")
    with fw.host.entered():
        owner = NetlinkSocket(NETLINK_NETFILTER)
    owner.adopt()
    request = Request("a table of a process", nft.new_table("carpool"))
    assert not owner.attempt([request], (nft.batch_begin(), nft.batch_end()))
    try:
        fw.change(conf() + "table ip6 fresh { }\n")
        assert set(parse(fw.rules())) == {
            *(("inet", "filter"), ("ip6", "fresh"), ("inet", "f2b-table"), ("ip", "docker")),
            ("netdev", "carpool"),
        }
        assert fw.keys("addr", "f2b-table") == {"1.2.3.4"}
        # Emptied, the file still takes away what it made.
        fw.change("flush ruleset\n")
        assert set(parse(fw.rules())) == {
            *(("inet", "f2b-table"), ("ip", "docker"), ("netdev", "carpool"))
        }
    finally:
        owner.close()


def test_scripts_that_delete_their_own_tables_and_include_others(fw: Firewall) -> None:
    inner = (
        "table inet filter\ndelete table inet filter\n"
        + conf(BANS.format("1h", "")).split("flush ruleset\n\n")[1]
    )
    fw.write(inner, "/etc/nftables.d/10-filter.nft")
    fw.write("table ip more { }\n", "/etc/nftables.d/20-more.nft")
    main = 'include "/etc/nftables.d/*.nft"\n'
    fw.write(main)
    with fw.host.entered():
        asyncio.run(fw.rulesets.load(FILE))  # as at a first synchronisation
    fw.host.run("nft", "add element inet filter bans { 192.0.2.1 }")

    for new in ("# changed\n" + main, "flush ruleset\n" + main):
        assert fw.change(new).told == ()
        assert fw.keys("bans") == {"192.0.2.1"}
    assert ("ip", "more") in parse(fw.rules())


def test_files_that_include_each_other_are_an_error_and_no_work_without_end(fw: Firewall) -> None:
    for number in range(4):
        fw.write('include "/etc/nftables.d/*.nft"\n', f"/etc/nftables.d/{number}.nft")
    fw.write('include "/etc/nftables.d/*.nft"\n')
    with pytest.raises(KernelError, match=r"nftables\.conf includes files more than 1000 times"):
        asyncio.run(fw.rulesets.load(FILE))


def test_rules_may_name_devices_that_are_only_here(fw: Firewall) -> None:
    fw.host.run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "wan0")
    chain = (
        "table netdev edge { set seen { type ether_addr; flags dynamic; size 9; }; "
        "chain in { type filter hook ingress device lan0 priority 0; }; }\n"
    )
    fw.boot(conf(BANS.format("1h", ""), rules='iif "lan0" accept') + chain)
    fw.host.run("nft", "add element inet filter bans { 192.0.2.1 }")
    fw.host.run("nft", "add element netdev edge seen { 02:00:00:00:00:01 }")
    told = fw.change(conf(BANS.format("1h", ""), rules='iif "wan0" accept') + chain).told
    assert told == ()
    assert fw.keys("bans") == {"192.0.2.1"}
    assert "02:00:00:00:00:01" in fw.rules()
    assert 'iif "wan0" accept' in fw.rules()


@pytest.mark.parametrize(
    "broken", ["tabel inet x { }\n", "add rule inet filter nowhere accept\n", 'include "/none"\n']
)
def test_a_file_that_does_not_load_leaves_everything_as_it_was(fw: Firewall, broken: str) -> None:
    fw.boot(conf(BANS.format("1h", "")))
    fw.host.run("nft", "add element inet filter bans { 192.0.2.1 }")
    fw.host.nft("table ip docker { }")
    before = re.sub(r"expires \S+", "", fw.host.sh("nft -a list ruleset"))
    with pytest.raises(KernelError) as refusal:
        fw.change(conf(BANS.format("1h", "")) + broken)
    assert f"{fw.root}{FILE}" in str(refusal.value)
    assert "state/.nft-" not in str(refusal.value)  # it names the file, not our copy of it
    assert re.sub(r"expires \S+", "", fw.host.sh("nft -a list ruleset")) == before

    # What a kill left: the file that was put back is loaded, and knows what may be there.
    fw.write(conf(BANS.format("1h", "")))
    with fw.host.entered():
        asyncio.run(fw.rulesets.load(FILE))
    assert fw.keys("bans") == {"192.0.2.1"}


def test_a_table_that_the_file_deletes_by_name_goes(fw: Firewall) -> None:
    fw.boot(conf())
    fw.host.nft("table ip docker { }\ntable ip old { }")
    fw.change(conf() + "table ip old\ndelete table ip old\n")
    assert set(parse(fw.rules())) == {("inet", "filter"), ("ip", "docker")}


def test_after_a_kill_what_the_lost_file_made_is_known(fw: Firewall) -> None:
    class Killed(Rulesets):
        def _over(self, path: Path, before: Sequence[Ruleset], new: Ruleset) -> Loaded:
            super()._over(path, before, new)
            raise KeyboardInterrupt

    def bans(last: int) -> str:
        return BANS.format("1h", f"elements = {{ 10.0.0.{last} }};")

    fw.boot(conf(bans(1)))
    fw.host.run("nft", "add element inet filter bans { 192.0.2.1 }")
    survivor, fw.rulesets = fw.rulesets, Killed(fw.root / "state", fw.root)
    with pytest.raises(KeyboardInterrupt):
        fw.change(conf(bans(2)) + "table ip more { }\n")
    fw.host.nft("table ip docker { }")
    fw.write(conf(bans(1)))
    with fw.host.entered():
        asyncio.run(survivor.load(FILE))
    assert set(parse(fw.rules())) == {("inet", "filter"), ("ip", "docker")}
    assert fw.keys("bans") == {"10.0.0.1", "192.0.2.1"}


def wires(network: Network, fw: Firewall) -> None:
    """A client and a server, which has no route to it."""
    client, server = network.host("client"), network.host("server")
    for device, host, net in (("lan0", client, "10.1.0"), ("wan0", server, "10.2.0")):
        ours, theirs = (f"{net}.1/24",), (f"{net}.2/24",)
        network.veth(fw.host, device, host, "eth0", left_addresses=ours, right_addresses=theirs)
    fw.host.sysctl("net/ipv4/ip_forward", 1)
    client.run("ip", "route", "add", "default", "via", "10.1.0.1")


class Echo:
    """A server that sends back what it gets over UDP and TCP, and a client behind source NAT."""

    def __init__(self, client: Namespace, server: Namespace) -> None:
        with server.entered():
            listener = socket.create_server(("10.2.0.2", 7))
            self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.datagrams.bind(("10.2.0.2", 7))
        with client.entered():
            self.stream = socket.create_connection(("10.2.0.2", 7), 5)
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.connect(("10.2.0.2", 7))
        self.accepted, (self.seen_as, _) = listener.accept()
        listener.close()
        self.sockets = [self.datagrams, self.stream, self.udp, self.accepted]
        self.datagrams.settimeout(0.1)
        for one in (self.stream, self.udp):
            one.settimeout(5.0)
        self.ends = threading.Event()
        self.rounds = 0
        self.failures: list[str] = []
        self.threads = [
            threading.Thread(target=work)
            for work in (self._answer_stream, self._answer_datagrams, self._ask)
        ]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def _answer_stream(self) -> None:
        while data := self.accepted.recv(100):
            self.accepted.sendall(data)

    def _answer_datagrams(self) -> None:
        while not self.ends.is_set():
            with contextlib.suppress(TimeoutError):
                data, sender = self.datagrams.recvfrom(100)
                self.datagrams.sendto(data, sender)

    def _ask(self) -> None:
        """One question after the other: a lost packet is an answer that does not come."""
        while not self.ends.is_set():
            text = str(self.rounds).encode()
            for name, one in (("UDP", self.udp), ("TCP", self.stream)):
                try:
                    one.send(text)
                    if one.recv(100) != text:
                        self.failures.append(f"{name}: another answer in round {self.rounds}")
                except TimeoutError:
                    self.failures.append(f"{name}: no answer in round {self.rounds}")
                    return
            self.rounds += 1

    @property
    def retransmitted(self) -> int:
        """Segments of both ends: tcpi_total_retrans of linux/tcp.h."""
        info = (
            one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104) for one in self.sockets[1::2]
        )
        return sum(int.from_bytes(one[100:104], sys.byteorder) for one in info)

    def stop(self) -> None:
        """Ask no more."""
        self.ends.set()
        self.threads[2].join()

    def close(self) -> None:
        self.stop()
        self.accepted.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        for one in self.sockets:
            one.close()


NAT = """flush ruleset
table inet filter {{
  set bans {{ type ipv4_addr; flags dynamic,timeout; timeout 1h; }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
    ip saddr @bans drop
    ct state established accept
    {}
  }}
  chain post {{ type nat hook postrouting priority srcnat; oif wan0 masquerade; }}
}}
table ip raw {{ chain pre {{ type filter hook prerouting priority raw; }}; }}
"""


def test_connections_that_only_their_state_lets_through_lose_no_packet(
    network: Network, fw: Firewall
) -> None:
    wires(network, fw)
    fw.boot(NAT.format("ip protocol { tcp, udp } accept"))
    echo = Echo(*(network.hosts[name] for name in ("client", "server")))
    assert echo.seen_as == "10.2.0.1"
    try:
        echo.start()
        fw.host.run("nft", "add element inet filter bans { 192.0.2.1 }")
        for number in range(15):
            asked = echo.rounds
            loaded = fw.change(NAT.format(f'tcp dport {number} drop comment "nothing new"'))
            assert loaded.connections >= loaded.connections_before == 2
            wait_until(lambda asked=asked: echo.rounds > asked or echo.failures, 5)  # type: ignore[misc]
        assert echo.failures == []
        assert echo.retransmitted == 0
        assert fw.keys("bans") == {"192.0.2.1"}
        # Nothing but their states lets them through: without, the rules would drop them.
        echo.stop()
        fw.host.run("conntrack", "-D", "-p", "udp")
        echo.udp.settimeout(0.3)
        echo.udp.send(b"new")
        with pytest.raises(TimeoutError):
            echo.udp.recv(100)
    finally:
        echo.close()
