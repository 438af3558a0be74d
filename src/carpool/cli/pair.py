"""`carpool init`, `join`, `peers` and `unpair`: which nodes trust each other, and how they come to.

Room: cli. Arguments and sentences; the work is in `api/pairing.py` and `api/identity.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

from carpool.api import identity, pairing
from carpool.api.settings import load
from carpool.cli.problems import counted
from carpool.errors import EXIT_OK, CarpoolError, ConfigError
from carpool.kernel.keys import Keys, fingerprint, shown
from carpool.machine.pairing import GUESSES_MAX, Partner
from carpool.model.config import Address, Config
from carpool.model.finding import closest
from carpool.model.keypath import quoted
from carpool.proto import paircode

TIMEOUT_S, TIMEOUT_MAX_S = 600, 86400
CODE_MAX_CHARACTERS = 200


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the four verbs to the command line."""
    init = _verb(
        subparsers,
        "init",
        "wait for another node to pair with",
        "Makes this node's key and certificate if it has none, prints a one-time code, and waits "
        f"until a node has joined with it, the time is over, or {GUESSES_MAX} wrong codes were "
        "tried. Once for each pair of nodes.",
    )
    init.add_argument(
        "--timeout",
        type=_number(1, TIMEOUT_MAX_S),
        default=TIMEOUT_S,
        metavar="S",
        help=f"how long the code is good, in seconds ({TIMEOUT_S})",
    )
    join = _verb(
        subparsers,
        "join",
        "pair with the node that shows a code",
        "Makes this node's key and certificate if it has none, and pairs with the node at ADDRESS, "
        "on which `carpool init` shows CODE.",
    )
    join.add_argument("address", type=_address, metavar="ADDRESS", help="of the other node")
    join.add_argument("code", metavar="CODE", help="what it shows; - to read it from stdin")
    for parser in (init, join):
        parser.add_argument(
            "--port", type=_number(1, 65535), metavar="N", help="TCP (that of states, and one more)"
        )
        parser.add_argument(
            "--replace",
            action="store_true",
            help="a node that is paired already may come with another certificate",
        )
    peers = _verb(
        subparsers,
        "peers",
        "which nodes are paired with this one",
        "List this node and its peers with their certificates' fingerprints.",
    )
    peers.add_argument("--json", action="store_true", help="as JSON on stdout")
    unpair = _verb(
        subparsers,
        "unpair",
        "trust another node no more",
        "Forget the certificate of a node. A stream with it ends within a second or two.",
    )
    unpair.add_argument("name", metavar="NAME", help="of the node")


def run(args: argparse.Namespace) -> int:
    """Do it. CarpoolError, with what to do, when it cannot be done."""
    config, problems = load(args.config_dir)
    if config is None:
        raise ConfigError(
            f"the configuration cannot be used: {counted(problems)}", hint="`carpool check` tells"
        )
    keys = identity.keys_of(args.config_dir, config.node.name)
    return _VERBS[args.face](args, config, keys)


def _init(args: argparse.Namespace, config: Config, keys: Keys) -> int:
    _own_identity(keys)
    port = args.port or pairing.port_of(config)
    files = pairing.shown_to_joiners(config, args.config_dir)
    initiation = pairing.Initiation(
        config, keys, port=port, replace=args.replace, tell=_say, shown=files
    )
    try:
        option = f" --port {args.port}" if args.port else ""
        _say(f"within {args.timeout} s, on the node to pair with:")
        _say(f"\n    carpool join{option} {initiation.addresses[0]} {initiation.code}\n")
        where = ", ".join(str(address) for address in initiation.addresses)
        _say(f"waiting at {where} port {port}; Ctrl-C ends it")
        _paired(initiation.wait(args.timeout), config, keys)
    finally:
        initiation.close()
    return EXIT_OK


