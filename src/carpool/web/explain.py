"""A failover in words: why it was, how long nobody served, and by which rule who decided what.

Room: web. Pure. It says how each figure is known. Texts are those of failovers.py's events: of
another version, or of a peer that lies, they mean nothing here and are shown as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from carpool.machine.moment import span
from carpool.web.failovers import ADOPTED, Move, is_yielded
from carpool.web.moment import Service, connections, services
from carpool.web.timeline import MASTER, Event

CAUSE_S = 10.0  # before a move: what was told then led to it
CLOCKS_S = 0.5  # that clocks of two nodes may differ, for finding what led to it
TEXT_MAX = 240
BEFORE_S, AFTER_S = 5.0, 15.0  # of a move: what is told of it step by step
STEPS_MAX = 80
_SILENCE = re.compile(r"no advertisement for (\d{1,6}(?:\.\d{1,3})?) s")


class Cause(Enum):
    """The word of a badge, its tone, and whether somebody wanted it."""

    START = ("first start", "calm", True)
    SWITCHOVER = ("switchover", "calm", True)
    MAINTENANCE = ("maintenance", "calm", True)
    STOP = ("stopped", "calm", True)
    DISABLE = ("disabled", "calm", True)
    GOODBYE = ("handed over", "calm", True)
    RETURN = ("taken back", "calm", True)
    DEMOTED = ("demoted", "warn", False)
    LINK = ("link lost", "bad", False)
    CHECK = ("check failed", "bad", False)
    CRASH = ("process died", "bad", False)
    STALL = ("stalled", "bad", False)
    SILENCE = ("silence", "bad", False)
    UNKNOWN = ("not known", "warn", False)

    def __init__(self, word: str, tone: str, planned: bool) -> None:
        self.word = word
        self.tone = tone
        self.planned = planned


@dataclass(frozen=True, slots=True)
class Gap:
    text: str  # "at most 3.39 s", "none", "not known"
    how: str  # it is known


@dataclass(frozen=True, slots=True)
class Failover:
    move: Move
    cause: Cause
    why: str
    gap: Gap
    rule: str
    connections: str
    services: list[Service]


def explained(move: Move, events: Sequence[Event]) -> Failover:
    """`events`: of all nodes, in their order."""
    cause, trigger = _cause(move, events)
    return Failover(
        move,
        cause,
        _why(move, cause, trigger, events),
        _gap(move, cause),
        rule_of(move.first),
        connections(move, events, silent=cause is not Cause.START and _is_silence(move)),
        services(move, events),
    )


# ------------------------------------------------------------------------------------- cause


def _cause(move: Move, events: Sequence[Event]) -> tuple[Cause, Event | None]:
    """And what was told before that led to it."""
    text = move.first.text
    if not move.takes:
        return Cause.UNKNOWN, None
    if silence_s(text) is not None:
        return _of_silence(move, events)
    if text.endswith(" is leaving"):
        return _of_goodbye(move, events)
    trigger = _demotion(move, events)
    if trigger is not None:
        return _of_demotion(trigger), trigger
    known = any(one.node == move.of and one.when < move.first.when for one in events)
    if text.startswith("preempting ") and known:
        return Cause.RETURN, _readiness(move, events)
    return (Cause.DEMOTED if text.endswith(" is demoted") else Cause.UNKNOWN), None


def _of_silence(move: Move, events: Sequence[Event]) -> tuple[Cause, Event | None]:
    lasted_s = (silence_s(move.first.text) or 0.0) + 1.0
    for event in _near(move, events, move.of, lasted_s + CLOCKS_S, lasted_s):
        if event.text.startswith("stalled for "):
            return Cause.STALL, event
        if event.old == MASTER and event.new == "INIT" and event.text != "stopping":
            return Cause.LINK, event
    began = any(one.old == "INIT" for one in _near(move, events, move.to, lasted_s, 0.0) if one.new)
    return (Cause.START if began and not move.of else Cause.SILENCE), None


def _of_goodbye(move: Move, events: Sequence[Event]) -> tuple[Cause, Event | None]:
    found = [*_near(move, events, move.of, 1.0, 1.0)]
    for event in found:
        if event.text == ADOPTED:
            return Cause.CRASH, event
    for event in found:
        if event.text == "disabled by an operator":
            return Cause.DISABLE, event
        if event.text == "stopping":
            return Cause.STOP, event
        if event.kind == "switchover" and event.text.endswith(" took over"):
            return Cause.SWITCHOVER, event
    return Cause.GOODBYE, None


def _of_demotion(trigger: Event) -> Cause:
    reason = _reason(trigger)
    if reason.startswith("maintenance"):
        return Cause.MAINTENANCE
    if reason.startswith("interface "):
        return Cause.LINK
    return Cause.CHECK if reason.startswith("check ") else Cause.DEMOTED


def _demotion(move: Move, events: Sequence[Event]) -> Event | None:
    """The last one of the old master that held then."""
    held: dict[str, Event] = {}
    for event in _near(move, events, move.of, CAUSE_S, CLOCKS_S):
        if event.kind == "demotion" and event.text.startswith("demoted: "):
            held[_reason(event)] = event
        elif event.kind == "demotion" and event.when <= move.first.when:
            held.pop(_reason(event), None)
    return next(reversed(held.values()), None)


def _readiness(move: Move, events: Sequence[Event]) -> Event | None:
    """Why the new master could take it just then."""
    found = None
    for event in _near(move, events, move.to, CAUSE_S, 0.0):
        if event.text.startswith("no longer demoted: ") and _reason(event) != "switchover":
            found = event
    return found


def _reason(event: Event) -> str:
    """`maintenance`, of `demoted: maintenance: new disk`."""
    return event.text.partition("demoted: ")[2].partition(": ")[0]


def _near(
    move: Move, events: Sequence[Event], node: str, before_s: float, after_s: float
) -> Iterator[Event]:
    begin = move.first.when - timedelta(seconds=before_s)
    end = move.first.when + timedelta(seconds=after_s)
    return (one for one in events if one.node == node and begin <= one.when <= end)


# ------------------------------------------------------------------------------------- words


def _why(move: Move, cause: Cause, trigger: Event | None, events: Sequence[Event]) -> str:
    said = shown(trigger.text if trigger else move.first.text)
    silence = silence_s(move.first.text)
    words = _WHY_SILENT.get(cause) if silence is not None else _WHY.get(cause)
    if words is None:
        words = _GAVE_WAY if not move.takes else _SAYS
    more = f" ({said})" if trigger else ""
    of = move.of or _SOMEBODY
    text = words.format(of=of, to=move.to, said=said, more=more, silence=f"{silence or 0:g}")
    if cause is Cause.SILENCE:
        text += f" {_after(move, events)}"
    return f"The{text[3:]}" if text.startswith(_SOMEBODY) else text


_SOMEBODY = "the old master"
_WHY_SILENT = {
    Cause.START: "No MASTER was there: {to} heard nobody for {silence} s.",
    Cause.SILENCE: "{to} heard nothing of {of} for {silence} s.",
    Cause.STALL: "{of} stood still ({said}), so {to} heard nothing of it for {silence} s.",
    Cause.LINK: "{of} lost a link ({said}), and {to} heard nothing of it for {silence} s.",
}
_WHY = {
    Cause.LINK: "{of} lost a link ({said}) and told {to} by the others.",
    Cause.CRASH: "The failover process of {of} died. Its successor found the addresses and gave "
    "them to {to}.",
    Cause.SWITCHOVER: "{of} was told to hand over, and did.",
    Cause.STOP: "The failover process of {of} was stopped: it handed over before it ended.",
    Cause.DISABLE: "CARP was disabled on {of} by an operator: it handed over first.",
    Cause.MAINTENANCE: "{of} went into maintenance mode ({said}).",
    Cause.CHECK: "{of} was {said}. {to} was better off.",
    Cause.DEMOTED: "{of} was demoted{more}. {to} was better off.",
    Cause.GOODBYE: "{of} said goodbye: a switchover, a stop or a shutdown. Its own events of that "
    "moment are gone.",
    Cause.RETURN: "{to} is preferred to {of}, could take over again{more}, and preempts.",
}
_GAVE_WAY = "{of} gave way: {said}. {to} has forgotten why it took over."
_SAYS = "{to} says: {said}. {of} has forgotten its part."


def _after(move: Move, events: Sequence[Event]) -> str:
    """What is known of a master that fell silent."""
    own = [one for one in events if one.node == move.of]
    if not move.of:
        return "Which node that was, no node remembers."
    if not own:
        return f"{move.of} tells no events: it crashed, lost power, or is cut off."
    if own[0].when > move.first.when:
        return f"{move.of} has started anew since: it had crashed, or lost power."
    if move.losses:
        return f"{move.of} ran all the while: its adverts did not get through."
    return f"{move.of} says nothing of it: it was killed, or cut off."


# --------------------------------------------------------------------------------------- gap


def _gap(move: Move, cause: Cause) -> Gap:
    """How long nobody served any address."""
    silence = silence_s(move.first.text)
    if cause is Cause.START:
        return Gap("none before", "Nobody served before.")
    if not move.takes:
        return Gap("not known", f"{move.to} has forgotten when it took over.")
    spread_s = (move.takes[-1].when - move.takes[0].when).total_seconds()
    if silence is not None:
        return Gap(
            f"at most {span(silence + spread_s)}",
            f"By the clock of {move.to}: from the last advert that it heard to its being MASTER of "
            "all VIPs. The old master may have forwarded for up to one advert interval (advbase) "
            "after that advert.",
        )
    between = _between(move)
    if between:
        worst_s = max(gap_s for gap_s, _loss in between)
        if all(is_yielded(loss) for _gap_s, loss in between):
            return _none(move, min(gap_s for gap_s, _loss in between))
        return Gap(
            span(max(0.0, worst_s)),
            f"From {move.of} letting go to {move.to} being MASTER, by the clocks of both, which "
            "may differ. A link is seen to be lost some milliseconds after it is.",
        )
    if cause in (Cause.GOODBYE, Cause.STOP, Cause.DISABLE, Cause.SWITCHOVER):
        return Gap(
            "none by the rule",
            f"Not measured: {move.of or 'the old master'} tells nothing of it. Who leaves holds "
            "its addresses until it hears its successor, at most 0.3 s when it stops.",
        )
    return Gap("not known", f"{move.of or 'The old master'} does not tell when it let go.")


def _between(move: Move) -> list[tuple[float, Event]]:
    """For each VIP of which both sides tell."""
    takes = {one.vip: one for one in move.takes}
    return [
        ((takes[one.vip].when - one.when).total_seconds(), one)
        for one in move.losses
        if one.vip in takes
    ]


def _none(move: Move, least_s: float) -> Gap:
    """Let go when it heard the new master: so that one was there already, whatever clocks say."""
    how = (
        f"{move.of} held the addresses until it heard {move.to}: by the clocks of both it let go "
        f"{span(abs(least_s))} {'after' if least_s <= 0 else 'before'} {move.to} had them."
    )
    if least_s > 0.002:
        how += f" That cannot be: the clocks differ by {span(least_s)} or more."
    return Gap("none", how)


# -------------------------------------------------------------------------------------- rules


def rule_of(event: Event) -> str:
    """By which rule a node did that; "" for what no rule explains."""
    text = event.text
    if event.new == MASTER and text.startswith("moving with "):
        return "The group moves as one: who takes one VIP takes all."
    if silence_s(text) is not None:
        return (
            "CARP's timer: a BACKUP takes over when it has heard no advert for 3 * advbase + "
            "advskew / 256 seconds."
        )
    if text.endswith(" is leaving"):
        return "A goodbye advert, slower than any other: a BACKUP takes over at once."
    if text.startswith("preempting "):
        return (
            "preempt: who advertises faster (advbase, advskew with demotion) takes over from a "
            "slower master at once."
        )
    if text.endswith(" is demoted"):
        return "A master that advertises with advskew 240 is demoted: preempted without preempt."
    if text == ADOPTED:
        return "The new process goes on holding the addresses, but as one who is leaving."
    if text.startswith(("demoted: ", "no longer demoted: ")):
        return "Demotion counts for all VIPs of a node at once, and is advertised at once."
    if is_yielded(event) and event.old == MASTER:
        return "A master lets go when it hears a better one: never before."
    if event.old == MASTER and event.new == "INIT":
        return "Without a link or an address a node takes no part there."
    return "It slept longer than its addresses live: it steps down." if "stalled" in text else ""


def silence_s(text: str) -> float | None:
    found = _SILENCE.fullmatch(text)
    return None if found is None else float(found[1])


def _is_silence(move: Move) -> bool:
    return bool(move.takes) and silence_s(move.first.text) is not None


def shown(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"


# -------------------------------------------------------------------------------------- steps


@dataclass(frozen=True, slots=True)
class Step:
    offset: str  # from the first VIP's move: `-3.39 s`
    event: Event
    rule: str
    decides: bool  # whether it is of the move itself


def steps_of(failover: Failover, events: Sequence[Event]) -> list[Step]:
    """What every node saw around it, in order; the last advert as the new master's timer has it."""
    move = failover.move
    first = move.first
    silence = silence_s(first.text) if move.takes else None
    begin = first.when - timedelta(seconds=(silence or 0.0) + BEFORE_S)
    end = first.when + timedelta(seconds=AFTER_S)
    own = {id(one) for one in (*move.takes, *move.losses)}
    near = [one for one in events if begin <= one.when <= end]
    if silence is not None:
        near.append(_last_advert(move, silence))
        near.sort(key=lambda one: one.when)
    if len(near) > STEPS_MAX:
        near = [one for one in near if id(one) in own][:STEPS_MAX] or near[:STEPS_MAX]
    return [
        Step(_offset((one.when - first.when).total_seconds()), one, rule_of(one), id(one) in own)
        for one in near
    ]


def _last_advert(move: Move, silence: float) -> Event:
    when = move.first.when - timedelta(seconds=silence)
    text = f"the last advert of {move.of or 'the old master'} was heard (worked out)"
    return Event(when, move.to, "advert", move.first.vip, "", "", text)


def _offset(seconds: float) -> str:
    sign = "\N{MINUS SIGN}" if seconds < 0 else "+"
    return f"{sign}{abs(seconds):.3f} s"
