"""`carpool apply`: the processes of this node take up what node.toml and group.toml say now.

Room: cli. They do it themselves (`service/groupchange.py`, `service/statesreload.py`); here it is
asked for, and shown. `confirm` and `rollback --pending` for it are asked here, too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from carpool.api.control import FAILOVER, STATES, Answer, request, socket_of
from carpool.api.ownrules import follow
from carpool.api.settings import load
from carpool.cli.problems import counted, told
from carpool.cli.times import within
from carpool.errors import EXIT_CONFIG, EXIT_OK, CarpoolError, NotRunningError, UnreachableError

ANSWER_WAIT_S = 10.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `apply` to the command line."""
    parser = subparsers.add_parser(
        "apply",
        help="take up node.toml and group.toml as they are now",
        description="The running processes of this node take up what node.toml and group.toml say "
        "now. Until `carpool sync` has brought group.toml to all peers, this node sends and "
        "accepts adverts of both the old and the new one, so that no peer becomes a second master.",
        allow_abbrev=False,
    )
    parser.add_argument("--dry-run", action="store_true", help="show it, and change nothing")
    parser.add_argument(
        "--confirm-within",
        type=within,
        metavar="TIME",
        help="put it back, the files too, unless `carpool confirm` is said within this time: "
        "30s, 5m, 1h",
    )
    parser.add_argument(
        "--force", action="store_true", help="although it demotes this node, and a peer takes over"
    )
    parser.add_argument(
        "--settle",
        action="store_true",
        help="every node has this group.toml: what was before counts no more "
        "(`carpool sync` does it by itself)",
    )


def run(args: argparse.Namespace) -> int:
    """Ask, and say what came of it. CarpoolError when failover refuses or does not answer."""
    failover = socket_of(args.run_dir, FAILOVER)
    if args.settle:
        return _settle(failover)
    config, problems = load(args.config_dir)
    for problem in problems:
        print(told(problem, args.config_dir), file=sys.stderr)
    if config is None:
        print(f"carpool: nothing is taken up: {counted(problems)}", file=sys.stderr)
        return EXIT_CONFIG
    wish = {"dry_run": args.dry_run, "force": args.force, "confirm_within_s": args.confirm_within}
    answer = request(failover, {"command": "reload", **wish}, ANSWER_WAIT_S)
    _print(answer, args)
    if not args.dry_run:
        if not _reload_states(args.run_dir) and config.group.states is not None:
            print("[states] is configured, but no states process runs: carpool run states")
        _reload_agent(args.run_dir)
        follow(config)
    return EXIT_OK


def decide(run_dir: Path, command: str, *, alone: bool = False) -> bool:
    """`confirm` or `take_back` what waits here; whether something did. What peers wait for, too, is
    the agent's business, unless this node is to do it `alone`. CarpoolError."""
    path = socket_of(run_dir, FAILOVER)
    try:
        change = request(path, {"command": "status"}, ANSWER_WAIT_S).get("change")
    except UnreachableError:
        return False
    if not isinstance(change, dict) or change.get("confirm_left_s") is None:
        return False
    if change.get("with_peers") and not alone:
        return False
    request(path, {"command": command}, ANSWER_WAIT_S)
    if command == "take_back":
        _reload_agent(run_dir)
    return True


def _settle(failover: Path) -> int:
    digest = request(failover, {"command": "status"}, ANSWER_WAIT_S).get("group_digest")
    answer = request(failover, {"command": "settle", "digest": digest}, ANSWER_WAIT_S)
    print("what was before counts no more" if answer.get("changed") else "nothing to settle")
    return EXIT_OK


def _print(answer: Answer, args: argparse.Namespace) -> None:
    changes = answer.get("changes")
    lines = [str(line) for line in changes] if isinstance(changes, list) else []
    for line in lines:
        print(line)
    if not lines:
        print("nothing changes for failover")
    if lines and args.dry_run:
        print("nothing was changed (--dry-run)")
    elif answer.get("waits"):
        print(f"done; it is put back unless `carpool confirm` is said in {args.confirm_within} s")
    elif lines:
        print("done")
    if answer.get("transition") and not args.dry_run:
        print("the peers may still have what was before, so that counts, too, until `carpool sync`")


def _reload_states(run_dir: Path) -> bool:
    """Whether there is a process to take it up; it need not run."""
    try:
        answer = request(socket_of(run_dir, STATES), {"command": "reload"}, ANSWER_WAIT_S)
    except NotRunningError:
        return False
    except CarpoolError as error:
        raise CarpoolError(
            f"failover has it, but states: {error.message}", hint=error.hint
        ) from error
    restarts = answer.get("restarts")
    if isinstance(restarts, list) and restarts:
        print(f"the states process begins anew for {', '.join(map(str, restarts))}")
    return True


def _reload_agent(run_dir: Path) -> None:
    """It reads the sections anew; without one, there is nothing to read them."""
    if not socket_of(run_dir, "agent").exists():
        return
    from carpool.agent.localclient import LocalClient  # takes time that others need not wait

    try:
        with LocalClient(run_dir) as agent:
            left = agent.post("/v1/reload", {}).get("restart")
    except UnreachableError:
        return
    except CarpoolError as error:
        raise CarpoolError(
            f"failover has it, but the agent: {error.message}", hint=error.hint
        ) from error
    if isinstance(left, list) and left:
        print(f"for the agent, a restart is needed: {', '.join(map(str, left))}")
        print("  systemctl restart carpool-agent (or end `carpool run agent` and start it again)")
