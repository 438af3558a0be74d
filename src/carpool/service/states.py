"""The states process: events to peers, peers' entries into this kernel, and failover kept informed.

Room: service. One loop joins the links to the peers (`stateslink.py`), the flow of entries
(`statesflow.py`), the failover process and the control socket. Decides nothing; reads no clock but
the one it was given.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from socket import socket as Socket
from typing import Protocol

from carpool import __version__
from carpool.errors import KernelError
from carpool.kernel import clock, conntrack
from carpool.kernel.cores import Idle
from carpool.kernel.ctevents import EventMask, EventSocket
from carpool.kernel.journal import Journal, say
from carpool.kernel.poller import Poller
from carpool.kernel.stream import Listener, Wire
from carpool.kernel.sysctl import Sysctls
from carpool.kernel.unixclient import UnixClient
from carpool.kernel.unixserver import Client, UnixServer
from carpool.machine import replica, walk
from carpool.machine.gather import Gathering
from carpool.model.config import Address, Config, Peer, Scope, States
from carpool.proto import ctexclude
from carpool.proto import ctmessage as ct
from carpool.proto import statecheck as sc
from carpool.proto import statestream as ss
from carpool.proto.ctpatch import Patcher
from carpool.service.seldom import Seldom
from carpool.service.statescompare import Comparison, masters
from carpool.service.statesends import ends, settings
from carpool.service.statesflow import DRAIN_MAX, Inflow, Outflow
from carpool.service.stateslabels import Labels
from carpool.service.stateslink import Link
from carpool.service.statesmoment import Moments
from carpool.service.statesreload import Read, reload
from carpool.service.statesreport import LOOKS, compare, peer_status, troubles_of
from carpool.service.statessweep import Sweep
from carpool.service.statestable import Table
from carpool.service.troubles import TroubleTeller

STEP_WITHIN_S = 0.002  # of anything that came in: not each time, for events may come in thousands
LISTEN_ON_S = 5.0  # after mastership is lost: neighbours may take a while to notice
CHECKS, CHECK_EVERY_S = 4, 1.0  # whether the nft table is there, and which addresses are ours
SYSCTL_FILE = "states-sysctls.json"
LASTING_FILE = "states-lasting.json"  # what was before settings that outlast this process


class _Part(Protocol):
    def close(self) -> None: ...


class StatesService:
    """Replication of one node, from construction (which takes its sockets) to the end of `run`.

    Raises ConfigError when group.toml asks for no replication or node.toml lacks an address for
    it, KernelError when the kernel refuses what we need, or when another one runs already.
    """

    def __init__(
        self,
        config: Config,
        run_dir: str,
        poller: Poller,
        now_s: Callable[[], float],
        wire: Wire,
        read: Read,
        journal: Journal,
    ) -> None:
        states = settings(config)
        self.config, self.read, self.begins_anew = config, read, False
        self._wire = wire
        self.poller = poller
        self.now_s = now_s
        self.counters: Counter[str] = Counter()
        self.master = self.stopped = False
        self._every = states.scope is Scope.ALL
        self._started_s = now_s()
        self._tell = Seldom("states", now_s)
        self._server = UnixServer(f"{run_dir}/states.sock", poller, self.on_request)
        exclusions = states.exclusions
        rules = ctexclude.rules(exclusions, config.node.interfaces)
        self._labels = Labels(self.counters, self._tell)
        labels = self._labels.in_use
        if any(one.interface for one in exclusions):
            self._labels.warn_of(ctexclude.LABEL)
        lasting = Sysctls(f"{run_dir}/{LASTING_FILE}")
        self._mask = EventMask(every=self._every, exclusions=rules, labels=labels, settings=lasting)
        self._addresses = conntrack.Addresses()
        self.links = [self._link(states, peer) for peer in config.node.peers]
        injector = conntrack.Injector()
        self._inflow = Inflow(injector, self.counters, self._tell, self._labels.translate)
        self._sweep = Sweep(
            Sysctls(f"{run_dir}/{SYSCTL_FILE}"), injector, self.counters, self._tell
        )
        marks = ctexclude.mark_filters(exclusions)
        self._events = EventSocket(injector.port, every=self._every, marks=marks)
        self._patcher = Patcher(self._rules())
        self._patcher.labels = labels
        self._outflow = Outflow(
            self._events, self._patcher, self.links, self.counters, injector.ask, self._tell
        )
        table = Table(injector, lambda: self._patcher.rules, self._outflow.drain)
        self._comparisons = {
            link.name: Comparison(link.name, link, table, self, self.counters, self._tell)
            for link in self.links
        }
        self._listeners = [
            self._listen(source, states.port) for source in {link.source for link in self.links}
        ]
        self._failover = UnixClient(
            f"{run_dir}/failover.sock",
            poller,
            on_up=self._failover_up,
            on_answer=self._failover_says,
            on_down=self._failover_down,
        )
        self._hold = replica.Hold([link.name for link in self.links], now_s())
        self._hold_told: replica.Told | None = None
        self._gathering, self._idle, self._renewal = Gathering(), Idle(), replica.Renewal()
        self._deaf_s: float | None = None  # no events are wanted from then on
        self._check_s, self._overflows_told = 0.0, 0
        self._troubles = TroubleTeller(
            config.node.name, lambda: troubles_of(self.links), clock.wall_iso
        )
        self._checks = cycle(
            (self._check_mask, self._check_rules, self._check_files, self._check_tables)
        )
        self._moments = Moments(journal, self.links, now_s)

    # --------------------------------------------------------------------------------- loop

    def run(self, on_ready: Callable[[], None]) -> None:
        """Until `stop`; then leave no table, socket or half-told hold behind."""
        self._mask.install()
        self.poller.add(self._events, self._drain)
        on_ready()
        due_s = 0.0
        try:
            while not self.stopped:
                self.poller.run_once(due_s)
                now_s = self.now_s()
                if now_s >= due_s:
                    self._step(now_s)
                    due_s = self._deadline_s()
                else:  # what has just come in may have changed what is due
                    due_s = min(due_s, now_s + STEP_WITHIN_S)
        finally:
            self._close()

    def stop(self) -> None:
        self.stopped = True

    def about(self) -> str:
        """For who asks systemd."""
        streams = f"streams with {sum(link.up for link in self.links)} of {len(self.links)} peers"
        hold = self._hold_told
        text = f"{streams}; {hold.reason}" if hold and hold.on else streams
        return self._troubles.about(text)

    def _deadline_s(self) -> float:
        now_s = self.now_s()
        wanted = [
            self._check_s,
            self._renewal.deadline_s,
            self._deaf_s,
            self._hold.deadline_s(now_s),
            self._failover.deadline_s,
            self._outflow.bulk_deadline_s(now_s),
            self._sweep.deadline_s,
            *(link.deadline_s for link in self.links),
            *(comparison.deadline_s for comparison in self._comparisons.values()),
        ]
        return min(deadline_s for deadline_s in wanted if deadline_s is not None)

    def _step(self, now_s: float) -> None:
        if self._renewal.due(now_s):
            self._outflow.want_bulks()
        if self._deaf_s is not None and now_s >= self._deaf_s:
            self._want_events(False)
        self._outflow.step_bulk(now_s)
        self._sweep.step(now_s)
        for link in self.links:
            link.tick(now_s)
        for comparison in self._comparisons.values():
            comparison.step(now_s)
        self._failover.tick(now_s)
        self._tell_hold()
        if now_s >= self._check_s:
            self._check_s = now_s + CHECK_EVERY_S / CHECKS
            self._check()

    def _drain(self) -> None:
        """Events. After many: sleep a little before the next look, so that a wake-up serves many
        and packets are forwarded meanwhile."""
        read_s = self.now_s()
        found = self._outflow.drain()
        now_s = self.now_s()
        if found:
            for link in self.links:
                if link.up:
                    link.meter.told(read_s, now_s)
        pause_s = self._gathering.pause_s(found, now_s)
        if pause_s and found < DRAIN_MAX and self._outflow.bulk_deadline_s(now_s) is None:
            clock.sleep_s(pause_s)  # but no table waits for it

    def _check(self) -> None:
        """What others may have changed behind our back. One of these at a time, and each of them
        once in CHECK_EVERY_S: events wait for it."""
        self._gathering.idle(self._idle.share())
        try:
            next(self._checks)()
        except KernelError as error:
            self._tell("check", str(error))

    def _check_mask(self) -> None:
        if self._mask.stale:
            self._mask.install()
        elif not self._mask.present():
            self._mask.install()
            self.counters["table_restored"] += 1
            self._tell("table", "nft table inet carpool_states was removed: put back")

    def _check_rules(self) -> None:
        rules = self._rules()
        if rules != self._patcher.rules:
            self._patcher.rules = rules

    def _check_files(self) -> None:
        self._troubles.on_time(self.now_s())
        for link in self.links:
            link.check()
            link.give_up_on_deaf(self.now_s())
        if self._labels.changed():
            self._use_labels()

    def _check_tables(self) -> None:
        self._tell_tables()
        self._tell_overflow()

    def _tell_overflow(self) -> None:
        lost = self.counters["overflows"] - self._overflows_told
        if lost:
            self._overflows_told += lost
            self._tell(
                "overflow",
                "events came faster than they could be read, and the kernel dropped some (ENOBUFS):"
                " all peers get the whole table; is the CPU too slow for these connections?",
            )

    def _tell_tables(self, *links: Link) -> None:
        """Peers learn how full our table is; people, before one of them refuses connections."""
        table = sc.Table(
            self.master, self._hold.complete, conntrack.entries(), conntrack.entries_max()
        )
        frame = ss.build(ss.Kind.TABLE, sc.build_table(table))
        tables = {self.config.node.name: table}
        for link in links or self.links:
            link.send(frame)
            link.meter.see(self.now_s())
            theirs = self._comparisons[link.name].their_table
            if theirs is not None:
                tables[link.name] = theirs
        for name, one in tables.items():
            warning = walk.nearly_full(name, one)
            if warning:
                self._tell(f"full {name}", warning)

    def _use_labels(self) -> None:
        """Their names are others than before: for us, for the peers, and soon for the kernel."""
        self._patcher.labels = self._mask.labels = self._labels.in_use
        for link in self.links:
            link.send(ss.build(ss.Kind.LABELS, self._labels.payload))

    def _close(self) -> None:
        self._failover.send({"command": "bulk", "on": False, "reason": "the states process stops"})
        try:
            self._mask.remove()
        except KernelError as error:
            say(f"states: {error}")
        closing: tuple[_Part, ...] = (
            *self._comparisons.values(),
            *self.links,
            *self._listeners,
            self._failover,
            self._server,
            self._outflow,
        )
        for part in (*closing, self._sweep, self._inflow, self._mask, self._addresses):
            part.close()

    # -------------------------------------------------------------------------------- peers

    def link_up(self, link: Link) -> None:
        say(f"states: replicating with {link.name} ({link.target})")
        if self._labels.in_use:
            link.send(ss.build(ss.Kind.LABELS, self._labels.payload))
        self._comparisons[link.name].up(self.now_s())
        self._tell_tables(link)

    def link_down(self, link: Link, reason: str, *, was_up: bool, cause: str = "") -> None:
        if was_up:
            self.counters["streams_lost"] += 1
            self._outflow.forget(link)
            self._hold.peer_lost(link.name, self.now_s())
            self._comparisons[link.name].down(reason)
            self._labels.forget(link.name)
        self._tell(
            f"{link.name} {cause or reason}",
            f"no stream with {link.name} ({link.target}): {reason}",
        )

    def refused(self, cause: str) -> None:
        self.counters[f"stream_{cause}"] += 1

    def inject(self, link: Link, payload: bytes) -> str | None:
        return self._inflow.take(link, payload, masters(self._comparisons.values()))

    def compare(self, link: Link, frame: ss.Frame) -> str | None:
        if frame.kind is ss.Kind.LABELS:
            return self._labels.heard(link.name, frame.payload)
        return self._comparisons[link.name].on_frame(frame, self.now_s())

    def give_bulk(self, peer: str) -> None:
        self._outflow.want_bulk(self._link_of(peer))

    def give_no_bulk(self, peer: str) -> None:
        link = self._link_of(peer)
        link.send(ss.build(ss.Kind.BULK_BEGIN) + ss.build(ss.Kind.BULK_END))

    def owes_bulk(self, peer: str) -> bool:
        return self._outflow.owes_bulk(self._link_of(peer))

    def rival_gone(self) -> None:
        self._renewal.rival_gone(self.now_s())
        self._judge()

    def rival_heard(self) -> None:
        self._judge()

    def _judge(self) -> None:
        """TCP windows, but not while a peer forwards, too, and moves them."""
        self._sweep.be_master(self.master and not masters(self._comparisons.values()))

    def bulk_began(self, link: Link) -> None:
        self._hold.bulk_began(link.name, self.now_s())
        theirs = self._comparisons[link.name].their_table
        link.meter.receiving.begin(link.received, theirs.entries if theirs else 0, self.now_s())
        self._tell_hold()

    def bulk_ended(self, link: Link) -> None:
        self._hold.bulk_ended(link.name)
        link.meter.receiving.end(link.received, self.now_s())
        self._tell_hold()

    def _accepted(self, sock: Socket, source: Address) -> None:
        link = next(link for link in self.links if link.target == source)
        link.accept(sock)

    def _stranger(self, source: Address) -> None:
        self.counters["strangers"] += 1
        self._tell(f"stranger {source}", f"refused {source}: it is no peer in node.toml")

    # ----------------------------------------------------------------------------- failover

    def _failover_up(self) -> None:
        self._hold_told = None
        self._failover.send({"command": "watch"})
        self._tell_hold()

    def _failover_says(self, answer: dict[str, object]) -> None:
        master = answer.get("master")
        if isinstance(master, bool):
            if self.master and not master:
                self._deaf_s = self.now_s() + LISTEN_ON_S
            else:
                self._want_events(master)
            self._be_master(master)
            self._moments.heard(master)
            if answer.get("reload"):
                reload(self)
        elif answer.get("ok") is False:
            self._tell("failover", f"failover refuses: {answer.get('error')}")

    def _failover_down(self, reason: str) -> None:
        self._be_master(False)  # nobody says that we are
        self._want_events(True)  # nor that we are not
        self._tell("failover", f"failover.sock: {reason}; no deletions are sent until it is back")

    def _be_master(self, master: bool) -> None:
        self._renewal.heard(master, self.now_s())
        for comparison in self._comparisons.values():
            comparison.be_master(master)
        news = master != self.master
        self.master = self._outflow.master = self._inflow.master = master
        self._judge()
        if news:
            self._tell_tables()

    def _want_events(self, on: bool) -> None:
        """Nothing passes through who is master of nothing, but what is late."""
        self._deaf_s = None
        self._events.listen(on)

    def _tell_hold(self) -> None:
        told = self._hold.now(self.now_s())
        if told != self._hold_told and self._failover.send(
            {"command": "bulk", "on": told.on, "reason": told.reason}
        ):
            self._hold_told = told

    # ----------------------------------------------------------------------------- commands

    def on_request(self, client: Client, request: dict[str, object]) -> None:
        """A command of the control socket; the protocol is in ARCHITECTURE.md."""
        if request.get("command") == "status":
            client.answer(self.status())
        elif request.get("command") in LOOKS:
            compare(client, request, self._comparisons, self.now_s())
        elif request.get("command") == "reload":
            reload(self, client)
        else:
            client.refuse(
                f"unknown command {str(request.get('command'))[:40]!r}",
                "see the table of commands in ARCHITECTURE.md",
            )

    def status(self) -> dict[str, object]:
        now_s = self.now_s()
        hold = self._hold.now(now_s)
        return {
            "process": "states",
            "pid": os.getpid(),
            "version": __version__,
            "uptime_s": now_s - self._started_s,
            "node": self.config.node.name,
            "entries": conntrack.entries(),
            "scope": "all" if self._every else "assured",
            "encryption": str(settings(self.config).encryption),
            "master": self.master,
            "failover": self._failover.last_error,  # null: connected
            "window_check": str(self._sweep.state),
            "hold": {"on": hold.on, "reason": hold.reason},
            "counters": {**self.counters, **self._patcher.causes, "parsed": self._patcher.parsed},
            "entries_max": conntrack.entries_max(),
            "troubles": self._troubles.status(now_s),
            "peers": [
                peer_status(link, self._comparisons[link.name], now_s) for link in self.links
            ],
        }

    # -------------------------------------------------------------------------------- parts

    def take_up(self, config: Config) -> None:
        self.config = config
        self._check_rules()

    def begin_anew(self) -> None:
        self.begins_anew = self.stopped = True

    def _link_of(self, peer: str) -> Link:
        return next(link for link in self.links if link.name == peer)

    def _rules(self) -> ct.Rules:
        """Which addresses are here, the kernel tells; which of them move to a peer, group.toml."""
        present, unmarked = self._addresses.read()
        vips = frozenset(
            address.ip.packed for vip in self.config.group.vips for address in vip.addresses
        )
        excluded = settings(self.config).exclusions
        return ct.Rules(self._every, present | vips, unmarked - vips, excluded)

    def _link(self, states: States, peer: Peer) -> Link:
        return Link(
            self,
            self.poller,
            group=self.config.group.name,
            names=(self.config.node.name, peer.name),
            ends=ends(self.config, states.interface, peer),
            port=states.port,
            wire=self._wire,
        )

    def _listen(self, source: Address, port: int) -> Listener:
        return Listener(
            source,
            port,
            [link.target for link in self.links if link.source == source],
            self.poller,
            on_accept=self._accepted,
            on_stranger=self._stranger,
        )
