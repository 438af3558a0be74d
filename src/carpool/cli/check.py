"""`carpool check`: both files against their rules, then against this machine. Needs no process.

Room: cli. Refuses to judge by itself: `api/settings.py` and `model/validate.py` do.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from carpool.api.alertsfile import load_alerts
from carpool.api.scriptproblems import script_problems
from carpool.api.sections import load_sections
from carpool.api.settings import load, secrecy, with_lines
from carpool.cli.problems import counted, told
from carpool.errors import EXIT_CONFIG, EXIT_OK
from carpool.model.config import Config, Encryption, Problem
from carpool.model.finding import GROUP_FILE
from carpool.model.validate import check_system


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `check` to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="say everything that is wrong with the configuration",
        description="Say everything that is wrong with node.toml and group.toml, by themselves and "
        "on this machine. Ends with 3 when carpool would refuse to run with them.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Tell all problems; EXIT_CONFIG when one is fatal. Raises KernelError."""
    config, problems = load(args.config_dir)
    if config is not None:
        here = [*_on_this_machine(config), *_pairing(config, args.config_dir)]
        scripts = script_problems(config, args.config_dir)
        problems += with_lines(args.config_dir, [*here, *scripts])
        problems += [one for one in scripts if one.file != GROUP_FILE]
    problems += load_sections(args.config_dir)[1]
    problems += secrecy(args.config_dir)
    problems += load_alerts(args.config_dir)[1]
    fatal = any(problem.fatal for problem in problems)
    if args.json:
        print(json.dumps({"ok": not fatal, "problems": [asdict(p) for p in problems]}, indent=1))
    else:
        _print(config, problems, args.config_dir, fatal)
    return EXIT_CONFIG if fatal else EXIT_OK


def _on_this_machine(config: Config) -> list[Problem]:
    from carpool.kernel.links import device_facts  # the files come first

    return check_system(config, device_facts(config.node.interfaces.values()))


def _pairing(config: Config, config_dir: Path) -> list[Problem]:
    from carpool.api import identity  # loads cryptography

    return identity.problems(config, config_dir)


def _print(
    config: Config | None, problems: Sequence[Problem], config_dir: Path, fatal: bool
) -> None:
    for problem in problems:
        print(told(problem, config_dir), end="\n\n")
    if config is None or fatal:
        print(f"configuration not OK: {counted(problems)}")
        return
    print(f"configuration OK{f', {counted(problems)}' if problems else ''}")
    for line in summary(config):
        print(line)


def summary(config: Config) -> tuple[str, str]:
    """The configuration in two lines."""
    node, group = config.node, config.group
    peers = ", ".join(peer.name for peer in node.peers) or "no peer"
    preempt = "preempt" if group.preempt else "no preempt"
    names = [f"{name} ({config.device(name)})" for name in config.vip_interfaces()]
    addresses = sum(len(vip.addresses) for vip in group.vips)
    states = "no state replication"
    if group.states is not None:
        states = f"states of {group.states.scope} connections over {group.states.interface}"
        if group.states.encryption is Encryption.NONE:
            states += ', NOT encrypted (encryption = "none")'
    return (
        f"node {node.name} of group {group.name} with {peers}; advskew {node.advskew}, {preempt}",
        f"VHIDs: {len(group.vips)}, addresses: {addresses}, on {', '.join(names)}; {states}",
    )
