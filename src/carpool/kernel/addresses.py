"""Takes, holds and releases the addresses of a VHID, each in one step and for a limited time.

Room: kernel. With a virtual MAC the addresses live on a macvlan of their own, which is down unless
this node is master; with the device's MAC they live on the device. Refuses to know who is master.
Why lifetimes: docs/decisions/0022-addresses-with-a-lifetime.md; why macvlans: 0021 there.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from carpool.errors import KernelError
from carpool.kernel import sysctl
from carpool.kernel.background import Background
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.kernel.ingress import Ingress
from carpool.kernel.links import LinkState, Topology, read_topology
from carpool.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket, Request
from carpool.model.config import AddressWithMask, Config, MacMode, VhostKey, Vip
from carpool.proto import rtnetlink as rt
from carpool.proto.ingresstable import Macvlan, Parent
from carpool.proto.ipheader import virtual_mac

ADDRESS_LIFETIME_S = 3  # without being held again; whole seconds are what the kernel counts
SET_DOWN_AFTER_S = 0.05
FOLLOW_WAIT_S = 0.5  # far less than a master may be silent for
SYSCTL_FILE = "sysctls.json"  # in the run directory
DELETE_GROUP = 0x43415250  # "CARP": the group of links that our macvlans are put in to be deleted

_ALIAS = "carpool "  # begins the alias of our macvlans: "carpool 51@lan"
_GONE = frozenset({errno.ENODEV, errno.EADDRNOTAVAIL})  # as good as deleted
_EXISTS = frozenset({errno.EEXIST})

# Of a macvlan. It answers for its own addresses and for nothing else, never speaks for itself, and
# takes what the routing table would send elsewhere (the VIP has no subnet here).
_MACVLAN_IPV4 = {"arp_ignore": 1, "arp_announce": 2, "arp_filter": 0, "arp_notify": 0}
_MACVLAN_IPV4 |= {"rp_filter": 2, "proxy_arp": 0}
# Of a device that macvlans stand on: it must not answer for addresses of the macvlan with its own
# MAC (arp_ignore), nor ask with a VIP as the sender, which would teach neighbours the same
# (arp_announce).
_PARENT_IPV4 = {"arp_ignore": 1, "arp_announce": 2}


@dataclass(slots=True)
class _Vhost:
    """A VIP of the configuration, and where it lives in this kernel."""

    vip: Vip
    parent: int = 0  # index of the device; 0: not prepared
    macvlan: Macvlan | None = None  # None: the addresses are on the device itself
    taken: bool = False
    released_s: float = 0.0
    error: str | None = None  # of the last refreshing in the background
    put: list[Request] = field(default_factory=list)  # take and hold
    drop: list[Request] = field(default_factory=list)  # release

    @property
    def virtual(self) -> bool:
        return self.vip.mac is MacMode.VIRTUAL

    def become(self, vip: Vip) -> None:
        """Of the same VHID; nothing of it is done yet."""
        self.vip = vip
        index = self.macvlan.index if self.macvlan else self.parent
        self.put = list(_put(vip, index))
        self.drop = list(_drop(vip, index))

    def without(self, kept: Iterable[AddressWithMask]) -> list[Request]:
        """Delete all addresses but these."""
        index = self.macvlan.index if self.macvlan else self.parent
        addresses = [own for own in self.vip.addresses if own not in set(kept)]
        return [_gone(self.vip, own, index) for own in addresses] if index else []


class AddressHolder:
    """The addresses of all VIPs of a node. Every operation raises KernelError.

    `table_owner`, an nfnetlink socket, owns the nft table, which lives as long as it: open it in a
    process that outlives this one, or a crash lets frames for virtual MACs in by the macvlans.
    """

    def __init__(
        self, config: Config, run_dir: Path, table_owner: NetlinkSocket | None = None
    ) -> None:
        self._config = config
        self._vhosts = {vip.key: _Vhost(vip) for vip in config.group.vips}
        self._prepared: dict[str, LinkState] = {}  # by interface
        self._parents: dict[str, Parent] = {}
        self._lock = threading.Lock()  # of everything but `error`: hold refreshes in the background
        self._socket = NetlinkSocket(NETLINK_ROUTE)
        owner = table_owner or NetlinkSocket(NETLINK_NETFILTER)
        self._own_owner = None if table_owner else owner
        self._ingress = Ingress(owner, ADDRESS_LIFETIME_S)
        self._sysctls = sysctl.Sysctls(run_dir / SYSCTL_FILE)
        self._background = Background("hold addresses")

    @property
    def unsaved(self) -> str:
        """Why kernel settings would not be put back after a kill; nothing when they would."""
        return self._sysctls.unsaved

    def save(self) -> None:
        """Try again to remember them."""
        self._sysctls.save()

    # -------------------------------------------------------------------------------- prepare

    def follow(self, config: Config) -> None:
        """These are the VIPs now. Addresses that are no more are deleted; the rest stays as it is,
        until `prepare` and `take` make it fit. KernelError, also when refreshing has waited for the
        kernel for long: whoever asks for this must not wait as well. Then nothing is done: to be
        said again; until then a VHID that is new cannot be taken."""
        if not self._lock.acquire(timeout=FOLLOW_WAIT_S):
            raise KernelError(
                "the kernel is busy: addresses are being refreshed for more than "
                f"{FOLLOW_WAIT_S:g} s",
                hint="say it again",
            )
        try:
            refusals = self._socket.attempt(self._follow(config))
            self._forget_unused(config)
        finally:
            self._lock.release()
        if refusals:
            raise KernelError(refusals[0].reason)

    def _follow(self, config: Config) -> list[Request]:
        """What deletes the addresses that are no more."""
        self._config = config
        vips = {vip.key: vip for vip in config.group.vips}
        gone: list[Request] = []
        for key, vhost in list(self._vhosts.items()):
            vip = vips.get(key)
            if vip is None:
                gone += vhost.without(())
                self._prepared.pop(key.interface, None)
                del self._vhosts[key]
            elif vip != vhost.vip:
                gone += vhost.without(vip.addresses if vip.mac is vhost.vip.mac else ())
                if (vip.mac, _has_v6(vip)) != (vhost.vip.mac, _has_v6(vhost.vip)):
                    self._prepared.pop(key.interface, None)
                vhost.become(vip)
        for key in vips.keys() - self._vhosts.keys():
            self._prepared.pop(key.interface, None)
            self._vhosts[key] = _Vhost(vips[key])
        return gone

    def _forget_unused(self, config: Config) -> None:
        """Interfaces without a VIP: their macvlans go, and what is in the table for them."""
        unused = self._parents.keys() - set(config.vip_interfaces())
        for interface in unused:
            self._prepared.pop(interface, None)
            del self._parents[interface]
        if not unused:
            return
        aliases = {_alias(vhost.vip.key) for vhost in self._vhosts.values() if vhost.virtual}
        topology = read_topology(self._socket)
        self._socket.attempt(
            delete_links(one for one in our_macvlans(topology) if one.alias not in aliases)
        )
        self._install(read_topology(self._socket))

    def prepare(self, vip: Vip, state: LinkState) -> None:
        """Make ready what `vip` and the other VIPs of its interface need on a device that is there.

        Harmless when nothing has changed. A device that came back, or got another MAC, is made
        ready again. What a dead process left is taken on as it is, or removed when it is unwanted.
        """
        before = self._prepared.get(vip.interface)
        if before and (before.index, before.mac) == (state.index, state.mac):
            return
        with self._lock:
            self._prepare(state)

    def _prepare(self, state: LinkState) -> None:
        self._prepared.pop(state.interface, None)
        ours = [v for v in self._vhosts.values() if v.vip.interface == state.interface]
        topology = self._make_macvlans(state, [v.vip for v in ours if v.virtual])
        for vhost in ours:
            vhost.macvlan = self._macvlan(topology, vhost.vip, state) if vhost.virtual else None
            if vhost.parent != state.index:
                vhost.taken = False
            vhost.parent = state.index
            vhost.become(vhost.vip)
        macvlans = tuple(vhost.macvlan for vhost in ours if vhost.macvlan)
        if macvlans:
            for name, value in _PARENT_IPV4.items():
                self._sysctls.at_least(f"net/ipv4/conf/{state.device}/{name}", value)
        vhids = tuple(vhost.vip.vhid for vhost in ours)
        parent = Parent(state.device, state.index, state.mac, vhids, macvlans)
        self._parents[state.interface] = parent
        self._install(topology)
        self._prepared[state.interface] = state

    def _make_macvlans(self, state: LinkState, vips: list[Vip]) -> Topology:
        """All macvlans of an interface, and no other ones of ours on it or for it."""
        topology = read_topology(self._socket)
        wanted = {_name(vip, state.index): vip for vip in vips}
        aliases = {_alias(vip.key) for vip in wanted.values()}
        elsewhere = {_alias(v.vip.key) for v in self._vhosts.values() if v.virtual} - aliases
        requests = delete_links(
            link
            for link in our_macvlans(topology)
            if link.name not in wanted and link.alias not in elsewhere
        )
        have = {link.name for link in topology.links.values()}
        missing = {name: vip for name, vip in wanted.items() if name not in have}
        for name, vip in missing.items():
            what = f"make macvlan {name} on {state.device}"
            made = rt.new_macvlan(name, state.index, virtual_mac(vip.vhid))
            requests.append(Request(what, made, _EXISTS))
            requests.append(Request(what, rt.set_alias(name, _alias(vip.key))))
            if _has_ipv6():
                requests.append(Request(what, rt.set_no_link_local(name)))
        if requests:
            self._socket.request(requests)
            topology = read_topology(self._socket)
        self._socket.request(
            [
                Request(f"configure macvlan {name}", rt.set_ipv4_conf(name, _MACVLAN_IPV4))
                for name in wanted
            ]
        )
        for name, vip in wanted.items() if _has_ipv6() else ():
            _configure_ipv6(name, wanted=_has_v6(vip))
        return topology

    @staticmethod
    def _macvlan(topology: Topology, vip: Vip, state: LinkState) -> Macvlan:
        """The macvlan of a VIP, which must be there by now."""
        name = _name(vip, state.index)
        link = topology.named(name)
        mac = virtual_mac(vip.vhid)
        if link is None or (link.kind, link.parent, link.mac) != ("macvlan", state.index, mac):
            raise KernelError(
                f"device {name} is not the macvlan of {vip.key} on {state.device}",
                hint=f"carpool needs that name: ip link delete {name}",
            )
        return Macvlan(vip.vhid, name, link.index)

    def _install(self, topology: Topology) -> None:
        """The nft table, for the devices that are there."""
        here = topology.links
        there = [p for p in self._parents.values() if p.index in here]
        self._ingress.install([p for p in there if here[p.index].name == p.device])

    # ---------------------------------------------------------------------------- take and hold

    def take(self, key: VhostKey) -> None:
        """Own the addresses for ADDRESS_LIFETIME_S; what works is done even if some of it fails."""
        vhost = self._ready(key)
        asked_s = monotonic_s()
        with self._lock:
            if monotonic_s() - asked_s >= ADDRESS_LIFETIME_S:
                raise KernelError(f"{key}: the kernel was busy for longer than addresses live")
            vhost.taken, vhost.error = True, None
            refusals = self._socket.attempt(vhost.put)
            self._admit(vhost)
        if refusals:
            raise KernelError(refusals[0].reason)

    def hold(self, key: VhostKey) -> None:
        """Own them for ADDRESS_LIFETIME_S from now, and bring back what somebody removed.

        Never waits: the addresses are refreshed in the background, and what went wrong there is
        raised by the next `hold`.
        """
        vhost = self._ready(key)
        if not vhost.taken:
            self.take(key)
            return
        self._admit(vhost)
        asked_s = monotonic_s()
        self._background.submit(key, lambda: self._refresh(vhost, asked_s))
        error, vhost.error = vhost.error, None
        if error:
            raise KernelError(error)

    def release(self, key: VhostKey) -> None:
        """Stop owning them. Harmless when they are not owned, or their device is gone.

        A macvlan that is expelled neither hears a question nor takes a packet. Its addresses go a
        little later, in the background, because setting it down takes the kernel some 16 ms; and
        they go with that, because removing IPv6 addresses before makes it send a frame (MLD) that
        teaches switches the wrong port.
        """
        vhost = self._vhosts.get(key)
        if vhost is None:  # of a group that could not be followed yet
            return
        vhost.taken, vhost.error = False, None
        vhost.released_s = monotonic_s()
        if not vhost.parent:
            return
        if vhost.macvlan:
            try:
                self._ingress.expel(vhost.parent, vhost.macvlan)
                self._background.submit(key, lambda: self._set_down_later(vhost))
            except KernelError:  # without `lo`: the long way
                self._set_down(vhost)
            return
        with self._lock:
            self._socket.request(vhost.drop)

    def held(self) -> frozenset[VhostKey]:
        """What the kernel has at this moment, whoever put it there: VHIDs of the configuration with
        at least one address that is there and answers."""
        with self._lock:
            topology = read_topology(self._socket)
        macvlans = {link.alias: link for link in our_macvlans(topology) if link.up}
        found = set()
        for key, vhost in self._vhosts.items():
            if vhost.virtual:
                link = macvlans.get(_alias(key))
            else:
                link = topology.named(self._config.device(key.interface))
            if link and topology.vips(link.index) & {own.ip for own in vhost.vip.addresses}:
                found.add(key)
        return frozenset(found)

    def cleanup(self) -> None:
        """Leave the kernel as it was: no address, no macvlan, no table, the old settings."""
        self._background.close()
        with self._lock:
            for vhost in self._vhosts.values():
                if vhost.parent and not vhost.macvlan:
                    self._socket.attempt(vhost.drop)
            self._socket.attempt(delete_links(our_macvlans(read_topology(self._socket))))
            self._ingress.remove()
            self._sysctls.restore()
        self.close()

    def close(self) -> None:
        """Let go of the kernel as it is: what is owned stays so for its lifetime."""
        self._background.close()
        self._ingress.close()
        self._socket.close()
        if self._own_owner is not None:
            self._own_owner.close()

    # -------------------------------------------------------------------------------- private

    def _ready(self, key: VhostKey) -> _Vhost:
        vhost = self._vhosts.get(key)
        if vhost is None:
            raise KernelError(f"{key}: the kernel was too busy to follow the group")
        if not vhost.parent:
            device = self._config.device(key.interface)
            raise KernelError(f"{key}: device {device} is not there, or could not be prepared")
        return vhost

    def _refresh(self, vhost: _Vhost, asked_s: float) -> None:
        """In the background: hold one VHID, whatever somebody did to it meanwhile. Not in a process
        that was stopped since it was asked: the addresses may be a peer's by now."""
        try:
            with self._lock:
                if vhost.taken and monotonic_s() - asked_s < ADDRESS_LIFETIME_S:
                    self._hold(vhost)
        except KernelError as error:
            vhost.error = error.message

    def _set_down_later(self, vhost: _Vhost) -> None:
        """Whoever takes the group over in a container of this machine needs the same lock of the
        kernel (RTNL is one for all namespaces) for each of its VHIDs: let it finish."""
        sleep_s(max(0.0, vhost.released_s + SET_DOWN_AFTER_S - monotonic_s()))
        self._set_down(vhost)

    def _set_down(self, vhost: _Vhost) -> None:
        """In the background. So that neither the network card nor a virtual switch that looks at
        its filters goes on taking the virtual MAC's frames here."""
        with self._lock:
            if not vhost.taken:
                self._socket.attempt(vhost.drop)

    def _admit(self, vhost: _Vhost) -> None:
        if vhost.macvlan:
            self._ingress.admit(vhost.parent, vhost.macvlan)

    def _hold(self, vhost: _Vhost) -> None:
        refusals = self._socket.attempt(vhost.put)
        state = self._prepared.get(vhost.vip.interface)
        if vhost.macvlan and state is not None:
            removed = any(refusal.errno == errno.ENODEV for refusal in refusals)
            admitted = self._ingress.admitted(self._parents[state.interface])
            if removed or virtual_mac(vhost.vip.vhid) not in admitted:
                self._prepare(state)
                refusals = self._socket.attempt(vhost.put)
                self._admit(vhost)
                if not vhost.taken:  # released meanwhile
                    self._ingress.expel(vhost.parent, vhost.macvlan)
        if refusals:
            raise KernelError(refusals[0].reason)


