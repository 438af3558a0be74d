"""A look at what a firewall sends as a master, taken at its ports of the switch.

Room: lab. Frames from a virtual MAC: adverts, announcements and answers of a master, and nothing
that is only forwarded. Refuses to know who may send them.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence

from carpool.kernel.clock import monotonic_s
from carpool.lab.channel import Commands

VIRTUAL = bytes.fromhex("00005e0001")  # and the VHID (RFC 5798, section 7.3)
FRAMES_MAX = 10_000
HEAD_BYTES = 64
# include/uapi/linux/if_packet.h, if_ether.h
_SOL_PACKET, _PACKET_IGNORE_OUTGOING, _ETH_P_ALL = 263, 23, 0x0003


def run_tap(devices: Sequence[str]) -> int:
    """Remember when such a frame came in on these devices, until the lab asks or is gone."""
    commands, taps = Commands(), [_tap(device) for device in devices]
    times_s: list[float] = []
    commands.report({"kind": "stats", "ready": True})
    while not commands.ended:
        ready, _, _ = select.select([commands.descriptor, *taps], [], [])
        now_s = monotonic_s()
        for tap in taps:
            if tap in ready and tap.recv(HEAD_BYTES)[6:11] == VIRTUAL:
                times_s = [*times_s[-FRAMES_MAX:], now_s]
        if commands.descriptor in ready:
            for _command in commands.read():
                commands.report({"kind": "result", "times_s": times_s})
    return 0


def _tap(device: str) -> socket.socket:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    tap.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    tap.bind((device, _ETH_P_ALL))
    return tap
