"""Whom a node watches by BFD, on which links and with which keys, as its configuration has it.

Room: machine. Values to values; knows neither sessions nor what becomes of them.

Rule 1: a session for each peer and link, over IPv4 where the peer has it there: what matters is the
        process and the link, and not the family.
Rule 2: the secret is the passwords of all VIPs: every node has them, and who lacks one is none.
"""

from __future__ import annotations

from carpool.machine.bfd import Authentication, Path, Timing
from carpool.model.config import Address, Config
from carpool.model.detection import MULTIPLIER
from carpool.proto import bfd


def links_of(config: Config) -> dict[str, str]:
    """Device by logical name: the links of VIPs, and that of the states."""
    names = list(config.vip_interfaces())
    if config.group.states is not None:
        names.append(config.group.states.interface)
    return {name: config.device(name) for name in names if name in config.node.interfaces}


def paths_of(config: Config) -> dict[Path, str]:
    """Whose each path is; Rule 1."""
    if not config.group.detection.enabled:
        return {}
    links = links_of(config)
    return {
        Path(interface, _first(addresses)): peer.name
        for peer in config.node.peers
        for interface, addresses in peer.addresses.items()
        if interface in links and addresses
    }


def timing_of(config: Config) -> Timing:
    """What this node asks for."""
    interval_us = config.group.detection.interval_ms * 1000
    return Timing(interval_us, interval_us, MULTIPLIER)


def authentication_of(config: Config, path: Path, peer: str, first_sequence: int) -> Authentication:
    """How packets on this path are signed, and to be signed; Rule 2."""
    group, secret = config.group.name, _secret(config)
    sending, receiving = (
        bfd.derive_key(secret, group, path.interface, name) for name in (config.node.name, peer)
    )
    return Authentication(sending, (receiving,), first_sequence)


def _secret(config: Config) -> bytes:
    passwords = [vip.password for vip in sorted(config.group.vips, key=lambda vip: vip.key)]
    return b"".join(len(one).to_bytes(2, "big") + one for one in passwords)


def _first(addresses: tuple[Address, ...]) -> Address:
    return next((address for address in addresses if address.version == 4), addresses[0])
