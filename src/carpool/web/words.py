"""How values are written on the pages, and in templates as filters.

Room: web. The same words as the command line has.
"""

from __future__ import annotations

from markupsafe import Markup, escape

from carpool.api.clean import clean, clean_lines
from carpool.api.render import duration
from carpool.kernel import clock


def coded(text: str) -> Markup:
    """With what is between backticks as code: commands in hints."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    code = Markup("<code>{}</code>")
    return Markup().join(
        code.format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def lines(text: str) -> str:
    """What a program or a peer said: its lines stay lines."""
    return clean_lines(text, "")


def capitalize_first(text: str) -> str:
    """The rest is names, which stay what they are."""
    return text[:1].upper() + text[1:]


def clock_after(seconds: float) -> str:
    """The time of day then, as logs and events have it."""
    return f"{clock.wall_iso(seconds)[11:19]} UTC"


FILTERS = {
    "duration": duration,
    "clean": clean,
    "coded": coded,
    "lines": lines,
    "clock_after": clock_after,
    "capitalize_first": capitalize_first,
}
