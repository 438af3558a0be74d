"""What is measured: each measure's rows, its contenders, and how one of them is measured once.

Room: lab. The rows and limits are those that the project has set itself; the sizes of the loads fit
five runs of everything into twenty minutes on two cores. Refuses to know what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s
from carpool.lab.figures import Better, Row
from carpool.lab.statesbench import million
from carpool.lab.statesbench.injection import injection
from carpool.lab.statesbench.replicators import MODES, Carpool, Replicator, conntrackds
from carpool.lab.statesbench.stage import FLOOD_PRIORITY, TIME_WAIT_S, Stage, wait_until

PEERS = tuple(f"conntrackd {name}" for name in MODES)
DIRECT = tuple(name for name in PEERS if "direct" in name or "no caches" in name)
KERNEL = "raw ctnetlink in C"
SLACK = 8  # entries of the nodes themselves: the stream of states, a ping
CAUGHT_UP_S = 5.0
FLOOD_WAIT_S = 30.0  # what is not there by then is lost
LATENCY_RATES = (100, 1_000, 5_000)

Found = dict[str, float]  # by key of a row


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; `small` proves that the bench works, and measures nothing."""

    life: int = 30_000  # TCP connections, at life_rate a second
    life_rate: int = 5_000
    flows: int = 60_000
    flows_rate: int = 20_000
    rate: int = 40_000  # TCP connections, as fast as they go
    flood_rate: int = 80_000
    flood_s: float = 10.0
    inject: int = 300_000
    latency_s: float = 3.0
    million: int = 1_000_000
    tenth: int = 100_000


SMALL = Sizes(300, 1_000, 600, 2_000, 300, 2_000, 0.5, 2_000, 0.3, 4_000, 1_000)


@dataclass(frozen=True, slots=True)
class Measure:
    name: str
    rows: tuple[Row, ...]
    scope: str
    peers: tuple[str, ...]  # those that run beside carpool
    take: Callable[[Stage, Replicator, Sizes], Found]

    def contenders(self, stage: Stage) -> list[Replicator]:
        others = conntrackds(stage.lab, stage.backup)
        carpool = Carpool(stage.lab, stage.backup, self.scope)
        return [carpool, *(other for other in others if other.name in self.peers)]


# ----------------------------------------------------------------------------------- what it costs


def _life(stage: Stage, replicator: Replicator, sizes: Sizes) -> Found:
    """TCP, from SYN to the end of TIME_WAIT (shortened) on both nodes."""
    stage.end_closed_after(2)
    try:
        replicator.start()
        before_s = replicator.cpu_s()
        stage.connections(sizes.life, sizes.life_rate)

        def gone() -> bool:
            stage.master.expire()
            return stage.master.count() <= SLACK and replicator.present() <= SLACK

        if wait_until(gone, 20.0, 0.5) is None:
            left = f"{stage.master.count()} on the master, {replicator.present()} on the backup"
            raise CarpoolError(f"{replicator.name}: connections that were closed stay: {left}")
        return {"life": (replicator.cpu_s() - before_s) / sizes.life * 1e5}
    finally:
        stage.end_closed_after(TIME_WAIT_S)


def _one_way(stage: Stage, replicator: Replicator, sizes: Sizes) -> Found:
    replicator.start()
    before_s = replicator.cpu_s()
    stage.flows(sizes.flows, sizes.flows_rate)
    _all_there(stage, replicator)
    return {"flows": (replicator.cpu_s() - before_s) / sizes.flows * 1e5}


def _all_there(stage: Stage, replicator: Replicator, seconds: float = CAUGHT_UP_S) -> float | None:
    return wait_until(lambda: replicator.present() >= stage.master.count() - SLACK, seconds)


# ------------------------------------------------------------------------------ how much it bears


def _rate(stage: Stage, replicator: Replicator, sizes: Sizes) -> Found:
    """The rate without replication is taken right before and right after the one with it."""
    without = [stage.connections(sizes.rate)["rate"]]
    stage.clear()
    replicator.start()
    rate = stage.connections(sizes.rate)["rate"]
    _all_there(stage, replicator)
    missing = _missing(stage, replicator, assured=True)
    replicator.stop()
    stage.clear()
    without.append(stage.connections(sizes.rate)["rate"])
    share = 100 * rate * len(without) / sum(without)
    return {"rate": rate, "share": share, "rate_missing": missing}


