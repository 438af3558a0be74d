"""`[detection]` of group.toml, for `api/settings.py`.

Room: api. Every process loads this: standard library only. `model/detection.py` has the ranges.
"""

from __future__ import annotations

import re

from carpool.api.tomlfile import Table, cut
from carpool.model.detection import STANDARD, Detection
from carpool.model.keypath import quoted

DETECTION_KEYS = ("enabled", "interval")
_MILLISECONDS = re.compile(r"([0-9]{1,6})(ms|s)", re.ASCII)


def detection(root: Table) -> Detection:
    """`[detection]`."""
    found = root.names("detection", "a table [detection]")
    table = Table(root.file, ("detection",), found, DETECTION_KEYS)
    return Detection(table.truth("enabled", STANDARD.enabled), _interval_ms(table))


def _interval_ms(table: Table) -> int:
    expected = 'a time: "50ms"'
    if "interval" not in table or not (text := table.text("interval", expected)):
        return STANDARD.interval_ms
    found = _MILLISECONDS.fullmatch(text)
    if found is None:
        table.wrong("interval", quoted(cut(text)), expected)
        return STANDARD.interval_ms
    return int(found[1]) * (1000 if found[2] == "s" else 1)
