"""The terminal that verbs print to: what they say comes out letter by letter.

Room: api. rich is imported when something is printed: a script that wants JSON does not wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def terminal(*, stderr: bool = False, markup: bool = False) -> Console:
    """A console that replaces nothing: rich would make a picture of the `:ab:` of an IPv6 address
    or a fingerprint, and take the `[web]` of a sentence for a style, unless
    `markup` asks for that."""
    from rich.console import Console

    return Console(stderr=stderr, emoji=False, markup=markup, highlight=False)
