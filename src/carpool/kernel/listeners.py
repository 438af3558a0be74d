"""Which sockets of this network namespace wait for others, and whose they are.

Room: kernel. Reads /proc/net (proc_net(5)) and /proc/PID/fd; refuses to judge.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from carpool.model.config import Address
from carpool.model.facts import Listener

_ORDER = sys.byteorder
_LISTEN, _UNCONNECTED = "0A", "07"  # TCP_LISTEN; UDP without a peer is TCP_CLOSE
_FILES = {"tcp": _LISTEN, "tcp6": _LISTEN, "udp": _UNCONNECTED, "udp6": _UNCONNECTED}


def listeners() -> list[Listener]:
    """Bound to one address; those that take any address are left out."""
    found = [one for name, state in _FILES.items() for one in _of(name, state)]
    names = _processes({inode for _, inode in found}) if found else {}
    return [
        Listener(one.protocol, one.address, one.port, names.get(inode, "")) for one, inode in found
    ]


def _of(name: str, state: str) -> Iterator[tuple[Listener, str]]:
    """Of one file, with the number of the socket."""
    try:
        lines = Path("/proc/net", name).read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return  # no IPv6 here
    for line in lines:
        words = line.split()
        if len(words) < 10 or words[3] != state:
            continue
        address, port = words[1].split(":")
        ip = _address(address)
        if not ip.is_unspecified:
            yield Listener(name.removesuffix("6"), ip, int(port, 16)), words[9]


def _address(text: str) -> Address:
    """Words of 32 bits in this machine's byte order."""
    raw = bytes.fromhex(text)
    words = (raw[at : at + 4] for at in range(0, len(raw), 4))
    network = b"".join(int.from_bytes(word, "big").to_bytes(4, byteorder=_ORDER) for word in words)
    return IPv4Address(network) if len(network) == 4 else IPv6Address(network)


def _processes(inodes: set[str]) -> dict[str, str]:
    """The command of the process that has each of these sockets, as far as it can be seen."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            opened = [os.readlink(one) for one in (process / "fd").iterdir()]
            command = (process / "comm").read_text(errors="replace").strip()
        except OSError:
            continue  # it has ended, or is not ours to see
        found |= {wanted[link]: command for link in opened if link in wanted}
    return found
