"""What an operator's deed would do now, in words; and which ones are not offered.

Room: web. Pure: the nodes as they are in, words out. Refuses what would leave no MASTER, and what
nothing would come of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from carpool.model.deed import Deed
from carpool.web.members import BEHIND_ALL, MASTER, Member

TITLES = {
    Deed.SWITCHOVER: "Switch over from {}",
    Deed.MAINTENANCE_ON: "Maintenance mode on {}",
    Deed.MAINTENANCE_OFF: "End maintenance mode on {}",
    Deed.DISABLE: "Disable CARP on {}",
    Deed.ENABLE: "Enable CARP on {}",
}
BUTTONS = {
    Deed.SWITCHOVER: "Switch over",
    Deed.MAINTENANCE_ON: "Maintenance on",
    Deed.MAINTENANCE_OFF: "Maintenance off",
    Deed.DISABLE: "Disable CARP",
    Deed.ENABLE: "Enable CARP",
}
NAMED_MAX = 4  # VIPs that are named; more are counted


@dataclass(frozen=True, slots=True)
class Plan:
    """`words`: sentences. `refused`: why it is not offered, and `hint` what to do; else empty."""

    deed: Deed
    node: str
    words: tuple[str, ...] = ()
    warning: str = ""
    refused: str = ""
    hint: str = ""

    @property
    def title(self) -> str:
        return TITLES[self.deed].format(self.node)

    @property
    def button(self) -> str:
        return BUTTONS[self.deed]


def choices(member: Member) -> list[Deed]:
    """What there is to choose for a node as it is; whether it may be is for `plan`."""
    return [
        *([Deed.SWITCHOVER] if member.masters else []),
        Deed.MAINTENANCE_OFF if member.maintenance else Deed.MAINTENANCE_ON,
        Deed.DISABLE if member.enabled else Deed.ENABLE,
    ]


def plan(deed: Deed, member: Member, members: Iterable[Member]) -> Plan:
    """What it would do to `member`, and who is MASTER then."""
    others = [one for one in members if one.name != member.name]
    made = Plan(deed, member.name)
    if member.error:
        return replace(
            made,
            refused=f"Nothing is known of {member.name} now: {member.error}",
            hint=member.hint or "look at that first",
        )
    match deed:
        case Deed.SWITCHOVER:
            return _switchover(made, member, others)
        case Deed.MAINTENANCE_ON:
            return _maintenance_on(made, member, others)
        case Deed.MAINTENANCE_OFF:
            return _maintenance_off(made, member, others)
        case Deed.DISABLE:
            return _disable(made, member, others)
        case Deed.ENABLE:
            return _enable(made, member, others)


def result(deed: Deed, node: str, *, changed: bool, took_ms: int | None) -> str:
    """What is said afterwards."""
    if not changed:
        return {
            Deed.MAINTENANCE_ON: f"{node} was in maintenance mode already.",
            Deed.MAINTENANCE_OFF: f"{node} was not in maintenance mode.",
            Deed.DISABLE: f"CARP was disabled on {node} already.",
            Deed.ENABLE: f"CARP was enabled on {node} already.",
        }.get(deed, f"Nothing changed on {node}.")
    took = "" if took_ms is None else f" after {took_ms} ms"
    return {
        Deed.SWITCHOVER: f"{node} handed over{took}.",
        Deed.MAINTENANCE_ON: f"{node} is in maintenance mode, over restarts, until you end it.",
        Deed.MAINTENANCE_OFF: f"{node} is out of maintenance mode.",
        Deed.DISABLE: f"CARP is disabled on {node} until you enable it, or its failover process "
        "restarts.",
        Deed.ENABLE: f"CARP is enabled on {node}.",
    }[deed]


def _switchover(made: Plan, member: Member, others: Sequence[Member]) -> Plan:
    if not member.masters:
        return replace(
            made,
            refused=f"{member.name} is MASTER of nothing: there is nothing to hand over",
            hint="switch over from the node that is MASTER",
        )
    missing = [key for key in member.masters if not any(one.is_ready(key) for one in others)]
    if missing:
        return replace(
            made,
            refused=f"Nobody could take over {_named(missing)}. {_why(missing[0], others)}",
            hint="when another node can take over, this is offered again",
        )
    stays = f"{member.name} stays behind as BACKUP until the other one hands over or fails."
    return replace(made, words=(*_takers(member, others), stays))


def _maintenance_on(made: Plan, member: Member, others: Sequence[Member]) -> Plan:
    lasting = (
        f"{member.name} goes on as BACKUP, over restarts and reboots, until you end the mode. "
        "It takes over only if no other node can."
    )
    if not member.masters:
        return replace(made, words=(_nothing_moves(member, others), lasting))
    missing = [key for key in member.masters if not any(one.is_ready(key) for one in others)]
    if not missing:
        return replace(made, words=(*_takers(member, others), lasting))
    warning = (
        f"Nobody can take over {_named(missing)} now: {member.name} may stay MASTER of it. "
        f"{_why(missing[0], others)}"
    )
    return replace(made, words=(lasting,), warning=warning)


def _maintenance_off(made: Plan, member: Member, others: Sequence[Member]) -> Plan:
    if not member.maintenance:
        return replace(made, refused=f"{member.name} is not in maintenance mode")
    left = [one for one in member.demotion if one.partition(":")[0] != "maintenance"]
    if left:
        words = f"{member.name} stays demoted, by {', '.join(left)}: nothing moves for now."
        return replace(made, words=(words,))
    return replace(made, words=(_taking_back(member, others, member.advskew),))


def _disable(made: Plan, member: Member, others: Sequence[Member]) -> Plan:
    if not member.enabled:
        return replace(made, refused=f"CARP is disabled on {member.name} already")
    alone = [key for key in member.vips if not any(one.takes_part(key) for one in others)]
    if alone:
        return replace(
            made,
            refused=f"No other node could be MASTER of {_named(alone)}: nobody would hold the "
            f"addresses. {_why(alone[0], others)}",
            hint="on the last node, `carpool disable` on its command line does it all the same",
        )
    words = _takers(member, others) if member.masters else (_nothing_moves(member, others),)
    warning = (
        f"{member.name} takes over from nobody, whatever happens, until you enable it again or "
        "its failover process restarts."
    )
    return replace(made, words=words, warning=warning)


def _enable(made: Plan, member: Member, others: Sequence[Member]) -> Plan:
    if member.enabled:
        return replace(made, refused=f"CARP is enabled on {member.name} already")
    first = f"{member.name} takes part again, as BACKUP at first."
    return replace(made, words=(first, _taking_back(member, others, member.effective)))


def _takers(member: Member, others: Sequence[Member]) -> tuple[str, ...]:
    """Who is MASTER then: of those that can, the one that advertises fastest."""
    by_taker: dict[str, list[str]] = {}
    for key in member.masters:
        able = [one for one in others if one.is_ready(key)]
        able = able or [one for one in others if one.takes_part(key)]
        best = min(able, key=lambda one: one.effective).name
        by_taker.setdefault(best, []).append(key)
    told = [f"{name} becomes MASTER of {_named(keys)}." for name, keys in by_taker.items()]
    told.append(f"{member.name} forwards until it hears the new MASTER: no connection is lost.")
    return tuple(told)


def _nothing_moves(member: Member, others: Sequence[Member]) -> str:
    masters = [one.name for one in others if not one.error and one.masters]
    stays = f"{' and '.join(masters)} stays MASTER" if masters else "no MASTER is known"
    return f"Nothing moves: {member.name} is MASTER of nothing, {stays}."


def _taking_back(member: Member, others: Sequence[Member], advskew: int) -> str:
    """What becomes of the mastership when this node is a candidate with `advskew`."""
    rivals = [one for one in others if not one.error and one.masters]
    if not rivals:
        return f"No other node is MASTER of anything now: {member.name} is, or becomes it."
    rival = min(rivals, key=lambda one: one.effective)
    if rival.effective >= BEHIND_ALL > advskew:
        return f"{rival.name} is demoted: {member.name} becomes MASTER at once."
    if not member.preempt:
        return f"preempt is off: {rival.name} stays MASTER until it hands over or fails."
    if advskew < rival.effective:
        numbers = f"advskew {advskew} against {rival.effective}"
        return f"{member.name} is preferred ({numbers}): it becomes MASTER again at once."
    return f"{rival.name} stays MASTER: {member.name} is not preferred to it."


def _why(key: str, others: Sequence[Member]) -> str:
    """Why none of the others can take a VIP over."""
    if not others:
        return "There is no other node in the group."
    return " ".join(f"{one.name}: {_why_not(key, one)}." for one in others)


def _why_not(key: str, one: Member) -> str:
    vip = one.vips.get(key)
    if one.error:
        return one.error
    if not one.enabled:
        return "CARP is disabled there"
    if vip is None:
        return f"it has no {key}"
    if vip.state not in (MASTER, "BACKUP"):
        return f"it is {vip.state} there ({vip.reason})"
    return f"demoted, by {', '.join(one.demotion) or 'something'}"


def _named(keys: Sequence[str]) -> str:
    if len(keys) <= NAMED_MAX:
        return ", ".join(keys)
    return f"{', '.join(keys[:NAMED_MAX])} and {len(keys) - NAMED_MAX} more VIPs"
