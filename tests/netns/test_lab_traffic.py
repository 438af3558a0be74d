"""The lab's traffic without carpool: what it says of a firewall whose VIPs are moved by hand."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import shell
from carpool.lab.channel import Child, Report
from carpool.lab.load import Load
from carpool.lab.processes import start_ticks
from carpool.lab.topology import SERVER_IPV4, VIP_SEGMENTS, Network
from tests.netns.lab import wait_until

CONNECTIONS = 40


@pytest.fixture
def lab_network() -> Iterator[Network]:
    """A lab's network with the VIPs on fw1."""
    network = Network(f"cpl-{secrets.token_hex(3)}")
    try:
        for _ in network.build():
            pass
        set_vips(network, "fw1", "add")
        yield network
    finally:
        network.remove()


def set_vips(network: Network, firewall: str, verb: str) -> None:
    lines = [
        f"addr {verb} {address} dev {segment.device}{' nodad' if verb == 'add' else ''}"
        for segment in VIP_SEGMENTS
        for address in segment.vip()
    ]
    shell.ip_batch(network.namespace(firewall), lines)


def forget_neighbours(network: Network) -> None:
    """What the gratuitous ARP of a take-over does, done by hand."""
    for segment in VIP_SEGMENTS:
        assert segment.host is not None
        shell.ip(network.namespace(segment.host), "neigh", "flush", "dev", segment.device)


def begin(load: Load) -> float:
    """Traffic flows and young connections have been opened for a while; gives since when."""
    load.wait_flowing()
    since_s = monotonic_s()
    load.open_young()
    wait_until(lambda: opened(load) >= CONNECTIONS + 30, what="young connections")
    wait_until(lambda: monotonic_s() > since_s + 0.4, what="some of them 100 ms old")
    return since_s


def opened(load: Load) -> int:
    load.refresh()
    return int(load.streams.latest["open"])


def flows(load: Load, since_s: float) -> bool:
    load.refresh()
    return load.probes_flow(since_s)


def end(load: Load, since_s: float, fault_s: float, wait_s: float) -> Report:
    return load.measure(since_s, fault_s, monotonic_s() + wait_s, sleep_s)


def test_when_nothing_happens_everything_survives(lab_network: Network) -> None:
    with Load(lab_network, CONNECTIONS) as load:
        since_s = begin(load)
        fault_s = monotonic_s()
        load.fault(fault_s)
        found = end(load, since_s, fault_s, wait_s=10)
    assert found["connections"] == {"opened": CONNECTIONS, "survived": CONNECTIONS}
    assert found["young"]["opened"] > 0
    assert found["young"]["survived"] == found["young"]["opened"]
    assert (found["probes_lost"], found["lost_before"], found["duplicates"]) == (0, 0, 0)
    assert found["gap_ms"] < 1000  # a busy machine, not an outage
    assert found["ipv6"]["probes_lost"] == 0


def test_connections_without_their_state_die_and_probes_do_not(lab_network: Network) -> None:
    """The lab can fail: fw2 takes over and knows none of the connections."""
    with Load(lab_network, CONNECTIONS) as load:
        since_s = begin(load)
        fault_s = monotonic_s()
        set_vips(lab_network, "fw1", "del")
        set_vips(lab_network, "fw2", "add")
        forget_neighbours(lab_network)
        load.fault(fault_s)
        wait_until(lambda: flows(load, fault_s), timeout_s=20)
        found = end(load, since_s, fault_s, wait_s=4)
    assert found["connections"] == {"opened": CONNECTIONS, "survived": 0}
    assert found["young"]["survived"] == 0 < found["young"]["opened"]
    assert found["errors"] == ["silent"]


def test_an_outage_is_measured_to_its_length(lab_network: Network) -> None:
    with Load(lab_network, CONNECTIONS) as load:
        since_s = begin(load)
        fault_s = monotonic_s()
        shell.ip(lab_network.namespace("switch"), "link", "set", "wan-fw1", "down")
        load.fault(fault_s)
        sleep_s(0.5)
        shell.ip(lab_network.namespace("switch"), "link", "set", "wan-fw1", "up")
        length_ms = (monotonic_s() - fault_s) * 1000
        wait_until(lambda: flows(load, fault_s), timeout_s=20)
        found = end(load, since_s, fault_s, wait_s=15)
    assert 480 < found["gap_ms"] < length_ms + 1500  # the bridge and ARP take their time
    # The last of them waited for a neighbour, in its queue, and came back late.
    assert 400 < found["probes_lost"] < found["gap_ms"] + 50
    assert 480 < found["ipv6"]["gap_ms"]
    assert found["connections"]["survived"] == CONNECTIONS  # TCP repeats what was lost
    assert found["tcp_silence_ms"] > 400


def test_traffic_can_be_measured_again_and_again(lab_network: Network) -> None:
    with Load(lab_network, CONNECTIONS) as load:
        for _ in range(2):
            since_s = begin(load)
            fault_s = monotonic_s()
            load.fault(fault_s)
            found = end(load, since_s, fault_s, wait_s=10)
            assert found["connections"] == {"opened": CONNECTIONS, "survived": CONNECTIONS}
            assert found["young"]["survived"] == found["young"]["opened"] > 0


def test_a_traffic_process_ends_with_its_lab(lab_network: Network) -> None:
    child = Child(lab_network.namespace("server"), "udp-echo", str(SERVER_IPV4))

    def ready() -> bool:
        child.read()
        return bool(child.latest)

    wait_until(ready)
    pid = child.pid
    assert start_ticks(pid) is not None
    child.close()
    assert start_ticks(pid) is None
    child.close()  # safe to say twice
