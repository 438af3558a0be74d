"""A preset's service in both roles, for real: what it advises to switch, or its unit's program.

Room: lab. Runs on the machine that `trials.py` makes for a trial, in a network of its own; all that
it starts ends with that. What it measured goes to stdout, what failed to stderr.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from carpool.errors import EXIT_FAILED, EXIT_OK, CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab.presets.advice import switched
from carpool.model.section import Service

WAIT_S = 40.0
PAUSE_S = 0.02
FAR = "far"  # the namespace of who is at the other end
USERSPACE = {"WG_QUICK_USERSPACE_IMPLEMENTATION": "wireguard-go"}
FRR_CONF = """interface lan0
 ip ospf area 0
 ip ospf cost 1000
router ospf
 ospf router-id 10.0.0.1
"""


def main(argv: Sequence[str]) -> int:
    try:
        run("ip", "link", "set", "lo", "up")
        print(TRIALS[argv[0]]())
    except CarpoolError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


def run(*argv: str) -> str:
    """What it said. Raises CarpoolError."""
    with tempfile.TemporaryFile("w+") as said:  # no pipe: daemons that it starts hold it open
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=WAIT_S,
                env={**os.environ, **USERSPACE},
            )
            fault = f"gave exit status {done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            fault = f"did not end in {WAIT_S:g} s"
        said.seek(0)
        text = said.read()
    if fault:
        raise CarpoolError(f"`{' '.join(argv)}` {fault}: {text[-500:].strip()}")
    return text


def until(predicate: Callable[[], bool], what: str) -> float:
    """Seconds until it was so."""
    begun_s = monotonic_s()
    while not predicate():
        if monotonic_s() - begun_s > WAIT_S:
            raise CarpoolError(f"not within {WAIT_S:g} s: {what}")
        sleep_s(PAUSE_S)
    return monotonic_s() - begun_s


def works(*argv: str) -> bool:
    done = subprocess.run(argv, capture_output=True, timeout=WAIT_S, check=False)
    return done.returncode == 0


def answers(address: str) -> bool:
    return works("ping", "-n", "-q", "-c1", "-W1", address)


def switch(service: Service, master: bool) -> float:
    begun_s = monotonic_s()
    run(*service.command(master))
    return monotonic_s() - begun_s


def expect(is_so: bool, what: str) -> None:
    if not is_so:
        raise CarpoolError(f"it is not so: {what}")


def wire() -> None:
    """Two ends of a cable: lan0 here, one in a namespace."""
    run("ip", "netns", "add", FAR)
    run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "far0", "netns", FAR)
    run("ip", "addr", "add", "10.0.0.1/24", "dev", "lan0")
    run("ip", "link", "set", "lan0", "up")
    run("ip", "-n", FAR, "addr", "add", "10.0.0.2/24", "dev", "far0")
    run("ip", "-n", FAR, "link", "set", "far0", "up")
    until(lambda: answers("10.0.0.2"), "the cable works")


def frr() -> str:
    """The advised cost, on a real ospfd; a reload goes back to the file."""
    wire()
    service = switched("frr")
    daemons = Path("/etc/frr/daemons")
    daemons.write_text(daemons.read_text().replace("ospfd=no", "ospfd=yes"))
    Path("/etc/frr/frr.conf").write_text(FRR_CONF)
    run("/usr/lib/frr/frrinit.sh", "start")
    until(lambda: cost() == 1000, "it has the cost of its file, that of a backup")
    up_s = switch(service, True)
    expect(cost() == 10, "the master's cost")
    # The last step of the unit's reload; the one before waits for an init that reaps.
    run("/usr/lib/frr/frr-reload.py", "--reload", "/etc/frr/frr.conf")
    expect(cost() == 1000, "a reload goes back to the cost of the file")
    switch(service, True)
    down_s = switch(service, False)
    expect(cost() == 1000, "a backup's cost")
    return f"cost 1000 -> 10 in {up_s:.2f} s, back in {down_s:.2f} s"


def cost() -> int:
    """Of lan0 in OSPF; 0 while it does not speak it."""
    try:
        told = json.loads(run("vtysh", "-c", "show ip ospf interface lan0 json"))
    except (CarpoolError, ValueError):
        return 0
    return int(told.get("interfaces", {}).get("lan0", {}).get("cost", 0))


def wireguard() -> str:
    """The advised peers; the interface keeps its address and route."""
    wire()
    keys = [run("wg", "genkey").strip() for _ in range(2)]
    here, there = (
        subprocess.run(
            ["wg", "pubkey"], input=key, capture_output=True, text=True, check=True
        ).stdout.strip()
        for key in keys
    )
    folder = Path("/etc/wireguard")
    up = "PostUp = ip route add 10.9.9.0/24 dev %i\n"
    interface = "[Interface]\nPrivateKey = {}\nAddress = {}\nListenPort = 51820\n"
    (folder / "wg0.conf").write_text(interface.format(keys[0], "10.9.0.1/24") + up)
    peer = "[Peer]\nPublicKey = {}\nAllowedIPs = {}\n"
    (folder / "wg0.peers").write_text(
        peer.format(there, "10.9.0.2/32") + "Endpoint = 10.0.0.2:51820\n"
    )
    (folder / "wg9.conf").write_text(
        interface.format(keys[1], "10.9.0.2/24") + peer.format(here, "10.9.0.1/32")
    )
    run("ip", "netns", "exec", FAR, "wg-quick", "up", "wg9")
    run("wg-quick", "up", "wg0")
    service = switched("wireguard", ("/etc/wireguard/wg0.conf",))
    switch(service, False)  # as a boot without any peer: nothing to do is no failure
    expect(not answers("10.9.0.2"), "a backup has no tunnel")
    begun_s = monotonic_s()
    up_s = switch(service, True)
    until(lambda: answers("10.9.0.2"), "the tunnel works")
    works_s = monotonic_s() - begun_s
    down_s = switch(service, False)
    expect(not answers("10.9.0.2"), "a backup has no tunnel any more")
    expect("10.9.9.0/24" in run("ip", "route", "show", "dev", "wg0"), "it keeps its routes")
    expect("10.9.0.1/24" in run("ip", "addr", "show", "dev", "wg0"), "it keeps its address")
    run("wg-quick", "down", "wg0")
    begun_s = monotonic_s()
    (folder / "wg0.conf").write_text(
        interface.format(keys[0], "10.9.0.1/24") + (folder / "wg0.peers").read_text()
    )
    run("wg-quick", "up", "wg0")
    until(lambda: answers("10.9.0.2"), "the tunnel works")
    begin_s = monotonic_s() - begun_s
    return (
        f"switched in {up_s:.2f} s, tunnel after {works_s:.2f} s, back in {down_s:.2f} s; "
        f"started, tunnel after {begin_s:.2f} s (wireguard-go)"
    )


def openvpn() -> str:
    """A client as its unit runs it, to a server at the other end."""
    wire()
    key = Path("/etc/openvpn/client/office.key")
    run("openvpn", "--genkey", "secret", str(key))
    common = f"dev tun0\nproto udp\ncipher AES-256-CBC\nsecret {key}\n"
    Path("/etc/openvpn/client/office.conf").write_text(
        f"{common}remote 10.0.0.2\nifconfig 10.8.0.1 10.8.0.2\n"
    )
    server = Path("/etc/openvpn/server/hub.conf")
    server.write_text(f"{common}port 1194\nifconfig 10.8.0.2 10.8.0.1\nfloat\n")
    end = subprocess.Popen(
        ["ip", "netns", "exec", FAR, "openvpn", "--config", str(server)],
        stdout=subprocess.DEVNULL,
    )
    begun_s = monotonic_s()
    client = subprocess.Popen(
        ["openvpn", "--suppress-timestamps", "--nobind", "--config", "office.conf"],
        cwd="/etc/openvpn/client",
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: answers("10.8.0.2"), "the tunnel works")
        works_s = monotonic_s() - begun_s
    finally:
        client.terminate()
        client.wait(WAIT_S)
        end.terminate()
        end.wait(WAIT_S)
    expect(not answers("10.8.0.2"), "no tunnel is left")
    return f"started, tunnel after {works_s:.2f} s"


TRIALS: dict[str, Callable[[], str]] = {"frr": frr, "wireguard": wireguard, "openvpn": openvpn}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
