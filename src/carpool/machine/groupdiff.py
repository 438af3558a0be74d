"""What another configuration changes for a running node, in words; and what it cannot change there.

Room: machine. Refuses to know how it is done (`regroup.py`). Passwords are never shown.
"""

from __future__ import annotations

from collections.abc import Iterator

from carpool.model.config import Config, Node, Vip


def lines(old: Config, new: Config) -> list[str]:
    """A line for each change, VIPs first. Empty: nothing changes for failover."""
    before = {vip.key: vip for vip in old.group.vips}
    after = {vip.key: vip for vip in new.group.vips}
    told = [f"{key} comes: {_addresses(vip)}" for key, vip in after.items() if key not in before]
    for key, vip in after.items():
        if key in before:
            told += [f"{key}: {text}" for text in _vip(before[key], vip)]
    told += [f"{key} goes: {_addresses(vip)}" for key, vip in before.items() if key not in after]
    if old.group.preempt is not new.group.preempt:
        told.append(f"preempt: {_on(old.group.preempt)} -> {_on(new.group.preempt)}")
    if old.group.damping != new.group.damping:
        told.append("damping: hold_down, preempt_delay or moves_per_hour change")
    if old.group.detection != new.group.detection:
        told.append("detection: enabled or interval change")
    return told + list(_node(old.node, new.node))


def obstacles(old: Config, new: Config) -> list[str]:
    """What only a new start of the process takes up; then nothing of `new` may be taken up."""
    told = []
    for what, before, after in (
        ("name in node.toml", old.node.name, new.node.name),
        ("name in group.toml", old.group.name, new.group.name),
    ):
        if before != after:
            told.append(f"{what}: {before} -> {after}")
    used = {*old.vip_interfaces(), *new.vip_interfaces()}
    names = {device: name for name, device in old.node.interfaces.items() if name in used}
    for name, device in new.node.interfaces.items():
        before = names.get(device, name)
        if name in used and before != name:  # its macvlans have one name in the kernel
            told.append(f"name of device {device}: {before} -> {name}")
    for name in sorted(used & old.node.interfaces.keys() & new.node.interfaces.keys()):
        before, after = old.device(name), new.device(name)
        if before != after:
            told.append(f"device of {name}: {before} -> {after}")
    return told


def _vip(old: Vip, new: Vip) -> Iterator[str]:
    come = [str(one) for one in new.addresses if one not in old.addresses]
    gone = [str(one) for one in old.addresses if one not in new.addresses]
    if come:
        yield f"{', '.join(come)} added"
    if gone:
        yield f"{', '.join(gone)} removed"
    if old.password != new.password:
        yield "another password"
    if old.advbase_s != new.advbase_s:
        yield f"advbase: {old.advbase_s} -> {new.advbase_s} s"
    if old.mac is not new.mac:
        yield f"mac: {old.mac} -> {new.mac}"
    if old.transport is not new.transport:
        yield f"transport: {old.transport} -> {new.transport}"


def _node(old: Node, new: Node) -> Iterator[str]:
    if old.advskew != new.advskew:
        yield f"advskew: {old.advskew} -> {new.advskew}"
    before = {peer.name: peer.addresses for peer in old.peers}
    after = {peer.name: peer.addresses for peer in new.peers}
    for name in sorted({*before, *after}):
        if name not in before:
            yield f"peer {name} comes"
        elif name not in after:
            yield f"peer {name} goes"
        elif before[name] != after[name]:
            yield f"peer {name}: other addresses"


def _addresses(vip: Vip) -> str:
    return ", ".join(map(str, vip.addresses))


def _on(value: bool) -> str:
    return "on" if value else "off"
