"""What `carpool doctor` found, as a person reads it: 80 columns, three or four lines a finding.

Room: api. Text from other nodes is cleaned; refuses to judge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rich.console import Group, RenderableType
from rich.text import Text

from carpool.api.clean import clean
from carpool.api.render import BAD, DIM, GOOD, WARN
from carpool.machine.doctor import Report
from carpool.machine.outdated import lines
from carpool.model.diagnosis import Diagnosis, Severity

WIDTH = 80
_STYLES = {Severity.ERROR: BAD, Severity.WARNING: WARN, Severity.NOTE: "bold cyan"}


def findings(report: Report) -> RenderableType:
    """Each of them, the worst first, and what could not be looked at."""
    blocks = [_finding(one) for one in report.findings]
    blocks += [Text("\n").join(_skipped(report))] if report.skipped else []
    return Group(*(part for block in blocks for part in (block, Text())))


def verdict(report: Report, *, fixed: int = 0) -> Text:
    """The last line. `report` is what is left, when `fixed` of what was found is put right."""
    begin = f"{_counted(fixed, 'finding')} put right. " if fixed else ""
    made = len({*report.checks} - {one.check for one in report.skipped})
    counts = [_counted(report.count(each), each) for each in Severity if report.count(each)]
    if report.worst is None:
        return Text(f"{begin}All is well, as far as {_counted(made, 'check')} can tell.", GOOD)
    text = f"{begin}{_listed(counts)} in {_counted(made, 'check')}"
    safe = sum(bool(one.settings) for one in report.findings)
    if safe:
        text += f"; `carpool doctor --fix` puts {safe} right"
    return Text(f"{text}.", _STYLES[report.worst])


def _finding(one: Diagnosis) -> Text:
    text = Text.assemble((f"{one.severity}: ", _STYLES[one.severity]), (one.check, "bold"))
    for label, words in (("found", one.found), ("why", one.why), ("fix", one.fix)):
        text.append(f"\n  {label:<7}", DIM)
        text.append(_wrapped(clean(words), " " * 9))
    return text


def _wrapped(words: str, indent: str) -> str:
    """Within WIDTH, all lines but the first indented; what is to be copied is not cut."""
    width = WIDTH - len(indent)
    wrapped = [
        line
        for part in lines(words)
        for line in wrap(part, width, break_long_words=False, break_on_hyphens=False)
    ]
    return f"\n{indent}".join(wrapped)


def _skipped(report: Report) -> Iterator[Text]:
    """Checks that could not be made, by the reason."""
    names: dict[str, list[str]] = {}
    for one in report.skipped:
        names.setdefault(one.why, []).append(one.check)
    for why, checks in names.items():
        listed = ", ".join(dict.fromkeys(checks))
        yield Text(_wrapped(f"not looked at: {listed}", "  "), DIM)
        yield Text(f"  {_wrapped(clean(why), '  ')}", DIM)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _listed(parts: Sequence[str]) -> str:
    """`a, b and c`"""
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
