"""`carpool lab`: build the lab, look at it, run drills and the demo in it.

Room: cli. Arguments, signals and exit codes; the work is in `carpool.lab`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from carpool.api.terminal import terminal
from carpool.cli.signals import interrupt_on
from carpool.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, CarpoolError
from carpool.model.detection import INTERVAL_MAX_MS, INTERVAL_MIN_MS, Detection, ranges

if TYPE_CHECKING:
    from carpool.lab.image import Image
    from carpool.lab.lab import Lab

SCENARIO_NAMES = (
    "crash",
    "stop",
    "poweroff",
    "switchover",
    "flap",
    "link",
    "kill",
    "killall",
    "pause",
    "return",
    "stop-off",
    "partition",
    "starve",
    "clock",
    "sync-cut",
    "three",
)
DIRECTIONS = ("in", "out", "both")
NODE_NAMES = ("client", "switch", "fw1", "fw2", "server", "fw3")
PORT_MAX = 65535


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `lab` and its verbs to the command line."""
    lab = subparsers.add_parser(
        "lab",
        help="a real network on this machine, to see failover work",
        description="A real network of namespaces on this machine: client, two firewalls that run "
        "carpool, server. Needs root; touches nothing outside its own namespaces.",
    )
    verbs = lab.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, about in (
        ("up", "build it and start carpool on both firewalls"),
        ("down", "remove it, whatever state it is in"),
        ("status", "both firewalls side by side"),
        ("drill", "break the master under live traffic, and measure"),
        ("demo", "watch a failover happen"),
        ("power", "pull the plug of a firewall, or put it in again"),
        ("exec", "run a command on a node"),
        ("shell", "a shell on a node"),
    ):
        parser = verbs.add_parser(verb, help=about, description=about)
        default = "carpool-demo" if verb == "demo" else "carpool"
        parser.add_argument(
            "--name",
            default=os.environ.get("CARPOOL_LAB") or default,
            help=f"which lab (default: $CARPOOL_LAB, or {default})",
        )
        if verb in _ADD_ARGUMENTS:
            _ADD_ARGUMENTS[verb](parser)


def _machine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--machines",
        action="store_true",
        help="firewalls boot a systemd of their own, with carpool from its Debian package",
    )
    parser.add_argument(
        "--deb", type=Path, metavar="FILE", help="that package (default: what this checkout makes)"
    )


def _interval_ms(text: str) -> int:
    """`10ms`."""
    number = text.removesuffix("ms")
    if not (number.isascii() and number.isdigit() and text.endswith("ms")):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a time: 10ms")
    interval_ms = int(number)
    if list(ranges(Detection(interval_ms=interval_ms))):
        most = f"{INTERVAL_MIN_MS}ms to {INTERVAL_MAX_MS}ms"
        raise argparse.ArgumentTypeError(f"found {text}, expected {most}")
    return interval_ms


def _detect_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detect",
        type=_interval_ms,
        default=0,
        metavar="INTERVAL",
        help="between packets of detection in a lab that is built; a peer that three are missing "
        "of is dead (50ms)",
    )


def _drill_arguments(parser: argparse.ArgumentParser) -> None:
    _machine_arguments(parser)
    _detect_argument(parser)
    parser.add_argument(
        "scenario", choices=SCENARIO_NAMES, metavar="SCENARIO", help=", ".join(SCENARIO_NAMES)
    )
    parser.add_argument(
        "--connections", type=int, default=200, metavar="N", help="TCP connections kept open (200)"
    )
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="how often (1)")
    parser.add_argument(
        "--links",
        type=lambda text: tuple(text.split(",")),
        metavar="LINK,...",
        help="of partition: some of lan, wan, sync (lan)",
    )
    parser.add_argument(
        "--direction",
        choices=DIRECTIONS,
        help="of partition: adverts to the master, from it, or both (both)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help="how long partition (8), starve (10), clock (12) and the cut of sync-cut (5) go on, "
        "and the time between the crashes of three (2)",
    )
    parser.add_argument("--json", action="store_true", help="the report as JSON on stdout")
    parser.add_argument(
        "--without-states",
        action="store_true",
        help="the control: no replication, so that connections die",
    )


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    _machine_arguments(parser)
    parser.add_argument("--once", action="store_true", help="one crash and one return, then end")
    parser.add_argument(
        "--json", action="store_true", help="with --once: the report as JSON on stdout"
    )


def _node_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", choices=NODE_NAMES, metavar="NODE", help=", ".join(NODE_NAMES))


def _exec_arguments(parser: argparse.ArgumentParser) -> None:
    _node_argument(parser)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")


def _up_arguments(parser: argparse.ArgumentParser) -> None:
    _machine_arguments(parser)
    _detect_argument(parser)
    parser.add_argument(
        "--blank",
        action="store_true",
        help="with --machines: no configuration of carpool, to set it up by hand",
    )
    parser.add_argument(
        "--no-agent",
        action="store_true",
        help="failover and states alone: no agents, which synchronise configuration, and no pages",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        metavar="N",
        help="where the pages of fw1 are on 127.0.0.1, those of fw2 at the next (default: free)",
    )
    parser.add_argument(
        "--three", action="store_true", help="a third firewall, fw3, which is behind both"
    )
    parser.add_argument(
        "--bare",
        action="store_true",
        help="machines on which carpool is not installed yet: its package is in /root",
    )


def _power_arguments(parser: argparse.ArgumentParser) -> None:
    firewalls = NODE_NAMES[2:4]
    parser.add_argument("node", choices=firewalls, metavar="NODE", help=", ".join(firewalls))
    parser.add_argument("state", choices=("on", "off"), metavar="on|off", help="on boots it")


