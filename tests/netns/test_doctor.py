"""`carpool doctor`, with each fault made for real; and a node without any."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from carpool.api import control
from carpool.api.identity import keys_of
from carpool.errors import EXIT_CONFIG, EXIT_OK
from carpool.kernel.adverts import AdvertSocket
from carpool.kernel.links import LinkMonitor
from carpool.model.config import Family
from carpool.proto.carp import Signer, build
from tests.netns.agents import GROUP, LINK, AgentNode, made_group, start
from tests.netns.lab import Namespace, Network, wait_until
from tests.netns.pair import PAIR
from tests.unit.api.files import paired, write

ADDRESSES = {
    "lan0": ("10.10.1.2/24", "fd00:10::2/64"),
    "wan0": ("10.10.2.2/24",),
    "sync0": ("10.10.3.1/24",),
}
RULES = """
table inet filter {
  chain input { type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname { "lan0", "lo" } tcp dport { 22, 3782 } accept
    iifname "sync0" ip saddr 10.10.3.2 tcp dport 22 accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
  chain output { type filter hook output priority filter;
    oifname "sync*" tcp dport 3000-3999 reject
  }
}
table ip nat {
  chain postrouting { type nat hook postrouting priority srcnat;
    oifname "lan0" masquerade
    oifname "wan0" snat to 10.10.2.1
  }
}
table netdev shaping {
  chain out { type filter hook egress device "lan0" priority 0;
    ip protocol 112 drop
  }
}
"""
MENDED = """
insert rule inet filter output oifname sync0 ip daddr 10.10.3.2 tcp dport { 3782 } accept
flush chain ip nat postrouting
add rule ip nat postrouting oifname lan0 fib saddr type != local snat to 10.10.1.1
add rule ip nat postrouting oifname wan0 fib saddr type != local snat to 10.10.2.1
insert rule netdev shaping out meta l4proto 112 accept
"""
RULE_CHECKS = ("nat-own-address", "nat-any-source", "sync-rules", "carp-rules", "flowtable")
LOCAL = ("configuration", "forwarding", "rp-filter", "arp", "conntrack-events")


@pytest.fixture
def machine(network: Network) -> Namespace:
    """A node with the devices of the good files, each with a cable in it."""
    node, switch = network.host("node", forwarding=True), network.host("switch")
    for number, (device, addresses) in enumerate(ADDRESSES.items()):
        network.veth(switch, f"p{number}", node, device, right_addresses=addresses)
    return node


def doctor(
    machine: Namespace, directory: Path, *arguments: str, before: str = ""
) -> subprocess.CompletedProcess[str]:
    (directory / "group.toml").chmod(0o600)
    options = ("--config-dir", str(directory), "--run-dir", str(directory / "run"))
    argv = (sys.executable, "-m", "carpool", "doctor", *options)
    more = ("--root", str(directory / "root"), *arguments)
    script = f'{before}\nexec "$@"'  # `ip netns exec` gives it mounts of its own
    return machine.run("sh", "-ec", script, "sh", *argv, *more, check=False)


def told(machine: Namespace, directory: Path, *arguments: str, before: str = "") -> dict[str, Any]:
    done = doctor(machine, directory, "--json", *arguments, before=before)
    assert done.stderr == ""
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def names(answer: dict[str, Any]) -> list[str]:
    return [one["check"] for one in answer["findings"]]


def test_settings_of_the_kernel(machine: Namespace, tmp_path: Path) -> None:
    files = paired(write(tmp_path))
    well = told(machine, files, *LOCAL)
    assert (well["ok"], well["findings"], well["skipped"]) == (True, [], [])

    machine.sysctl("net/ipv4/conf/lan0/rp_filter", 1)
    machine.sysctl("net/ipv4/conf/all/proxy_arp", 1)
    machine.sysctl("net/netfilter/nf_conntrack_events", 0)
    machine.sysctl("net/ipv4/ip_forward", 0)
    machine.run("ip", "link", "set", "wan0", "down")
    done = doctor(machine, files, "--fix", *LOCAL)
    assert done.returncode == EXIT_CONFIG, "one of them is not safe to mend"
    heads = [
        line for line in done.stdout.splitlines() if line.startswith(("error", "warn", "note"))
    ]
    assert heads == [
        "error: arp",
        "warning: configuration",
        "warning: forwarding",
        "warning: rp-filter",
        "note: conntrack-events",
    ]
    file = tmp_path / "root/etc/sysctl.d/90-carpool.conf"
    assert f"--fix: net/ipv4/conf/lan0/rp_filter: 1 -> 2, and in {file}" in done.stdout
    assert done.stdout.endswith(
        "1 finding put right. 1 error, 2 warnings and 1 note in 5 checks.\n"
    )
    assert machine.read_sysctl("net/ipv4/conf/lan0/rp_filter") == "2"
    machine.sysctl("net/ipv4/conf/lan0/rp_filter", 1)
    machine.run("sysctl", "-q", "-p", str(file))  # as the next boot does
    machine.sh("sysctl -q net/ipv4/conf/all/proxy_arp=0 net/ipv4/ip_forward=1; ip link set wan0 up")
    machine.sysctl("net/netfilter/nf_conntrack_events", 2)
    again = doctor(machine, files, "rp-filter", "arp", "conntrack-events", "forwarding")
    assert (again.returncode, again.stdout) == (
        EXIT_OK,
        "All is well, as far as 4 checks can tell.\n",
    )


def test_rules_in_the_way_and_nat_that_does_not_survive(machine: Namespace, tmp_path: Path) -> None:
    files = paired(write(tmp_path))
    machine.nft(RULES)
    found = told(machine, files, *RULE_CHECKS)
    assert names(found) == ["sync-rules", "carp-rules", "nat-own-address", "nat-any-source"]
    text = {one["check"]: one["found"] + one["fix"] for one in found["findings"]}
    assert "TCP port 3782 to 10.10.3.2 on sync0" in text["sync-rules"]
    assert MENDED.splitlines()[1] in text["sync-rules"]
    assert "masquerade leaves lan0 as 10.10.1.2" in text["nat-own-address"]
    assert "`fib saddr type != local snat to 10.10.1.1`" in text["nat-own-address"]
    assert "by wan0 leaves as 10.10.2.1, a VIP" in text["nat-any-source"]

    machine.nft(MENDED)  # nft takes what the fixes say, and they help
    again = told(machine, files, *RULE_CHECKS)
    assert (again["findings"], again["skipped"]) == ([], [])


def test_flowtables(machine: Namespace, tmp_path: Path) -> None:
    offload = """table inet fast {
      flowtable f { hook ingress priority 0; devices = { lan0, wan0 }; }
    }"""
    if machine.run("nft", "-f", "-", input_text=offload, check=False).returncode != 0:
        pytest.skip("this kernel has no flowtables")
    found = told(machine, paired(write(tmp_path)), "flowtable")
    assert names(found) == ["flowtable"]
    assert "inet fast f" in found["findings"][0]["found"]


def test_what_a_node_runs_and_runs_on(machine: Namespace, tmp_path: Path) -> None:
    files = paired(write(tmp_path))
    checks = ("processes", "conntrack-table", "bound-services", "certificates", "kernel")
    machine.nft("table inet t { chain c { type filter hook input priority 0; ct state new; }; }")
    well = told(machine, files, *checks)
    assert names(well) == ["processes"]
    assert "failover, states" in well["findings"][0]["found"]

    machine.run("ip", "address", "add", "10.10.1.1/32", "dev", "lan0")  # as the MASTER has it
    listening(machine, "10.10.1.1", 80)
    keys = keys_of(files, "fw1")
    keys.store_identity(expired("fw1"))
    assert machine.pings("10.10.1.1")  # one connection at least
    (tmp_path / "one").write_text("1\n")
    lower = f"mount --bind {tmp_path}/one /proc/sys/net/netfilter/nf_conntrack_max"
    ill = told(machine, files, *checks, before=lower)
    assert set(names(ill)) == {"certificates", "processes", "conntrack-table", "bound-services"}
    text = {one["check"]: one["found"] for one in ill["findings"]}
    assert text["conntrack-table"].endswith(" of 1 connections (nf_conntrack_max) are in use")
    assert "listens on 10.10.1.1, TCP port 80: a VIP" in text["bound-services"]
    assert f"{keys.identity_path} expired " in text["certificates"]

    done = doctor(machine, files, "--fix", "bound-services")
    assert done.returncode == EXIT_OK
    assert machine.read_sysctl("net/ipv4/ip_nonlocal_bind") == "1"
    helpless = machine.run(
        *("setpriv", "--bounding-set", "-net_admin", sys.executable, "-m", "carpool"),
        *("doctor", "kernel", "--config-dir", str(files)),
        check=False,
    )
    assert helpless.returncode == EXIT_CONFIG
    assert "Operation not permitted" in helpless.stdout


def test_somebody_who_is_not_root_is_told_what_he_cannot_see(
    machine: Namespace, tmp_path: Path
) -> None:
    files = paired(write(tmp_path))
    user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    options = ("--json", "--listen", "0.1", "--config-dir", str(files))
    source = f"PYTHONPATH={':'.join(filter(None, sys.path))}"
    done = machine.run(
        *(*user, "env", source, sys.executable, "-m", "carpool", "doctor", *options), check=False
    )
    assert (done.returncode, done.stderr) == (EXIT_CONFIG, "")
    answer = json.loads(done.stdout)
    (problem,) = [one for one in answer["findings"] if one["check"] == "configuration"]
    assert "Permission denied" in problem["found"]
    assert "vhid" in {one["check"] for one in answer["skipped"]}


def listening(host: Namespace, address: str, port: int) -> subprocess.Popen[str]:
    """A service."""
    open_ = f"import socket; s = socket.create_server(({address!r}, {port}))"
    service = host.start(sys.executable, "-c", f"{open_}; print(flush=True); input()")
    assert service.stdout is not None
    assert service.stdout.readline() == "\n"
    return service


def expired(node: str) -> bytes:
    """Key and certificate of somebody who has made them elsewhere, long ago."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    made = made.public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    signed = made.not_valid_after(datetime(2021, 1, 1, tzinfo=UTC)).sign(key, None)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + signed.public_bytes(Encoding.PEM)


class OddNode(AgentNode):
    """A firewall whose agent may run in odd circumstances."""

    before = ""  # shell, in a mount namespace of its own
    prelude = ""  # Python

    def begin(self) -> subprocess.Popen[str]:
        env = {"CARPOOL_CONFIG_DIR": str(self.config_dir), "CARPOOL_RUN_DIR": str(self.run_dir)}
        env |= {"CARPOOL_STATE_DIR": str(self.state_dir), "CARPOOL_ROOT": str(self.directory)}
        main = "import sys; from carpool.cli.main import main; sys.exit(main(['run', 'agent']))"
        argv = ("sh", "-ec", f'{self.before}\nexec "$@"', "sh", sys.executable, "-c")
        return self.namespace.start(*argv, f"{self.prelude}\n{main}", env=env)

    def start_failover(self) -> None:
        env = {"CARPOOL_CONFIG_DIR": str(self.config_dir), "CARPOOL_RUN_DIR": str(self.run_dir)}
        env |= {"CARPOOL_STATE_DIR": str(self.state_dir)}
        self.namespace.start(sys.executable, "-m", "carpool", "run", "failover", env=env)

    def is_master(self) -> bool:
        answer = control.status(self.run_dir, control.FAILOVER)
        return isinstance(answer, dict) and answer["role"] == "MASTER"

    def doctor(self, *checks: str) -> dict[str, Any]:
        options = ("--config-dir", str(self.config_dir), "--run-dir", str(self.run_dir))
        done = self.namespace.run(
            *(sys.executable, "-m", "carpool", "doctor", "--json", *options, *checks), check=False
        )
        assert done.stderr == ""
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


ODD = """
import carpool, time
carpool.__version__ = "0.0.9"
real = time.time_ns
time.time_ns = lambda: real() + 90 * 10**9
"""
PATHS = ("reach", "path-mtu")
PEER_CHECKS = ("versions", "clock", "peer-interfaces", "masks", "mtu", "conntrack-max")


@pytest.fixture
def pair_of_agents(network: Network, tmp_path: Path) -> tuple[OddNode, OddNode]:
    fw1, fw2 = made_group(network, tmp_path, PAIR, OddNode)
    hosts = (fw1.namespace, fw2.namespace)
    for name, net in (("lan", 1), ("wan", 2)):
        ends = [(host, f"{name}0", [f"10.{net}.0.{10 + i}/24"]) for i, host in enumerate(hosts)]
        network.bridge(name, ends)
    return fw1, fw2


def test_the_way_between_two_nodes(
    pair_of_agents: tuple[OddNode, OddNode], network: Network
) -> None:
    fw1, fw2 = pair_of_agents
    switch = network.hosts["sync"]
    agent = listening(fw2.namespace, "10.3.0.2", 3784)
    well = fw1.doctor(*PATHS)
    assert (well["findings"], well["skipped"]) == ([], [])
    switch.run("ip", "link", "set", "p1", "mtu", "1300")  # the port that leads to fw2
    agent.kill()
    agent.wait()
    ill = fw1.doctor(*PATHS)
    found = {one["check"]: one["found"] for one in ill["findings"]}
    assert found["reach"] == "fw2 (10.3.0.2) on sync, TCP port 3784: Connection refused"
    assert re.match("on sync packets of 1300 bytes reach fw2, larger ones do", found["path-mtu"])
    switch.run("ip", "link", "set", "p1", "down")
    cut = fw1.doctor(*PATHS)
    assert "TCP port 3784: no answer within 2 s" in cut["findings"][0]["found"]
    assert cut["skipped"][0]["why"] == "fw2 (10.3.0.2) answers no ping"


def test_two_nodes_that_differ(pair_of_agents: tuple[OddNode, OddNode], tmp_path: Path) -> None:
    fw1, fw2 = pair_of_agents
    start(fw1)
    silent = fw1.doctor(*PEER_CHECKS)
    assert silent["findings"] == []
    assert {one["check"] for one in silent["skipped"]} == {*PEER_CHECKS}
    assert "cannot connect to the agent of fw2" in silent["skipped"][0]["why"]
    (tmp_path / "seven").write_text("7\n")
    fw2.before = f"mount --bind {tmp_path}/seven /proc/sys/net/netfilter/nf_conntrack_max"
    fw2.prelude = ODD
    start(fw2)
    well = fw1.doctor("peer-interfaces", "masks", "mtu")
    assert (well["findings"], well["skipped"]) == ([], [])

    fw2.namespace.sh(
        "ip link set sync0 mtu 1400; ip address del 10.1.0.11/24 dev lan0;"
        "ip address add 10.1.0.11/16 dev lan0; ip link set lan0 mtu 1400"
    )
    group = GROUP.replace('"lan"', '"wan"').replace("10.1.0.1/24", "10.2.0.1/24") + LINK
    fw1.configure(GROUP + group.partition("\n")[2].replace("vhid = 51", "vhid = 52"))
    fw2.namespace.run("ip", "link", "set", "wan0", "down")
    ill = fw1.doctor(*PEER_CHECKS)
    text = {one["check"]: one["found"] for one in ill["findings"]}
    assert text.keys() == {*PEER_CHECKS}
    assert text["versions"].startswith("fw2 runs carpool 0.0.9, this node ")
    assert re.match(r"the clock of fw2 is (8[89]|9[012])\.\d s ahead", text["clock"])
    assert text["peer-interfaces"] == "fw2: wan (wan0) is set down"
    assert text["masks"] == "lan: this node has 10.1.0.10/24, fw2 has 10.1.0.11/16: unequal masks"
    assert "MTU 1500 here, 1400 on fw2" in text["mtu"]
    assert text["conntrack-max"].endswith(" here, 7 on fw2")


WIRES = ("vhid", "multicast", "two-masters")
VMAC = "00:00:5e:00:01:33"


@contextlib.contextmanager
def speaking(host: Namespace, *payloads: bytes) -> Iterator[None]:
    """A stranger on lan0 who sends these to the group of adverts, until the end."""
    with host.entered():
        monitor = LinkMonitor({"lan": "lan0"})
        adverts = AdvertSocket(monitor.current()[0])
    over = threading.Event()

    def speak() -> None:
        while not over.wait(0.1):
            for payload in payloads:
                adverts.send(Family.IPV4, payload, source=ip_address("10.1.0.99"), vhid=51)

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        adverts.close()
        monitor.close()


def test_who_is_heard_on_the_wires(
    pair_of_agents: tuple[OddNode, OddNode], network: Network
) -> None:
    fw1, fw2 = pair_of_agents
    start(fw1, fw2)
    well = fw1.doctor(*WIRES, "--listen", "1")
    assert (well["findings"], well["skipped"]) == ([], [])

    switch, outsider = network.hosts["lan"], network.hosts["outsider"]
    network.veth(switch, "p9", outsider, "lan0", right_addresses=["10.1.0.99/24"])
    switch.sh(
        "ip link set p9 master br0; for p in p0 p1; do bridge link set dev $p mcast_flood off; done"
    )
    file = fw2.config_dir / "node.toml"
    file.write_text("advskew = 100\n" + file.read_text())  # fw1 does not give way to it
    for node in (fw1, fw2):
        node.start_failover()
    for node in (fw1, fw2):
        wait_until(node.is_master, 30, f"{node.name} hears nobody and is MASTER")
    deaf = fw1.doctor(*WIRES, "--listen", "1")
    assert sorted(one["found"] for one in deaf["findings"]) == [
        "on lan fw2 hears nothing that this node sends to 224.0.0.18",
        "on lan this node hears nothing that fw2 sends to 224.0.0.18",
        "this node and fw2 are both MASTER of 51@lan",
    ]

    switch.sh("for p in p0 p1; do bridge link set dev $p mcast_flood on; done")
    switch.nft(
        "table bridge security { chain forward { type filter hook forward priority 0;"
        f' iifname "p0" ether saddr {VMAC} drop; }}; }}'
    )
    forged = build(Signer(51, b"other", ()), vhid=51, advbase_s=1, advskew=0, demote=0, counter=1)
    with speaking(outsider, forged, bytes.fromhex("3107640100640000 0a010063")):
        strange = fw1.doctor(*WIRES, "--listen", "3")
    found = {one["found"].partition(" which come")[0] for one in strange["findings"]}
    assert "on lan fw2 hears this node, and none of its adverts for VHID 51," in found
    assert "in use by others on lan: 7 (VRRP of 10.1.0.99)" in found
    assert any(one.startswith("10.1.0.99 (") and "VHID 51 with another" in one for one in found)
