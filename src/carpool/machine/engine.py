"""The failover engine: all virtual hosts of a node, moving as one.

Room: machine. `handle(input, now_s)` returns effects to be performed in order, `deadline_s` says
when a `Tick` is due next. No sockets, no clock, no chance: same inputs, same effects.

Rule 1: an authentic advert decides nothing about a VHID that is not ours; a packet that is refused
        moves a counter and nothing else.
Rule 2: demotion is the node's: whatever happens on one interface is advertised on all, at once.
Rule 3: who takes one VHID over from a master that is alive (slower, demoted, leaving) takes all: a
        group that is split between two nodes forwards nothing. Without preemption, who wins one
        from another master (a healed partition) takes those that it left to slower masters.
Rule 4: leaving is make-before-break: we own the addresses until a successor is heard, but at most
        for LEAVE_WAIT_S; a switchover that nobody answers is taken back.
Rule 5: when in doubt between two masters and none, one working gateway wins, and we say so.
Rule 6: who slept so long that a peer may be master gives everything up before it says a word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from carpool.machine import checklease, damper, departure, detected, regroup, stall
from carpool.machine import effects as fx
from carpool.machine.demotion import (
    BULK_SYNC,
    CRASH,
    MAINTENANCE,
    STALL,
    SWITCHOVER,
    WEIGHT,
    Demotion,
    Rank,
    link_down,
    no_source,
    send_errors,
)
from carpool.machine.departure import LEAVE_WAIT_S, SWITCHOVER_WAIT_S, Departure
from carpool.machine.effects import Effect, State
from carpool.machine.mismatch import MismatchFinder
from carpool.machine.replay import CounterClock
from carpool.machine.report import status_of
from carpool.machine.teller import Teller
from carpool.machine.vhost import Vhost
from carpool.machine.wireform import WireForm
from carpool.model.config import Address, Config, Family, VhostKey, family_of
from carpool.model.reject import Reject
from carpool.model.status import FailoverStatus
from carpool.proto import carp

BULK_WAIT_S = 60.0  # hold preemption for the table at most so long
SEND_ERRORS_MAX = 3  # consecutive; as many successes clear them
PROBE_EVERY_S = 1.0
RETRY_AFTER_S = stall.RETRY_AFTER_S  # also a node that could not own addresses
SLEPT_S = 1.0  # a Tick that comes so late: what waits in the sockets is as old
TRANSITION_TOLD_S = 10.0  # a synchronisation brings the same group.toml to all within seconds


@dataclass(slots=True)
class Port:
    """A logical interface as the engine knows it."""

    ready: bool = False
    reason: str = "not seen yet"
    own: tuple[Address, ...] = ()
    failures: int = 0  # consecutive send errors, or successes once demoted for them
    probe_at_s: float | None = None


class Engine:
    """See the module. `await_bulk`: hold preemption until the states process has the table.
    `older`: configurations that the peers may have still, the latest first."""

    def __init__(
        self,
        config: Config,
        *,
        now_s: float,
        counter_start_us: int,
        maintenance: bool = False,
        maintenance_reason: str = "",
        await_bulk: bool = False,
        older: Sequence[Config] = (),
    ) -> None:
        self.config = config
        self.demotion = Demotion()
        self.damper = damper.Damper(config.group.damping)
        self.counters: Counter[str] = Counter()
        self.enabled = True
        self.maintenance = maintenance
        self.older = list(older)  # what peers may have still; see regroup.py
        self._clock = CounterClock(counter_start_us, now_s, config.node.name)
        self.vhosts: dict[VhostKey, Vhost] = {
            key: self.new_vhost(form) for key, form in regroup.forms(config, older).items()
        }
        for key in regroup.coming(config, older):
            self.vhosts[key].fresh = True
        self.ports = {key.interface: Port() for key in self.vhosts}
        self.peers = regroup.names_of(config, older)
        self.mismatches = MismatchFinder()
        self.departure: Departure | None = None
        self.stale_until_s = now_s  # packets may be older than they look
        self._bulk_until_s = now_s + BULK_WAIT_S if await_bulk else None
        self._teller = Teller()
        self.checks_until_s: float | None = None  # what fails is forgotten then; see checklease.py
        self.missed_at_s: float | None = None  # by BFD: when a peer misses who says nothing more
        self.retry_s: dict[str, float] = {}  # when each reason that ends by itself is forgotten
        for interface in self.ports:
            self.demotion.set(link_down(interface), Rank.INTERFACE_DOWN, True)
        self.demotion.set(MAINTENANCE, Rank.MAINTENANCE, maintenance, text=maintenance_reason)
        self.demotion.set(BULK_SYNC, Rank.BULK_SYNC, await_bulk)

    # ------------------------------------------------------------------------------ surface

    def handle(self, event: fx.Input, now_s: float) -> list[Effect]:
        """Everything that follows from `event` at `now_s` (monotonic, never going back)."""
        due_s = self.deadline_s
        if due_s is not None and now_s > due_s + SLEPT_S:
            self.stale_until_s = now_s + stall.STALE_S
        done = stall.check(self, now_s)
        match event:
            case fx.PacketReceived():
                done += self._on_packet(event, now_s)
            case fx.InterfaceChanged():
                done += self._on_interface(event, now_s)
            case fx.SendResult():
                done += self._on_send_result(event, now_s)
            case fx.AddressResult():
                done += self._on_address_result(event, now_s)
            case fx.SetMaintenance(on, reason):
                done += self._on_maintenance(on, reason, now_s)
            case fx.SetDisabled(on):
                done += self._on_disabled(on, now_s)
            case fx.SetBulkSync() | fx.SetChecks() | fx.Resumed() | fx.Undamp() | fx.Detected():
                done += self._on_told(event, now_s)
            case fx.Switchover():
                done += self._on_switchover(now_s)
            case fx.Adopt(keys):
                done += self._on_adopt(keys, now_s)
            case fx.Stop():
                done += departure.depart(self, "stop", LEAVE_WAIT_S, now_s)
            case fx.TakeUp() | fx.Settle():
                done += regroup.change(self, event, now_s)
            case fx.Tick():
                done += self._on_tick(now_s)
        done += self._after_moves(done, now_s)
        done += departure.finish(self, now_s)
        return done + damper.follow(self, now_s)

    @property
    def deadline_s(self) -> float | None:
        """When the next Tick is due; None: only an input can change anything."""
        due = [vhost.deadline_s for vhost in self.vhosts.values()]
        due += [port.probe_at_s for port in self.ports.values()]
        due += [self._bulk_until_s, self.checks_until_s, damper.deadline_s(self)]
        due += self.retry_s.values()
        due.append(self.departure.until_s if self.departure else None)
        return min((at_s for at_s in due if at_s is not None), default=None)

    @property
    def is_master(self) -> bool:
        """Whether this node is MASTER of any VHID."""
        return any(vhost.state is State.MASTER for vhost in self.vhosts.values())

    @property
    def acting(self) -> Config:
        """The configuration with the VIPs that there are: those that go stay until Settle, without
        addresses."""
        return regroup.acting(self.config, self.older, (v.vip for v in self.vhosts.values()))

    def status(self, now_s: float) -> FailoverStatus:
        """Everything that there is to tell."""
        return status_of(self, now_s)

    def name_of(self, interface: str, address: Address) -> str:
        """`fw2 (10.10.1.3)` for a configured peer, else the address."""
        name = self.peers.get((interface, address))
        return f"{name} ({address})" if name else str(address)

    def masters_heard(self) -> str:
        """Whom we follow, by name: `fw2`, or `10.10.1.9 and fw2`; empty when nobody was heard."""
        heard = {(v.key.interface, v.master) for v in self.vhosts.values() if v.master}
        return " and ".join(sorted({self.peers.get(who, str(who[1])) for who in heard}))

    # ------------------------------------------------------------------------------ packets

    def _on_packet(self, packet: fx.PacketReceived, now_s: float) -> list[Effect]:
        self.counters[f"received_{family_of(packet.source)}"] += 1
        advert = carp.parse(packet.payload, packet.hop_limit)
        if isinstance(advert, Reject):
            return self._refuse(advert, packet, now_s)
        vhost = self.vhosts.get(VhostKey(packet.interface, advert.vhid))
        if vhost is None:
            known = packet.interface in self.ports
            return self._refuse(Reject.VHID if known else Reject.INTERFACE, packet, now_s)
        reject = self._check_sender(vhost, packet, advert)
        if reject is not None:
            return self._refuse(reject, packet, now_s)
        told: list[Effect] = []
        as_we = vhost.form.verify(advert)
        if not as_we:
            if vhost.memory.has_our_form(packet.source, now_s, vhost.down_after_s):
                return self._of_another_form(vhost, packet, now_s)
            authentic, told = self._explain_digest(vhost, packet, advert, now_s)
            if not authentic:
                return [*told, *self._refuse(Reject.AUTH, packet, now_s, tell=not told)]
        if not vhost.memory.accept(packet.source, advert.counter, now_s, vhost.down_after_s):
            return told + self._refuse(Reject.REPLAY, packet, now_s)
        if as_we:
            vhost.memory.signs_as_we(packet.source, now_s)
        self.counters["accepted"] += 1
        before = vhost.state
        if advert.leaving and before is State.BACKUP and now_s < self.stale_until_s:
            vhost.hear(packet.source, now_s)  # its successor may be master by now
            return told
        if advert.leaving and vhost.heeds_goodbye(packet.source, now_s):
            # Before the first advert, or the one who leaves would preempt a demoted successor.
            told += self.demote(SWITCHOVER, Rank.SWITCHOVER, False, now_s)
            told += self.demote(BULK_SYNC, Rank.BULK_SYNC, False, now_s)
            self._bulk_until_s = None
        done = told + vhost.on_advert(advert, packet.source, now_s)
        if any(isinstance(effect, fx.Note) for effect in done[len(told) :]):
            self.counters["conflicts"] += 1
        if before is State.BACKUP and vhost.state is State.MASTER:
            self.counters["preemptions"] += 1
            done += self._take_the_rest(vhost, now_s)
        if before is State.MASTER and vhost.state is State.MASTER and not vhost.leaving:
            done += self._take_the_rest(vhost, now_s, slower_only=True)
        return done

    def _check_sender(
        self, vhost: Vhost, packet: fx.PacketReceived, advert: carp.Advert
    ) -> Reject | None:
        if vhost.form.unicast_only and (packet.interface, packet.source) not in self.peers:
            return Reject.PEER
        if packet.source in self.ports[packet.interface].own:
            return Reject.LOOP
        if advert.counter in vhost.counters and vhost.form.verify(advert):
            return Reject.LOOP
        return None

    def _of_another_form(
        self, vhost: Vhost, packet: fx.PacketReceived, now_s: float
    ) -> list[Effect]:
        """Of a sender whose adverts are authentic otherwise: it signs for a group.toml, too, that
        is on its way to us (regroup.py). Only if it does not arrive is that worth a word."""
        done = self._refuse(Reject.AUTH, packet, now_s, tell=False)
        if self.mismatches.lasts_s((vhost.key, packet.source), now_s) < TRANSITION_TOLD_S:
            return done
        text = (
            f"{self.name_of(packet.interface, packet.source)} signs for another group.toml, too, "
            "which has not come here: `carpool sync` over there; else somebody forges its adverts"
        )
        topic = "form", vhost.key, packet.source
        return done + self._teller.tell(topic, "mismatch", text, now_s, vhost.key)

    def _explain_digest(
        self, vhost: Vhost, packet: fx.PacketReceived, advert: carp.Advert, now_s: float
    ) -> tuple[bool, list[Effect]]:
        """A wrong digest of a known peer is a configuration mismatch, and told as that.

        Where our own password over another set of addresses explains it, the sender is a member
        of the group: heeding it avoids the second master that two address sets lead to.
        """
        peer = self.peers.get((packet.interface, packet.source))
        if peer is None:
            return False, []
        found = self.mismatches.explain(vhost.vip, advert, now_s)
        text = f"{self.name_of(packet.interface, packet.source)} {found.text}"
        self.counters["mismatch"] += 1
        topic = "mismatch", vhost.key, packet.source
        return found.authentic, self._teller.tell(topic, "mismatch", text, now_s, vhost.key)

    def _refuse(
        self, reject: Reject, packet: fx.PacketReceived, now_s: float, *, tell: bool = True
    ) -> list[Effect]:
        self.counters[reject] += 1
        if not tell or reject in (Reject.VHID, Reject.LOOP):
            return []  # another group on the wire is normal
        text = (
            f"refused a packet of {self.name_of(packet.interface, packet.source)} "
            f"on {packet.interface}: {reject} ({self.counters[reject]} so far)"
        )
        return self._teller.tell(("reject", reject, packet.interface), "reject", text, now_s)

    # --------------------------------------------------------------------------- interfaces

    def _on_interface(self, event: fx.InterfaceChanged, now_s: float) -> list[Effect]:
        port = self.ports.get(event.interface)
        if port is None:
            return []
        port.ready, port.reason, port.own = event.ready, event.reason, event.own_addresses
        done: list[Effect] = []
        for vhost in self.on(event.interface):
            vhost.take_sources(port.own if port.ready else ())
            if self.enabled:
                done += self.follow_link(vhost, now_s)
        down = not any(vhost.own for vhost in self.on(event.interface))
        done += self.demote(link_down(event.interface), Rank.INTERFACE_DOWN, down, now_s)
        # Not yet (duplicate address detection) or no more: this node would be half a gateway.
        missing = {f for v in self.on(event.interface) for f in v.form.families if f not in v.own}
        for family in Family:
            reason = no_source(event.interface, family)
            done += self.demote(reason, Rank.SEND_ERRORS, family in missing and not down, now_s)
        if down:
            # Nothing probes a link that is down: what holds now is that it is down.
            port.failures, port.probe_at_s = 0, None
            done += self.demote(send_errors(event.interface), Rank.SEND_ERRORS, False, now_s)
        return done + regroup.join(self, now_s)

    def follow_link(self, vhost: Vhost, now_s: float) -> list[Effect]:
        port = self.ports[vhost.key.interface]
        if vhost.own:
            return vhost.on_usable(now_s, f"{vhost.key.interface}: {port.reason}")
        wanted = " or ".join(vhost.form.families)
        reason = port.reason if not port.ready else f"no own {wanted} address"
        return vhost.on_unusable(now_s, f"{vhost.key.interface}: {reason}")

    def _on_send_result(self, event: fx.SendResult, now_s: float) -> list[Effect]:
        port = self.ports.get(event.interface)
        if port is None:
            return []
        self.counters["sent" if event.error is None else "send_errors"] += 1
        reason = send_errors(event.interface)
        demoted = reason in self.demotion
        if (event.error is None) != demoted:
            port.failures = 0  # counts failures while well, successes while demoted
            return []
        port.failures += 1
        if port.failures < SEND_ERRORS_MAX:
            return []
        port.failures = 0
        port.probe_at_s = None if demoted else now_s + PROBE_EVERY_S
        done = self.demote(reason, Rank.SEND_ERRORS, not demoted, now_s)
        text = "sending works again" if demoted else f"sending failed: {event.error}"
        return [*done, fx.Note("send", f"{event.interface}: {text}")]

    def _on_address_result(self, event: fx.AddressResult, now_s: float) -> list[Effect]:
        """A master that cannot have its addresses is none: let another try, and try again later."""
        reason = f"addresses {event.key}"
        if event.error is None:
            return self.forget(reason, now_s)
        self.counters["address_errors"] += 1
        self.retry_s[reason] = now_s + RETRY_AFTER_S
        return self.demote(reason, Rank.SEND_ERRORS, True, now_s)

    # ----------------------------------------------------------------------------- commands

    def _on_disabled(self, on: bool, now_s: float) -> list[Effect]:
        if self.departure and self.departure.kind == "stop":
            return []  # the process is about to end: nothing holds it back
        if on:
            return departure.depart(self, "disable", LEAVE_WAIT_S, now_s) if self.enabled else []
        self.enabled = True
        done: list[Effect] = []
        if self.departure and self.departure.kind == "disable":
            self.departure = None
            done += departure.stay(self, now_s)
        return done + [e for v in self.vhosts.values() for e in self.follow_link(v, now_s)]

    def _on_told(
        self,
        event: fx.SetBulkSync | fx.SetChecks | fx.Resumed | fx.Undamp | fx.Detected,
        now_s: float,
    ) -> list[Effect]:
        """By the other processes of this node, this machine, or an operator."""
        if isinstance(event, fx.Resumed):
            return stall.resume(self, event.slept_s, now_s)
        if isinstance(event, fx.Undamp):
            self.damper.forget()
            return []
        if isinstance(event, fx.Detected):
            return detected.act(self, event, now_s)
        if isinstance(event, fx.SetChecks):
            return checklease.set_checks(self, event, now_s)
        return self._on_bulk(event, now_s)

    def _on_bulk(self, event: fx.SetBulkSync, now_s: float) -> list[Effect]:
        if event.on and self.is_master:
            return []  # whoever is master has the living table
        if event.on == (BULK_SYNC in self.demotion):
            return []  # said again: the wait is not prolonged
        self._bulk_until_s = now_s + BULK_WAIT_S if event.on else None
        done = self.demote(BULK_SYNC, Rank.BULK_SYNC, event.on, now_s)
        return [*done, fx.Note("bulk", event.reason or ("running" if event.on else "complete"))]

    def _on_switchover(self, now_s: float) -> list[Effect]:
        if self.departure is not None:
            text = f"refused: this node is busy with a {self.departure.kind}; try again"
            return [fx.SwitchoverDone(False, 0.0, text)]
        if not self.is_master:
            return [fx.SwitchoverDone(True, 0.0, "this node is not master: nothing to give away")]
        self.demotion.set(SWITCHOVER, Rank.SWITCHOVER, True)
        return departure.depart(self, "switchover", SWITCHOVER_WAIT_S, now_s)

    def _on_adopt(self, keys: frozenset[VhostKey], now_s: float) -> list[Effect]:
        """Hand over what a dead process held. The reason keeps us from taking it back at once."""
        adopted = [v for v in self.vhosts.values() if v.key in keys and v.state is State.BACKUP]
        if not adopted:
            return []
        self.demotion.set(CRASH, Rank.CRASH, True)
        self.retry_s[CRASH] = now_s + RETRY_AFTER_S
        self.departure = Departure("switchover", now_s, now_s + SWITCHOVER_WAIT_S)
        return [effect for vhost in adopted for effect in vhost.adopt(now_s)]

    # ------------------------------------------------------------------------- time, moves

    def _on_tick(self, now_s: float) -> list[Effect]:
        done: list[Effect] = []
        if self._bulk_until_s is not None and now_s >= self._bulk_until_s:
            text = f"not complete after {BULK_WAIT_S:g} s: this node takes part without the table"
            done += self._on_bulk(fx.SetBulkSync(on=False, reason=text), now_s)
        for reason in [r for r, until_s in self.retry_s.items() if now_s >= until_s]:
            done += self.forget(reason, now_s)
        done += checklease.expire(self, now_s)
        for vhost in self.vhosts.values():
            done += vhost.on_tick(now_s)
        for interface, port in self.ports.items():
            if port.probe_at_s is not None and now_s >= port.probe_at_s:
                port.probe_at_s = now_s + PROBE_EVERY_S
                done.append(fx.SendProbe(interface))
        return done

    def _take_the_rest(
        self, first: Vhost, now_s: float, *, slower_only: bool = False
    ) -> list[Effect]:
        """Rule 3."""
        return [
            effect
            for vhost in self.vhosts.values()
            if vhost.state is State.BACKUP and not vhost.mute
            if vhost.follows_slower or not slower_only
            for effect in vhost.take_over(f"moving with {first.key}: {first.reason}", now_s)
        ]

    def _after_moves(self, done: list[Effect], now_s: float) -> list[Effect]:
        """A mastership that came (back) to us ends the reasons for having kept away from it."""
        if not any(isinstance(e, fx.Transition) and e.new is State.MASTER for e in done):
            return []
        more = self.demote(SWITCHOVER, Rank.SWITCHOVER, False, now_s)
        more += self.forget(STALL, now_s)
        more += regroup.join(self, now_s)
        usable = [v for v in self.vhosts.values() if v.state in (State.BACKUP, State.MASTER)]
        if all(vhost.state is State.MASTER for vhost in usable) and BULK_SYNC in self.demotion:
            text = "this node is the only master: there is nobody to take the table from"
            more += self._on_bulk(fx.SetBulkSync(on=False, reason=text), now_s)
        return more

    def demote(
        self,
        reason: str,
        rank: int,
        on: bool,
        now_s: float,
        *,
        weight: int = WEIGHT,
        text: str = "",
    ) -> list[Effect]:
        """Rule 2."""
        if not self.demotion.set(reason, rank, on, weight=weight, text=text):
            return []
        verb = "demoted" if on else "no longer demoted"
        why = f"{reason}: {text}" if text else reason
        done: list[Effect] = [fx.Note("demotion", f"{verb}: {why}")]
        for vhost in self.vhosts.values():
            if vhost.state is State.MASTER:
                done += vhost.advertise(now_s)
        return done

    def _on_maintenance(self, on: bool, reason: str, now_s: float) -> list[Effect]:
        """Said again with another reason, that one is shown; without one, the former stays."""
        if self.maintenance and on and reason:
            self.demotion.say(MAINTENANCE, reason)
        self.maintenance = on
        return self.demote(MAINTENANCE, Rank.MAINTENANCE, on, now_s, text=reason)

    def forget(self, reason: str, now_s: float) -> list[Effect]:
        """End a reason that `_retry_s` limits in time; nothing if it does not hold."""
        self.retry_s.pop(reason, None)
        return self.demote(reason, Rank.SEND_ERRORS, False, now_s)

    # -------------------------------------------------------------------------------- small

    def new_vhost(self, form: WireForm) -> Vhost:
        return Vhost(
            form,
            advskew=self.config.node.advskew,
            preempt=self.config.group.preempt,
            demotion=self.demotion,
            clock=self._clock,
            damper=self.damper,
        )

    def port(self, interface: str) -> Port:
        return self.ports.setdefault(interface, Port())

    def on(self, interface: str) -> list[Vhost]:
        return [vhost for key, vhost in self.vhosts.items() if key.interface == interface]
