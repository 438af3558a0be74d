"""A section: a named part of the configuration, and what to do with it.

Room: model. Presets (`api/presets/*.toml`) and `[section.NAME]` of group.toml are read into these
(`api/sections.py`). Every node uses its own definitions; a peer's say nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

AGENT_PORT = 3784  # after that of the states and that of pairing
CHECK_TIMEOUT_S = 30.0
SERVICE_TIMEOUT_S = 60.0
ROLE_TIMEOUT_S = 30.0


class RolePolicy(StrEnum):
    """Where a section's services run."""

    BOTH = "both"
    MASTER = "master"  # running only where the group is MASTER: the agent starts and stops them


class Drift(StrEnum):
    """How a section on a peer stands to ours."""

    IN_SYNC = "in sync"
    AHEAD = "ahead"  # ours has changed since
    DIFFERS = "differs on the backup"  # theirs was changed over there
    UNKNOWN = "unknown"  # they never had it from us, or do not answer


class OnChange(StrEnum):
    """What a service needs to take up a changed file."""

    RELOAD = "reload"
    RESTART = "restart"
    NOTHING = "nothing"  # it looks by itself, or only the next boot does


@dataclass(frozen=True, slots=True)
class Service:
    """A service that reads the section's files, by its unit's name without `.service`."""

    name: str
    on_change: OnChange = OnChange.RELOAD
    # For a `name` that ends with "@": the files of one directory that fit this pattern (fnmatch of
    # the last part) are its instances. wg-quick@ is wg-quick@wg0 for /etc/wireguard/wg0.conf.
    files: str = ""
    # A file that the service loads with nft(8): carpool loads it instead, whatever `on_change` says
    # but "nothing", and never restarts the service, which would open the firewall in between.
    ruleset: str = ""
    role: RolePolicy | None = None  # None: that of the section
    follows: str = ""  # "51@lan" or "lan": the mastership of these VIPs; "": that of any VIP
    # Commands, in place of start and stop: it runs on every node, and is switched. "%i" is the
    # instance. Both are given or none.
    on_master: tuple[str, ...] = ()
    on_backup: tuple[str, ...] = ()
    timeout_s: float = ROLE_TIMEOUT_S  # that a start, a stop or a command for the role may take

    @property
    def switched(self) -> bool:
        """Whether commands switch it when the role changes."""
        return bool(self.on_master)

    def command(self, master: bool) -> tuple[str, ...]:
        """What switches it to this role."""
        instance = self.name.partition("@")[2]
        words = self.on_master if master else self.on_backup
        return tuple(word.replace("%i", instance) for word in words)

    @property
    def deed(self) -> str:
        """What a change does to it, in a word."""
        return "load" if self.ruleset else str(self.on_change)


@dataclass(frozen=True, slots=True)
class Keep:
    """What each node keeps as it has it: a file, or the lines between two markers of a file."""

    path: str  # absolute
    begin: str = ""  # a line that holds this text begins what is kept; "": the whole file
    end: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """What `paths` hold belongs to it: a path with a slash at its end is a directory with all that
    is below it, another one a file. All paths are absolute and have no `.`, `..` or empty part."""

    name: str
    paths: tuple[str, ...]  # (): it has services only
    description: str = ""
    installed: tuple[str, ...] = ()  # it is, where one of these exists; (): wherever a path does
    exclude: tuple[str, ...] = ()  # patterns (fnmatch) of absolute paths that do not belong to it
    nosync: tuple[str, ...] = ()  # the same, by the operator: each node has its own
    keep: tuple[Keep, ...] = ()
    secret: tuple[str, ...] = ()  # patterns of files whose content is never shown
    template: bool = False  # files hold {{ node.name }} and the like, rendered where they arrive
    check: tuple[str, ...] = ()  # a command that must succeed with the new files in place
    check_timeout_s: float = CHECK_TIMEOUT_S
    services: tuple[Service, ...] = ()
    role: RolePolicy = RolePolicy.BOTH  # of its services, but those that say otherwise
    follows: str = ""  # likewise
    owner: str = ""  # "user:group" of all files; "": as on the primary
    mode: int | None = None  # of all files, and with x where there is r of all directories
    order: int = 50  # services of lower ones are reloaded first; equal ones at once

    def is_secret(self, path: str) -> bool:
        """Whether what this file holds is never shown."""
        return any(fnmatchcase(path, pattern) for pattern in self.secret)

    def holds(self, path: str) -> bool:
        """Whether an absolute path lies in `paths`, whatever is excluded."""
        return any(
            path == own.rstrip("/") or (own.endswith("/") and path.startswith(own))
            for own in self.paths
        )

    def services_of(self, files: Iterable[str]) -> tuple[Service, ...]:
        """`services` where these are the section's files (absolute paths): with an instance for
        each that is one. Files that were there before count too: what lost its file must stop."""
        paths = sorted(files)
        found: dict[str, Service] = {}
        for service in self.services:
            for unit in _units(service, paths):
                found.setdefault(unit.name, unit)
        return tuple(found.values())

    def placed(self, service: Service) -> Service:
        """One of its services, with the role and VIPs that it goes by."""
        role = RolePolicy.BOTH if service.switched else service.role or self.role
        return replace(service, role=role, follows=service.follows or self.follows)


def _units(service: Service, paths: Iterable[str]) -> Iterator[Service]:
    """The service itself, or its instances."""
    if not service.files:
        yield service
        return
    directory, _, pattern = service.files.rpartition("/")
    for path in paths:
        parent, _, name = path.rpartition("/")
        if parent == directory and fnmatchcase(name, pattern):
            instance = name.rpartition(".")[0] or name
            yield replace(service, name=service.name + instance, files="")


@dataclass(frozen=True, slots=True)
class Sync:
    """`[sync]` of group.toml; without it nothing is synchronised and the agent serves this node."""

    interface: str  # logical name of the link between the nodes
    sections: tuple[str, ...] = ()  # selected
    port: int = AGENT_PORT
    schedule: str = ""  # a calendar expression; "": only when somebody says so
    schedule_jitter_s: int = 0  # at most so much later, by chance
