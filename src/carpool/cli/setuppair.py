"""The second half of `carpool setup`: pairing, waiting until all is well, and the drill.

Room: cli. Asks the processes of this node, and by its agent those of the peers.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path

from carpool.api import control, identity, pairing
from carpool.cli.doctorpeers import peers_of
from carpool.cli.signals import interrupt_on
from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.kernel.keys import Keys, shown
from carpool.model.config import Config
from carpool.model.facts import PeerFacts
from carpool.proto import paircode
from carpool.proto.ownrules import pairing_port

WELL_WAIT_S = 90.0
LOOK_EVERY_S = 0.6  # agents answer two such questions a second
ROLE_EVERY_S = 0.01
DRILL_WAIT_S = 30.0
START_WAIT_S = 5.0
MASTER, BACKUP = "MASTER", "BACKUP"


def missing(config: Config, keys: Keys) -> list[str]:
    """Peers that this node is not paired with."""
    known = keys.names()
    return [peer.name for peer in config.node.peers if peer.name not in known]


def wait_for_second(config: Config, config_dir: Path, wait_s: float) -> None:
    """Show a code, and wait for who has it. Raises CarpoolError when nobody came."""
    keys = _own_keys(config, config_dir)
    for name in missing(config, keys):
        initiation = pairing.Initiation(
            config,
            keys,
            port=pairing_port(config),
            replace=False,
            tell=_say,
            shown=pairing.shown_to_joiners(config, config_dir),
        )
        try:
            _say(f"\nNow on {name}:  carpool setup")
            _say(f"    first or second:  second\n    address:  {initiation.addresses[0]}")
            _say(f"    code:  {initiation.code}\n")
            _say(f"waiting for {name}, for {wait_s:g} s at most; Ctrl-C ends it, and does no harm")
            partner = initiation.wait(wait_s)
        except CarpoolError as error:
            hint = "say `carpool setup` again: what is done already stays, and there is a new code"
            raise CarpoolError(error.message, hint=hint) from error
        finally:
            initiation.close()
        _say(f"paired with {partner.node}: {shown(partner.certificate)}")


def join_first(config: Config, config_dir: Path, answers: Mapping[str, str]) -> None:
    """With the address and the code that were given. Raises CarpoolError."""
    keys = _own_keys(config, config_dir)
    code = paircode.parse(answers["code"])
    assert isinstance(code, paircode.Code), "it was looked at when it was typed"
    address = ip_address(answers["address"].split()[0])
    port = pairing_port(config)
    partner = pairing.join(config, keys, address, code, port=port, replace=False)
    _say(f"paired with {partner.node}: {shown(partner.certificate)}")


def _own_keys(config: Config, config_dir: Path) -> Keys:
    keys = identity.keys_of(config_dir, config.node.name)
    certificate, fresh = identity.ensure(keys)
    if fresh:
        _say(f"made the identity of {keys.node}: {shown(certificate)}")
    return keys


# ------------------------------------------------------------------------------- is all well?


def troubles(config: Config, run_dir: Path) -> list[str]:
    """What keeps this group from being well, as this node can tell; nothing: it is."""
    failover = control.status(run_dir, control.FAILOVER)
    if isinstance(failover, CarpoolError):
        return [failover.message]
    found: list[str] = []
    whole = {config.node.name: _all(roles_here(run_dir))}
    for name, peer in peers_of(config, run_dir).items():
        if isinstance(peer, PeerFacts):
            whole[name] = _all(peer.roles)
        else:
            found.append(f"{name}: {peer.why}")
    for name, role in whole.items():
        if role not in (MASTER, BACKUP):
            found.append(f"{name} is {role or 'silent'}")
    masters = [name for name, role in whole.items() if role == MASTER]
    if not found and len(masters) != 1:
        found.append(f"MASTER: {', '.join(masters) or 'none'}, expected one node")
    return found + _tables(config, run_dir)


def _tables(config: Config, run_dir: Path) -> list[str]:
    if config.group.states is None:
        return []
    states = control.status(run_dir, control.STATES)
    if isinstance(states, CarpoolError):
        return [states.message]
    peers = states.get("peers")
    listed = peers if isinstance(peers, list) else []
    return [
        f"the connections of {one['name']} are not complete here ({one['bulk']})"
        for one in listed
        if not one["connected"] or one["bulk"] != "complete"
    ]


def roles_here(run_dir: Path) -> dict[str, str]:
    """By VIP; empty when failover does not answer."""
    answer = control.status(run_dir, control.FAILOVER)
    vhosts = answer.get("vhosts") if isinstance(answer, dict) else None
    listed = vhosts if isinstance(vhosts, list) else []
    return {f"{one['vhid']}@{one['interface']}": str(one["state"]) for one in listed}


def wait_until_well(config: Config, run_dir: Path) -> list[str]:
    """What is wrong in the end; nothing when all is well."""
    _say("waiting until one node is MASTER, the other BACKUP, and tables are complete ...")
    return _until(lambda: troubles(config, run_dir), WELL_WAIT_S, LOOK_EVERY_S)


def runs(run_dir: Path) -> bool:
    """Whether failover answers, or does within seconds: it may have been started just now."""

    def silent() -> list[str]:
        answer = control.status(run_dir, control.FAILOVER)
        return [answer.message] if isinstance(answer, CarpoolError) else []

    return not _until(silent, START_WAIT_S, LOOK_EVERY_S)


def _until(wrong: Callable[[], list[str]], wait_s: float, every_s: float) -> list[str]:
    until_s = monotonic_s() + wait_s
    while (found := wrong()) and monotonic_s() < until_s:
        sleep_s(every_s)
    return found


def _all(roles: Mapping[str, str]) -> str:
    """The role that all of them are in; or which there are."""
    return "/".join(sorted(set(roles.values())))


# ---------------------------------------------------------------------------------- the drill


def drill(config: Config, run_dir: Path) -> bool:
    """Give all away and take it back, watched on both nodes; whether it went well. Raises
    CarpoolError."""
    found = troubles(config, run_dir)
    here, role = config.node.name, _all(roles_here(run_dir))
    if found:
        _say(f"no drill while the group is not well: {'; '.join(found)}")
        return False
    if role != MASTER:
        _say(f"the drill begins on the MASTER, and {here} is {role}: say `carpool setup` there")
        return False
    # Who came by a VIP, or through this node, may lose his terminal now: nothing is left demoted.
    interrupt_on(signal.SIGHUP, signal.SIGTERM)
    _say(f"{here} gives all away: maintenance mode")
    try:
        went = _moves(config, run_dir, BACKUP, on=True)
        back = went and _well_again(config, run_dir)
    finally:
        went_off = _end_maintenance(run_dir)
    if not back:
        _say("maintenance mode is off again: `carpool events` on both nodes tells more")
        return False
    if not config.group.preempt:
        _say("preempt is off, so the other node stays MASTER; `carpool switchover` there goes back")
        return True
    return _seen(config, run_dir, MASTER, went_off) and _well_again(config, run_dir)


def _moves(config: Config, run_dir: Path, role: str, *, on: bool) -> bool:
    return _seen(config, run_dir, role, _maintenance(run_dir, on=on))


def _maintenance(run_dir: Path, *, on: bool) -> float:
    """When it was asked for."""
    began_s = monotonic_s()
    path = control.socket_of(run_dir, control.FAILOVER)
    control.request(path, {"command": "maintenance", "on": on}, DRILL_WAIT_S)
    return began_s


def _end_maintenance(run_dir: Path) -> float:
    """As `_maintenance`; a worker that died meanwhile is there again soon, and remembers it."""

    def not_yet() -> list[str]:
        try:
            _maintenance(run_dir, on=False)
        except CarpoolError as error:
            return [error.message]
        return []

    began_s = monotonic_s()
    refused = _until(not_yet, START_WAIT_S, LOOK_EVERY_S)
    if refused:
        raise CarpoolError(
            f"this node is still in maintenance mode: {refused[0]}",
            hint="`carpool maintenance off` when failover answers",
        )
    return began_s


def _seen(config: Config, run_dir: Path, role: str, began_s: float) -> bool:
    """Wait until this node is in this role, and its peers see the rest."""

    def not_yet() -> list[str]:
        now = _all(roles_here(run_dir))
        return [] if now == role else [f"{config.node.name} is {now}"]

    wrong = _until(not_yet, DRILL_WAIT_S, ROLE_EVERY_S)
    took_ms = (monotonic_s() - began_s) * 1000
    wrong = wrong or _until(lambda: troubles(config, run_dir), DRILL_WAIT_S, LOOK_EVERY_S)
    if wrong:
        _say(f"not within {DRILL_WAIT_S:g} s: {'; '.join(wrong)}")
        return False
    peers = {
        name: _all(peer.roles)
        for name, peer in peers_of(config, run_dir).items()
        if isinstance(peer, PeerFacts)
    }
    others = ", ".join(f"{name} says {what}" for name, what in peers.items())
    _say(f"    after {took_ms:.0f} ms {config.node.name} is {role} of everything; {others}")
    return True


def _well_again(config: Config, run_dir: Path) -> bool:
    wrong = _until(lambda: troubles(config, run_dir), DRILL_WAIT_S, LOOK_EVERY_S)
    if wrong:
        _say(f"not well again: {'; '.join(wrong)}")
    return not wrong


def _say(text: str) -> None:
    """At once: who waits may read a pipe."""
    print(text, flush=True)
