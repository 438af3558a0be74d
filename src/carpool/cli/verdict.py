"""Whether the group would survive a failure now, in the sentence that the pages have: for the verbs
that show it above something else.

Room: cli. Asks the agent of this node, where there is one, and waits no longer than it is worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from carpool.agent.localclient import LocalClient
from carpool.api.clean import clean
from carpool.api.control import Answer
from carpool.cli.drift import AT_ONCE_S
from carpool.errors import CarpoolError
from carpool.machine.verdict import Level, Verdict, judge

STYLES = {Level.GOOD: "bold green", Level.WARN: "bold yellow", Level.BAD: "bold red"}


def ask(run_dir: Path) -> Verdict | None:
    """None where no agent answers, or one that does not know its peers."""
    try:
        with LocalClient(run_dir) as agent:
            nodes = agent.get("/v1/nodes", timeout_s=AT_ONCE_S).get("nodes")
    except CarpoolError:
        return None
    rows = [one for one in nodes if isinstance(one, dict)] if isinstance(nodes, list) else []
    return judge(rows) if rows else None


def lines(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Each with its style: the sentence, what to do, and what else there is to look at."""
    yield clean(verdict.sentence), STYLES[verdict.level]
    for number, reason in enumerate(verdict.reasons):
        if number:
            yield f"  also: {clean(reason.text)}", ""
        if reason.hint:
            yield f"  -> {clean(reason.hint)}", ""
    yield "", ""


def as_fields(verdict: Verdict | None) -> Answer | None:
    """For --json."""
    if verdict is None:
        return None
    reasons = [
        {"level": one.kind.level.value, "text": one.text, "hint": one.hint}
        for one in verdict.reasons
    ]
    return {"level": verdict.level.value, "sentence": verdict.sentence, "reasons": reasons}
