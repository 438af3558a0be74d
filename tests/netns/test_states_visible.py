"""What `carpool states`, `states verify`, `states resync` and `metrics` say of two real nodes."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from itertools import count

from tests.netns.lab import wait_until
from tests.netns.pair import SERVER, Pair, StatesNode, arrives, flow

TCP = socket.SOCK_STREAM


def carpool(node: StatesNode, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "carpool", "--run-dir", str(node.run_dir)]
    return node.namespace.run(*argv, "--config-dir", str(node.directory), *words, check=False)


def test_lag_rates_and_bytes_are_measured(pair: Pair) -> None:
    pair.start()
    before = pair.fw1.peer_status()
    with ExitStack() as open_flows:
        ports = count(1000)

        def measured() -> bool:
            to = (SERVER, next(ports))
            open_flows.enter_context(flow(TCP, pair.client, pair.server, to))
            return bool(pair.fw1.peer_status()["lag"]["samples"] >= 3)

        wait_until(measured, 10, "lags are known")
        made = next(ports) - 1000
        wait_until(lambda: pair.fw1.peer_status()["sent"] - before["sent"] == made, 5, "all sent")
        peer = pair.fw1.peer_status()
        # A sample is no longer than the test, and not all of them as long as a slow machine's one.
        assert 0.01 < peer["lag"]["p50_ms"] <= peer["lag"]["p99_ms"] < 10_000
        assert peer["sent_per_s"] > 0
        assert peer["bytes_sent"] - before["bytes_sent"] >= made * 200
        received = made * 200
        wait_until(lambda: pair.fw2.peer_status()["bytes_received"] >= received, 5, "all came")
        assert peer["bulk_done"] is None and peer["last_bulk"]["ago_s"] < 60
        # Nobody but the sender of events asks.
        assert pair.fw2.peer_status()["lag"]["samples"] == 0
        page = carpool(pair.fw1, "states")
        assert page.returncode == 0, page.stderr
        assert "fw1: master" in page.stdout and "ms from event to acknowledged" in page.stdout
        metrics = carpool(pair.fw1, "metrics")
        assert 'carpool_states_peer_connected{peer="fw2"} 1\n' in metrics.stdout
        assert 'carpool_states_peer_lag_seconds{peer="fw2",quantile="0.99"} ' in metrics.stdout


def test_tables_are_compared_and_put_right_by_hand(pair: Pair) -> None:
    pair.start()
    with ExitStack() as open_flows:
        for port in (80, 81, 82):
            open_flows.enter_context(flow(TCP, pair.client, pair.server, (SERVER, port)))
            arrives(pair.fw2, 6, port)
        equal = carpool(pair.fw1, "states", "verify", "fw2")
        assert equal.returncode == 0, equal.stdout
        assert equal.stdout.startswith("fw2: equal   (")

        lost = arrives(pair.fw2, 6, 81)
        pair.fw2.delete(lost)
        found = carpool(pair.fw1, "states", "verify")
        assert found.returncode == 1
        assert found.stdout.startswith("fw2: DIFFERENT: 1 missing there   (")
        shown = pair.fw1.namespace.run("conntrack", "-L", "-p", "tcp", "--dport", "81").stdout
        tuples = shown.split("ESTABLISHED ")[1].split(" use=")[0]
        assert tuples in found.stdout

        mended = carpool(pair.fw1, "states", "resync")
        assert mended.returncode == 0, mended.stdout
        assert arrives(pair.fw2, 6, 81).reply == lost.reply
        assert carpool(pair.fw1, "states", "verify").returncode == 0
    unknown = carpool(pair.fw1, "states", "verify", "fw9")
    assert unknown.returncode == 1
    assert "no peer 'fw9'" in unknown.stderr and "the peers are fw2" in unknown.stderr
    pair.fw2.stop()
    wait_until(pair.fw1.lost_peer, 10, "fw2 is gone")
    alone = carpool(pair.fw1, "states", "verify")
    assert alone.returncode == 4
    assert "fw2: could not be compared with: " in alone.stdout
