"""`script/bench bfd`: what sessions cost while nothing happens, and how soon a death is detected.

Room: lab. Two namespaces with some cables between them and a process of bfdnode.py in each; nothing
of failover runs here.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from typing import IO, Any

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import shell
from carpool.lab.channel import Report
from carpool.lab.cost import cpu_s, memory_kb
from carpool.model.config import Family

UP_S = 10.0
KEYS = ((1, "of the first one"), (2, "of the second one"))


def measure(
    links: int, interval_ms: float, families: tuple[Family, ...], runs: int, seconds: float
) -> Report:
    """Signed sessions on so many links, for `seconds` of idling and so many deaths."""
    name = f"cpbfd{secrets.token_hex(2)}"
    hosts = f"{name}-1", f"{name}-2"
    with _wired(hosts, links):
        with _node(hosts, 0, links, interval_ms, families) as watching:
            pid = watching.pid
            found: list[float] = []
            with _node(hosts, 1, links, interval_ms, families) as peer:
                _wait_up(watching, links * len(families))
                _wait_up(peer, links * len(families))
                sleep_s(1.0)  # polls are through
                begun_s, before_s = monotonic_s(), cpu_s(pid)
                sleep_s(seconds)
                share = (cpu_s(pid) - before_s) / (monotonic_s() - begun_s)
                memory = memory_kb(pid, "Pss")
                found.append(_die(peer, watching, links * len(families)))
            for _run in range(runs - 1):
                with _node(hosts, 1, links, interval_ms, families) as peer:
                    _wait_up(watching, links * len(families))
                    sleep_s(0.5)
                    found.append(_die(peer, watching, links * len(families)))
    return {
        "links": links,
        "sessions": links * len(families),
        "interval_ms": interval_ms,
        "cpu_percent": round(100 * share, 2),
        "pss_mb": round(memory / 1000, 1),
        "detected_ms": [round(one, 2) for one in found],
        "detected_median_ms": round(median(found), 2),
        "detected_worst_ms": round(max(found), 2),
    }


def _die(peer: subprocess.Popen[str], watching: subprocess.Popen[str], sessions: int) -> float:
    """Milliseconds from the death of the peer's process until its last session is down."""
    died_s = monotonic_s()
    peer.kill()
    last_s = max(_events(watching, sessions, up=False))
    return (last_s - died_s) * 1000


def _wait_up(node: subprocess.Popen[str], sessions: int) -> None:
    _events(node, sessions, up=True)


def _events(node: subprocess.Popen[str], sessions: int, *, up: bool) -> list[float]:
    """When each session came up, or went down."""
    seen: dict[str, float] = {}
    for line in _lines(node.stdout):
        event: dict[str, Any] = json.loads(line)
        if event.get("up") is up:
            seen[event["path"]] = event["at_s"]
        elif event.get("path") in seen:
            raise CarpoolError(f"{event['path']} flaps: {event}", hint="is this machine busy?")
        if len(seen) == sessions:
            return list(seen.values())
    raise CarpoolError(f"a process of the benchmark ended; {len(seen)} of {sessions} sessions")


def _lines(stdout: IO[str] | None) -> Iterator[str]:
    assert stdout is not None
    while line := stdout.readline():
        yield line


@contextlib.contextmanager
def _node(
    hosts: tuple[str, str],
    number: int,
    links: int,
    interval_ms: float,
    families: tuple[Family, ...],
) -> Iterator[subprocess.Popen[str]]:
    roads = [(f"l{link}", link) for link in range(links)]
    asked = {
        "devices": {road: road for road, _link in roads},
        "peers": [
            (road, _address(family, link, 1 - number))
            for road, link in roads
            for family in families
        ],
        "interval_us": int(interval_ms * 1000),
        "sending": KEYS[number],
        "receiving": KEYS[1 - number],
    }
    argv = [sys.executable, "-m", "carpool.lab.bfdnode", json.dumps(asked)]
    node = subprocess.Popen(
        shell.inside(hosts[number], argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield node
    finally:
        node.kill()
        node.communicate(timeout=UP_S)


@contextlib.contextmanager
def _wired(hosts: tuple[str, str], links: int) -> Iterator[None]:
    try:
        for host in hosts:
            shell.run(["ip", "netns", "add", host])
            shell.sysctl(host, {"net.ipv6.conf.default.accept_dad": 0})
        for link in range(links):
            road = f"l{link}"
            made = f"link add {road} type veth peer name {road} netns {hosts[1]}"
            shell.ip(hosts[0], *made.split())
            for number, host in enumerate(hosts):
                lines = [
                    f"address add {_address(Family.IPV4, link, number)}/24 dev {road}",
                    f"address add {_address(Family.IPV6, link, number)}/64 dev {road} nodad",
                    f"link set {road} up",
                ]
                shell.ip_batch(host, lines)

        yield
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "del", host], check=False, capture_output=True)


def _address(family: Family, link: int, number: int) -> str:
    return f"10.9.{link}.{number + 1}" if family is Family.IPV4 else f"fd09:{link}::{number + 1}"
