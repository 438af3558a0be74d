"""How drills and the state of a lab are shown to a person.

Room: lab. Values in, rich tables out; refuses to ask anybody anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.table import Table

from carpool.lab.channel import Report
from carpool.lab.drill import passed
from carpool.lab.firewall import Answer

GOOD, BAD, DIM = "green", "bold red", "dim"


def drills_table(reports: Iterable[Report]) -> Table:
    """One line a scenario: median, least and most of all its runs. Fits 80 columns."""
    table = Table(
        title="failover drills",
        title_justify="left",
        caption="ms: median (least-most); lost: probes, at most; alive and young: connections",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
    )
    table.add_column("scenario", no_wrap=True)
    for heading in ("good", "gap ms", "lost", "take-over ms", "alive", "young"):
        table.add_column(heading, justify="right", no_wrap=True)
    for report in reports:
        runs = report["runs"]
        table.add_row(
            report["scenario"],
            _runs(runs),
            spread([run["gap_ms"] for run in runs]),
            str(max(run["probes_lost"] for run in runs)),
            spread([took for run in runs if (took := run.get("took_over_ms")) is not None]),
            _alive(runs, "connections"),
            _alive(runs, "young"),
        )
    return table


def spread(values: Sequence[float]) -> str:
    """`12.3 (11.0-14.9)`, without decimals from 100 on; a dash for nothing."""
    if not values:
        return "-"
    if len(values) == 1:
        return _short(values[0])
    return f"{_short(median(values))} ({_short(min(values))}-{_short(max(values))})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _runs(runs: Sequence[Report]) -> str:
    good = sum(passed(run) for run in runs)
    style = GOOD if good == len(runs) else BAD
    return f"[{style}]{good}/{len(runs)}[/]"


def _alive(runs: Sequence[Report], kind: str) -> str:
    survived = sum(run[kind]["survived"] for run in runs)
    opened = sum(run[kind]["opened"] for run in runs)
    return f"[{GOOD}]all {opened}[/]" if survived == opened else f"[{BAD}]{survived}/{opened}[/]"


def pair_table(answers: dict[str, dict[str, Answer | str]]) -> Table:
    """Both firewalls side by side: `answers[node][role]` is a status, or why there is none."""
    table = Table(show_header=True, title_justify="left")
    table.add_column("")
    for node in answers:
        table.add_column(node)
    rows: dict[str, dict[str, str]] = {}
    for node, by_role in answers.items():
        for role, answer in by_role.items():
            facts = (
                {role: f"[{BAD}]{answer}[/]"} if isinstance(answer, str) else _facts(role, answer)
            )
            for label, text in facts.items():
                rows.setdefault(label, {})[node] = text
    for label, texts in rows.items():
        table.add_row(label, *(texts.get(node, "") for node in answers))
    return table


def _facts(role: str, status: Answer) -> dict[str, str]:
    if role != "failover":
        peers = ", ".join(
            f"{peer['name']} {'table ' + peer['bulk'] if peer['connected'] else 'not connected'}"
            for peer in status["peers"]
        )
        entries = str(status["entries"])
        return {
            role: f"pid {status['pid']}, up {status['uptime_s']:.0f} s",
            "entries": entries,
            "peer": peers,
        }
    facts = {
        "role": role_text(status["role"]),
        "failover": f"pid {status['pid']}, up {status['uptime_s']:.0f} s",
        "advskew": f"{status['advskew']}, effective {status['effective_advskew']}",
        "demotion": ", ".join(entry["reason"] for entry in status["demotion"]) or "none",
    }
    for vhost in status["vhosts"]:
        label = f"{vhost['vhid']}@{vhost['interface']}"
        facts[label] = f"{role_text(vhost['state'])} {vhost['since_s']:.0f} s"
    return facts


def role_text(role: str) -> str:
    """A CARP state in its colour."""
    style = {"MASTER": "bold green", "BACKUP": "cyan", "INIT": "yellow"}.get(role, BAD)
    return f"[{style}]{role}[/]"
