"""`carpool diff`, `sync`, `pull`, `confirm`, `history`, `show`, `rollback`: configuration, and its
past.

Room: cli. The agent of this node does it; here it is asked and shown.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from carpool.agent.localclient import LocalClient
from carpool.api.clean import clean_lines
from carpool.api.terminal import terminal
from carpool.cli import apply
from carpool.cli.times import within
from carpool.errors import EXIT_FAILED, EXIT_OK, CarpoolError, UnreachableError

if TYPE_CHECKING:
    from rich.console import Console

REFRESHED_PER_S = 8
NOBODY = {
    "error": "nothing was sent: this node knows no peer to synchronise with",
    "hint": "[peer.NAME] in node.toml and [sync] in group.toml say who it is; the agent listens on "
    "[sync] when it is started again",
}
LIMIT_MAX = 1000  # as the agent has it
WORK_WAIT_S = 300.0  # peers read and write all files of all sections

Fields = dict[str, Any]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the command line."""
    parser = _verb(subparsers, "diff", "what a synchronisation would change on each peer")
    _sections(parser)
    parser = _verb(subparsers, "sync", "make the configuration of the peers that of this node")
    _sections(parser)
    parser.add_argument("--dry-run", action="store_true", help="as `carpool diff`")
    parser.add_argument(
        "--confirm-within",
        type=within,
        metavar="TIME",
        help="put it back unless `carpool confirm` is said within this time: 30s, 5m, 1h",
    )
    parser.add_argument(
        "--restart-services",
        action="store_true",
        help="restart every service of these sections that runs there, whether its files changed "
        "or not",
    )
    parser.add_argument("--force", action="store_true", help="although something speaks against it")
    parser.add_argument("-m", "--reason", default="", help="for the history")
    parser = _verb(subparsers, "pull", "take over what was changed on a peer")
    parser.add_argument("peer")
    parser.add_argument(
        "section", nargs="*", help="only these; all that were changed there if none"
    )
    parser.add_argument("--dry-run", action="store_true", help="show it, and change nothing")
    parser.add_argument("--force", action="store_true", help="although something speaks against it")
    parser.add_argument("-m", "--reason", default="", help="for the history")
    parser = _verb(subparsers, "confirm", "keep a change that waits for it")
    parser.add_argument("peer", nargs="*", help="only there")
    parser = _verb(subparsers, "history", "the revisions of this node's configuration")
    parser.add_argument("--section", help="only those that changed it")
    parser.add_argument(
        "--results", action="store_true", help="what came of each `carpool sync` of this node"
    )
    parser.add_argument("-n", "--limit", type=_count, default=20, help="how many (20)")
    parser = _verb(subparsers, "show", "what a revision changed")
    parser.add_argument("revision")
    parser = _verb(subparsers, "rollback", "make this node's configuration that of a revision")
    parser.add_argument("revision", nargs="?")
    parser.add_argument("section", nargs="*", help="only these")
    parser.add_argument(
        "--pending",
        action="store_true",
        help="put back what waits to be confirmed, or could not be put back before",
    )
    parser.add_argument(
        "--force", action="store_true", help="although its group.toml demotes this node"
    )


def run(args: argparse.Namespace) -> int:
    """Ask, and say what came of it. CarpoolError when the agent refuses or does not answer."""
    if _of_failover(args):
        return EXIT_OK
    try:
        with LocalClient(args.run_dir) as agent:
            return _VERBS[args.face](agent, args)
    except UnreachableError:
        pending = args.face == "rollback" and args.pending
        if pending and apply.decide(args.run_dir, "take_back", alone=True):
            print("the change of the group on this node is put back; no peer was asked")
            return EXIT_OK
        raise


def _of_failover(args: argparse.Namespace) -> bool:
    """Whether it was a change by `carpool apply` that waited to be confirmed, for which no agent is
    needed."""
    if args.face == "confirm" and not args.peer and apply.decide(args.run_dir, "confirm"):
        print("the change of the group on this node is kept")
        return True
    if args.face == "rollback" and args.pending and apply.decide(args.run_dir, "take_back"):
        print("the change of the group on this node is put back")
        return True
    return False


def _diff(agent: LocalClient, args: argparse.Namespace) -> int:
    body = {"sections": args.section, "peers": args.peer}
    return _changes(agent.post("/v1/diff", body, timeout_s=WORK_WAIT_S), as_json=args.json)


def _changes(answer: Fields, *, as_json: bool) -> int:
    """Show what would change, by node."""
    peers: dict[str, Fields] = answer["peers"]
    if as_json:
        print(json.dumps(answer, indent=1))
    else:
        from carpool.api import rendersync

        show(rendersync.diff(peers))
    return EXIT_FAILED if any("error" in one for one in peers.values()) else EXIT_OK


def _sync(agent: LocalClient, args: argparse.Namespace) -> int:
    if args.dry_run:
        return _diff(agent, args)
    body = {
        "sections": args.section,
        "peers": args.peer,
        "by": who(),
        "reason": args.reason,
        "force": args.force,
        "confirm_within_s": args.confirm_within,
        "restart_services": args.restart_services,
    }
    return steps(to_somebody(agent.stream("POST", "/v1/sync", body)), as_json=args.json)


