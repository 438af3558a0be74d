"""When this node takes up a role, and what services of the master alone must do then.

Room: machine. Pure: told what failover says and the time. Refuses to know what starts a service.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from carpool.model.section import RolePolicy, Service

TRIES = 3  # in all, of what fails
START, STOP, DISABLE = "start", "stop", "disable"
AS_MASTER, AS_OTHER = "this node is MASTER", "this node is not MASTER"  # why, in the events
AT_REST = ("dead", "stopped", "failed")  # what backends call a service that nothing will start


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds."""

    settle_s: float = 1.0  # a change that lasts less does nothing: services do not flap along
    lost_s: float = 5.0  # failover is silent: its addresses have ended by themselves after 3 s
    again_s: float = 10.0  # until what failed is tried again
    look_s: float = 30.0  # until it is looked whether somebody else has started one


class Roles:
    """Tells the role that is to be taken up, once each. Who is not heard is not MASTER."""

    def __init__(self, now_s: float, waits: Waits) -> None:
        self._waits = waits
        self._heard: bool | None = None
        self.heard_s = now_s  # when it changed last
        self._from_s = now_s + waits.lost_s
        self._taken: bool | None = None
        self._tries = 0

    def heard(self, master: bool | None, now_s: float) -> None:
        """What failover says: whether this node is MASTER; None: it does not answer."""
        if master is not self._heard:
            self._heard = master
            self.heard_s = now_s
            waits = self._waits
            self._from_s = now_s + (waits.lost_s if master is None else waits.settle_s)
            self._tries = 0

    def again(self) -> None:
        """There are other services: `due` tells the role once more, when it has settled."""
        self._taken = None
        self._tries = 0

    @property
    def taken(self) -> bool | None:
        """The role that was taken up and holds; None while it changes."""
        return self._taken if self._taken is bool(self._heard) else None

    @property
    def deadline_s(self) -> float | None:
        """When `due` has something to tell, if nothing changes until then."""
        return None if self._taken is bool(self._heard) else self._from_s

    def due(self, now_s: float) -> bool | None:
        """The role to take up now: MASTER or not; None for nothing to do."""
        deadline_s = self.deadline_s
        if deadline_s is None or now_s < deadline_s:
            return None
        self._taken = bool(self._heard)
        self._tries += 1
        return self._taken

    def failed(self, master: bool, now_s: float) -> None:
        """Not every service could be made to fit this role: `due` tells it again, a few times."""
        if master is bool(self._heard) and self._tries < TRIES:
            self._taken = None
            self._from_s = max(self._from_s, now_s + self._waits.again_s)


class Seen(Protocol):
    """A service, as a backend sees it."""

    @property
    def name(self) -> str: ...
    @property
    def installed(self) -> bool: ...
    @property
    def active(self) -> bool: ...
    @property
    def enabled(self) -> bool | None: ...
    @property
    def sub(self) -> str: ...


def deeds(
    master: bool, services: Iterable[Seen], *, fresh: bool = True
) -> list[tuple[str, tuple[str, ...]]]:
    """What each of these services of the master alone must do in this role, in this order. None of
    them is left enabled anywhere: a boot must start none beside that of another node. A role that
    is not `fresh` starts nothing: what does not run on the master by then, somebody stopped."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for one in services:
        if not one.installed:
            continue
        verbs: list[str] = []
        if master and fresh and not one.active:
            verbs.append(START)
        if not master and (one.active or one.sub not in AT_REST):  # it may wait for its next try
            verbs.append(STOP)
        if one.enabled:
            verbs.append(DISABLE)
        if verbs:
            found.append((one.name, tuple(verbs)))
    return found


def duties(named: Iterable[Service]) -> list[Service]:
    """Of these services, as their sections place them, those that follow the role, each once: of
    the master alone, if all sections that name it say so, and those that commands switch."""
    found: dict[str, Service] = {}
    everywhere: set[str] = set()
    for one in named:
        if one.role is not RolePolicy.MASTER and not one.switched:
            everywhere.add(one.name)
        known = found.setdefault(one.name, one)
        if one.switched and not known.switched:
            found[one.name] = one
    return [one for one in found.values() if one.switched or one.name not in everywhere]


def has_role(follows: str, masters: Collection[str]) -> bool:
    """Whether who is MASTER of these VIPs (`51@lan`) is MASTER of what a service follows."""
    return any(not follows or follows in (vip, vip.partition("@")[2]) for vip in masters)
