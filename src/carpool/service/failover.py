"""The failover process: joins the engine to packets, links, addresses and commands.

Room: service. One loop: an input goes to the engine, its effects are performed in order, the
deadline is armed. Decides nothing; reads no clock but the one it was given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from carpool.errors import KernelError
from carpool.kernel.addresses import AddressHolder
from carpool.kernel.adverts import AdvertSocket
from carpool.kernel.appliedfile import Sources
from carpool.kernel.flagfile import TEXT_MAX, FlagFile
from carpool.kernel.journal import Journal
from carpool.kernel.later import Later
from carpool.kernel.links import LinkMonitor, LinkState
from carpool.kernel.poller import Poller
from carpool.kernel.unixserver import Client
from carpool.machine import effects as fx
from carpool.machine import watch
from carpool.machine.engine import Engine
from carpool.machine.stall import is_too_late
from carpool.model.config import Address, Family, MacMode, Transport, VhostKey, family_of
from carpool.proto.ipheader import group_of
from carpool.service.checkwish import checks_of
from carpool.service.detection import Detection
from carpool.service.failovertroubles import FailoverTroubles
from carpool.service.filewatch import FileWatch
from carpool.service.groupchange import CONFIRM_MAX_S, Files, GroupChange, Start, Wish
from carpool.service.watchers import Watchers

PACKETS_MAX = 64  # handled a round, so that a flood cannot keep the deadline waiting
FOLLOW_AGAIN_S = 1.0
SUSPENDED_MIN_S = 0.1  # less is what two clocks, read one after the other, differ by


@dataclass(frozen=True, slots=True)
class Hands:
    """All that the service touches the system with."""

    poller: Poller
    links: LinkMonitor
    holder: AddressHolder
    journal: Journal
    flag: FlagFile  # of maintenance
    files: Files  # node.toml and group.toml
    later: Later
    now_s: Callable[[], float]
    wall_iso: Callable[[], str]
    suspended_s: Callable[[], float]  # of the machine, since it booted


class FailoverService:
    """Everything of one node's failover; `run` returns when the engine has stopped."""

    def __init__(
        self,
        engine: Engine,
        hands: Hands,
        identity: Mapping[str, object],
        start: Start,
    ) -> None:
        """`identity`: of this process, for `status`: pid, version... `start`: what the engine goes
        by, as it is written."""
        self.engine = engine
        self.poller = hands.poller
        self.links = hands.links
        self.holder = hands.holder
        self.journal = hands.journal
        self.flag = hands.flag
        self.now_s = hands.now_s
        self.wall_iso = hands.wall_iso
        self.identity = identity
        self.suspended_s = hands.suspended_s
        self._suspended_s = self.suspended_s()
        self.started_s = self.now_s()
        self.sockets: dict[str, AdvertSocket] = {}
        self.stopped = False
        self._inputs: deque[fx.Input] = deque()
        self._performing = False
        self._switchover_client: Client | None = None
        self._watchers = Watchers(engine)
        self._follow_again_s: float | None = None
        self.poller.add(self.links, self._on_links)
        self.detection = Detection(
            engine,
            self.poller,
            self.now_s,
            self.put,
            self._drain,
            lambda text: self._record("bfd", None, text),
        )
        self.change = GroupChange(
            engine,
            start,
            hands.files,
            hands.later,
            self.put,
            self.now_s,
            self._watchers.put_back,
        )

        def counts() -> Sources:
            return self.change.texts

        self.troubles = FailoverTroubles(
            engine,
            (self.holder, self.journal, self.flag),
            self.change,
            FileWatch(hands.files, hands.later, counts, start.unusable),
            self.wall_iso,
            lambda line: self._record("trouble", None, line),
        )

    # --------------------------------------------------------------------------------- loop

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Until a Stop is through. What is readable is handled before the deadline: a process
        that was paused hears its peers before it concludes that they are dead. `on_ready` when it
        hears on every link that there is."""
        self.detection.follow(self.engine.config)
        held = self.holder.held()  # before anything is prepared: what a dead process left
        for state in self.links.current():
            self._on_link(state)
        if held:
            self.put(fx.Adopt(held))
        if on_ready is not None:
            on_ready()
        while not self.stopped:
            due_s = [self.engine.deadline_s, self.change.deadline_s, self._follow_again_s]
            due_s += [self.troubles.deadline_s, self.detection.deadline_s]
            self.poller.run_once(min((at_s for at_s in due_s if at_s is not None), default=None))
            self.detection.on_time()
            deadline_s = self.engine.deadline_s
            if deadline_s is not None and self.now_s() >= deadline_s:
                self.put(fx.Tick())
            self.change.on_time()
            self.troubles.on_time(self.now_s())
            if self._follow_again_s is not None and self.now_s() >= self._follow_again_s:
                self._reconfigure()
        self.detection.leave()

    def put(self, event: fx.Input) -> None:
        """Hand an input to the engine and perform what follows; inputs that arise meanwhile
        (a send that fails) wait for their turn."""
        slept_s = self.suspended_s() - self._suspended_s
        if slept_s >= SUSPENDED_MIN_S:
            self._suspended_s += slept_s
            self._inputs.append(fx.Resumed(slept_s))
        self._inputs.append(event)
        if self._performing:
            return
        self._performing = True
        try:
            while self._inputs:
                handled_s = self.now_s()
                effects = self.engine.handle(self._inputs.popleft(), handled_s)
                if self.engine.is_master:
                    # Before the first packet comes: it is to make an event.
                    self._watchers.tell_masters()
                self._perform_all(effects, handled_s)
        finally:
            self._performing = False
        self._watchers.tell()

    def _perform_all(self, effects: Sequence[fx.Effect], handled_s: float) -> None:
        """In order. This process may be stopped anywhere in here: what would claim an address for
        a master that has none any more is left out, and the engine looks at the time."""
        for effect in effects:
            if is_too_late(self.engine, effect, handled_s, self.now_s()):
                self._inputs.append(fx.Tick())
            else:
                self.detection.speak()
                self._perform(effect)

    def _perform(self, effect: fx.Effect) -> None:
        match effect:
            case fx.SendAdvert():
                self._send(effect)
            case fx.SendProbe(interface):
                socket = self.sockets.get(interface)
                error = socket.probe() if socket else "the device is gone"
                self.put(fx.SendResult(interface, error))
            case fx.TakeAddresses(key):
                # What is owned already (a VIP that changes) waits for no kernel that is busy.
                busy = self._follow_again_s is not None
                self._hold(self.holder.hold if busy else self.holder.take, key)
            case fx.HoldAddresses(key):
                self._hold(self.holder.hold, key)
            case fx.ReleaseAddresses(key):
                self._try(lambda: self.holder.release(key), f"giving up {key}")
            case fx.Announce(key):
                self._announce(key)
            case fx.Transition():
                self._record("transition", effect.key, effect.reason, effect.old, effect.new)
                self._watchers.moved(effect.key)
            case fx.Note():
                self._record(effect.kind, effect.key, effect.text)
            case fx.SwitchoverDone():
                self._answer_switchover(effect)
            case fx.TellReset():
                self.detection.tell_reset()
            case fx.Reconfigure():
                self._reconfigure()
                self._watchers.regrouped()
            case fx.Stopped():
                self.stopped = True

    # ------------------------------------------------------------------------------ effects

    def _send(self, effect: fx.SendAdvert) -> None:
        interface = effect.key.interface
        vhost = self.engine.vhosts[effect.key]
        socket, source = self.sockets.get(interface), vhost.own.get(effect.family)
        if socket is None or source is None:
            self.put(fx.SendResult(interface, "the device is gone"))
            return
        error = socket.send(
            effect.family,
            effect.payload,
            source=source,
            destinations=self._destinations(effect.key, effect.family),
            vhid=effect.key.vhid if vhost.vip.mac is MacMode.VIRTUAL else None,
        )
        self.put(fx.SendResult(interface, error))

    def _destinations(self, key: VhostKey, family: Family) -> Sequence[Address] | None:
        """Unicast peers; None: the multicast group. Both, while one gives way to the other."""
        transports = self.engine.vhosts[key].form.transports
        if transports == {Transport.MULTICAST}:
            return None
        group = [group_of(family)] if Transport.MULTICAST in transports else []
        return group + [
            address
            for (interface, address) in self.engine.peers
            if interface == key.interface and family_of(address) is family
        ]

    def _announce(self, key: VhostKey) -> None:
        socket = self.sockets.get(key.interface)
        if socket is not None:
            error = socket.announce(self.engine.vhosts[key].vip)
            if error:
                self._record("kernel", key, f"announcing failed: {error}")

    def _hold(self, action: Callable[[VhostKey], None], key: VhostKey) -> None:
        error = self._try(lambda: action(key), f"owning the addresses of {key}")
        self.put(fx.AddressResult(key, error))

    def _try(self, action: Callable[[], None], what: str) -> str | None:
        try:
            action()
        except KernelError as error:
            self._record("kernel", None, f"{what}: {error}")
            self.change.failures.append(f"{what}: {error.message}")
            return error.message
        return None

    def _reconfigure(self) -> None:
        """Sockets, devices and addresses for the virtual hosts that there are by now. A kernel that
        is too busy is asked again: what is put back must get there, too."""
        config = self.engine.acting
        error = self._try(lambda: self.holder.follow(config), "following the group")
        self._follow_again_s = self.now_s() + FOLLOW_AGAIN_S if error else None
        self.links.follow(watch.links_of(config))
        self.detection.follow(self.engine.config)
        for interface in [name for name in self.sockets if name not in self.engine.ports]:
            self._close(interface)
        for interface, socket in self.sockets.items():
            socket.follow([vip for vip in config.group.vips if vip.interface == interface])
            self._tell_not_joined(socket)
        for state in self.links.current():
            self._on_link(state)

    def _close(self, interface: str) -> None:
        socket = self.sockets.pop(interface)
        self.poller.remove(socket)
        socket.close()

    def _tell_not_joined(self, socket: AdvertSocket) -> None:
        for group, reason in socket.not_joined.items():
            self._record(
                "group",
                None,
                f"{socket.interface}: cannot join {group} ({reason}): a switch that snoops on MLD "
                "may keep neighbours' questions for IPv6 VIPs from us",
            )

    # -------------------------------------------------------------------- packets and links

    def _on_packets(self, interface: str) -> None:
        socket = self.sockets.get(interface)
        for got in socket.receive(PACKETS_MAX) if socket else ():
            self.put(fx.PacketReceived(got.interface, got.source, got.hop_limit, got.payload))

    def _drain(self) -> None:
        """All adverts that have come."""
        for interface in list(self.sockets):
            self._on_packets(interface)

    def _on_links(self) -> None:
        for state in self.links.read():
            self._on_link(state)

    def _on_link(self, state: LinkState) -> None:
        """Follow a device: open it when it appears (again), close it when it goes."""
        if state.interface in self.engine.ports:
            self._follow_link(state)
        self.detection.on_link(state, _readiness(state)[0])

    def _follow_link(self, state: LinkState) -> None:
        socket = self.sockets.get(state.interface)
        if socket is not None and socket.index != state.index:
            self._close(state.interface)
            socket = None
        if state.present and state.interface not in self.sockets:
            error = self._try(lambda: self._open(state), f"opening {state.device}")
            if error:
                self.put(fx.InterfaceChanged(state.interface, False, error))
                return
        elif socket is not None and state.present:
            socket.update(state)
            self._try(lambda: self._prepare(state), f"following {state.device}")
        ready, reason = _readiness(state)
        self.put(fx.InterfaceChanged(state.interface, ready, reason, state.own_addresses))

    def _prepare(self, state: LinkState) -> None:
        """Harmless when nothing has changed; a device that got another MAC is prepared again."""
        for vip in self.engine.acting.group.vips:
            if vip.interface == state.interface:
                self.holder.prepare(vip, state)

    def _open(self, state: LinkState) -> None:
        self._prepare(state)
        vips = [vip for vip in self.engine.acting.group.vips if vip.interface == state.interface]
        socket = AdvertSocket(state, vips)
        self.sockets[state.interface] = socket
        self.poller.add(socket, lambda: self._on_packets(state.interface))
        self._tell_not_joined(socket)

    # ----------------------------------------------------------------------------- commands

    def on_request(self, client: Client, request: dict[str, object]) -> None:
        """A command of the control socket; the protocol is in ARCHITECTURE.md."""
        match request:
            case {"command": "status"}:
                client.answer(self.status())
            case {"command": "events", **rest}:
                limit = rest.get("limit", 100)
                kept = self.journal.last(limit if isinstance(limit, int) else 100)
                client.answer({"events": kept})
            case {"command": "maintenance", "on": bool(on), **rest}:
                self._set_maintenance(client, on, str(rest.get("reason", ""))[:TEXT_MAX])
            case {"command": "disable" | "enable" as verb}:
                on = verb == "disable"
                changed = self.engine.enabled == on
                self.put(fx.SetDisabled(on))
                client.answer({"changed": changed})
            case {"command": "undamp"}:
                changed = self.engine.damper.held is not None
                self.put(fx.Undamp())
                client.answer({"changed": changed})
            case {"command": "switchover"}:
                self._switchover(client)
            case {"command": "bulk", "on": bool(on), **rest}:
                self.put(fx.SetBulkSync(on, str(rest.get("reason", ""))[:200]))
                client.answer()
            case {"command": "checks", **rest}:
                self._set_checks(client, rest)
            case {"command": "watch", **rest}:
                self._watchers.add(client, rest.get("moves") is True)
            case {"command": "reload", **rest}:
                self._reload(client, rest)
            case {"command": "settle", "digest": str(digest)}:
                self.change.settle(client, digest)
            case {"command": "confirm"}:
                self.change.confirm(client)
            case {"command": "take_back"}:
                self.change.take_back(client)
            case _:
                client.refuse(
                    f"unknown command {str(request.get('command'))[:40]!r}, or wrong arguments",
                    "see the table of commands in ARCHITECTURE.md",
                )

    def status(self) -> dict[str, object]:
        """`model/status.py`; among the counters also those of frames that are no adverts."""
        now_s = self.now_s()
        status = asdict(self.engine.status(now_s))
        for interface, socket in self.sockets.items():
            for name, count in socket.counters.items():
                status["counters"][f"{interface}_{name}"] = count
        for name, count in self.detection.counters.items():
            status["counters"][f"bfd_{name}"] = count
        uptime_s = round(now_s - self.started_s, 3)
        told = {**self.change.status(), **self.troubles.status(now_s)}
        told["bfd"] = self.detection.status()
        return {**self.identity, "uptime_s": uptime_s, **status, **told}

    def _reload(self, client: Client, request: Mapping[str, object]) -> None:
        within_s = request.get("confirm_within_s")
        if within_s is not None and not (
            isinstance(within_s, int | float) and 0 < within_s <= CONFIRM_MAX_S
        ):
            client.refuse(f"confirm_within_s is {within_s!r}, expected 0 to {CONFIRM_MAX_S:g}")
            return
        dry_run, force = request.get("dry_run") is True, request.get("force") is True
        with_peers = request.get("with_peers") is True
        proposed = dry_run and request.get("proposed") is True
        self.change.reload(Wish(client, dry_run, force, within_s, with_peers, proposed))

    def _set_checks(self, client: Client, request: Mapping[str, object]) -> None:
        wish = checks_of(request)
        if isinstance(wish, str):
            client.refuse(wish)
        else:
            self.put(wish)
            client.answer()

    def _set_maintenance(self, client: Client, on: bool, reason: str) -> None:
        changed = self.engine.maintenance != on

        def stored(error: str | None) -> None:
            if error is None:
                client.answer({"changed": changed})
            else:
                client.refuse(
                    f"maintenance is {'on' if on else 'off'} now, but will not survive a restart: "
                    f"{error}",
                    "make the state directory writable and say it again",
                )

        self.put(fx.SetMaintenance(on, reason))
        self.flag.set(on, stored, reason)

    def _switchover(self, client: Client) -> None:
        if self._switchover_client is not None:
            client.refuse("a switchover is under way", "wait for its answer")
            return
        self._switchover_client = client
        self.put(fx.Switchover())

    def _answer_switchover(self, done: fx.SwitchoverDone) -> None:
        client, self._switchover_client = self._switchover_client, None
        if client is None:
            return
        if done.ok:
            client.answer({"took_s": round(done.took_s, 6), "text": done.text})
        else:
            client.refuse(done.text, "look at `carpool status` on the peer")

    def _record(
        self,
        kind: str,
        key: VhostKey | None,
        text: str,
        old: str | None = None,
        new: str | None = None,
    ) -> None:
        self.journal.add(
            {
                "time": self.wall_iso(),
                "monotonic_s": round(self.now_s(), 6),
                "kind": kind,
                "vhost": str(key) if key else None,
                "old": old,
                "new": new,
                "text": text,
            }
        )


def _readiness(state: LinkState) -> tuple[bool, str]:
    if not state.present:
        return False, f"device {state.device} is gone"
    if not state.up:
        return False, f"device {state.device} is set down"
    if not state.carrier:
        return False, f"device {state.device} has no carrier"
    return True, "up"
