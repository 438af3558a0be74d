"""node.toml and group.toml as `carpool setup` writes them.

Room: machine. Pure: values to text. Has no words for `[section.NAME]`, exclusions, a schedule,
`[vars]` and `[services]`: who replaces a file with such has to say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from carpool.model.config import (
    STATES_PORT,
    WEB_PORT,
    Address,
    Encryption,
    Group,
    MacMode,
    Node,
    Scope,
    Transport,
    Vip,
)
from carpool.model.finding import GROUP_FILE, NODE_FILE
from carpool.model.section import AGENT_PORT


def node_toml(node: Node) -> str:
    """Everything but `[vars]` and `[services]`, which are nobody else's."""
    return "\n".join(_node(node)) + "\n"


def group_toml(group: Group) -> str:
    """VIPs, `[states]`, `[sync]` and `[web]`."""
    return "\n".join(_group(group)) + "\n"


def _node(node: Node) -> Iterator[str]:
    yield f"# {NODE_FILE}(5): what differs between nodes. Written by `carpool setup`; edit it, then"
    yield "# `carpool check` and `carpool apply`."
    yield f"name = {_text(node.name)}"
    yield f"advskew = {node.advskew} # the node with the lowest is MASTER when all are well"
    yield ""
    yield "[interface] # logical name = device"
    yield from (f"{name} = {_text(device)}" for name, device in node.interfaces.items())
    if node.addresses:
        yield ""
        yield "[address] # this node's own"
        yield from _addresses(node.addresses)
    for peer in node.peers:
        yield ""
        yield f"[peer.{peer.name}.address]"
        yield from _addresses(peer.addresses)


def _group(group: Group) -> Iterator[str]:
    yield f"# {GROUP_FILE}(5): the same on all nodes. Written by `carpool setup`; change it on one,"
    yield "# then `carpool apply` and `carpool sync` there."
    yield f"name = {_text(group.name)}"
    yield f"preempt = {'true' if group.preempt else 'false'}"
    for vip in group.vips:
        yield ""
        yield from _vip(vip)
    if (states := group.states) is not None:
        yield from ("", "[states]", f"interface = {_text(states.interface)}")
        if states.port != STATES_PORT:
            yield f"port = {states.port}"
        if states.scope is not Scope.ASSURED:
            yield f"scope = {_text(states.scope)}"
        if states.encryption is not Encryption.TLS:
            yield f"encryption = {_text(states.encryption)}"
    if (sync := group.sync) is not None:
        yield from ("", "[sync]", f"interface = {_text(sync.interface)}")
        if sync.port != AGENT_PORT:
            yield f"port = {sync.port}"
        if sync.sections:
            yield f"sections = {_list(sync.sections)}"
    if (web := group.web) is not None:
        yield from ("", "[web]", f"interfaces = {_list(web.interfaces)}")
        if web.port != WEB_PORT:
            yield f"port = {web.port}"
        if web.certificate:
            yield f"certificate = {_text(web.certificate)}"
            yield f"key = {_text(web.key)}"


def _vip(vip: Vip) -> Iterator[str]:
    yield "[[vip]]"
    yield f"interface = {_text(vip.interface)}"
    yield f"vhid = {vip.vhid}"
    yield f"password = {_text(vip.password.decode())}"
    yield f"addresses = {_list(vip.addresses)}"
    if vip.advbase_s != 1:
        yield f"advbase = {vip.advbase_s}"
    if vip.mac is not MacMode.VIRTUAL:
        yield f"mac = {_text(vip.mac)}"
    if vip.transport is not Transport.MULTICAST:
        yield f"transport = {_text(vip.transport)}"


def _addresses(addresses: Mapping[str, Sequence[Address]]) -> Iterator[str]:
    for name, here in addresses.items():
        yield f"{name} = {_text(str(here[0])) if len(here) == 1 else _list(here)}"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _list(values: Iterable[object]) -> str:
    return "[" + ", ".join(_text(str(value)) for value in values) + "]"
