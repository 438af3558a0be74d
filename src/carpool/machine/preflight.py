"""What would break another node if it got this node's files: looked for before anything is sent.

Room: machine. Pure. Knows text, not the syntax of any service: it finds this node's own addresses
and devices where they stand as words, and says how such a value is kept apart for each node.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from carpool.machine.textdiff import is_binary
from carpool.model.config import Address, Group, Node

# Lines that hold neither this nor a foreign IPv4 address letter by letter need no closer look: the
# text of every IPv6 address has two colons with at most four digits between them.
_IPV6_MARK = re.compile(rb":[0-9A-Fa-f]{0,4}:")
# Runs that an address can stand in; what is around it in a line cannot be part of one.
_RUN = re.compile(r"[\w.:-]+", re.ASCII)
_COMMENT = re.compile(r"^\s*(?:[#;]|//).*|(?<=\s)(?:#|//).*")
# Where a service takes an address or a device for its own, more or less: listen, bind, interface...
_BINDS = re.compile(
    r"listen|bind|local|source|src|interface|outgoing|address|router[-_ ]?id|device", re.IGNORECASE
)
# Where a device is taken alone: rules, the commands of ip(8), kernel settings.
_TAKES_DEVICE = re.compile(
    rf"{_BINDS.pattern}|\b[io]if(?:name)?\b|\bdev\b|(?<!\S)-[io]\s|[./](?:conf|neigh)[./]",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Hazard:
    """One value that is right here and wrong there. `likely`: its line looks as if a service would
    take it for its own; otherwise it may be meant (a list of hosts, a rule)."""

    path: str
    line: int  # from 1
    what: str
    why: str
    hint: str
    likely: bool = True

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}: {self.why} ({self.hint})"


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


def bound_addresses(
    path: str, content: bytes, foreign: Mapping[Address, str], sender: str, receiver: str
) -> list[Hazard]:
    """Where these addresses stand in a text, in any spelling; `foreign` as `foreign_addresses`
    gives it, between nodes of these names. Comments and what is no text hold none."""
    if not foreign:
        return []
    return [
        Hazard(
            path,
            number,
            str(address),
            f"an address of {sender}, which {receiver} does not have",
            _hint(foreign[address]),
            _BINDS.search(line) is not None,
        )
        for number, line in _lines_at(content, _finders(foreign))
        for address in dict.fromkeys(_addresses_in(line))
        if address in foreign
    ]


def absent_devices(
    path: str, content: bytes, foreign: Mapping[str, str], sender: str, receiver: str
) -> list[Hazard]:
    """Where these devices stand in a text as words; `foreign` as `foreign_devices` gives it,
    between nodes of these names."""
    if not foreign:
        return []
    names = "|".join(re.escape(device) for device in sorted(foreign, key=len, reverse=True))
    # net.ipv4.conf.eth0.rp_filter; of eth0.20 the key is net.ipv4.conf.eth0/20.rp_filter.
    keys = names.replace(r"\.", "/")
    word = re.compile(
        rf"(?<![\w.@-])(?:{names})(?![\w@-]|\.\w)"
        rf"|(?:(?<=\.conf\.)|(?<=\.neigh\.))(?:{keys})(?=\.[A-Za-z_])"
    )
    spelled = dict.fromkeys([*foreign, *(name.replace(".", "/") for name in foreign)])
    return [
        Hazard(
            path,
            number,
            device,
            f"a device of {sender}, which {receiver} does not have",
            _hint(foreign[device]),
            _TAKES_DEVICE.search(line) is not None,
        )
        for number, line in _lines_at(content, [_finder(name.encode()) for name in spelled])
        for device in dict.fromkeys(found.replace("/", ".") for found in word.findall(line))
    ]


def _hint(name: str) -> str:
    return (
        f"write {{{{ {name} }}}} in a section with `template = true`, or let each node `keep` its "
        "own lines"
    )


_Finder = Callable[[bytes, int], int]  # where the next one is from an offset on; -1: no more


def _finders(foreign: Iterable[Address]) -> list[_Finder]:
    """Of every line that one of these addresses may stand in."""

    def ipv6(content: bytes, start: int) -> int:
        found = _IPV6_MARK.search(content, start)
        return -1 if found is None else found.start()

    exact = [_finder(str(address).encode()) for address in foreign if address.version == 4]
    return [*exact, ipv6] if any(address.version == 6 for address in foreign) else exact


def _finder(mark: bytes) -> _Finder:
    return lambda content, start: content.find(mark, start)


def _lines_at(content: bytes, finders: Iterable[_Finder]) -> Iterator[tuple[int, str]]:
    """Number and text of each line that something is found in, without its comment. The search is
    among bytes: files of some hundred megabytes pass through here at each synchronisation."""
    if is_binary(content):
        return
    starts: set[int] = set()
    for find in finders:
        done = 0  # no line is searched twice, however often something is found in it
        while done <= len(content) and (at := find(content, done)) >= 0:
            starts.add(max(done, content.rfind(b"\n", done, at) + 1))
            end = content.find(b"\n", at)
            done = len(content) + 1 if end < 0 else end + 1
    number, counted = 1, 0
    for start in sorted(starts):
        number, counted = number + content.count(b"\n", counted, start), start
        end = content.find(b"\n", start)
        line = content[start : len(content) if end < 0 else end].decode(errors="replace")
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
