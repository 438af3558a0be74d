"""What is wrong with a configuration on this machine: its devices and their addresses.

Room: model. Judges facts that it is handed; refuses to know how they are learned. What may mend
itself (a device, a cable, an address from DHCP) is a warning; what takes an address away from its
owner, or routes wrongly at the moment of a take-over, is fatal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from carpool.model.config import (
    Address,
    AddressWithMask,
    Config,
    DeviceFacts,
    Problem,
    Vip,
    family_of,
)
from carpool.model.finding import FAMILY_LABEL, GROUP_FILE, NODE_FILE, Finding, Place, reserved
from carpool.model.keypath import quoted

Facts = Mapping[str, DeviceFacts]  # by device name


def check_system(config: Config, facts: Facts) -> list[Problem]:
    """What does not fit this machine, of a configuration in which `check_config` found no mistake.

    Devices that `facts` says nothing about are not judged.
    """
    findings = (
        *_devices(config, facts),
        *_own_addresses(config, facts),
        *_peer_addresses(config, facts),
        *_vips(config, facts),
    )
    return [finding.problem for finding in findings]


def _devices(config: Config, facts: Facts) -> Iterator[Finding]:
    for interface, device in config.node.interfaces.items():
        fact = facts.get(device)
        if fact is None:
            continue
        place: Place = (NODE_FILE, ("interface", interface))
        if not fact.present:
            found, expected = f"no device {quoted(device)}", "a device of this machine"
            hint = "it may yet appear; `ip -brief link` lists those that are here"
        elif not fact.up:
            found, expected = f"{quoted(device)}, which is set down", "a device that is up"
            hint = f"ip link set {device} up"
        elif not fact.carrier:
            found, expected = f"{quoted(device)}, which has no carrier", "a device with a link"
            hint = "is the cable plugged in, and the port of the switch enabled?"
        else:
            continue
        yield Finding(place, found, expected, hint, fatal=False)


def _own_addresses(config: Config, facts: Facts) -> Iterator[Finding]:
    holder = _holders(facts)
    for interface, addresses in config.node.addresses.items():
        fact = facts.get(config.device(interface))
        if fact is None or not fact.present:
            continue
        here = {with_mask.ip for with_mask in fact.addresses}
        for index, address in enumerate(addresses):
            if address not in here:
                elsewhere = f"; it is on {holder[address]}" if address in holder else ""
                yield Finding(
                    (NODE_FILE, ("address", interface, index)),
                    f"{address}, which is not on {fact.device}{elsewhere}",
                    f"one of {_listed(fact.addresses)}",
                    "correct it here, or give the device that address",
                    fatal=False,
                )


def _peer_addresses(config: Config, facts: Facts) -> Iterator[Finding]:
    holder = _holders(facts)
    for peer in config.node.peers:
        for interface, addresses in peer.addresses.items():
            fact = facts.get(config.device(interface))
            for index, address in enumerate(addresses):
                place: Place = (NODE_FILE, ("peer", peer.name, "address", interface, index))
                if address in holder and not address.is_link_local:
                    yield Finding(
                        place,
                        f"{address}, which is this machine's own (on {holder[address]})",
                        f"an address of {peer.name}",
                        f"was {NODE_FILE} copied from another node?",
                    )
                elif fact is not None and (networks := _networks(fact, address)):
                    if not any(address in with_mask.network for with_mask in networks):
                        yield Finding(
                            place,
                            str(address),
                            f"an address inside {_networks_of(networks)}, as {fact.device} has",
                            "a node hears another one only on a network that they share",
                            fatal=False,
                        )


def _vips(config: Config, facts: Facts) -> Iterator[Finding]:
    holder = _holders(facts)
    bare: set[tuple[str, str]] = set()  # told once for a device and a family
    for position, vip in enumerate(config.group.vips):
        fact = facts.get(config.device(vip.interface))
        for index, with_mask in enumerate(vip.addresses):
            place: Place = (GROUP_FILE, ("vip", position, "addresses", index))
            device = _holder_of(with_mask.ip, vip, fact, holder)
            if device is not None:
                yield Finding(
                    place,
                    f"{with_mask.ip}, which {device} has for its own",
                    "an address that no node has of its own",
                    f"take it off {device} (ip address del), carpool adds it on the MASTER",
                )
            elif fact is not None and fact.present:
                yield from _vip_network(place, with_mask, vip.interface, fact, bare)


def _vip_network(
    place: Place,
    vip: AddressWithMask,
    interface: str,
    fact: DeviceFacts,
    bare: set[tuple[str, str]],
) -> Iterator[Finding]:
    family = family_of(vip)
    networks = _networks(fact, vip.ip)
    around = [own for own in networks if vip.ip in own.network]
    if not any(family_of(own) is family for own in fact.addresses):
        if (fact.device, family) not in bare:
            bare.add((fact.device, family))
            label = FAMILY_LABEL[family]
            yield Finding(
                (NODE_FILE, ("interface", interface)),
                f"{quoted(fact.device)}, which has no {label} address of its own",
                f"one, to advertise the {label} VIPs from",
                "the VIPs stay in INIT until there is one",
                fatal=False,
            )
    elif not around:
        yield Finding(
            place,
            str(vip),
            f"an address inside {_networks_of(networks)} of {fact.device}",
            "fine if others route it to this interface; a typing mistake otherwise",
            fatal=False,
        )
    elif why := next((w for own in around if (w := reserved(vip.ip, own.network.prefixlen))), ""):
        yield Finding(place, f"{vip}, {why}", f"another address of the network of {fact.device}")
    elif all(own.network.prefixlen != vip.network.prefixlen for own in around):
        length = around[0].network.prefixlen
        single = vip.network.prefixlen == vip.max_prefixlen
        yield Finding(
            place,
            str(vip),
            f"the mask of {fact.device}: {vip.ip}/{length}",
            "it works, but the interface's mask is what readers expect"
            if single
            else "another mask is another route to the same network, on the MASTER only",
            fatal=not single,
        )


def _holders(facts: Facts) -> dict[Address, str]:
    """Which device has an address of its own."""
    return {own.ip: fact.device for fact in facts.values() for own in fact.addresses}


def _holder_of(
    ip: Address, vip: Vip, fact: DeviceFacts | None, holder: Mapping[Address, str]
) -> str | None:
    """The device that has this VIP for its own; for a link-local one only its own link counts."""
    if not ip.is_link_local:
        return holder.get(ip)
    if fact is not None and any(own.ip == ip for own in fact.addresses):
        return fact.device
    return None


def _networks(fact: DeviceFacts, like: Address) -> list[AddressWithMask]:
    """The device's own addresses of this family; link-local ones only for link-local ones."""
    return [
        own
        for own in fact.addresses
        if own.version == like.version and own.ip.is_link_local == like.is_link_local
    ]


def _listed(addresses: tuple[AddressWithMask, ...]) -> str:
    return ", ".join(str(own.ip) for own in addresses) or "its addresses (it has none)"


def _networks_of(addresses: list[AddressWithMask]) -> str:
    return ", ".join(dict.fromkeys(str(own.network) for own in addresses)) or "a network"
