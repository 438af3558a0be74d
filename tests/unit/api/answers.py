"""What the two processes answer to `status` and `events`, for tests."""

from __future__ import annotations

from dataclasses import asdict, replace

from carpool.api.control import Answer
from carpool.model.status import DemotionReason, FailoverStatus, InterfaceStatus, VhostStatus

LAN = VhostStatus(
    interface="lan",
    vhid=51,
    state="MASTER",
    since_s=11563.2,
    reason="no advertisement for 3.00 s",
    addresses=("10.10.1.1/24", "fd00:10::1/64"),
    advbase_s=1,
    advskew=0,
    mac="virtual",
    transport="multicast",
    master=None,
)
WAN = replace(
    LAN,
    interface="wan",
    vhid=52,
    reason="moving with 51@lan: no advertisement for 3.00 s",
    addresses=("10.10.2.1/24",),
)
MASTER = FailoverStatus(
    node="fw1",
    group="edge",
    role="MASTER",
    summary="master of all 2 VHIDs",
    preempt=True,
    enabled=True,
    maintenance=False,
    advskew=0,
    effective_advskew=0,
    demotion=(),
    interfaces=(
        InterfaceStatus("lan", "lan0", True, "up"),
        InterfaceStatus("wan", "wan0", True, "up"),
    ),
    vhosts=(LAN, WAN),
    counters={},
)
PROCESS: Answer = {
    "ok": True,
    "process": "failover",
    "pid": 4711,
    "version": "0.1.0",
    "uptime_s": 11570.0,
}

# A backup on its worst day: demoted, in maintenance, a cable is out, names as long as they get.
TROUBLED = replace(
    MASTER,
    node="fw2",
    role="BACKUP",
    summary="backup, hearing fw1 (10.10.1.2); demoted: interface wan down, maintenance",
    maintenance=True,
    advskew=100,
    effective_advskew=240,
    demotion=(DemotionReason("interface wan down", 240), DemotionReason("maintenance", 240)),
    interfaces=(
        InterfaceStatus("lan", "lan0", True, "up"),
        InterfaceStatus("wan", "enp129s0f1np1", False, "device enp129s0f1np1 has no carrier"),
    ),
    vhosts=(
        replace(
            LAN,
            state="BACKUP",
            since_s=3.21,
            reason="fw1 is a faster master",
            master="fw1 (10.10.1.2)",
        ),
        replace(
            WAN,
            state="INIT",
            vhid=152,
            since_s=93784.0,
            reason="wan: device enp129s0f1np1 has no carrier",
            addresses=("198.51.100.1/24", "2001:db8:1234:5678::1/64"),
        ),
    ),
)

STATES: Answer = {
    "ok": True,
    "process": "states",
    "pid": 4712,
    "uptime_s": 500.0,
    "entries": 1234567,
    "encryption": "tls",
    "peers": [
        {
            "name": "fw2",
            "address": "10.10.3.2",
            "connected": True,
            "since_s": 480.0,
            "sent": 12345678,
            "received": 345,
            "injected": 345,
            "errors": 0,
            "bulk": "complete",
            "last_error": None,
        },
        {
            "name": "fw3",
            "address": "10.10.3.3",
            "connected": False,
            "since_s": 12.0,
            "sent": 0,
            "received": 0,
            "injected": 0,
            "errors": 3,
            "bulk": "idle",
            "last_error": "connect to 10.10.3.3 port 3782: Connection refused",
        },
    ],
}

EVENTS: Answer = {
    "ok": True,
    "events": [
        {
            "time": "2026-03-01T23:59:59.500Z",
            "monotonic_s": 12.5,
            "kind": "transition",
            "vhost": "51@lan",
            "old": "BACKUP",
            "new": "MASTER",
            "text": "no advertisement for 3.00 s",
        },
        {
            "time": "2026-03-02T00:00:01.004Z",
            "monotonic_s": 14.0,
            "kind": "demotion",
            "vhost": None,
            "old": None,
            "new": None,
            "text": "demoted: interface wan down",
        },
        {
            "time": "2026-03-02T00:00:01.005Z",
            "monotonic_s": 14.0,
            "kind": "transition",
            "vhost": "51@lan",
            "old": "MASTER",
            "new": "BACKUP",
            "text": "10.10.1.3 is as fast and has the lower address than this node",
        },
    ],
}


WATCHED: Answer = {
    "bfd": [
        {
            **{"peer": "fw2", "interface": "lan", "address": "10.10.1.3", "state": "Up"},
            **{"up": True, "detection_ms": 150.0, "error": ""},
        },
        {
            **{"peer": "fw2", "interface": "wan", "address": "10.10.2.3", "state": "Down"},
            **{"up": False, "detection_ms": 0.0, "error": ""},
        },
    ],
}


def failover(status: FailoverStatus = MASTER) -> Answer:
    """The answer of the failover process."""
    return {**PROCESS, **asdict(status)}
