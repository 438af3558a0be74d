"""The services that sections of this node name: which there are, how they do, and acting on them.

Room: agent. Refuses to know who asks, and to act on any other service of the machine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from carpool.agent.apply import Refused
from carpool.agent.rulesets import Rulesets
from carpool.agent.services import Action, Services
from carpool.agent.switch import Move
from carpool.errors import KernelError
from carpool.kernel import tree
from carpool.kernel.journal import say
from carpool.machine.roles import duties, has_role
from carpool.model.finding import closest
from carpool.model.section import RolePolicy, Section, Service

Place = tuple[Section, Service]  # a section that names a service, as it places that

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
        masters: Callable[[], Awaitable[Collection[str]]],
    ) -> None:
        """`masters` tells the VIPs that this node is MASTER of (`51@lan`)."""
        self._known = sections
        self._names_selected = selected
        self._services = services
        self._rulesets = rulesets
        self._root = root
        self._masters = masters
        self.moves: Mapping[str, Move] = {}  # the last of each service that follows the role

    @property
    def _selected(self) -> list[Section]:
        return [self._known[name] for name in self._names_selected if name in self._known]

    @property
    def has_role(self) -> bool:
        """Whether the role of this node is anything to a service of a selected section."""
        placed = (one.placed(service) for one in self._selected for service in one.services)
        return bool(duties(placed))

    def duties(self) -> list[Service]:
        """Services of selected sections that follow the role of this node. Blocking."""
        return duties(one for section in self._selected for one in self._services_of(section))

    def elsewhere(self, masters: Collection[str]) -> list[str]:
        """Those of them that are not to run on who is MASTER of these VIPs. Blocking."""
        return [
            one.name
            for one in self.duties()
            if not one.switched and not has_role(one.follows, masters)
        ]

    async def rows(self) -> list[dict[str, object]]:
        """How each service of the selected sections does that is installed here, by name."""
        places = await asyncio.to_thread(self._by_name, self._selected)
        return await self._told(sorted(places), places)

    async def act(self, name: str, action: Action, by: str) -> dict[str, object]:
        """Do it; how the service does then. Raises Refused for one that no section names, or that
        would run twice in the group, and ServiceError for one that does not do it."""
        places = await asyncio.to_thread(self._by_name, self._known.values())
        if name not in places:
            raise Refused(
                f"no section of this node names a service {name[:80]!r}",
                hint=closest(name, places)
                or "`carpool services` lists them; carpool acts on no other: use systemctl",
            )
        if action in _BEGINS:
            await self._guard(name, action)
        outcome = "failed"
        try:
            file = _ruleset(places[name]) if action in _LOADS else ""
            if file and (await self._services.states([name]))[0].active:
                await self._rulesets.load(file)  # a restart would open the firewall in between
            else:
                await self._services.act(name, action)
            outcome = "done"
        finally:
            say(f"agent: {action} {name} by {by}: {outcome}")
        (row,) = await self._told([name], places) or [{"name": name, "installed": False}]
        return row

    async def _guard(self, name: str, action: Action) -> None:
        """A service of the master alone begins nowhere else. Raises Refused."""
        masters = await self._masters()
        duties = await asyncio.to_thread(self.duties)
        duty = next((one for one in duties if one.name == name), None)
        if duty is None or duty.switched or has_role(duty.follows, masters):
            return
        of = f" of {duty.follows}" if duty.follows else ""
        raise Refused(
            f"{action} {name}: it runs on the master only, and this node is not MASTER{of}",
            hint="`carpool status` tells who is: say it there; the agent starts it where the "
            "group is MASTER",
        )

    async def _told(
        self, names: Sequence[str], places: Mapping[str, Sequence[Place]]
    ) -> list[dict[str, object]]:
        states = await self._services.states(names)
        duties = {one.name: one for one in await asyncio.to_thread(self.duties)}
        return [
            {
                **{key: value for key, value in asdict(state).items() if key != "changed"},
                "sections": [section.name for section, _ in places[state.name]],
                **_role(places[state.name], duties.get(state.name)),
                "moved": asdict(self.moves[state.name]) if state.name in self.moves else None,
            }
            for state in states
            if state.installed
        ]

    def _by_name(self, sections: Iterable[Section]) -> dict[str, list[Place]]:
        found: dict[str, list[Place]] = {}
        for section in sections:
            for service in self._services_of(section):
                found.setdefault(service.name, []).append((section, service))
        return found

    def _services_of(self, section: Section) -> list[Service]:
        """Reads no file: only the directories whose files are instances."""
        directories = {one.files.rpartition("/")[0] for one in section.services if one.files}
        is_left_out = tree.left_out(section)
        paths = [path for one in directories for path in self._listed(one) if not is_left_out(path)]
        return [section.placed(one) for one in section.services_of(paths)]

    def _listed(self, directory: str) -> list[str]:
        try:
            names = os.listdir(self._root / directory.lstrip("/"))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise KernelError(f"list {directory}: {error.strerror}") from error
        return [f"{directory}/{name}" for name in names]


def _ruleset(places: Iterable[Place]) -> str:
    """The file that is loaded in place of a service, if there is one."""
    return next((service.ruleset for _, service in places if service.ruleset), "")


def _role(places: Iterable[Place], duty: Service | None) -> dict[str, object]:
    """Where it runs, and how it follows the role of this node, if it does. A section that nobody
    selected may have it run on the master only: then nobody sees to that."""
    alone = all(service.role is RolePolicy.MASTER for _, service in places)
    return {
        "role": RolePolicy.MASTER if alone else RolePolicy.BOTH,
        "follows": "" if duty is None else duty.follows,
        "switched": duty is not None and duty.switched,
    }
