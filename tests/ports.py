"""A TCP port that nobody else takes between the look and the use of it."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

# Below those of outgoing connections (ip_local_port_range: 32768 to 60999), of which tests beside
# this one make hundreds; port 0 would give one of them, as free at one address as it may be.
LOWEST, HIGHEST = 20_000, 32_767
TRIES = 100


def free_port(addresses: Collection[str]) -> int:
    """Free at all of them now."""
    for port in random.sample(range(LOWEST, HIGHEST + 1), TRIES):
        if all(_is_free(address, port) for address in addresses):
            return port
    raise AssertionError(f"no port is free at {addresses}: tried {TRIES}")


def _is_free(address: str, port: int) -> bool:
    try:
        socket.create_server((address, port)).close()
    except OSError:
        return False
    return True