def _put(vip: Vip, index: int) -> Iterator[Request]:
    where = f"{vip.key} (device {index})"
    virtual = vip.mac is MacMode.VIRTUAL
    if virtual:
        yield Request(f"set up {where}", rt.set_up(index, True))
    for own in vip.addresses:
        subnet = _subnet(vip, own)
        # On the device itself a VIP must not become the source of the node's own connections, for
        # which the longest match would choose it (RFC 6724, rule 8): deprecated, it is the last.
        message = rt.put_address(
            index, own.ip, ADDRESS_LIFETIME_S, deprecated=not virtual, prefix_length=subnet
        )
        yield Request(f"add {own.ip} to {where}", message)


def _drop(vip: Vip, index: int) -> Iterator[Request]:
    """The IPv6 addresses of a macvlan go when it is down; its IPv4 ones would stay and puzzle."""
    on_macvlan = vip.mac is MacMode.VIRTUAL
    if on_macvlan:
        yield Request(f"set down {vip.key} (device {index})", rt.set_up(index, False), _GONE)
    for own in vip.addresses:
        if own.version == 4 or not on_macvlan:
            yield _gone(vip, own, index)


def _gone(vip: Vip, own: AddressWithMask, index: int) -> Request:
    what = f"delete {own.ip} from {vip.key} (device {index})"
    return Request(what, rt.delete_address(index, own.ip), _GONE)