def _join(args: argparse.Namespace, config: Config, keys: Keys) -> int:
    text = sys.stdin.readline(CODE_MAX_CHARACTERS) if args.code == "-" else args.code
    code = paircode.parse(text)
    if isinstance(code, str):
        raise CarpoolError(
            f"that is not the code as it was shown: {code}", hint="nothing was sent: type it again"
        )
    _own_identity(keys)
    port = args.port or pairing.port_of(config)
    _paired(
        pairing.join(config, keys, args.address, code, port=port, replace=args.replace),
        config,
        keys,
    )
    return EXIT_OK


def _own_identity(keys: Keys) -> None:
    certificate, fresh = identity.ensure(keys)
    if fresh:
        _say(f"made the identity of {keys.node}: {shown(certificate)}")


def _paired(partner: Partner, config: Config, keys: Keys) -> None:
    _say(f"paired with {partner.node}: {shown(partner.certificate)}")
    missing = [peer.name for peer in config.node.peers if peer.name not in keys.names()]
    for name in missing:
        _say(f"not paired yet: {name} (`carpool init` on {keys.node}, `carpool join` on {name})")
    if not missing:
        _say(f"{keys.node} is paired with all its peers")


def _peers(args: argparse.Namespace, config: Config, keys: Keys) -> int:
    names = [peer.name for peer in config.node.peers]
    strays = [name for name in keys.names() if name not in names]
    own, told = _certificate(partial(identity.verified, keys))
    certificates = {}
    for name in (*names, *strays):
        certificates[name], why = _certificate(partial(keys.pinned, name))
        told += why
    told += [
        f"{name} is no peer in node.toml: `carpool unpair {name}` forgets it" for name in strays
    ]
    if args.json:
        rows = {name: _row(name, certificate) for name, certificate in certificates.items()}
        answer = {
            "node": _row(keys.node, own),
            "peers": [{**rows[name], "paired": bool(certificates[name])} for name in names],
            "unknown": [rows[name] for name in strays],
        }
        print(json.dumps(answer, indent=1))
        return EXIT_OK
    width = max(map(len, ("NODE", keys.node, *certificates)))
    print(f"{'NODE':{width}}  PAIRED  SHA-256 OF ITS CERTIFICATE")
    print(f"{keys.node:{width}}  itself  {fingerprint(own) if own else '-'}")
    for name, certificate in certificates.items():
        paired = f"yes     {fingerprint(certificate)}" if certificate else "no      -"
        print(f"{name:{width}}  {paired}")
    for line in told:
        print(line)
    return EXIT_OK


def _certificate(read: Callable[[], bytes]) -> tuple[bytes | None, list[str]]:
    """A certificate, or a sentence about why there is none."""
    try:
        return read(), []
    except CarpoolError as error:
        return None, [str(error)]


def _row(name: str, certificate: bytes | None) -> dict[str, object]:
    return {"name": name, "fingerprint": fingerprint(certificate) if certificate else None}


def _unpair(args: argparse.Namespace, config: Config, keys: Keys) -> int:
    known = {*keys.names(), *(peer.name for peer in config.node.peers)}
    if args.name not in known:  # also: no name at all, but a path
        names = ", ".join(sorted(known)) or "no node"
        raise CarpoolError(
            f"no node {quoted(args.name)} is known here, only {names}",
            hint=closest(args.name, known),
        )
    if keys.unpin(args.name):
        _say(f"{args.name} is trusted no more; `carpool unpair {keys.node}` there does the same")
    else:
        _say(f"not paired with {args.name} already")
    return EXIT_OK


_VERBS = {"init": _init, "join": _join, "peers": _peers, "unpair": _unpair}


def _verb(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
    verb: str,
    about: str,
    more: str,
) -> argparse.ArgumentParser:
    return subparsers.add_parser(verb, help=about, description=more, allow_abbrev=False)


def _number(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text[:9]) <= high:
            raise argparse.ArgumentTypeError(f"{text[:20]!r} is no number from {low} to {high}")
        return int(text)

    return number


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text[:50]!r} is no IP address (names are not looked up)"
        ) from None


def _say(text: str) -> None:
    """At once: who waits for a code may read a pipe."""
    print(text, flush=True)
