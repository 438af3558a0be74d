"""The demo's picture: both firewalls side by side, connections, probes, the story so far.

Room: lab. Values in, rich renderables out, 24 lines of 80 columns at most; asks nobody anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.box import ASCII, ROUNDED, Box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from carpool.lab.channel import Report
from carpool.lab.meter import Figures
from carpool.lab.report import role_text

LABEL_WIDTH = 8
STRIP_CELLS = 60  # one for 100 ms of probes
STORY_LINES = 5


@dataclass(slots=True)
class Picture:
    """All that the screen shows at one moment."""

    headline: str = ""
    nodes: Mapping[str, Figures] = field(default_factory=dict)
    streams: Report = field(default_factory=dict)
    strip: Sequence[Report] = ()  # stats of the probe, newest last
    story: Sequence[str] = ()
    fancy: bool = True  # the terminal shows more than ASCII


def draw(picture: Picture) -> RenderableType:
    box = ROUNDED if picture.fancy else ASCII
    nodes = Table.grid(expand=True)
    for _ in picture.nodes:
        nodes.add_column(ratio=1)
    nodes.add_row(*(_node(name, figures, box) for name, figures in picture.nodes.items()))
    lines = [_line(line) for line in picture.story[-STORY_LINES:]]
    blanks = [Text("")] * (STORY_LINES - len(lines))
    return Group(
        _line(f" [bold]{picture.headline}[/]"),
        nodes,
        _connections(picture),
        Text(""),
        _strip(picture),
        Text(""),
        *lines,
        *blanks,
    )


def _line(markup: str) -> Text:
    """One line, cut off at the right when it is too long."""
    text = Text.from_markup(markup, emoji=False, overflow="ellipsis")
    text.no_wrap = True
    return text


def _node(name: str, figures: Figures, box: Box) -> RenderableType:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(style="dim", no_wrap=True, width=LABEL_WIDTH)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for label, value in _rows(figures):
        grid.add_row(label, Text.from_markup(value, emoji=False))
    master = figures.status is not None and figures.status["role"] == "MASTER"
    style = "red" if not figures.powered else "green" if master else "cyan"
    return Panel(grid, title=f"[bold]{name}[/]", border_style=style, box=box, height=8)


def _rows(figures: Figures) -> list[tuple[str, str]]:
    if not figures.powered:
        return [
            ("", ""),
            ("", "[bold red]NO POWER[/]"),
            ("", "[dim]links cut, processes killed[/]"),
        ]
    rows: list[tuple[str, str]] = []
    if figures.status is None:
        rows += [("failover", "[yellow]does not answer[/]"), ("", "")]
    else:
        for vhost in figures.status["vhosts"]:
            address = vhost["addresses"][0].split("/")[0]
            rows.append(
                (f"{vhost['vhid']}@{vhost['interface']}", f"{role_text(vhost['state'])} {address}")
            )
    held = (
        ", ".join(entry["reason"] for entry in figures.status["demotion"]) if figures.status else ""
    )
    rows.append(("demoted", f"[yellow]{held}[/]" if held else "no"))
    rows.append(("states", "-" if figures.states is None else f"{figures.states:,}"))
    rows.append(("peer", figures.replication or "[yellow]does not answer[/]"))
    rows.append(("traffic", rate(figures.bytes_per_s)))
    return rows


def rate(bytes_per_s: float) -> str:
    """Bits per second with a unit that keeps it short."""
    bits = bytes_per_s * 8
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if bits < 1000:
            return f"{bits:.0f} {unit}" if unit != "Mbit/s" else f"{bits:.1f} {unit}"
        bits /= 1000
    return f"{bits:.1f} Gbit/s"


def _connections(picture: Picture) -> Text:
    open_, alive = picture.streams.get("open", 0), picture.streams.get("alive", 0)
    style = "green" if alive == open_ else "bold red" if alive == 0 else "yellow"
    text = Text(" TCP connections  ", style="dim")
    text.append(f"{alive} of {open_} alive", style=style)
    dead = picture.streams.get("dead", 0)
    if dead:
        text.append(f", {dead} dead", style="bold red")
    text.append(
        f"   {picture.streams.get('bytes', 0) / 1000:,.0f} kB echoed and checked", style="dim"
    )
    return text


def _strip(picture: Picture) -> Text:
    text = Text(" a probe each ms  ", style="dim")
    for stats in picture.strip[-STRIP_CELLS:]:
        glyph, style = cell(stats.get("sent", 0), stats.get("answered", 0), fancy=picture.fancy)
        text.append(glyph, style=style)
    return text


def cell(sent: int, answered: int, *, fancy: bool) -> tuple[str, str]:
    """One character for 100 ms of probes, and its colour."""
    if answered >= sent:
        return ("█" if fancy else "#"), "green"
    if answered:
        return ("▄" if fancy else "+"), "yellow"
    return ("·" if fancy else "."), "bold red"
