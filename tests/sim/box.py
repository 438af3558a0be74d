"""One simulated machine: the real engine, and models of its service, its kernel and its clocks.

Room: tests. The service part does what service/failover.py does (inputs that arise while effects
are performed wait for their turn; what is readable is handled before a deadline); the kernel part
keeps the lifetime of addresses and queues packets for a process that stands still. Knows nothing of
the network: world.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import TYPE_CHECKING

from carpool.machine import effects as fx
from carpool.machine.effects import State
from carpool.machine.engine import Engine
from carpool.machine.vhost import ADDRESS_LIFETIME_S, HOLD_EVERY_S
from carpool.model.config import (
    Address,
    Config,
    Group,
    Node,
    Peer,
    Transport,
    VhostKey,
    Vip,
)
from carpool.model.detection import Detection
from tests.sim.disk import Disk
from tests.sim.plan import Change, Plan, VipPlan
from tests.sim.watch import Control, Watch

if TYPE_CHECKING:
    from tests.sim.world import World

INBOX_PACKETS_MAX = 64  # what a socket keeps for a process that does not read
TIMER_LATE_S = 0.002  # a timer fires at most so late
KEPT_S = 0.05  # from taking up a change until the disk has it
BULK_TAKES_S = 2.0  # the states process says `bulk off` so long after boot
WALL_CLOCK_US = 1_700_000_000_000_000


LEASE_S = 1e6  # nobody renews it
CHECK_FAILS = fx.SetChecks((fx.FailingCheck("gateway", 240, "no answer"),), LEASE_S)


class Box:
    """See the module. `send` is how a packet reaches the world."""

    def __init__(self, world: World, index: int) -> None:
        self.world = world
        self.plan = world.plan.nodes[index]
        self.index = index
        self.name = f"fw{index + 1}"
        self.config = config_of(world.plan, index, world.hosts, world.plan.before)
        self.disk = Disk(self.config)
        self.engine: Engine | None = None
        self.maintenance = False  # the flag on disk
        self.failing = False  # its check
        self.wall_step_s = 0.0
        self._base_us: int | None = None  # of this boot: kernel/counterbase.py
        self.off = 0  # reasons for which the machine has no power
        self.dead = 0  # reasons for which the process is not there
        self.frozen = 0  # reasons for which the process stands still
        self.asleep = 0  # reasons for which the machine is suspended; each is one to be frozen, too
        self._asleep_s = 0.0  # since when
        self.stopped = False
        self.links_down = dict.fromkeys(world.plan.interfaces, 0)
        self.send_faults = dict.fromkeys(world.plan.interfaces, 0)
        self.expires: dict[VhostKey, float] = {}  # local time
        self._watched: set[VhostKey] = set()  # keys with a pending look at their expiry
        self.ticks: list[float] = []
        self._idle_ticks = 0
        self._inbox: deque[fx.Input | Control] = deque()
        self.watch: Watch | None = None
        self._inputs: deque[fx.Input] = deque()
        self._performing = False
        self._clock_s = 0.0
        self._handled_s = 0.0  # local time of the last input
        self._armed_s: float | None = None  # virtual time of the pending timer
        self._boots = 0

    # ------------------------------------------------------------------------------- clocks

    def local_s(self, virtual_s: float) -> float:
        return 1000.0 * (self.index + 1) + virtual_s * (1 + self.plan.drift_ppm * 1e-6)

    def virtual_s(self, local_s: float) -> float:
        return (local_s - 1000.0 * (self.index + 1)) / (1 + self.plan.drift_ppm * 1e-6)

    def clock_s(self) -> float:
        """Monotonic time of this machine: never goes back, whatever rounding does."""
        self._clock_s = max(self._clock_s, self.local_s(self.world.now_s))
        return self._clock_s

    # ------------------------------------------------------------------------------ asking

    @property
    def running(self) -> bool:
        return self.engine is not None and not self.frozen

    def link_up(self, interface: str) -> bool:
        return not self.off and not self.links_down[interface]

    def owns(self, key: VhostKey) -> bool:
        """Whether the kernel of this machine answers for the addresses."""
        expires_s = self.expires.get(key)
        if self.off or self.asleep:
            return False
        return expires_s is not None and expires_s > self.clock_s()

    def ready(self, interface: str) -> bool:
        """Whether the node is able to be master there, as far as an onlooker can see."""
        engine = self.engine
        return (
            engine is not None
            and not self.frozen
            and engine.enabled
            and not self.stopped
            and self.link_up(interface)
        )

    # ------------------------------------------------------------------------------ process

    def boot(self, *, again: bool = False) -> None:
        """Start the process, if nothing forbids it; `again`: in place of one that died."""
        if self.engine is not None or self.off or self.dead or self.stopped:
            return
        now_s = self.clock_s()
        if self._base_us is None:
            self._base_us = WALL_CLOCK_US + int(self.wall_step_s * 1_000_000)
        self._boots += 1
        self.config = self.disk.start(again=again)
        self.engine = Engine(
            self.config,
            now_s=now_s,
            counter_start_us=self._base_us + int(now_s * 1_000_000),
            maintenance=self.maintenance,
            await_bulk=self.world.plan.await_bulk,
            older=self.disk.older,
        )
        if self.world.plan.detect_ms:
            self.watch = Watch(self, self.engine, self._boots)
        held = frozenset(key for key in self.engine.vhosts if self.owns(key))
        for interface in self.world.plan.interfaces:
            self.give(self._link_event(interface))
            if self.watch is not None:
                self.watch.on_link(interface)
        if held:
            self.give(fx.Adopt(held))
        if self.failing:
            self.give(CHECK_FAILS)
        if self.world.plan.await_bulk:
            self.world.at(self.world.now_s + BULK_TAKES_S, self._bulk_done(self._boots))

    def _bulk_done(self, boot: int) -> Callable[[], None]:
        return lambda: self.give(fx.SetBulkSync(False)) if boot == self._boots else None

    def take_up(self, config: Config) -> None:
        """Its file is this from now on; the process goes by it, too, if there is one."""
        self.disk.file = config
        if self.engine is None or self.frozen or self.engine.config == config:
            return
        self.world.tell(f"{self.name} takes up another group.toml")
        self.put(fx.TakeUp(config))
        self._keep()

    def settle(self, config: Config) -> bool:
        """Every node has this. False: say it again later."""
        if self.engine is None or self.frozen:
            return False
        if self.engine.config == config:
            self.world.tell(f"{self.name} is told that all have it")
            self.put(fx.Settle())
            self._keep()
        return True

    def _keep(self) -> None:
        """Soon: a process may die before it is written."""
        boot = self._boots

        def write() -> None:
            if self.engine is not None and boot == self._boots:
                self.disk.keep(self.engine.config, self.engine.older)

        self.world.at(self.world.now_s + KEPT_S, write)

    def die(self) -> None:
        """The process is gone from one instruction to the next."""
        self.engine = self.watch = None
        self._inbox.clear()
        self._inputs.clear()

    def lose_power(self) -> None:
        self.die()
        self.expires.clear()
        self._base_us = None

    def fall_asleep(self) -> None:
        if not self.asleep:
            self._asleep_s = self.clock_s()
        self.asleep += 1

    def wake(self) -> None:
        """The kernel counts what addresses live by a clock that stood still."""
        self.asleep -= 1
        if self.asleep:
            return
        slept_s = self.clock_s() - self._asleep_s
        for key in self.expires:
            self.expires[key] += slept_s
            if not self.off:
                self._watch_expiry(key)
        if self.engine is not None:
            self._inbox.appendleft(fx.Resumed(slept_s))

    def thaw(self) -> None:
        """What queued up is handled first, then what is due."""
        while self._inbox and not self.frozen:
            self._take(self._inbox.popleft())
        self._fire()

    def _take(self, event: fx.Input | Control) -> None:
        if not isinstance(event, Control):
            self.put(event)
        elif self.watch is not None:
            self.watch.receive(event)
            self._arm()

    # ------------------------------------------------------------------------------- inputs

    def give(self, event: fx.Input | Control) -> None:
        """An input from outside: handled now, or when the process goes on."""
        if self.engine is None:
            return
        if not self.frozen:
            self._take(event)
            return
        packet = isinstance(event, fx.PacketReceived | Control)
        if packet and self.asleep:
            return
        if not packet or sum(type(e) is type(event) for e in self._inbox) < INBOX_PACKETS_MAX:
            self._inbox.append(event)

    def link_changed(self, interface: str) -> None:
        self.give(self._link_event(interface))
        if self.watch is not None:
            self.watch.on_link(interface)

    def _link_event(self, interface: str) -> fx.InterfaceChanged:
        up = self.link_up(interface)
        own = self.config.node.addresses[interface]
        return fx.InterfaceChanged(interface, up, "up" if up else "no carrier", own)

    def put(self, event: fx.Input) -> None:
        """As service/failover.py: one input after the other, effects in order, then the timer."""
        self._inputs.append(event)
        if self._performing:
            return
        self._performing = True
        while self._inputs and self.engine is not None:
            following = self._inputs.popleft()
            lost = self._lost()
            effects = self.engine.handle(following, self.clock_s())
            self._check_lost(lost, effects)
            for effect in effects:
                self._perform(effect)
            if isinstance(following, fx.Tick) and self.engine is not None:
                self._check_progress(self.engine)
        self._performing = False
        self._arm()

    def _lost(self) -> list[VhostKey]:
        """The VHIDs that may be another one's: their master stood still until its addresses ran
        out, or as long as they live."""
        now_s, slept_from_s = self.clock_s(), self._handled_s
        self._handled_s = now_s
        if self.engine is None or now_s - slept_from_s < HOLD_EVERY_S:
            return []
        return [
            key
            for key, vhost in self.engine.vhosts.items()
            if vhost.state is State.MASTER and self._has_addresses(key)
            if self.expires.get(key, 0.0) < now_s - 1e-6
            or now_s - slept_from_s >= ADDRESS_LIFETIME_S
        ]

    def _check_lost(self, lost: list[VhostKey], effects: list[fx.Effect]) -> None:
        for key in lost:
            mine = [e for e in effects if not isinstance(e, fx.Note) and _key(e) == key]
            first = mine[0] if mine else None
            assert isinstance(first, fx.ReleaseAddresses), (
                f"{self.name}: the addresses of {key} ran out, and the first it did was {first}"
            )

    def _check_progress(self, engine: Engine) -> None:
        """A Tick does all that is due. More may be due at once where it ended a demotion (that
        moves the other deadlines), but not again and again."""
        now_s, deadline_s = self.clock_s(), engine.deadline_s
        self.ticks.append(self.world.now_s)
        moved = deadline_s is None or deadline_s > now_s
        self._idle_ticks = 0 if moved else self._idle_ticks + 1
        assert self._idle_ticks <= 3, (
            f"{self.name}: {self._idle_ticks} Ticks did not move the deadline {deadline_s} past "
            f"{now_s}: busy loop"
        )

    # -------------------------------------------------------------------------------- timer

    def _arm(self) -> None:
        times = [self.engine.deadline_s if self.engine is not None else None]
        times += [self.watch.deadline_s if self.watch is not None else None]
        deadline_s = min((at_s for at_s in times if at_s is not None), default=None)
        if deadline_s is None:
            return
        due_s = max(self.world.now_s, self.virtual_s(deadline_s))
        if self._armed_s is not None and self._armed_s <= due_s + TIMER_LATE_S:
            return  # when it fires it is armed again
        self._armed_s = due_s + self.world.chance.uniform(0, TIMER_LATE_S)
        armed_s = self._armed_s
        self.world.at(armed_s, lambda: self._timer(armed_s))

    def _timer(self, armed_s: float) -> None:
        if self._armed_s == armed_s:
            self._armed_s = None
            self._fire()

    def _fire(self) -> None:
        engine = self.engine
        if engine is None or self.frozen:
            return
        if self.watch is not None:
            self.watch.on_time()
        deadline_s = engine.deadline_s
        if deadline_s is not None and self.clock_s() >= deadline_s:
            self.put(fx.Tick())
        else:
            self._arm()

    # ------------------------------------------------------------------------------ effects

    def _perform(self, effect: fx.Effect) -> None:
        world = self.world
        match effect:
            case fx.SendAdvert(key, family, payload):
                failing = self.send_faults[key.interface] or not self.link_up(key.interface)
                if not failing:
                    world.transmit(self, key.interface, family, payload)
                self.put(fx.SendResult(key.interface, "no buffer space" if failing else None))
            case fx.SendProbe(interface):
                failing = self.send_faults[interface] or not self.link_up(interface)
                self.put(fx.SendResult(interface, "no buffer space" if failing else None))
            case fx.TakeAddresses(key) | fx.HoldAddresses(key):
                self._own(key)
            case fx.ReleaseAddresses(key):
                if self.expires.pop(key, None) is not None:
                    world.changed()
            case fx.Announce(key):
                world.announced(self, key)
            case fx.Transition(key, old, new, reason):
                world.tell(f"{self.name} {key} {old} -> {new}: {reason}", transition=True)
                world.changed()
            case fx.Note(kind, text, key):
                world.tell(f"{self.name} {key or ''} {kind}: {text}")
            case fx.SwitchoverDone(ok, took_s, text):
                world.tell(f"{self.name} switchover {ok} {took_s:.3f}: {text}")
            case fx.TellReset():
                self._watching(Watch.reset)
            case fx.Reconfigure():
                self._reconfigure()
            case fx.Stopped():
                self._watching(Watch.leave)
                self.stopped = True
                self.die()
                world.changed()

    def _watching(self, action: Callable[[Watch], None]) -> None:
        if self.watch is not None:
            action(self.watch)

    def _own(self, key: VhostKey) -> None:
        if self._has_addresses(key):
            news = not self.owns(key)
            self.expires[key] = self.clock_s() + ADDRESS_LIFETIME_S
            if news:
                self.world.look()  # now: it may let go in the same instant
            self._watch_expiry(key)
        self.put(fx.AddressResult(key, None))

    def _reconfigure(self) -> None:
        for key in [key for key in self.expires if not self._has_addresses(key)]:
            del self.expires[key]
        self.world.changed()
        for interface in self.world.plan.interfaces:
            self.put(self._link_event(interface))

    def _has_addresses(self, key: VhostKey) -> bool:
        """A VIP that goes has none."""
        vhost = self.engine.vhosts.get(key) if self.engine is not None else None
        return vhost is not None and bool(vhost.vip.addresses)

    def _watch_expiry(self, key: VhostKey) -> None:
        """Look again when the addresses run out, unless somebody does so already."""
        if key in self._watched:
            return
        self._watched.add(key)
        self.world.at(self.virtual_s(self.expires[key]) + 1e-6, lambda: self._expired(key))

    def _expired(self, key: VhostKey) -> None:
        self._watched.discard(key)
        if self.owns(key):
            self._watch_expiry(key)
        else:
            self.world.changed()


def _key(effect: fx.Effect) -> VhostKey | None:
    return getattr(effect, "key", None)


# --------------------------------------------------------------------------- configurations


def config_of(
    plan: Plan, index: int, hosts: dict[str, list[int]], form: Change | None = None
) -> Config:
    """The configuration of one node; `hosts` has each node's host number by interface."""
    addresses = [
        {i: own_addresses(plan, i, hosts[i][node]) for i in plan.interfaces}
        for node in range(len(plan.nodes))
    ]
    node = Node(
        name=f"fw{index + 1}",
        interfaces={interface: f"{interface}0" for interface in plan.interfaces},
        advskew=plan.nodes[index].advskew,
        addresses=addresses[index],
        peers=tuple(
            Peer(f"fw{other + 1}", addresses[other])
            for other in range(len(plan.nodes))
            if other != index
        ),
    )
    without = form.without if form else ()
    vips = (vip_of(plan, vip, form) for place, vip in enumerate(plan.vips) if place not in without)
    detection = Detection(bool(plan.detect_ms), plan.detect_ms or 50)
    group = Group(
        "sim", tuple(vips), preempt=plan.preempt, damping=plan.damping, detection=detection
    )
    return Config(node, group)


def own_addresses(plan: Plan, interface: str, host: int) -> tuple[Address, ...]:
    net = plan.interfaces.index(interface) + 1
    return (IPv4Address(f"10.{net}.0.{host}"), IPv6Address(f"fe80::{net}:{host:x}"))


def vip_of(plan: Plan, vip: VipPlan, form: Change | None) -> Vip:
    net = plan.interfaces.index(vip.interface) + 1
    texts = [f"10.{net}.0.{200 + vip.vhid}/24"] if "4" in vip.families else []
    texts += [f"2001:db8:{net}::{vip.vhid:x}/64"] if "6" in vip.families else []
    return Vip(
        interface=vip.interface,
        vhid=vip.vhid,
        password=form.password.encode() if form else b"simulated",
        addresses=tuple(ip_interface(text) for text in texts),
        advbase_s=(form and form.advbase_s) or vip.advbase_s,
        transport=Transport.UNICAST if plan.unicast else Transport.MULTICAST,
    )
