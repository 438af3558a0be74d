"""The services that sections of this node name: which there are, how they do, and acting on them.

Room: agent. Refuses to know who asks, and to act on any other service of the machine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from carpool.agent.apply import Refused
from carpool.agent.rulesets import Rulesets
from carpool.agent.services import Action, Services
from carpool.errors import KernelError
from carpool.kernel import tree
from carpool.kernel.journal import say
from carpool.machine.roles import of_master
from carpool.model.finding import closest
from carpool.model.section import RolePolicy, Section

_LOADS = (Action.RESTART, Action.RELOAD)
_BEGINS = (Action.START, Action.RESTART, Action.ENABLE)  # where it did not run


class Roster:
    """Instances (`wg-quick@wg0`) are those whose files are there at that moment."""

    def __init__(
        self,
        sections: Mapping[str, Section],
        selected: Sequence[str],
        services: Services,
        rulesets: Rulesets,
        root: Path,
        is_master: Callable[[], Awaitable[bool]],
    ) -> None:
        self._known = sections
        self._names_selected = selected
        self._services = services
        self._rulesets = rulesets
        self._root = root
        self._is_master = is_master

    @property
    def _selected(self) -> list[Section]:
        return [self._known[name] for name in self._names_selected if name in self._known]

    @property
    def has_role(self) -> bool:
        """Whether any selected section runs on the master only."""
        return any(one.role is RolePolicy.MASTER for one in self._selected)

    def of_master(self) -> Sequence[str]:
        """Services of selected sections that run on the master only. Blocking."""
        return of_master(
            (name, section.role) for section in self._selected for name in self._names(section)
        )

    async def rows(self) -> list[dict[str, object]]:
        """How each service of the selected sections does that is installed here, by name."""
        sections = await asyncio.to_thread(self._by_name, self._selected)
        return await self._told(sorted(sections), sections)

    async def act(self, name: str, action: Action, by: str) -> dict[str, object]:
        """Do it; how the service does then. Raises Refused for one that no section names, or that
        would run twice in the group, and ServiceError for one that does not do it."""
        sections = await asyncio.to_thread(self._by_name, self._known.values())
        if name not in sections:
            raise Refused(
                f"no section of this node names a service {name[:80]!r}",
                hint=closest(name, sections)
                or "`carpool services` lists them; carpool acts on no other: use systemctl",
            )
        if action in _BEGINS:
            await self._guard(name, action)
        outcome = "failed"
        try:
            file = _ruleset(name, sections[name]) if action in _LOADS else ""
            if file and (await self._services.states([name]))[0].active:
                await self._rulesets.load(file)  # a restart would open the firewall in between
            else:
                await self._services.act(name, action)
            outcome = "done"
        finally:
            say(f"agent: {action} {name} by {by}: {outcome}")
        (row,) = await self._told([name], sections) or [{"name": name, "installed": False}]
        return row

    async def _guard(self, name: str, action: Action) -> None:
        """A service of the master alone begins nowhere else. Raises Refused."""
        if name in await asyncio.to_thread(self.of_master) and not await self._is_master():
            raise Refused(
                f"{action} {name}: it runs on the master only, and this node is not MASTER",
                hint="`carpool status` tells who is: say it there; the agent starts it where the "
                "group is MASTER",
            )

    async def _told(
        self, names: Sequence[str], sections: Mapping[str, Sequence[Section]]
    ) -> list[dict[str, object]]:
        return [
            {
                **asdict(state),
                "sections": [one.name for one in sections[state.name]],
                "role": _policy(sections[state.name]),
            }
            for state in await self._services.states(names)
            if state.installed
        ]

    def _by_name(self, sections: Iterable[Section]) -> dict[str, list[Section]]:
        found: dict[str, list[Section]] = {}
        for section in sections:
            for name in self._names(section):
                found.setdefault(name, []).append(section)
        return found

    def _names(self, section: Section) -> list[str]:
        """Reads no file: only the directories whose files are instances."""
        directories = {one.files.rpartition("/")[0] for one in section.services if one.files}
        is_left_out = tree.left_out(section)
        paths = [path for one in directories for path in self._listed(one) if not is_left_out(path)]
        return [one.name for one in section.services_of(paths)]

    def _listed(self, directory: str) -> list[str]:
        try:
            names = os.listdir(self._root / directory.lstrip("/"))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise KernelError(f"list {directory}: {error.strerror}") from error
        return [f"{directory}/{name}" for name in names]


def _ruleset(name: str, sections: Iterable[Section]) -> str:
    """The file that is loaded in place of a service, if there is one."""
    services = (one for section in sections for one in section.services)
    return next((one.ruleset for one in services if one.name == name and one.ruleset), "")


def _policy(sections: Sequence[Section]) -> RolePolicy:
    """Of a service that these sections name."""
    alone = all(one.role is RolePolicy.MASTER for one in sections)
    return RolePolicy.MASTER if alone else RolePolicy.BOTH
