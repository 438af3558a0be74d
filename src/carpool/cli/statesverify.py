"""`carpool states verify` and `resync`: this node's table and its peers', compared and made equal.

Room: cli. One request; the states processes do it. Shows entries as `conntrack -L` does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping

from carpool.api.clean import clean
from carpool.api.control import STATES, Answer, request, socket_of
from carpool.api.render import duration, entries_of, number_of, text_of
from carpool.errors import EXIT_FAILED, EXIT_OK, EXIT_UNREACHABLE, CarpoolError
from carpool.proto import ctline
from carpool.proto import ctmessage as ct

ANSWER_WAIT_S = 600.0  # a million entries take some 20 s; the peer may be busy
_KINDS = {  # in `counts`, and what it means; `mended` has them without "_there"
    "missing_there": "missing there",
    "extra_there": "there and not here",
    "different": "different",
}

Result = Mapping[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("peer", nargs="?", metavar="PEER", help="one of them; all if not given")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=ANSWER_WAIT_S,
        metavar="SECONDS",
        help=f"how long to wait for the answer ({ANSWER_WAIT_S:g})",
    )
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")


def _seconds(text: str) -> float:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 86400:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no number from 1 to 86400")
    return float(text)


def run(args: argparse.Namespace) -> int:
    """Ask, and say what came of it. CarpoolError when the process refuses or does not answer."""
    answer = _ask(args)
    results = entries_of(answer, "results")
    if args.json:
        print(json.dumps({"results": [_for_programs(result) for result in results]}, indent=1))
    else:
        for result in results:
            print("\n".join(_told(result, mends=args.part == "resync")))
    return _exit_code(results, mends=args.part == "resync")


def _ask(args: argparse.Namespace) -> Answer:
    command = {"command": args.part, "peer": args.peer}
    try:
        return request(socket_of(args.run_dir, STATES), command, args.timeout)
    except CarpoolError as error:
        if not error.message.startswith("unknown command"):
            raise
        raise CarpoolError(
            f"the states process that runs is older than this command: it knows no {args.part!r}",
            hint="restart it on this node: systemctl restart carpool-states",
        ) from error


def _exit_code(results: list[Result], *, mends: bool) -> int:
    if any(result.get("error") is not None for result in results):
        return EXIT_UNREACHABLE
    differ = any(sum(_counts(result).values()) for result in results)
    return EXIT_FAILED if differ and not mends else EXIT_OK


def _counts(result: Result) -> dict[str, int]:
    counts = result.get("counts")
    return {kind: int(number_of(counts, kind)) for kind in _KINDS if isinstance(counts, dict)}


# ------------------------------------------------------------------------------------ words


def _told(result: Result, *, mends: bool) -> Iterator[str]:
    """A line about a peer, and its differences indented below it."""
    name = text_of(result, "peer")
    if result.get("error") is not None:
        yield f"{name}: could not be compared with: {text_of(result, 'error')}"
        return
    counts = _counts(result)
    found = ", ".join(f"{count:,} {_KINDS[kind]}" for kind, count in counts.items() if count)
    size = " here, ".join(f"{number_of(result, f'entries_{at}'):,.0f}" for at in ("here", "there"))
    took = duration(number_of(result, "took_s"))
    outcome = "equal"
    if found:
        outcome = f"{'put right' if mends else 'DIFFERENT'}: {found}"
    yield f"{name}: {outcome}   ({size} there, compared in {took})"
    for kind, heading in _KINDS.items():
        lines = list(_lines(result, kind))
        if lines:
            yield f"  {heading}:"
            yield from (f"    {line}" for line in lines)
        shown = len(lines) // 2 if kind == "different" else len(lines)
        if counts.get(kind, 0) > shown > 0:
            yield f"    and {counts[kind] - shown:,} more"


def _lines(result: Result, kind: str) -> Iterator[str]:
    entries = result.get(kind)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            yield f"here:  {_line(entry.get('here'))}"
            yield f"there: {_line(entry.get('there'))}"
        else:
            yield _line(entry)


def _line(entry: object) -> str:
    """An entry comes as the hex of a netlink message: as the kernel told it, or to create it."""
    try:
        parsed = ct.parse_create(bytes.fromhex(str(entry)))
    except ValueError:
        return clean(str(entry))
    return ctline.entry_line(parsed) if isinstance(parsed, ct.Entry) else clean(str(entry))


def _for_programs(result: Result) -> dict[str, object]:
    """As it came, with lines instead of hex."""
    lists = {
        kind: [
            {side: _line(one) for side, one in entry.items()}
            if isinstance(entry, dict)
            else _line(entry)
            for entry in entries
        ]
        for kind in _KINDS
        if isinstance(entries := result.get(kind), list)
    }
    return {**result, **lists}