def to_somebody(events: Iterator[Fields]) -> Iterator[Fields]:
    """The same steps; a synchronisation with nobody is none, and no success."""
    asked = False
    for event in events:
        asked = asked or "peer" in event
        if event.get("step") == "over" and not asked:
            yield {"step": "end", "outcome": "failed", **NOBODY}
        yield event


def _pull(agent: LocalClient, args: argparse.Namespace) -> int:
    what = {"peer": args.peer, "sections": args.section}
    if args.dry_run:
        answer = agent.post("/v1/pull/diff", what, timeout_s=WORK_WAIT_S)
        return _changes(answer, as_json=args.json)
    body = {**what, "by": who(), "reason": args.reason, "force": args.force}
    return steps(agent.stream("POST", "/v1/pull", body), as_json=args.json)


def _rollback(agent: LocalClient, args: argparse.Namespace) -> int:
    if args.pending:
        return _pending(agent, [], "/v1/take-back", as_json=args.json)
    if args.revision is None:
        raise CarpoolError("rollback to which revision?", hint="`carpool history` lists them")
    what = {"revision": args.revision, "sections": args.section}
    body = {**what, "by": who(), "force": args.force}
    return steps(agent.stream("POST", "/v1/rollback", body), as_json=args.json)


def _confirm(agent: LocalClient, args: argparse.Namespace) -> int:
    return _pending(agent, args.peer, "/v1/confirm", as_json=args.json)


def _pending(agent: LocalClient, peers: list[str], path: str, *, as_json: bool) -> int:
    answer = agent.post(path, {"peers": peers}, timeout_s=WORK_WAIT_S)
    if as_json:
        print(json.dumps(answer, indent=1))
    return decided(answer["done"], quiet=as_json)  # type: ignore[arg-type]


def decided(done: dict[str, Fields], *, quiet: bool = False) -> int:
    """Show what came of it by node. A failure is a node that waited and did not do it; and that
    nothing waited anywhere."""
    failed = [one for one in done.values() if "error" in one]
    for node, what in () if quiet else done.items():
        error = CarpoolError(str(what.get("error", "")), hint=str(what.get("hint", "")))
        told = str(error) if error.message else ", ".join(map(str, what.values()))
        print(clean_lines(f"{node}: {told.removeprefix(f'{node}: ')}"))
    some = any(one.get("waited", True) for one in failed)
    return EXIT_FAILED if some or len(failed) == len(done) else EXIT_OK


def _history(agent: LocalClient, args: argparse.Namespace) -> int:
    params = {"limit": str(args.limit), **({"section": args.section} if args.section else {})}
    answer: Fields = agent.get("/v1/results" if args.results else "/v1/history", params)
    if args.json:
        print(json.dumps(answer, indent=1))
    else:
        from carpool.api import rendersync

        section = args.section or ""
        if args.results:
            show(rendersync.results(answer["results"], section))
        else:
            show(rendersync.revisions(answer["revisions"], section))
    return EXIT_OK


def _show(agent: LocalClient, args: argparse.Namespace) -> int:
    answer = agent.get(f"/v1/history/{quote(args.revision, safe='')}")
    if args.json:
        print(json.dumps(answer, indent=1))
    else:
        from carpool.api import rendersync

        show(rendersync.revision(answer))
    return EXIT_OK


def steps(events: Iterator[Fields], *, as_json: bool) -> int:
    """Show each step as it comes: on a terminal in place, else a line each."""
    console = terminal()
    if as_json:
        tell: Callable[[Fields], None] = _as_json
    elif console.is_terminal and not console.is_dumb_terminal:
        return _live(events, console)
    else:
        tell = _as_line
    failed = False
    for event in events:
        failed = failed or _is_failure(event)
        tell(event)
    return EXIT_FAILED if failed else EXIT_OK


def _live(events: Iterator[Fields], console: Console) -> int:
    from rich.live import Live

    from carpool.api.progress import Board
    from carpool.kernel.clock import monotonic_s

    board, failed = Board(monotonic_s), False
    with Live(board, console=console, transient=True, refresh_per_second=REFRESHED_PER_S) as live:
        for event in events:
            failed = failed or _is_failure(event)
            if (stays := board.take(event)) is not None:
                live.console.print(stays, soft_wrap=True)
    return EXIT_FAILED if failed else EXIT_OK


def _is_failure(event: Fields) -> bool:
    return bool(event.get("error") and event.get("step") == "end")


def _as_json(event: Fields) -> None:
    print(json.dumps(event), flush=True)


def _as_line(event: Fields) -> None:
    from carpool.api import rendersync

    if (line := rendersync.step(event)) is not None:
        show(line)


def show(what: object) -> None:
    terminal().print(what, soft_wrap=True)


def who() -> str:
    """The person, as far as this machine knows."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


def _verb(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], verb: str, about: str
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        verb, help=about, description=f"{about.capitalize()}.", allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")
    return parser


def _sections(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("section", nargs="*", help="only these; all that are selected if none")
    parser.add_argument(
        "--peer", action="append", default=[], help="only this one; may be repeated"
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= LIMIT_MAX):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no number from 1 to {LIMIT_MAX}")
    return int(text)


_VERBS = {
    "diff": _diff,
    "sync": _sync,
    "pull": _pull,
    "confirm": _confirm,
    "history": _history,
    "show": _show,
    "rollback": _rollback,
}
