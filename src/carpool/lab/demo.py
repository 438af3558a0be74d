"""The demo: a master crashes under live traffic and comes back, and everybody can watch.

Room: lab. Tells the story and keeps the picture moving; measures with `drill.py`, draws with
`screen.py`. However it ends, the lab is removed.
"""

from __future__ import annotations

import json
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from carpool.api.terminal import terminal
from carpool.errors import EXIT_FAILED, EXIT_OK
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import drill, report, screen
from carpool.lab.channel import Report
from carpool.lab.faults import SCENARIOS, VICTIM
from carpool.lab.image import Image
from carpool.lab.lab import Lab
from carpool.lab.load import Load
from carpool.lab.meter import Figures, Meter
from carpool.lab.topology import FIREWALLS

CONNECTIONS = 200
REFRESH_S = 0.1
METER_S = 0.4  # between two looks at a firewall; they take turns
CALM_S = 4.0  # to look at the picture before something happens
CALM_ONCE_S = 0.5
STORY_MAX = 50
LEAST_COLUMNS, LEAST_LINES = 80, 24

ACTS = (
    (
        "crash",
        f"In a moment the power of {VICTIM}, the master, fails: links and processes at once.",
    ),
    ("return", f"{VICTIM} boots with an empty table, takes the states, then its place."),
    ("switchover", f"An operator moves everything away from {VICTIM}: `carpool switchover`."),
)
ACTS_ONCE = ACTS[:2]


def run(lab: Lab, image: Image | None, *, once: bool, as_json: bool) -> int:
    """Play it; gives the exit code. Progress and picture go to stderr when stdout is for JSON."""
    console = terminal(stderr=as_json, markup=True)
    live = console.is_terminal and not as_json and _fits(console)
    reports: list[Report] = []
    with lab.held(), _removed_at_the_end(lab):
        lab.down()  # what an earlier demo may have left
        lab.up(image=image, with_agent=not once)  # nobody opens a browser for one crash
        for sentence in lab.pages():
            lab.say(sentence)
        with Load(lab.network, CONNECTIONS) as load:
            show = Show(lab, load, console if live else None)
            with show:
                for name, about in ACTS_ONCE if once else ACTS:
                    reports.append(show.act(name, about, CALM_ONCE_S if once else CALM_S))
                show.spend(CALM_ONCE_S if once else CALM_S)
    if as_json:
        print(json.dumps({"scenarios": reports}, indent=1))
    else:
        console.print(report.drills_table(reports))
    return (
        EXIT_OK
        if all(drill.passed(result) for act in reports for result in act["runs"])
        else EXIT_FAILED
    )


@contextmanager
def _removed_at_the_end(lab: Lab) -> Iterator[None]:
    """Remove the lab however the block is left; nobody can interrupt that."""
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        lab.down()


class Show:
    """The picture and the story; without a console only the story, line by line."""

    def __init__(self, lab: Lab, load: Load, console: Console | None) -> None:
        self._lab = lab
        self._load = load
        self._story: deque[str] = deque(maxlen=STORY_MAX)
        self._meters = {name: Meter(lab.firewalls[name]) for name in FIREWALLS}
        self._figures = {name: Figures(powered=True) for name in FIREWALLS}
        self._turn = 0
        self._meter_at_s = self._draw_at_s = 0.0
        self._headline = ""
        self._fancy = console is not None and console.encoding.lower().startswith("utf")
        self._live = (
            Live(console=console, auto_refresh=False, screen=False, transient=True)
            if console
            else None
        )

    def __enter__(self) -> Show:
        if self._live is not None:
            self._before, self._lab.say = self._lab.say, self._tell
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._lab.say = self._before

    # ----------------------------------------------------------------------------- the acts

    def act(self, name: str, about: str, calm_s: float) -> Report:
        """Announce, wait, break, measure, tell."""
        self._headline = about
        self._lab.say(about)
        self.spend(calm_s)
        result = drill.measure(self._lab, SCENARIOS[name], self._load, self.pause)
        style = report.GOOD if drill.passed(result) else report.BAD
        for sentence in drill.sentences(result):
            self._lab.say(self._styled(f"{name}: {sentence}", style))
        self._headline = f"{name}: the longest silence was {result['gap_ms']:.0f} ms"
        self.spend(calm_s)
        return {"scenario": name, "runs": [result]}

    def spend(self, seconds: float) -> None:
        until_s = monotonic_s() + seconds
        while monotonic_s() < until_s:
            self.pause(REFRESH_S)

    def pause(self, seconds: float) -> None:
        """Keep the picture moving, then sleep so long."""
        now_s = monotonic_s()
        if self._live is not None and now_s >= self._draw_at_s:
            self._draw_at_s = now_s + REFRESH_S
            self._look(now_s)
            self._live.update(screen.draw(self._picture()), refresh=True)
        sleep_s(seconds)

    # -------------------------------------------------------------------------- the picture

    def _look(self, now_s: float) -> None:
        self._load.refresh()
        if now_s < self._meter_at_s:
            return
        self._meter_at_s = now_s + METER_S / len(FIREWALLS)
        name = FIREWALLS[self._turn % len(FIREWALLS)]
        self._turn += 1
        self._figures[name] = self._meters[name].read(now_s, name not in self._lab.dark)

    def _picture(self) -> screen.Picture:
        return screen.Picture(
            headline=self._headline,
            nodes=self._figures,
            streams=self._load.streams.latest,
            strip=list(self._load.probe.history),
            story=list(self._story),
            fancy=self._fancy,
        )

    def _tell(self, text: str) -> None:
        self._story.append(f" [dim]·[/] {text}")

    def _styled(self, text: str, style: str) -> str:
        return f"[{style}]{text}[/]" if self._live is not None else text


def _fits(console: Console) -> bool:
    return console.width >= LEAST_COLUMNS and console.height >= LEAST_LINES
