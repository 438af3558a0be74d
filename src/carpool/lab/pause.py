"""The master stands still and wakes: for how long two firewalls own a VIP, and what it says then.

Room: lab. Every process of the master is stopped for STOPPED_S and goes on. Measures what the
traffic does not feel: the kernel forwards on, whoever is asleep.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s
from carpool.lab import shell
from carpool.lab.channel import Child, Report, close_all
from carpool.lab.lab import Lab
from carpool.lab.topology import VIP_SEGMENTS, other

STOPPED_S = 10.0
WATCHED_S = 2.0  # after waking: two advert intervals
WAKES_S = 5.0
POLL_S = 0.01

Pause = Callable[[float], None]  # spends so many seconds, perhaps usefully


def sleep_and_wake(lab: Lab, name: str, stopped_s: float, pause: Pause) -> Report:
    """From the stop on, at `stopped_s`: `two_owners_ms`, and `frames_as_master` after waking."""
    firewall, successor = lab.firewalls[name], other(name)
    tap, control = _tap(lab, name), _tap(lab, successor)
    try:
        gone_s = _gone_s(lab, name, pause)
        _until(stopped_s + STOPPED_S, pause)
        woken_s = firewall.resume_all()
        _wait_for_stall(lab, name, woken_s, pause)
        _until(monotonic_s() + WATCHED_S, pause)
        frames, seen = (_since(one, woken_s, pause) for one in (tap, control))
    finally:
        firewall.resume_all()
        close_all((tap, control))
    if not seen:
        raise CarpoolError(f"the tap at the switch sees nothing of {successor}, which is master")
    taken_s = _taken_s(lab, successor, stopped_s)
    return {
        "two_owners_ms": round(max(0.0, gone_s - taken_s) * 1000, 1),
        "frames_as_master": frames,
    }


def _tap(lab: Lab, name: str) -> Child:
    ports = [segment.port(name) for segment in VIP_SEGMENTS]
    return Child(lab.network.namespace("switch"), "tap", *ports)


def _since(tap: Child, since_s: float, pause: Pause) -> int:
    """How many frames of a master it has seen."""
    tap.send("measure")
    deadline_s = monotonic_s() + WAKES_S
    while (told := tap.result()) is None:
        if monotonic_s() > deadline_s:
            raise CarpoolError("the tap at the switch does not answer")
        pause(POLL_S)
    return sum(at_s >= since_s for at_s in told["times_s"])


def _gone_s(lab: Lab, name: str, pause: Pause) -> float:
    """When its kernel had none of the VIPs any more, late by a look at most."""
    vips = {str(own.ip) for segment in VIP_SEGMENTS for own in segment.vip()}
    deadline_s = monotonic_s() + STOPPED_S
    while monotonic_s() < deadline_s:
        shown = shell.run(lab.firewalls[name].inside(["ip", "-j", "address", "show", "up"]))
        own = {info.get("local") for link in json.loads(shown) for info in link["addr_info"]}
        if not vips & own:
            break
        pause(POLL_S)
    return monotonic_s()


def _wait_for_stall(lab: Lab, name: str, woken_s: float, pause: Pause) -> None:
    """Until it says that it slept. CarpoolError when it does not."""
    while monotonic_s() < woken_s + WAKES_S:
        try:
            events = lab.firewalls[name].ask("failover", "events", limit=50)["events"]
        except CarpoolError:
            events = []
        if any(e["kind"] == "stall" and e["monotonic_s"] >= woken_s for e in events):
            return
        pause(POLL_S)
    raise CarpoolError(f"{name} went on for {WAKES_S:g} s, and does not say that it slept")


def _taken_s(lab: Lab, name: str, since_s: float) -> float:
    """When it became MASTER of the first VHID."""
    events = lab.firewalls[name].ask("failover", "events", limit=200)["events"]
    moves = [e["monotonic_s"] for e in events if e["new"] == "MASTER"]
    return min((float(at_s) for at_s in moves if at_s >= since_s), default=monotonic_s())


def _until(at_s: float, pause: Pause) -> None:
    while monotonic_s() < at_s:
        pause(POLL_S)