def _missing(stage: Stage, replicator: Replicator, *, assured: bool) -> float:
    """Flows of the master that the backup does not have."""
    if replicator.direct:
        return float(len(stage.master.flows(assured=assured) - stage.backup.flows(assured=False)))
    return max(0.0, float(stage.master.count() - SLACK - replicator.present()))


def _flood(stage: Stage, replicator: Replicator, sizes: Sizes) -> Found:
    replicator.start()
    count = int(sizes.flood_rate * sizes.flood_s)
    sent = stage.flows(count, sizes.flood_rate, FLOOD_PRIORITY)
    took_s = _all_there(stage, replicator, FLOOD_WAIT_S)
    missing = _missing(stage, replicator, assured=False)
    return {
        "flood_rate": sent["rate"],
        "flood_missing": missing,
        "flood_s": FLOOD_WAIT_S if took_s is None else took_s,
    }


# -------------------------------------------------------------------------------- how fast it is


def _latency(stage: Stage, replicator: Replicator, sizes: Sizes) -> Found:
    found: Found = {}
    for rate in LATENCY_RATES:
        replicator.start()
        stage.gateway()  # neighbours are known
        count = max(30, int(rate * sizes.latency_s))
        took_us = sorted(stage.latencies_us(count, rate))
        if len(took_us) < count * 0.99:
            raise CarpoolError(f"{replicator.name}: {len(took_us)} of {count} flows came over")
        found[f"p50_{rate}"] = took_us[len(took_us) // 2] / 1000
        found[f"p99_{rate}"] = took_us[len(took_us) * 99 // 100] / 1000
        replicator.stop()
        stage.clear()
    return found


def _inject(stage: Stage, _replicator: Replicator, sizes: Sizes) -> Found:
    begun_s = monotonic_s()
    ours = injection(stage, sizes.inject)
    stage.clear()
    raw = stage.fill("fw2", sizes.inject)["rate"]
    stage.say(f"injection took {monotonic_s() - begun_s:.0f} s")
    return {"inject": ours, f"inject/{KERNEL}": raw}


def _latency_rows() -> tuple[Row, ...]:
    first = "first packet -> present on the backup"
    return tuple(
        Row(f"{p}_{rate}", f"{first}, {rate}/s, {p}", "ms", Better.LESS, limit, peers=DIRECT)
        for rate in LATENCY_RATES
        for p, limit in (("p50", 0.5), ("p99", 1.0))
    )


LESS, MORE = Better.LESS, Better.MORE
MEASURES: Sequence[Measure] = (
    Measure(
        "life",
        (Row("life", "CPU per 100,000 TCP connections", "s", LESS, 1 / 3, True, PEERS),),
        *("assured", PEERS, _life),
    ),
    Measure(
        "flows",
        (Row("flows", "CPU per 100,000 one-way UDP flows", "s", LESS, 1 / 2, True, PEERS),),
        *("all", PEERS, _one_way),
    ),
    Measure(
        "rate",
        (
            Row("share", "new TCP connections/s, share of without", "%", MORE, 85, peers=PEERS),
            Row("rate", "new TCP connections/s", "1/s", MORE, 0, peers=PEERS),
            Row("rate_missing", "states missing after it", "", LESS, 0, peers=PEERS),
        ),
        *("assured", PEERS, _rate),
    ),
    Measure(
        "flood",
        (
            Row("flood_missing", "80,000 new flows/s: lost", "", LESS, 0, peers=PEERS),
            Row("flood_s", "80,000 new flows/s: complete after", "s", LESS, 5, peers=PEERS),
        ),
        *("all", PEERS, _flood),
    ),
    Measure(
        "inject",
        (Row("inject", "injection, entries", "1/s", MORE, 0.9, True, (KERNEL,)),),
        *("assured", (), _inject),
    ),
    Measure("latency", _latency_rows(), "all", DIRECT, _latency),
    Measure(
        "million",
        (
            Row("bulk", "bulk of 1,000,000 states", "1/s", MORE, 0.8, True, (KERNEL,)),
            Row("takeover", "first packet of an old flow after take-over", "ms", LESS, 20),
            Row("memory", "memory at 1,000,000 states, the larger node", "MB", LESS, 60),
            Row("growth", "memory at 1,000,000 above that at 100,000", "MB", LESS, 2),
        ),
        *("assured", (), million.take),
    ),
)
