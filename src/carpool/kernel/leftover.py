"""What a failover or states process that died left in the kernel, found by its marks alone.

Room: kernel. Needs no configuration, which may be another one by now. Refuses to know whether a
process runs to which all this belongs: who asks has looked.
"""

from __future__ import annotations

from pathlib import Path

from carpool.kernel.addresses import SYSCTL_FILE, delete_links, our_macvlans
from carpool.kernel.ctevents import TABLE, EventMask
from carpool.kernel.ingress import remove_table
from carpool.kernel.links import Topology, read_topology
from carpool.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket, Request
from carpool.kernel.sysctl import Sysctls
from carpool.proto import rtnetlink as rt


def of_failover() -> list[str]:
    """The macvlans and VIPs that are there, in words. Raises KernelError."""
    socket = NetlinkSocket(NETLINK_ROUTE)
    try:
        return _found(read_topology(socket))
    finally:
        socket.close()


def take_failovers(run_dir: Path) -> list[str]:
    """Take away macvlans, VIPs, the nft table; put the kernel's settings back. What was there, in
    words. Raises KernelError."""
    socket, owner = NetlinkSocket(NETLINK_ROUTE), NetlinkSocket(NETLINK_NETFILTER)
    try:
        topology = read_topology(socket)
        macvlans = {link.index for link in our_macvlans(topology)}
        drop = [
            Request(f"delete {ip}", rt.delete_address(index, ip))
            for index in topology.links.keys() - macvlans
            for ip in topology.vips(index)
        ]
        socket.attempt([*drop, *delete_links(our_macvlans(topology))])
        remove_table(owner)
    finally:
        socket.close()
        owner.close()
    Sysctls(run_dir / SYSCTL_FILE).restore()
    return _found(topology)


def take_states(settings: Path, lasting: Path | None = None) -> list[str]:
    """Take away the table that chooses events; put the kernel's settings back; with `lasting` those
    too that outlast a restart of the process. As above."""
    mask = EventMask(every=False)
    try:
        there = mask.present()
        if there:
            mask.remove()
    finally:
        mask.close()
    for file in filter(None, (settings, lasting)):
        Sysctls(file).restore()
    return [f"table inet {TABLE}"] if there else []


def _found(topology: Topology) -> list[str]:
    found = [f"device {link.name}" for link in our_macvlans(topology)]
    for index, link in topology.links.items():
        found += [f"address {ip} on {link.name}" for ip in sorted(map(str, topology.vips(index)))]
    return found
