"""A million states: how fast they reach a fresh node, what they cost, and that none of them waits.

Room: lab. Filled in by C, replicated by the real processes, used by a connection that was there
before. Refuses to know which figures are good ones.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s
from carpool.lab import processes
from carpool.lab.firewall import Answer
from carpool.lab.statesbench.replicators import Replicator
from carpool.lab.statesbench.stage import BACKUP, MASTER, Stage, wait_until
from carpool.lab.statesbench.table import inside
from carpool.lab.topology import FIREWALLS, SERVER_IPV4

PORT = 7100
BULK_WAIT_S = 60.0
BULK_POLL_S = 0.005
SWEEP_WAIT_S = 20.0
ANSWER_WAIT_S = 10.0
SLACK = 8


class Sizes(Protocol):
    @property
    def million(self) -> int: ...

    @property
    def tenth(self) -> int: ...


def take(stage: Stage, replicator: Replicator, sizes: Sizes) -> dict[str, float]:
    """One run: a pair with a tenth of it, whose backup then comes back fresh and takes it all."""
    million, tenth = sizes.million, sizes.tenth
    stage.fill(MASTER, tenth)
    replicator.start()
    swept = wait_until(lambda: _status(stage, MASTER)["window_check"] == "on", SWEEP_WAIT_S)
    if swept is None:
        raise CarpoolError(f"the master's walk over {tenth} entries took {SWEEP_WAIT_S:.0f} s")
    small_mb = _memory_mb(replicator)
    processes.end([tracked for tracked in [stage.lab.tracked(BACKUP, "states")] if tracked])
    stage.fill(MASTER, million - tenth, first=tenth)

    stage.backup.flush()
    stage.fill(BACKUP, million)  # from here on the kernel's memory is warm
    stage.backup.flush()
    kernel = stage.fill(BACKUP, million)["rate"]
    stage.backup.flush()
    with old_connection(stage) as (client, server):
        rate = _bulk(stage, million)
        large_mb = _memory_mb(replicator)
        missing = stage.master.flows(assured=True) - stage.backup.flows(assured=False)
        if missing:
            raise CarpoolError(f"{len(missing)} of {million} states did not come over in the bulk")
        passed_ms = _take_over(stage, client, server)
    replicator.stop()
    stage.clear()
    stage.lab.wait_healthy()  # the master's place goes back to where it was
    return {
        "bulk": rate,
        "bulk/raw ctnetlink in C": kernel,
        "memory": large_mb,
        "growth": large_mb - small_mb,
        "takeover": passed_ms,
    }


def _status(stage: Stage, node: str) -> Answer:
    return stage.lab.firewalls[node].ask("states", "status")


def _bulk(stage: Stage, count: int) -> float:
    """Start the backup and let the whole table come over; entries a second, from the first to the
    last."""
    stage.lab.start_missing(BACKUP)
    started = wait_until(lambda: stage.backup.count() > SLACK, BULK_WAIT_S, BULK_POLL_S)
    begun_s, had = monotonic_s(), stage.backup.count()
    if started is None or (
        wait_until(lambda: stage.backup.count() >= count, BULK_WAIT_S, BULK_POLL_S) is None
    ):
        there = stage.backup.count()
        raise CarpoolError(f"{there} of {count} states after {BULK_WAIT_S:.0f} s of bulk")
    rate = (stage.backup.count() - had) / (monotonic_s() - begun_s)
    stage.lab.wait_healthy()
    return rate


def _memory_mb(replicator: Replicator) -> float:
    return max(replicator.memory_mb(node) for node in FIREWALLS)


def _take_over(stage: Stage, client: socket.socket, server: socket.socket) -> float:
    """Milliseconds from the end of a switchover to the first packet's arrival."""
    stage.lab.firewalls[MASTER].ask("failover", "switchover")
    begun_s = monotonic_s()
    client.sendall(b"!")
    if server.recv(1) != b"!":
        raise CarpoolError("the old connection ended in the take-over")
    return (monotonic_s() - begun_s) * 1000


@contextmanager
def old_connection(stage: Stage) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection from client to server through the master."""
    with inside(stage.namespace("server")):
        listener = socket.create_server((str(SERVER_IPV4), PORT))
    with inside(stage.namespace("client")):
        client = socket.socket()
    with listener, client:
        client.settimeout(ANSWER_WAIT_S)
        client.connect((str(SERVER_IPV4), PORT))
        server, _name = listener.accept()
        with server:
            server.settimeout(ANSWER_WAIT_S)
            client.sendall(b"?")
            assert server.recv(1) == b"?"
            yield client, server
