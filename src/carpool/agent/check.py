"""The check command of a section, over all files of a change before any of them is in place.

Room: agent. What it runs in is `kernel/checkrun.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from carpool.agent.job import Event
from carpool.agent.plan import Plan, content_of, ordered
from carpool.errors import CarpoolError
from carpool.kernel import checkrun


class Refused(CarpoolError):
    """Nothing was changed."""


async def check(plan: Plan, plans: Sequence[Plan], scratch: Path, root: Path) -> Event:
    """Its command must succeed with all new files in place, those of other sections too."""
    staged = [(change, content_of(each, change)) for each, change in ordered(plans)]
    section = plan.section
    await asyncio.to_thread(scratch.mkdir, mode=0o700, parents=True, exist_ok=True)
    result = await asyncio.to_thread(
        checkrun.run_check,
        section.check,
        staged,
        scratch=scratch,
        root=root,
        timeout_s=section.check_timeout_s,
    )
    if not result.ok:
        why = (
            f"took more than {section.check_timeout_s:g} s"
            if result.timed_out
            else f"failed ({result.exit_status})"
        )
        said = result.output.strip()[-2000:] or "nothing"
        gap = "\n" if "\n" in said else " "  # lines stay below each other: some point upwards
        raise Refused(
            f"section {section.name}: the check `{' '.join(section.check)}` {why}; nothing was "
            f"changed. It said:{gap}{said}"
        )
    return {"step": "check", "section": section.name, "took_s": result.took_s}
