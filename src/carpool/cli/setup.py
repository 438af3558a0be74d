"""`carpool setup`: a wizard that takes two machines to a working pair.

Room: cli. Gathers what is known, has it asked (`setupask.py`), shows what will be (`setupplan.py`),
and after a yes does it, pairs, checks and drills (`setuppair.py`).
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from carpool.agent.waits import LISTEN_MAX_S
from carpool.api import hostfacts as facts_of
from carpool.api import identity, pairing
from carpool.api.answersfile import AnswersFile
from carpool.api.settings import judge, load
from carpool.cli import doctor, setuppair, setupplan
from carpool.cli.setupask import BACK, INTRODUCTION, Conversation, Quit, from_file, line
from carpool.cli.setupplan import Plan
from carpool.errors import EXIT_FAILED, EXIT_OK, CarpoolError, ConfigError, KernelError, PeerError
from carpool.kernel import hostfacts, nftload, survey
from carpool.kernel.appliedfile import Sources
from carpool.kernel.hearing import listen
from carpool.machine import hostchecks, ownchecks, proposals, setup
from carpool.machine.doctor import examine
from carpool.machine.facts import Facts
from carpool.machine.filetext import group_toml, node_toml
from carpool.machine.setup import NO, SECOND, YES, Situation
from carpool.model.config import STATES_PORT, Address, Config
from carpool.model.diagnosis import Setting
from carpool.model.facts import Device, Heard
from carpool.model.finding import GROUP_FILE, NODE_FILE
from carpool.proto import nftjson, paircode

LISTEN_S = 4.0  # more than three adverts of who speaks once a second
WAIT_S = 600
SAFE = ("rp-filter", "conntrack-events")  # checks whose fixes are kernel settings
PASSWORD_BYTES = 12  # 16 characters; CARP takes 20


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `setup` to the command line."""
    parser = subparsers.add_parser(
        "setup",
        help="take two machines to a working pair, step by step",
        description="Ask what this node is to be, with proposals from what it is connected to; "
        "show all that would be changed; and after a yes do it, pair with the other node, check, "
        "and end with a drill. Say it on one node, then on the other. Every answer can be taken "
        "back, and saying it again goes on where it ended.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--answers",
        type=Path,
        metavar="FILE",
        help="answers instead of questions (docs/setup.md): what is missing is as proposed",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument(
        "--listen",
        type=_seconds,
        default=LISTEN_S,
        metavar="SECONDS",
        help=f"how long to listen for foreign CARP and VRRP ({LISTEN_S:g}); 0: look at no wire",
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help="where the first node waits, if not the usual port"
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=os.environ.get("CARPOOL_ROOT") or "/",
        help="where etc/nftables.conf and etc/sysctl.d are, in place of / ($CARPOOL_ROOT)",
    )


def run(args: argparse.Namespace) -> int:
    """The whole way. Raises CarpoolError; before the summary is confirmed, nothing was changed."""
    if args.answers is None and not sys.stdin.isatty():
        raise CarpoolError(
            "this is no terminal to ask on", hint="--answers FILE answers all questions"
        )
    file = None if args.answers is None else AnswersFile(args.answers)
    if file is not None and file.problems():
        from_file(_blank(), file, args.answers.parent, _nobody)  # tells, and raises
    seen, shown_group = _look_around(args), _Group()

    def meet(answers: Mapping[str, str]) -> Situation:
        return _met(seen, answers, args.port, shown_group)

    if file is not None:
        situation, answers = from_file(seen, file, args.answers.parent, meet)
        plan = _plan(args, situation, answers, shown_group.text)
        _show(plan)
        if not args.dry_run and plan.overwrites and file.answers.get("overwrite") != YES:
            raise ConfigError(
                f"{' and '.join(plan.overwrites)} would be overwritten, and nothing was changed",
                hint="`overwrite = true` in the file of answers allows it",
            )
        return EXIT_OK if args.dry_run else _carry_out(args, plan, answers, file)
    if seen.paired and seen.current is not None and not _goes_over_it_again(seen.current):
        second = seen.current.node.advskew > 0
        return _check_and_drill(args, seen.current, second, None)
    print(INTRODUCTION)
    talk = Conversation(seen, meet)
    while True:
        talk.ask_all()
        plan = _plan(args, talk.seen, talk.answers, shown_group.text)
        _show(plan)
        if args.dry_run:
            return EXIT_OK
        if _confirmed(talk, plan):
            return _carry_out(args, plan, talk.answers, None)


class _Group:
    """group.toml of the first node, as it came."""

    text: bytes | None = None


def _seconds(word: str) -> float:
    seconds = float(word)  # argparse tells of a ValueError
    if not 0 <= seconds <= LISTEN_MAX_S:
        raise argparse.ArgumentTypeError(f"{word}: expected 0 to {LISTEN_MAX_S:g}")
    return seconds


# -------------------------------------------------------------------------------- looking around


def _blank() -> Situation:
    return Situation("", (), "")


def _nobody(_answers: Mapping[str, str]) -> Situation:
    raise PeerError("nobody is asked")


def _look_around(args: argparse.Namespace) -> Situation:
    """What can be known of this machine without a question. Raises KernelError."""
    devices = tuple(survey.devices())
    if not any(proposals.networks(one) for one in devices):
        raise KernelError(
            "no device of this machine has an address",
            hint="configure its networks first, the link to the other node among them",
        )
    current = load(args.config_dir)[0]
    paired = False
    if current is not None:
        keys = identity.keys_of(args.config_dir, current.node.name)
        paired = bool(current.node.peers) and not setuppair.missing(current, keys)
    usable = {one.name: one.name for one in devices if one.up and one.carrier}
    if args.listen and sys.stderr.isatty():
        print(f"listening for foreign CARP and VRRP, {args.listen:g} s ...", file=sys.stderr)
    heard = listen(usable, args.listen) if args.listen else []
    tables = nftjson.parse(nftload.listing_json())
    return Situation(
        hostname=socket.gethostname(),
        devices=devices,
        password=secrets.token_urlsafe(PASSWORD_BYTES),
        heard=tuple(one for one in heard if not _is_ours(one, current)),
        answered=frozenset(_answered(devices) if args.listen else ()),
        tables=tables or nftjson.Tables({}),
        current=current,
        paired=paired,
    )


def _is_ours(one: Heard, current: Config | None) -> bool:
    """Whether it is this group that speaks, of a node that is set up again."""
    if current is None:
        return False
    return any(
        (current.device(vip.interface), vip.vhid) == (one.interface, one.vhid)
        for vip in current.group.vips
    )


def _answered(devices: tuple[Device, ...]) -> set[Address]:
    asked: dict[str, set[Address]] = {}
    for one in devices:
        wanted = {each for here in proposals.candidates(one).values() for each in here}
        asked[one.name] = wanted | {*proposals.peer_candidates(one)}
    return survey.answering(asked)


def _met(seen: Situation, answers: Mapping[str, str], port: int | None, group: _Group) -> Situation:
    """With what the first node shows. Raises PeerError."""
    address = ip_address(answers["address"].split()[0])
    code = paircode.parse(answers["code"])
    assert isinstance(code, paircode.Code), "it was looked at when it was typed"
    source = next(
        (
            one.ip
            for device in seen.devices
            for one in proposals.networks(device)
            if address in one.network
        ),
        None,
    )
    shown = pairing.look(address, code, port=port or STATES_PORT + 1, source=source)
    texts = Sources(
        shown.node_toml.decode(errors="replace"), shown.group_toml.decode(errors="replace")
    )
    theirs = judge(texts)
    if theirs is None:
        raise PeerError("its files cannot be used here", hint="`carpool check` there tells why")
    group.text = shown.group_toml
    return replace(seen, theirs=theirs)


# ------------------------------------------------------------------------------------- the plan


def _plan(
    args: argparse.Namespace, seen: Situation, answers: Mapping[str, str], group: bytes | None
) -> Plan:
    """ConfigError when carpool would refuse to run with it."""
    config = setup.draft(seen, answers)
    assert config is not None, "all questions are answered"
    found = setup.problems(seen, config)
    for one in found:
        if one.fatal:
            print(f"{one.file}: {one.key}: found {one.found}, expected {one.expected}")
    if any(one.fatal for one in found):
        raise ConfigError(
            "carpool would refuse to run with these answers", hint="nothing was changed"
        )
    wanted = {
        NODE_FILE: node_toml(config.node).encode(),
        GROUP_FILE: group or group_toml(config.group).encode(),
    }
    texts = Sources(*(text.decode(errors="replace") for text in wanted.values()))
    read = judge(texts)  # as every process will
    if read is None:
        raise ConfigError("the files that would be written cannot be used", hint="report this")
    if seen.current is not None:  # what is so already is left as it was written
        if seen.current.node == config.node:
            del wanted[NODE_FILE]
        if seen.current.group == config.group:
            del wanted[GROUP_FILE]
    warnings = []
    if wanted and read != config:
        warnings.append("what was written by hand (sections, exclusions, vars) goes away: see `-`")
    warnings += [f"{one.key}: found {one.found}, expected {one.expected}" for one in found]
    warnings += _taken(config, seen) if args.listen else []
    return Plan(
        config,
        args.config_dir,
        args.root,
        wanted,
        setup.to_open(seen, answers),
        _settings(config),
        tuple(warnings),
    )


def _taken(config: Config, seen: Situation) -> list[str]:
    """VIPs that somebody answers for already, where that cannot be this very group."""
    if seen.theirs is not None or seen.current is not None:
        return []
    asked: dict[str, set[Address]] = {}
    for vip in config.group.vips:
        asked.setdefault(config.device(vip.interface), set()).update(o.ip for o in vip.addresses)
    taken = survey.answering(asked)
    return [f"somebody has {address} already" for address in sorted(taken, key=str)]


def _settings(config: Config) -> tuple[Setting, ...]:
    keys = (*hostchecks.settings_of(config), *ownchecks.SETTINGS)
    known = Facts(config, facts_of.node_facts(config), settings=hostfacts.settings(keys))
    return examine(known, SAFE).settings


def _show(plan: Plan) -> None:
    print("\nThis is what will be:\n")
    for text in setupplan.shown(plan):
        print(text)
    sys.stdout.flush()


def _goes_over_it_again(current: Config) -> bool:
    """Whether a node that is part of a pair is to be set up anew. Raises Quit."""
    peers = ", ".join(peer.name for peer in current.node.peers)
    question = f"{current.node.name} is set up and paired with {peers}. Change anything?"
    return _yes(question, NO)


def _yes(question: str, proposal: str) -> bool:
    while (text := line(f"{question} [{proposal}]: ") or proposal) not in (YES, NO):
        print(f"  found {text!r}, expected {YES} or {NO}")
    return text == YES


def _confirmed(talk: Conversation, plan: Plan) -> bool:
    """Raises Quit for a no."""
    word = "overwrite" if plan.overwrites else YES
    if plan.overwrites:
        print("\nFiles are there already: lines that begin with - go away.")
    while True:
        text = line(f'\nDo all this? Type "{word}", or "no", or < to change an answer: ')
        if text in BACK:
            talk.take_back()
            return False
        if text == word:
            return True
        if text == NO:
            raise Quit("not confirmed", hint="nothing was changed")


# ------------------------------------------------------------------------------------- doing it


def _carry_out(
    args: argparse.Namespace, plan: Plan, answers: Mapping[str, str], file: AnswersFile | None
) -> int:
    """What was confirmed, and the rest of the way."""
    config, wish = plan.config, {} if file is None else file.answers
    setupplan.do(plan)
    second = answers.get("role") == SECOND
    if second and "code" in answers:  # paired first: the processes then find their peer at once
        setuppair.join_first(config, args.config_dir, answers)
    runs = setupplan.start(plan, args.run_dir)
    if not second:
        setuppair.wait_for_second(config, args.config_dir, float(wish.get("wait_s", WAIT_S)))
    if not runs and not (not plan.files and setuppair.runs(args.run_dir)):
        print(setupplan.by_hand(config))
        print("Then say `carpool setup` again: it checks, and offers the drill.")
        return EXIT_OK
    return _check_and_drill(args, config, second, file)


def _check_and_drill(
    args: argparse.Namespace, config: Config, second: bool, file: AnswersFile | None
) -> int:
    """What a pair ends with; changes nothing but in the drill."""
    wrong = setuppair.wait_until_well(config, args.run_dir)
    _doctor(args)
    if wrong:
        print(f"not well yet: {'; '.join(wrong)}")
        print("`carpool status` and `carpool doctor` on both nodes tell more; then `carpool setup`")
        return EXIT_FAILED
    print(_picture(config, args.run_dir))
    if not _wants_drill(second, file):
        return EXIT_OK
    return EXIT_OK if setuppair.drill(config, args.run_dir) else EXIT_FAILED


def _wants_drill(second: bool, file: AnswersFile | None) -> bool:
    proposal = NO if second else YES
    if file is not None:
        return file.answers.get("drill", proposal) == YES
    return _yes("A drill now: all moves to the other node, and back?", proposal)


def _picture(config: Config, run_dir: Path) -> str:
    roles = setuppair.roles_here(run_dir)
    here = ", ".join(f"{vip} {role}" for vip, role in roles.items())
    peers = ", ".join(peer.name for peer in config.node.peers)
    return f"all is well: {config.node.name} and {peers} are a pair; here {here}"


def _doctor(args: argparse.Namespace) -> None:
    places = {name: getattr(args, name) for name in ("config_dir", "run_dir", "root")}
    doctor.run(argparse.Namespace(**places, checks=[], json=False, fix=False, listen=args.listen))
