"""What would break another node if it got this node's files: looked for before anything is sent.

Room: machine. Pure. Knows text, not the syntax of any service: it finds this node's own addresses
and devices where they stand as words, and says how such a value is kept apart for each node.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from carpool.model.config import Address, Group, Node
from carpool.model.finding import GROUP_FILE, NODE_FILE

BINARY_LOOK_BYTES = 8192

# Runs that an address can stand in; what is around it in a line cannot be part of one.
_RUN = re.compile(r"[\w.:-]+", re.ASCII)
_COMMENT = re.compile(r"^\s*(?:[#;]|//).*|(?<=\s)(?:#|//).*")
# Where a service takes an address or a device for its own, more or less: listen, bind, interface...
_BINDS = re.compile(
    r"listen|bind|local|source|src|interface|outgoing|address|router[-_ ]?id|device", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Hazard:
    """One value that is right here and wrong there. `likely`: its line looks as if a service would
    take it for its own; otherwise it may be meant (a list of hosts, a rule)."""

    path: str
    line: int  # from 1; 0: the file as a whole
    what: str
    why: str
    hint: str
    likely: bool = True

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.what}: {self.why} ({self.hint})"


def foreign_addresses(
    sender: Node, receiver: Collection[Address], group: Group
) -> dict[Address, str]:
    """The sender's own addresses that the receiver has not, each with the template value that is
    right on both. VIPs are everybody's."""
    shared = {with_mask.ip for vip in group.vips for with_mask in vip.addresses} | set(receiver)
    found: dict[Address, str] = {}
    for interface, addresses in sender.addresses.items():
        for index, address in enumerate(addresses):
            if address not in shared:
                name = f"node.address.{interface}" + (f".{index}" if index else "")
                found.setdefault(address, name)
    return found


def foreign_devices(sender: Node, present: Collection[str]) -> dict[str, str]:
    """The sender's devices that are not among the receiver's, each with its template value."""
    names = ((device, f"node.device.{name}") for name, device in sender.interfaces.items())
    return {device: name for device, name in names if device not in present}


def bound_addresses(path: str, content: bytes, foreign: Mapping[Address, str]) -> list[Hazard]:
    """Where these addresses stand in a text, in any spelling; `foreign` as `foreign_addresses`
    gives it. Comments and what is no text hold none."""
    if not foreign:
        return []
    return [
        Hazard(
            path,
            number,
            str(address),
            "an address of this node, which the other one has not",
            _hint(foreign[address]),
            _BINDS.search(line) is not None,
        )
        for number, line in _text(content)
        for address in dict.fromkeys(_addresses_in(line))
        if address in foreign
    ]


def absent_devices(path: str, content: bytes, foreign: Mapping[str, str]) -> list[Hazard]:
    """Where these devices stand in a text as words; `foreign` as `foreign_devices` gives it."""
    if not foreign:
        return []
    names = "|".join(re.escape(device) for device in sorted(foreign, key=len, reverse=True))
    word = re.compile(rf"(?<![\w.@-])(?:{names})(?![\w@-]|\.\w)")
    return [
        Hazard(
            path,
            number,
            device,
            "a device that the other node does not have",
            _hint(foreign[device]),
            _BINDS.search(line) is not None,
        )
        for number, line in _text(content)
        for device in dict.fromkeys(word.findall(line))
    ]


def unknown_interfaces(group: Group, receiver: Node) -> list[Hazard]:
    """Logical interfaces that the group's file names and the receiver's node.toml does not."""
    named = [(vip.interface, f"VHID {vip.key}") for vip in group.vips]
    if group.states is not None:
        named.append((group.states.interface, "[states]"))
        limits = (one.interface for one in group.states.exclude if one.interface)
        named += [(interface, "[states] exclude") for interface in limits]
    if group.sync is not None:
        named.append((group.sync.interface, "[sync]"))
    wanted: dict[str, list[str]] = {}
    for interface, user in named:
        if interface not in receiver.interfaces:
            wanted.setdefault(interface, []).append(user)
    return [
        Hazard(
            GROUP_FILE,
            0,
            f"interface {interface} of {', '.join(dict.fromkeys(users))}",
            f"{NODE_FILE} of {receiver.name} names no such interface",
            f"give it a device under [interface] in {NODE_FILE} of {receiver.name}",
        )
        for interface, users in wanted.items()
    ]


def _hint(name: str) -> str:
    return (
        f"write {{{{ {name} }}}} in a section with `template = true`, or let each node `keep` its "
        "own lines"
    )


def _text(content: bytes) -> Iterator[tuple[int, str]]:
    """Number and text of each line that says something, without its comment."""
    if b"\0" in content[:BINARY_LOOK_BYTES]:
        return
    for number, line in enumerate(content.decode(errors="replace").split("\n"), 1):
        said = _COMMENT.sub("", line)
        if said and not said.isspace():
            yield number, said


def _addresses_in(line: str) -> Iterator[Address]:
    for run in _RUN.findall(line):
        if "." in run or run.count(":") > 1:
            yield from _addresses_of(run)


def _addresses_of(run: str) -> Iterable[Address]:
    """Of `10.0.0.1`, `10.0.0.1:53`, `fd00::1`, `10.0.0.1-10.0.0.9`; none of a host's name."""
    whole = _address(run)
    if whole is not None:
        return (whole,)
    if "-" in run:
        ends = [_address(part) for part in run.split("-") if part]
        return [end for end in ends if end is not None] if None not in ends else ()
    parts = (_address(part) for part in run.split(":") if part.count(".") == 3)
    return [part for part in parts if part is not None]


def _address(text: str) -> Address | None:
    """A colon or full stop at the end is the sentence's."""
    for shown in (text, text.rstrip(":.")):
        try:
            return ip_address(shown)
        except ValueError:
            continue
    return None