def _subnet(vip: Vip, own: AddressWithMask) -> int | None:
    """None: the address alone. But a link-local address on a macvlan talks to its neighbours there,
    so it needs their subnet."""
    on_macvlan = vip.mac is MacMode.VIRTUAL
    return 64 if on_macvlan and own.version == 6 and own.ip.is_link_local else None


def _has_v6(vip: Vip) -> bool:
    return any(own.version == 6 for own in vip.addresses)


def _configure_ipv6(name: str, *, wanted: bool) -> None:
    for key, value in (("accept_ra", 0), ("disable_ipv6", int(not wanted))):
        path = f"net/ipv6/conf/{name}/{key}"
        if sysctl.read(path) != value:
            sysctl.write(path, value)


def _has_ipv6() -> bool:
    return sysctl.read("net/ipv6/conf/all/disable_ipv6") is not None


def our_macvlans(topology: Topology) -> Iterator[rt.Link]:
    """All macvlans that a carpool made, this one or one before."""
    for link in topology.links.values():
        if link.kind == "macvlan" and link.alias.startswith(_ALIAS):
            yield link


def delete_links(links: Iterable[rt.Link]) -> list[Request]:
    """Delete links, all together: one by one each takes some 16 ms."""
    requests = [
        Request(f"delete macvlan {link.name}", rt.set_group(link.index, DELETE_GROUP), _GONE)
        for link in links
    ]
    if requests:
        requests.append(Request("delete macvlans", rt.delete_group(DELETE_GROUP), _GONE))
    return requests


def _name(vip: Vip, parent: int) -> str:
    """`carp51-3`: at most 15 bytes, whatever the index."""
    return f"carp{vip.vhid}-{parent % 10_000_000}"


def _alias(key: VhostKey) -> str:
    return f"{_ALIAS}{key}"
