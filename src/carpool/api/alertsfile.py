"""alerts.toml: who is told of what happens to the group.

Room: api. The agent reads it, and `carpool check`; failover, states and the pages do not, for its
URLs are secrets.
"""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

from carpool.api.settings import placed
from carpool.api.tomlfile import Table, TomlFile, kind, shown
from carpool.machine.alerturl import is_url
from carpool.model.alerts import (
    ALERTS_FILE,
    PER_HOUR,
    PER_HOUR_MAX,
    TARGETS_MAX,
    URL_MAX,
    AlertKind,
    Alerts,
    Target,
)
from carpool.model.config import Problem
from carpool.model.finding import NAME_RULE, closest, is_name
from carpool.model.keypath import quoted

KEYS = ("per_hour", "to")
TO_KEYS = ("url", "on")
HOMES = {
    "url": "a table for each target: [to.NAME]",
    "on": "a table for each target: [to.NAME]",
    "per_hour": "the top of the file, above every [table]",
}
_URL = 'a notification URL, in quotes: "mailtos://user:password@mail.example.com?to=..."'


def load_alerts(config_dir: Path) -> tuple[Alerts, list[Problem]]:
    """Without the file nobody is told, and nothing is wrong. A target in which something is wrong
    is left out: the others are told all the same."""
    if not (config_dir / ALERTS_FILE).exists():
        return Alerts(), []
    file = TomlFile.read(config_dir, ALERTS_FILE, HOMES)
    root = file.root(KEYS)
    per_hour = _per_hour(root)
    targets = {}
    for name, value in root.names("to", "a table for each target: [to.ops]").items():
        target = _target(file, name, value)
        if target is not None:
            targets[name] = target
    if len(targets) > TARGETS_MAX:
        file.wrong(("to",), f"{len(targets)} targets", f"{TARGETS_MAX} at most")
        targets = dict(list(targets.items())[:TARGETS_MAX])
    problems = [replace(one, fatal=False) for one in file.problems]
    return Alerts(targets, per_hour), [*placed(problems, [file]), *_secrecy(config_dir)]


def _per_hour(root: Table) -> int:
    found = root.number("per_hour", PER_HOUR)
    if 1 <= found <= PER_HOUR_MAX:
        return found
    if not root.is_lost("per_hour"):
        root.wrong("per_hour", str(found), f"1 to {PER_HOUR_MAX}")
    return PER_HOUR


def _target(file: TomlFile, name: str, value: object) -> Target | None:
    path = ("to", name)
    if not is_name(name):
        file.wrong(path, quoted(name), f"a name of {NAME_RULE}")
        return None
    if not isinstance(value, dict):
        found = "a string" if isinstance(value, str) else shown(value)  # it may be the URL
        file.wrong(path, found, "a table with `url`", f'write url = "..." below [to.{name}]')
        return None
    table = Table(file, path, value, TO_KEYS)
    url = table.text("url", _URL, secret=True)
    if table.is_lost("url"):
        return None
    if not is_url(url) or len(url) > URL_MAX:
        hint = "docs/alerts.md shows some; write %20 for a blank, and %40 for @ in a password"
        found = "a string that is none" if len(url) <= URL_MAX else f"{len(url)} characters"
        table.wrong("url", found, _URL, hint)
        return None
    on = _on(table)
    return None if table.is_lost("on") else Target(name, url, on)


def _on(table: Table) -> tuple[AlertKind, ...]:
    if "on" not in table:
        return tuple(AlertKind)
    expected = 'a list of what to tell: on = ["failover", "outage"]'
    words = [str(one) for one in AlertKind]
    found = []
    for value in table.entries("on", expected, "put it in [ ]"):
        if value not in words:
            hint = closest(value, words) if isinstance(value, str) else ""
            told = quoted(value[:40]) if isinstance(value, str) else kind(value)
            table.wrong("on", told, f"of {', '.join(words)}", hint)
            return ()
        found.append(AlertKind(str(value)))
    if not found and not table.is_lost("on"):
        table.wrong("on", "an empty list", expected, "leave the key out to be told everything")
    return tuple(dict.fromkeys(found))


def _secrecy(config_dir: Path) -> list[Problem]:
    try:
        mode = stat.S_IMODE((config_dir / ALERTS_FILE).stat().st_mode)
    except OSError:
        return []
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return []
    found, hint = f"mode {mode:04o}", f"it holds secrets: chmod 600 {config_dir / ALERTS_FILE}"
    return [Problem(ALERTS_FILE, "file", found, "mode 0600", hint, fatal=False)]
