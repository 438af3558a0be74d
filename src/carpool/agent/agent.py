"""The agent of one node: what its routes, its listeners and its clients share.

Room: agent. Holds; refuses to know HTTP. One loop, one thread: whatever may wait for a disk or
another process is handed to a thread by who calls it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from carpool.agent.alerts import AlertKeeper
from carpool.agent.apply import DOWN
from carpool.agent.aptrun import apt_of
from carpool.agent.checks import CheckKeeper
from carpool.agent.client import PeerClient
from carpool.agent.configuration import Configuration
from carpool.agent.deeds import Deeds
from carpool.agent.examiner import Examiner
from carpool.agent.group import REPLICATION, GroupFile
from carpool.agent.groupedits import GroupEdits
from carpool.agent.hooks import HookKeeper
from carpool.agent.localclient import SOCKET
from carpool.agent.meanwhile import Meanwhile
from carpool.agent.refusals import Refusals
from carpool.agent.roles import RoleKeeper
from carpool.agent.roster import Roster
from carpool.agent.rulesets import Rulesets
from carpool.agent.samples import Samples
from carpool.agent.schedule import ScheduleKeeper
from carpool.agent.scriptlog import Clocks, event_of
from carpool.agent.services import CommandServices, Services
from carpool.agent.switch import Heeded
from carpool.agent.systemd import SystemdServices
from carpool.agent.transient import runner_for
from carpool.agent.troubles import Surroundings
from carpool.agent.updates import Updates
from carpool.agent.watch import reread
from carpool.agent.watched import Watched
from carpool.api import control, ownrules
from carpool.api.control import Answer
from carpool.api.identity import keys_of
from carpool.api.sections import load_sections, selected
from carpool.api.settings import load
from carpool.errors import CarpoolError, ConfigError, KernelError, UnreachableError
from carpool.kernel import clock
from carpool.kernel.journal import Journal, say
from carpool.machine.roles import Waits
from carpool.model.config import Config
from carpool.model.section import Section, Service, Sync
from carpool.service.statesends import ends

INIT = "INIT"  # a VIP whose link is down
MASTER = "MASTER"


class Agent:
    """`root` is what absolute paths of sections are below; the lab gives each firewall its own.
    `group_text` is what counts in place of a group.toml that cannot be used."""

    def __init__(
        self,
        config: Config,
        *,
        config_dir: Path,
        run_dir: Path,
        state_dir: Path,
        root: Path = Path("/"),
        group_text: str | None = None,
        now_s: Callable[[], float] = clock.monotonic_s,
        wall_iso: Callable[[], str] = clock.wall_iso,
    ) -> None:
        self.config = self._begun = config
        self.listen: Callable[[Config], None] = lambda _config: None  # there; raises KernelError
        self.config_dir = config_dir
        self.run_dir = run_dir
        self.state_dir = state_dir
        self.root = root
        self.now_s = now_s
        self.wall_iso = wall_iso
        self.started_s = now_s()
        self.keys = keys_of(config_dir, config.node.name)
        self.refusals = Refusals(now_s)
        self._services: Services = (
            CommandServices(config.node.service_command)
            if config.node.service_command
            else SystemdServices()
        )
        self._role_keeper: RoleKeeper | None = None
        self.services: Services = Heeded(self._services, self._heed)
        self.peers: dict[str, PeerClient] = {}  # they follow node.toml
        self.peers.update(self._clients(config))
        sections, problems = load_sections(config_dir, root=root, text=group_text)
        for problem in problems:
            say(f"agent: {problem}; `carpool check` tells more")
        self.sections = sections
        self.selected = list(selected(config))
        self.group = GroupFile(run_dir, config_dir, state_dir, self.reload)
        self.rulesets = Rulesets(state_dir / "sync", root)
        self.meanwhile = Meanwhile(self.name)
        self.configuration = Configuration(self, self.peers.values())
        self.roster = Roster(
            self.sections,
            self.selected,
            self.services,
            self.rulesets,
            root,
            self.masters,
        )
        self.schedule = ScheduleKeeper.of(self)
        self._runner = runner = runner_for(self._services, root, now_s)
        self.examiner = Examiner(runner, now_s)
        self.journal = Journal(run_dir / control.AGENT_EVENTS)
        kept = self.journal, Clocks(now_s, wall_iso)
        failover = control.socket_of(run_dir, control.FAILOVER)
        self.checks = CheckKeeper(lambda: self.config, config_dir, failover, runner, *kept)
        self.deeds = Deeds(self.name, self.peers, *kept, self.refusals)
        self.hooks = HookKeeper(
            lambda: self.config, config_dir, failover, runner, *kept, self.checks.hear
        )
        self.alerts = AlertKeeper(self, (config_dir, run_dir), runner, *kept)
        self.surroundings = Surroundings(lambda: self.keys, state_dir, now_s, self.name, self._tell)
        self.watched = Watched(now_s)
        self.searching = asyncio.Lock()  # in the connection table
        self.samples = Samples(lambda: self.status(control.STATES), now_s)
        self.updates = Updates(self, apt_of(self._services, runner, state_dir, root))
        self._read_anew = asyncio.Condition()
        self._reading = asyncio.Lock()  # or the older files might come last

    @property
    def name(self) -> str:
        return self.config.node.name

    @property
    def edits(self) -> GroupEdits:
        return GroupEdits(self)

    @property
    def socket(self) -> Path:
        return self.run_dir / SOCKET

    @property
    def link(self) -> Sync | None:
        """Where we listen, as peers do."""
        return self.config.group.sync

    async def status(self, process: str) -> Answer | CarpoolError | None:
        """The status of failover or states, or why there is none; None for states that are not
        configured."""
        found = await asyncio.to_thread(control.status, self.run_dir, process)
        absent = isinstance(found, UnreachableError) and self.config.group.states is None
        return None if absent and process == control.STATES else found

    async def all_roles(self) -> dict[str, str] | None:
        """Role by VIP (`51@lan`); None: failover does not answer."""
        found = await self.status(control.FAILOVER)
        vhosts = found.get("vhosts") if isinstance(found, dict) else None
        if not isinstance(vhosts, list):
            return None
        return {f"{one['vhid']}@{one['interface']}": str(one["state"]) for one in vhosts}

    async def roles(self) -> dict[str, str]:
        """Role by VIP, of those whose link is up; empty: failover does not answer."""
        return {vip: role for vip, role in (await self.all_roles() or {}).items() if role != INIT}

    async def replication(self) -> dict[str, str]:
        """By peer, whether its stream of states is up."""
        found = await self.status(control.STATES)
        peers = found.get("peers") if isinstance(found, dict) else None
        return {
            f"{REPLICATION}{one['name']}": "up" if one["connected"] else DOWN
            for one in (peers if isinstance(peers, list) else [])
        }

    async def masters(self) -> list[str]:
        """The VIPs that this node is MASTER of; empty: failover does not answer."""
        return [vip for vip, role in (await self.roles()).items() if role == MASTER]

    async def elsewhere(self, *, at_boot: bool = False) -> list[str]:
        """Services of the master alone that are not to run here now; `at_boot`, all of them. Raises
        KernelError."""
        masters = [] if at_boot else await self.masters()
        return await asyncio.to_thread(self.roster.elsewhere, masters)

    async def reload(self) -> list[str]:
        """Go by the files as they are now: where we listen, peers, sections and values. In words
        what of them only a start takes up. Raises KernelError when we cannot listen there; then
        nothing is taken up."""
        async with self._reading:
            return await self._reload()

    async def _reload(self) -> list[str]:
        config, _problems = await asyncio.to_thread(load, self.config_dir)
        if config is None:
            return []  # who wrote it has been told
        sections, _problems = await asyncio.to_thread(
            load_sections, self.config_dir, root=self.root
        )
        return await self.go_by(config, sections)

    async def go_by(self, config: Config, sections: Mapping[str, Section]) -> list[str]:
        """From now on."""
        differing = _differing(self._begun, config)
        if differing and differing != _differing(self._begun, self.config):
            say(f"agent: other {', '.join(differing)}: they count when it is started again")
        kept = await self._kept()
        self.listen(config)  # and in the same breath we know who may come there
        left = self._meet(config)
        self.config = config
        self.sections.clear()
        self.sections.update(sections)
        self.selected[:] = selected(config)
        self.configuration.refill()
        self._time_anew()
        async with self._read_anew:
            self._read_anew.notify_all()
        for peer in left:
            await peer.close()
        await self._follow_rules(config)
        if self._role_keeper is not None and await self._kept() != kept:
            self._role_keeper.look_again()
        return differing

    async def _follow_rules(self, config: Config) -> None:
        """Strangers are kept out by these files, too."""
        try:
            await asyncio.to_thread(ownrules.follow, config)
        except CarpoolError as error:
            say(f"agent: {error}")

    async def _kept(self) -> frozenset[Service] | None:
        """Services that follow the role; None when that cannot be said."""
        try:
            return frozenset(await asyncio.to_thread(self.roster.duties))
        except CarpoolError as error:
            say(f"agent: services that follow the role: {error.message}")
            return None

    def _record_move(self, text: str) -> None:
        say(f"agent: {text}")
        self._record("service", text)

    def _tell(self, trouble: str) -> None:
        self._record("trouble", trouble)

    def _record(self, kind: str, text: str) -> None:
        self.journal.add(event_of(kind, text, Clocks(self.now_s, self.wall_iso)))

    def _heed(self, service: str) -> None:
        if self._role_keeper is not None:
            self._role_keeper.heed(service)

    def _meet(self, config: Config) -> list[PeerClient]:
        """Ask, and let in, the peers of this configuration and no others; who is asked no more."""
        try:
            clients = self._clients(config)
        except ConfigError as error:
            say(f"agent: goes by the peers that it had: {error.message}")
            return []
        left = [one for name, one in self.peers.items() if clients.get(name) is not one]
        self.peers.clear()
        self.peers.update(clients)
        return left

    def _clients(self, config: Config) -> dict[str, PeerClient]:
        """By peer; what is there already goes on. Raises ConfigError: no addresses in common."""
        found: dict[str, PeerClient] = {}
        link = config.group.sync
        if link is None:
            return found
        doors = [(peer.name, ends(config, link.interface, peer)) for peer in config.node.peers]
        for name, both in doors:
            known = self.peers.get(name)
            if known is None:
                known = PeerClient(self.keys, name, both, link.port)
            known.move(both, link.port)
            found[name] = known
        return found

    async def keep_roles(self) -> None:
        """Keep services that follow the role of this node in it, once there are any."""
        async with self._read_anew:
            await self._read_anew.wait_for(lambda: self.roster.has_role)
        failover = control.socket_of(self.run_dir, control.FAILOVER)
        keeper = RoleKeeper(
            failover,
            self._services,
            self._runner,
            self.roster.duties,
            self.now_s,
            Waits(),
            self.wall_iso,
            self._record_move,
        )
        self._role_keeper, self.roster.moves = keeper, keeper.moves
        await keeper.run()

    async def keep_files(self) -> None:
        """Go by the files that failover puts back."""

        async def reload() -> None:
            try:
                await self.reload()
            except KernelError as error:
                say(
                    f"agent: the files were put back, and: {error.message}; it goes by those before"
                )
            await self.configuration.unconfirmed.put_back_here()

        await reread(control.socket_of(self.run_dir, control.FAILOVER), reload)

    async def keep_schedule(self) -> None:
        """Synchronise when the schedule of `[sync]` says so, while there is one."""
        while True:
            keeper = self.schedule
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(keeper.run()) if keeper is not None else None
                async with self._read_anew:
                    await self._read_anew.wait_for(
                        lambda: self.schedule is not keeper or self._is_other_time  # noqa: B023
                    )
                if keeper is not None and task is not None:
                    await keeper.between_runs()
                    task.cancel()
            self._time_anew()

    @property
    def _is_other_time(self) -> bool:
        keeper = self.schedule
        return (None if keeper is None else keeper.timing) != _timing(self.config)

    def _time_anew(self) -> None:
        """Go by the schedule of the configuration, but for a run that is under way: whoever began
        it tells how it ended."""
        if self._is_other_time and not (self.schedule is not None and self.schedule.running):
            self.schedule = ScheduleKeeper.of(self)

    async def close(self) -> None:
        """Hang up on all peers, and begin nothing more."""
        self.configuration.tidy.stop()
        self.configuration.lapses.stop()
        self.watched.close()
        self.deeds.close()
        for peer in self.peers.values():
            await peer.close()


def _timing(config: Config) -> tuple[str, float] | None:
    sync = config.group.sync
    return None if sync is None or not sync.schedule else (sync.schedule, sync.schedule_jitter_s)


def _differing(begun: Config, config: Config) -> list[str]:
    """What only a start takes up, as far as it is otherwise now."""
    old, new = begun.node, config.node
    names = {
        "name": old.name != new.name,
        "[services] command": old.service_command != new.service_command,
    }
    return [name for name, other in names.items() if other]
