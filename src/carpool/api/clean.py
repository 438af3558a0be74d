"""Text that others wrote, so that a terminal only shows it: it steers nothing.

Room: api. Loads nothing; whoever shows words of a peer, of a program or of a file comes here first.
"""

from __future__ import annotations

from carpool.errors import CarpoolError

INDENT = " " * len("carpool: ")


def clean(text: str) -> str:
    """Without what would steer a terminal: anything unprintable shows as `?`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def clean_lines(text: str, indent: str = "  ") -> str:
    """The same of what a program said: its lines stay lines, those after the first indented."""
    return f"\n{indent}".join(clean(line.expandtabs()) for line in text.splitlines())


def complaint(error: CarpoolError) -> str:
    """An error as a verb ends with it: what went wrong, and below it what to do. A peer may have
    written either."""
    lines = [f"carpool: {clean_lines(error.message, INDENT)}"]
    if error.hint:
        lines.append(f"{INDENT}{clean_lines(error.hint, INDENT)}")
    return "\n".join(lines)