_ADD_ARGUMENTS = {
    "up": _up_arguments,
    "drill": _drill_arguments,
    "demo": _demo_arguments,
    "power": _power_arguments,
    "exec": _exec_arguments,
    "shell": _node_argument,
}


def run(args: argparse.Namespace) -> int:
    """Do it and give the exit code; CarpoolError for what a person has to mend."""
    from carpool.lab import shell
    from carpool.lab.lab import Lab

    if os.geteuid() != 0:
        raise CarpoolError("the lab needs root, to make network namespaces", hint="use sudo")
    shell.require_tools()
    interrupt_on(signal.SIGTERM, signal.SIGHUP)
    lab = Lab(args.name, _say)
    try:
        return _VERBS[args.verb](lab, args)
    except KeyboardInterrupt:
        _say("interrupted")
        return EXIT_INTERRUPTED


def _image(args: argparse.Namespace) -> Image | None:
    """What machines boot; None when processes will do."""
    bare = bool(getattr(args, "bare", False))
    if not args.machines and args.deb is None and not bare:
        return None
    from carpool.lab import container, image

    container.require_tools()
    return image.made(_say, args.deb, bare=bare)


def _up(lab: Lab, args: argparse.Namespace) -> int:
    image = _image(args)
    if args.blank and image is None:
        raise CarpoolError("only machines can be blank", hint="add --machines")
    if not 0 <= args.port < PORT_MAX:
        raise CarpoolError(f"found --port {args.port}, expected 0 to {PORT_MAX - 1}")
    if args.no_agent and image is not None:
        raise CarpoolError("machines run all of carpool", hint="leave out --no-agent")
    with lab.held():
        lab.up(
            with_agent=not args.no_agent,
            image=image,
            blank=args.blank,
            port=args.port,
            detect_ms=args.detect,
            third=args.three,
        )
    for sentence in lab.pages():
        _say(sentence)
    if lab.plan.bare:
        _say(f"`carpool lab shell fw1 --name {lab.name}`: now docs/quick-start.md")
        return EXIT_OK
    _say(f"`carpool lab status --name {lab.name}` shows it, `carpool lab drill crash` breaks it")
    return EXIT_OK


def _down(lab: Lab, args: argparse.Namespace) -> int:
    with lab.held():
        if not lab.down():
            _say(f"there is no lab {lab.name!r}")
    return EXIT_OK


def _status(lab: Lab, args: argparse.Namespace) -> int:
    from carpool.lab import report

    if not lab.is_up:
        raise CarpoolError(f"the lab {lab.name!r} is not up", hint="`carpool lab up` builds it")
    console = terminal(markup=True)
    console.print(report.pair_table(lab.answers()))
    for trouble in lab.troubles():
        console.print(f"not healthy: {trouble}", style="yellow", highlight=False)
    for sentence in lab.pages():
        console.print(sentence, highlight=False, soft_wrap=True)
    console.print(
        f"enter a node: carpool lab shell NODE --name {lab.name}   ({', '.join(NODE_NAMES)})",
        highlight=False,
    )
    return EXIT_OK


def _drill(lab: Lab, args: argparse.Namespace) -> int:
    from carpool.lab import drill, scenes

    drill.check_size(args.connections, args.runs)
    choice = scenes.Choice(args.links, args.direction, args.seconds)
    scenario = scenes.scenario(args.scenario, choice)
    with lab.held():
        built = not lab.is_up
        if args.detect and not built:
            hint = f"`carpool lab down --name {lab.name}` first, or leave out --detect"
            raise CarpoolError(f"the lab {lab.name!r} is up: its interval stays", hint=hint)
        try:
            if built:
                lab.up(image=_image(args), detect_ms=args.detect, third=scenario.third)
            report = drill.run_drill(
                lab, scenario, args.connections, args.runs, not args.without_states
            )
        finally:
            if built:
                lab.down()
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        _print_drills([report])
    return EXIT_OK if all(drill.passed(result) for result in report["runs"]) else EXIT_FAILED


def _demo(lab: Lab, args: argparse.Namespace) -> int:
    from carpool.lab import demo

    return demo.run(lab, _image(args), once=args.once, as_json=args.json)


def _power(lab: Lab, args: argparse.Namespace) -> int:
    with lab.held():
        if not lab.is_up:
            raise CarpoolError(f"the lab {lab.name!r} is not up", hint="`carpool lab up` builds it")
        if args.state == "off":
            lab.pull_plug(args.node)
        elif not lab.network.is_cut(args.node):
            _say(f"{args.node} is on already")
        else:
            lab.power_on(args.node)
    return EXIT_OK


def _exec(lab: Lab, args: argparse.Namespace) -> int:
    argv = lab.inside(args.node, args.command or [os.environ.get("SHELL", "/bin/sh")])
    os.execvp(argv[0], argv)  # noqa: S606 (what the operator asked for)


def _shell(lab: Lab, args: argparse.Namespace) -> int:
    args.command = []
    return _exec(lab, args)


_VERBS = {
    "up": _up,
    "down": _down,
    "status": _status,
    "drill": _drill,
    "demo": _demo,
    "power": _power,
    "exec": _exec,
    "shell": _shell,
}


def _print_drills(reports: list[dict[str, object]]) -> None:
    from carpool.lab import report

    terminal(markup=True).print(report.drills_table(reports))


def _say(text: str) -> None:
    """Progress: on stderr, so that stdout is the result alone."""
    print(text, file=sys.stderr, flush=True)
