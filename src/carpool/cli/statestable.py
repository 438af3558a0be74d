"""`carpool states list`: this node's table, filtered, in the lines of `conntrack -L`.

Room: cli. Reads the kernel's table itself and needs no running process; holds one piece of a dump
at a time, however large the table. What a line looks like is `proto/ctline.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from ipaddress import ip_network

from carpool.errors import EXIT_OK
from carpool.proto import ctline
from carpool.proto import ctmessage as ct

_FAMILIES = {"ipv4": ct.AF_INET, "ipv6": ct.AF_INET6}
_NETWORKS: tuple[
    tuple[tuple[str, ...], str, str], ...
] = (  # as conntrack(8) calls them, and the value that is asked
    (("-s", "--src", "--orig-src"), "orig.ip.src", "source in the original direction"),
    (("-d", "--dst", "--orig-dst"), "orig.ip.dst", "destination in the original direction"),
    (("-r", "--reply-src"), "reply.ip.src", "source of the answers"),
    (("-q", "--reply-dst"), "reply.ip.dst", "destination of the answers"),
)
_PORTS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("--sport", "--orig-port-src"), "orig.proto.sport", "source port"),
    (("--dport", "--orig-port-dst"), "orig.proto.dport", "destination port"),
    (("--reply-port-src",), "reply.proto.sport", "source port of the answers"),
    (("--reply-port-dst",), "reply.proto.dport", "destination port of the answers"),
)
_NATS = (
    (("-n", "--src-nat"), ctline.SRC_NAT, "with source NAT"),
    (("-g", "--dst-nat"), ctline.DST_NAT, "with destination NAT"),
    (("-j", "--any-nat"), ctline.SRC_NAT | ctline.DST_NAT, "with any NAT"),
)
_PORT_MASK = 0xFFFF
_MARK_MASK = 0xFFFFFFFF
Value = tuple[str, int, int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The filters and the forms of output."""
    add = parser.add_argument
    add("-f", "--family", choices=sorted(_FAMILIES), help="of one family; both if not given")
    add("-p", "--proto", type=_protocol, metavar="PROTO", help="tcp, udp, icmp...; or a number")
    for options, name, about in _NETWORKS:
        add(*options, dest=name, type=_network, metavar="ADDRESS[/LENGTH]", help=about)
    for options, name, about in _PORTS:
        add(*options, dest=name, type=_port, metavar="PORT", help=about)
    add("--state", type=_state, metavar="STATE", help="of TCP, SCTP or DCCP: ESTABLISHED...")
    statuses = [*ctline.STATUSES, "UNREPLIED"]
    add("-u", "--status", choices=statuses, metavar="STATUS", help=", ".join(statuses))
    add("-m", "--mark", type=_mark, metavar="MARK[/MASK]", help="connection mark")
    add("-w", "--zone", type=_port, metavar="ZONE", help="zone; 0: in none")
    for nat_options, bits, about in _NATS:
        add(*nat_options, dest="nat", action="append_const", const=bits, help=about)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--count", action="store_true", help="how many, nothing else")
    form.add_argument("--json", action="store_true", help="as JSON on stdout, an entry a line")


def run(args: argparse.Namespace) -> int:
    """Print the entries. Raises KernelError when the table cannot be read."""
    wanted = wanted_by(args)
    lines = ctline.Lines(wanted, json=args.json)
    if args.count:
        print(sum(lines.chosen(message) for piece in _pieces(wanted) for message in piece))
        return EXIT_OK
    before, between, after = ("[\n", ",\n", "\n]\n") if args.json else ("", "\n", "\n")
    for piece in _pieces(wanted):
        found = [line for message in piece if (line := lines.line(message)) is not None]
        if found:
            sys.stdout.write(before + between.join(found))
            before = between
    if before == between:
        sys.stdout.write(after)
    elif args.json:
        sys.stdout.write("[]\n")
    return EXIT_OK


def wanted_by(args: argparse.Namespace) -> ctline.Wanted:
    """What the options choose."""
    options = vars(args)
    family = _FAMILIES.get(args.family)
    values: list[Value] = []
    for _options, name, _about in _NETWORKS:
        if (network := options[name]) is not None:
            family_of, mask, value = network
            if family not in (None, family_of):
                return ctline.Wanted(protocol=-1)  # of both families: nothing is
            family = family_of
            values.append((name, mask, value))
    ports = ((name, options[name]) for _options, name, _about in _PORTS)
    values += [(name, _PORT_MASK, port) for name, port in ports if port is not None]
    if args.mark is not None:
        values.append(("mark", args.mark[1], args.mark[0] & args.mark[1]))
    if args.zone is not None:
        values.append(("zone", _PORT_MASK, args.zone))
    return ctline.Wanted(
        family=family,
        protocol=args.proto,
        state=args.state,
        status=ctline.STATUSES.get(args.status, 0),
        unreplied=args.status == "UNREPLIED",
        nat=tuple(args.nat or ()),
        values=tuple(values),
    )


def _pieces(wanted: ctline.Wanted) -> Iterator[list[bytes]]:
    """The table, without what the kernel can leave out itself."""
    from carpool.kernel.conntrack import Dump

    marks = [(value, mask) for name, mask, value in wanted.values if name == "mark"]
    dump = Dump(wanted.family or ct.AF_UNSPEC, marks[0] if marks else None)
    try:
        while (piece := dump.read()) is not None:
            yield piece
    finally:
        dump.close()


# --------------------------------------------------------------------------------- arguments


def _number(text: str, number_max: int, what: str) -> int:
    """Decimal, or hexadecimal with 0x."""
    try:
        number = int(text[:40], 16 if text[:2].lower() == "0x" else 10)
    except ValueError:
        number = -1
    if not 0 <= number <= number_max:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no {what} from 0 to {number_max}")
    return number


def _port(text: str) -> int:
    return _number(text, 65535, "number")


def _protocol(text: str) -> int:
    known = ctline.PROTOCOLS.get(text.lower())
    return _number(text, 255, "protocol, by name or number") if known is None else known


def _state(text: str) -> str:
    if text.upper() not in ctline.STATES:
        names = ", ".join(sorted(ctline.STATES))
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no state, expected one of {names}")
    return text.upper()


def _mark(text: str) -> tuple[int, int]:
    mark, _slash, mask = text.partition("/")
    full = _MARK_MASK
    return _number(mark, full, "mark"), _number(mask, full, "mask") if mask else full


def _network(text: str) -> tuple[int, int, int]:
    """Family, mask and value of an address or a network."""
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is no address and no network: {error}"
        ) from None
    family = ct.AF_INET if network.version == 4 else ct.AF_INET6
    return family, int(network.netmask), int(network.network_address)
