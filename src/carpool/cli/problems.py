"""Problems of the configuration, for a terminal.

Room: cli. Refuses to judge; loads nothing that `carpool run` would not have loaded anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from carpool.model.config import Problem


def told(problem: Problem, config_dir: Path) -> str:
    """Three lines: where (as editors jump to), what was found and expected, what to do."""
    where = config_dir / problem.file
    line = f":{problem.line}" if problem.line else ""
    kind = "error" if problem.fatal else "warning"
    lines = [
        f"{kind}: {where}{line}: {problem.key}",
        f"    found {problem.found}, expected {problem.expected}",
    ]
    if problem.hint:
        lines.append(f"    {problem.hint}")
    return "\n".join(lines)


def counted(problems: Sequence[Problem]) -> str:
    """`2 errors and 1 warning`"""
    errors = sum(problem.fatal for problem in problems)
    counts = {"error": errors, "warning": len(problems) - errors}
    parts = [f"{count} {noun}{'s' if count > 1 else ''}" for noun, count in counts.items() if count]
    return " and ".join(parts) or "no problem"
