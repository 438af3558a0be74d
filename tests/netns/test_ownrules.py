"""The table `inet carpool_rules` in a real kernel: who gets in, and who does not."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

from carpool.agent.localclient import LocalClient
from carpool.errors import EXIT_CONFIG, EXIT_OK
from carpool.kernel.appliedfile import Applied, AppliedFile, Sources
from tests.netns.agents import made_pair, start
from tests.netns.lab import Namespace, Network, wait_until
from tests.netns.pair import OUTSIDER, SYNC
from tests.unit.api.files import write

OPEN = """table inet filter { chain input { type filter hook input priority filter; policy drop;
    iifname { "lan0", "wan0", "sync0" } tcp dport { 22, 3782, 3783 } accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
}
"""
CARP = bytes((0x21, 51, 0, 7)) + bytes(32)  # what it looks like
VRRP = bytes((0x21, 51, 100, 7, 0, 1)) + bytes(2 + 7 * 4 + 8)  # RFC 3768, for seven addresses


def carpool(host: Namespace, config_dir: Path, *words: str, status: int = EXIT_OK) -> str:
    argv = (sys.executable, "-m", "carpool", "--config-dir", str(config_dir), *words)
    done = host.run(*argv, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout


def reaches(source: Namespace, bound: str, target: str, port: int) -> bool:
    with source.entered():
        sock = socket.socket()
    with sock:
        sock.settimeout(0.5)
        sock.bind((bound, 0))
        try:
            sock.connect((target, port))
        except OSError:
            return False
    return True


def dropped(host: Namespace, chain: str) -> int:
    listed = host.run("nft", "list", "chain", "inet", "carpool_rules", chain).stdout
    return int(listed.split("counter packets ")[1].split()[0])


def test_the_port_is_open_for_the_peer_on_its_link_alone(network: Network, tmp_path: Path) -> None:
    files = write(tmp_path)
    node, peer = network.host("node"), network.host("peer")
    network.veth(node, "sync0", peer, "s0", left_addresses=["10.10.3.1/24"])
    network.veth(node, "lan0", peer, "l0", left_addresses=["10.10.1.2/24"])
    network.veth(node, "wan0", peer, "w0", left_addresses=["10.10.2.2/24"])
    for device, address in (("s0", "10.10.3.2"), ("s0", "10.10.3.77"), ("w0", "10.10.2.3")):
        peer.run("ip", "address", "add", f"{address}/24", "dev", device)
    for host, device, number in ((node, "sync0", 1), (peer, "s0", 2)):
        host.run("ip", "address", "add", f"fd00:10:3::{number}/64", "dev", device, "nodad")
    with node.entered():
        listeners = [socket.create_server(("0.0.0.0", port)) for port in (3782, 22)]
    try:
        node.nft(OPEN)
        assert reaches(peer, "10.10.3.77", "10.10.3.1", 3782)
        carpool(node, files, "rules", "--load")
        assert reaches(peer, "10.10.3.2", "10.10.3.1", 3782), "the peer on the sync link"
        assert not reaches(peer, "10.10.3.77", "10.10.3.1", 3782), "somebody else there"
        assert not reaches(peer, "10.10.2.3", "10.10.2.2", 3782), "another link"
        assert reaches(peer, "10.10.3.77", "10.10.3.1", 22), "what is not ours is left alone"
        assert dropped(node, "streams") >= 2

        advert(peer, "w0", "10.10.2.2")
        assert dropped(node, "adverts") == 0
        advert(peer, "s0", "10.10.3.1")
        wait_until(lambda: dropped(node, "adverts") == 1)
        advert(peer, "s0", "fd00:10:3::1")
        wait_until(lambda: dropped(node, "adverts") == 2)
        assert "112" not in node.run("cat", "/proc/net/nf_conntrack", check=False).stdout
        advert(peer, "s0", "10.10.3.1", VRRP)
        assert dropped(node, "adverts") == 2, "keepalived with seven addresses"

        group = (files / "group.toml").read_text()
        (files / "group.toml").write_text(f'{group}\n[web]\ninterfaces = ["sync"]\nport = 22\n')
        carpool(node, files, "rules", "--load")
        assert reaches(peer, "10.10.3.77", "10.10.3.1", 22), "anybody, where the pages are"
        assert not reaches(peer, "10.10.2.3", "10.10.2.2", 22), "nobody elsewhere"
        (files / "group.toml").write_text(group)

        text = (files / "node.toml").read_text()
        (files / "node.toml").write_text(text.replace("10.10.3.2", "10.10.3.77"))
        carpool(node, files, "rules", "--load")
        assert reaches(peer, "10.10.3.77", "10.10.3.1", 3782)
        assert not reaches(peer, "10.10.3.2", "10.10.3.1", 3782)
        carpool(node, files, "rules", "--remove")
        assert reaches(peer, "10.10.3.2", "10.10.3.1", 3782)
    finally:
        for one in listeners:
            one.close()


def test_a_broken_file_opens_no_port_at_a_boot(network: Network, tmp_path: Path) -> None:
    node, files, state = network.host("node"), write(tmp_path), tmp_path / "state"
    words = ("--state-dir", str(state), "rules", "--load")
    texts = Sources(*((files / name).read_text() for name in ("node.toml", "group.toml")))
    AppliedFile(state).write(Applied(texts))
    made = carpool(node, files, "rules")
    (files / "group.toml").write_text("half wri")
    carpool(node, files, *words)
    (comment,) = set(re.findall('comment "(carpool rules [0-9a-f]+)"', made))
    assert comment in node.run("nft", "list", "ruleset").stdout
    (state / "applied.json").unlink()
    carpool(node, files, *words, status=EXIT_CONFIG)
    assert comment in node.run("nft", "list", "ruleset").stdout, "what is loaded stays"


def test_the_agent_keeps_it_as_the_files_are_and_loads_none_by_itself(
    network: Network, tmp_path: Path
) -> None:
    fw1, _fw2 = made_pair(network, tmp_path)
    start(fw1)
    node = fw1.config_dir / "node.toml"

    def reloaded() -> str:
        with LocalClient(fw1.run_dir) as agent:
            agent.post("/v1/reload", {})
        return fw1.namespace.run("nft", "list", "ruleset").stdout

    assert "carpool_rules" not in reloaded()
    carpool(fw1.namespace, fw1.config_dir, "rules", "--load")
    node.write_text(node.read_text().replace(SYNC["fw2"], OUTSIDER))
    assert f"ip saddr {OUTSIDER} tcp dport" in reloaded()
    fw1.stop()


def advert(host: Namespace, device: str, target: str, packet: bytes = CARP) -> None:
    """Unicast, as nobody here has joined the group."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with host.entered():
        sock = socket.socket(family, socket.SOCK_RAW, 112)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        sock.sendto(packet, (target, 0))
