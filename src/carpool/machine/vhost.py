"""One CARP virtual host: a VHID on an interface, as a state machine.

Room: machine. Told of authenticated adverts and of time, answers with effects; knows nothing of
packets' authenticity (engine.py), of other virtual hosts, of sockets or of the clock.

    INIT --usable--> BACKUP --nobody heard / slower master / master leaves--> MASTER
    MASTER --faster master--> BACKUP      any --unusable--> INIT      any --disabled--> DISABLED

Rule 1: an interval is advbase + advskew/256 s; lower wins, then the lower demote byte, and between
        masters of the same rank the lower source address (as UCarp does).
Rule 2: there is one master-down timer: an advert in either family proves that the master lives.
Rule 3: deadlines are derived from what was heard and from the present demotion, never stored, so a
        demotion that ends or begins moves them at once.
Rule 4: a master that slept until its addresses ran out, or until a peer may have missed three of
        its adverts, becomes BACKUP before it does anything else.
Rule 5: a BACKUP that follows a living master does not heed a slower one: that one is the master's
        to correct. Taking over from it would make two better nodes fight over a third's deafness.
"""

from __future__ import annotations

from collections.abc import Iterable

from carpool.machine.damper import Damper
from carpool.machine.demotion import ADVSKEW_CAP, Demotion, send_errors
from carpool.machine.effects import (
    Announce,
    Effect,
    HoldAddresses,
    Note,
    ReleaseAddresses,
    SendAdvert,
    State,
    TakeAddresses,
    Transition,
)
from carpool.machine.replay import CounterClock, CounterMemory
from carpool.machine.wireform import Standing, WireForm
from carpool.model.config import Address, Family, Vip, family_of
from carpool.proto import carp

ADDRESS_LIFETIME_S = 3.0  # the kernel removes an address that nobody held for so long
HOLD_EVERY_S = 1.0
ANNOUNCE_AGAIN_S = (0.2, 1.1, 2.3, 5.0)  # Linux neighbours ignore a change within 1 s (locktime)
LEAVE_EVERY_S = 0.05  # repeat the goodbye: one lost packet must not cost three seconds
ASSERT_EVERY_S = 0.1  # answer an inferior master with adverts at most so often
PREEMPTED_S = 1.0  # an inferior master heard within this time of our take-over was just preempted
LEAVING_ADVBASE_S = 255  # slower than 3 * advbase: peers without preemption take over, too


BEST = Standing(0, 0)
LEAVING = Standing(LEAVING_ADVBASE_S * 256 + carp.LEAVING_ADVSKEW, 255)


class Vhost:
    """See the module. `demotion`, `clock` and `damper` are shared by all of the node."""

    def __init__(
        self,
        form: WireForm,
        *,
        advskew: int,
        preempt: bool,
        demotion: Demotion,
        clock: CounterClock,
        damper: Damper | None = None,
    ) -> None:
        self.form = form
        self.key = form.vip.key
        self.advskew = advskew
        self.preempt = preempt
        self.demotion = demotion
        self.clock = clock
        self.damper = damper or Damper()
        self.memory = CounterMemory()
        self.state = State.INIT
        self.reason = "starting"
        self.since_s = 0.0
        self.own: dict[Family, Address] = {}  # our source address by family
        self.master: Address | None = None  # whose adverts we follow as BACKUP
        self.counters: list[int] = []  # those that we sent last
        self.rival: Address | None = None  # another master, slower than we are, that is heard
        self._rival_s = 0.0
        self._tied_s: tuple[float, float] | None = None  # with one that the first family lacks
        self.leaving = False
        self.fresh = False  # it came while the group was running, and nobody has been its master
        self._heard_s = 0.0
        self._followed_s = 0.0  # when the followed master was heard
        self._followed = BEST  # and what it advertised
        self._sent_s = 0.0
        self._asserted_s = 0.0  # when we last told everybody that the addresses are ours
        self._held_s = 0.0
        self._announce_at_s: list[float] = []

    # ------------------------------------------------------------------------------- asking

    @property
    def vip(self) -> Vip:
        """What is owned by who is MASTER."""
        return self.form.vip

    @property
    def effective_advskew(self) -> int:
        return self.demotion.advskew(self.advskew)

    @property
    def standing(self) -> Standing:
        """What we advertise."""
        if self.leaving:
            return LEAVING
        advbase_s = self.form.slowest_s if self.demotion else self.form.advbase_s
        return Standing(advbase_s * 256 + self.effective_advskew, self.demotion.rank)

    @property
    def mute(self) -> bool:
        """Whether nothing that we send on this link gets through."""
        return send_errors(self.key.interface) in self.demotion

    @property
    def follows_slower(self) -> bool:
        """Whether we leave the VHID to a slower master, as a BACKUP without preemption does."""
        return self.master is not None and self._better_than(self._followed)

    @property
    def heard_s(self) -> float:
        """Since when a BACKUP waits: a master was heard, or it began."""
        return self._heard_s

    @property
    def down_after_s(self) -> float:
        """The master-down interval: silence of this length makes a BACKUP take over."""
        return 3.0 * self.form.slowest_s + self.effective_advskew / 256

    @property
    def deadline_s(self) -> float | None:
        """When `on_tick` is due; None while nothing but an input can change anything."""
        if self.state is State.BACKUP:
            return None if self.fresh else self._heard_s + self.down_after_s
        if self.state is State.MASTER:
            return min(self._advert_at_s, self._held_s + HOLD_EVERY_S, *self._announce_at_s[:1])
        return None

    @property
    def fenced_at_s(self) -> float | None:
        """Rule 4: when a master that does nothing meanwhile has no say any more."""
        if self.state is not State.MASTER:
            return None
        unheard_s = self._sent_s + 3.0 * self.form.advbase_s  # the shortest master-down interval
        return min(self._held_s + ADDRESS_LIFETIME_S, unheard_s)

    @property
    def _advert_at_s(self) -> float:
        if self.leaving:
            return self._sent_s + LEAVE_EVERY_S
        return self._sent_s + self.form.advbase_s + self.effective_advskew / 256

    # ------------------------------------------------------------------------------- inputs

    def take_sources(self, addresses: Iterable[Address]) -> None:
        """Our own addresses on the link, none if it is down. IPv6 adverts come from the link-local
        one (as FreeBSD's), IPv4 from the first."""
        self.own = {}
        for address in addresses:
            family = family_of(address)
            if family in self.form.families and (address.version == 4 or address.is_link_local):
                self.own.setdefault(family, address)

    def on_usable(self, now_s: float, reason: str) -> list[Effect]:
        """The interface is up and has an own address."""
        if self.state not in (State.INIT, State.DISABLED):
            return []
        self._heard_s = now_s
        return self._become(State.BACKUP, reason, now_s)

    def on_unusable(self, now_s: float, reason: str, state: State = State.INIT) -> list[Effect]:
        """The interface is gone (INIT) or an operator disabled CARP (DISABLED)."""
        if self.state is state:
            self.reason = reason
            return []
        release: list[Effect] = [ReleaseAddresses(self.key)]
        return release + self._become(state, reason, now_s)

    def on_advert(self, advert: carp.Advert, source: Address, now_s: float) -> list[Effect]:
        """An authenticated advertisement of somebody else."""
        if self.state is State.MASTER:
            return self._as_master(advert, source, now_s)
        if self.state is State.BACKUP:
            return self._as_backup(advert, source, now_s)
        return []

    def on_tick(self, now_s: float) -> list[Effect]:
        """Do what is due at `now_s`."""
        if self.state is State.BACKUP and now_s >= self._heard_s + self.down_after_s:
            if self.fresh:
                return []  # the group's master is to bring it
            silence = f"no advertisement for {now_s - self._heard_s:.2f} s"
            return self.take_over(silence, now_s)
        if self.state is not State.MASTER:
            return []
        if self.rival is not None and now_s >= self._rival_s + self.down_after_s:
            self.rival = None
        effects: list[Effect] = []
        if now_s >= self._held_s + HOLD_EVERY_S:
            self._held_s = now_s
            effects.append(HoldAddresses(self.key))
        if self._announce_at_s and now_s >= self._announce_at_s[0]:
            self._announce_at_s = [at_s for at_s in self._announce_at_s if at_s > now_s]
            effects.append(Announce(self.key))
        if now_s >= self._advert_at_s:
            effects += self.advertise(now_s)
        return effects

    def fence(self, now_s: float) -> list[Effect]:
        """Rule 4. It was found asleep: whoever took over is not known yet."""
        if self.state is not State.MASTER:
            return []
        slept_s = now_s - max(self._held_s, self._sent_s)
        text = f"stalled for {slept_s:.1f} s: a peer may have taken over meanwhile"
        return [Note("stall", text, self.key), *self._step_down(text, None, now_s)]

    def listen_anew(self, now_s: float) -> None:
        """What came meanwhile was lost: silence counts from now on."""
        if self.state is State.BACKUP:
            self._heard_s = self._followed_s = now_s

    # ------------------------------------------------------------------------------ actions

    def take_over(self, reason: str, now_s: float) -> list[Effect]:
        """Become MASTER: own, announce, and only then tell the old master by an advert."""
        self._held_s = self._asserted_s = now_s
        self._announce_at_s = [now_s + after_s for after_s in ANNOUNCE_AGAIN_S]
        self.leaving = self.fresh = False
        self.master = None
        transition = self._become(State.MASTER, reason, now_s)
        own: list[Effect] = [TakeAddresses(self.key), Announce(self.key)]
        return own + self.advertise(now_s) + transition

    def wait_as_others(self, now_s: float) -> None:
        """It is new no more: whoever hears nobody takes it."""
        if self.fresh:
            self.fresh, self._heard_s = False, now_s

    def retake(self, now_s: float) -> list[Effect]:
        """Own what belongs to us by now, if we are MASTER; new addresses are announced."""
        if self.state is not State.MASTER:
            return []
        self._held_s = now_s
        self._announce_at_s = [now_s + after_s for after_s in ANNOUNCE_AGAIN_S]
        return [TakeAddresses(self.key), Announce(self.key)]

    def adopt(self, now_s: float) -> list[Effect]:
        """Go on owning what a dead process of this node owned, but as one who is leaving: a peer
        that has not noticed anything takes over now, one that is master already stays it."""
        self._held_s = now_s
        self.leaving, self.fresh = True, False
        transition = self._become(State.MASTER, "taken on from a process that died", now_s)
        return [TakeAddresses(self.key), *self.advertise(now_s), *transition]

    def advertise(self, now_s: float) -> list[Effect]:
        """Send what we are now, in every family in which we have a source address."""
        self._sent_s = now_s
        self.counters = []
        interval, demote = self.standing
        advbase_s, advskew = divmod(interval, 256)
        adverts: list[Effect] = []
        for family in (one for one in self.form.families if one in self.own):
            for signer in self.form.signers:
                self.counters.append(self.clock.next(now_s))
                payload = carp.build(
                    signer,
                    vhid=self.key.vhid,
                    advbase_s=advbase_s,
                    advskew=advskew,
                    demote=demote,
                    counter=self.counters[-1],
                )
                adverts.append(SendAdvert(self.key, family, payload))
        return adverts

    def leave(self, now_s: float) -> list[Effect]:
        """Say goodbye, but own the addresses until a successor is heard or `release`."""
        if self.state is not State.MASTER or self.leaving:
            return []
        self.leaving = True
        return self.advertise(now_s)

    def stay(self, now_s: float) -> list[Effect]:
        """Take the goodbye back: nobody came."""
        if not self.leaving:
            return []
        self.leaving = False
        return self.advertise(now_s)

    # ---------------------------------------------------------------------------- internals

    def _as_backup(self, advert: carp.Advert, source: Address, now_s: float) -> list[Effect]:
        theirs = Standing.of(advert)
        better = self._better_than(theirs)
        if better and self._follows_another_than(source, now_s):
            return []  # Rule 5
        if advert.leaving:
            return self.take_over(f"{source} is leaving", now_s)
        if self.mute:
            self.hear(source, now_s)
            return []
        if self.preempt and better and not self.damper.holds_back(now_s):
            return self.take_over(f"preempting {source}, which is slower", now_s)
        if better and (advert.advskew >= ADVSKEW_CAP or self._relieves(theirs)):
            # Without preemption, too: a node that lost an interface must not keep half a group.
            return self.take_over(f"{source} is demoted", now_s)
        if self.form.level(theirs).interval > self.down_after_s * 256:
            return self.take_over(f"{source} advertises too slowly to be waited for", now_s)
        self.hear(source, now_s)
        if self.master == source:
            self._followed_s = now_s
            self._followed = theirs
        return []

    def _relieves(self, theirs: Standing) -> bool:
        """A master with a check that weighs less than all says so in its demote byte."""
        return theirs.demote > 0 and not self.demotion

    def _better_than(self, theirs: Standing) -> bool:
        """For them, who compare what is advertised, and for us, who know of a change of advbase."""
        ours = self.standing
        return ours < theirs and self.form.level(ours) < self.form.level(theirs)

    def hear(self, source: Address, now_s: float) -> None:
        """Somebody is master: wait for his silence, from now on."""
        self._heard_s = now_s
        self.fresh = False
        known = self.master and family_of(self.master)
        if known is None or family_of(source) in (known, self._first_family):
            self.master = source  # of a dual-stack master the address that node.toml names it by

    def heeds_goodbye(self, source: Address, now_s: float) -> bool:
        """Whether a goodbye of `source` makes us take over now."""
        return self.state is State.BACKUP and not self._follows_another_than(source, now_s)

    def _follows_another_than(self, source: Address, now_s: float) -> bool:
        fresh = now_s - self._followed_s <= self.down_after_s
        return self.master is not None and self.master != source and fresh

    def _as_master(self, advert: carp.Advert, source: Address, now_s: float) -> list[Effect]:
        if advert.leaving:
            return self._as_successor(now_s)
        theirs, ours = Standing.of(advert), self.standing  # as the other reads them: one yields
        if self.leaving:
            return self._step_down(f"handed over to {source}", source, now_s)
        if self.mute:
            return self._yield_to(source, "is heard, and we are not", now_s)
        if theirs < ours:
            return self._yield_to(source, "is a faster master", now_s)
        if theirs == ours and self._yields_tie_to(source, now_s):
            return self._yield_to(source, "is as fast and has the lower address", now_s)
        return self._assert_against(source, now_s)

    def _as_successor(self, now_s: float) -> list[Effect]:
        """Another master leaves, and keeps its addresses until it hears a successor: let it hear
        us. Its goodbye came from the virtual MAC, perhaps after our announcement."""
        if self.leaving:
            return []
        heard_us = now_s - self._sent_s < ASSERT_EVERY_S
        return [*([] if heard_us else self.advertise(now_s)), Announce(self.key)]

    def _yields_tie_to(self, source: Address, now_s: float) -> bool:
        """Both sides compare the same pair of addresses, so exactly one of them yields. Another
        family than the first decides where the first is filtered: nothing came in it for a
        master-down interval in which the other master was heard all the time."""
        ours = self.own.get(family_of(source))
        if ours is None:
            return False
        if family_of(source) is self._first_family:
            self._tied_s = None
        else:
            first_s, last_s = self._tied_s or (now_s, now_s)
            if now_s - last_s > self.down_after_s:
                first_s = now_s
            self._tied_s = first_s, now_s
            if now_s - first_s < self.down_after_s:
                return False
        return source.packed < ours.packed

    @property
    def _first_family(self) -> Family | None:
        """The family by which nodes are compared and named: IPv4 where there is one."""
        return next((family for family in self.form.families if family in self.own), None)

    def _assert_against(self, source: Address, now_s: float) -> list[Effect]:
        """We are the better master: tell the other at once, and take the switches' and
        neighbours' tables back, which its advert has just turned to itself."""
        if now_s - self._asserted_s < ASSERT_EVERY_S:
            return [Announce(self.key)]  # it may be its last word, after which nothing else comes
        self._asserted_s = now_s
        self._announce_at_s = [now_s + after_s for after_s in ANNOUNCE_AGAIN_S]
        told: list[Effect] = [*self.advertise(now_s), Announce(self.key)]
        if now_s - self.since_s > PREEMPTED_S:
            self.rival, self._rival_s = source, now_s
            text = f"another master was heard: {source}, slower than we are"
            told.append(Note("conflict", text, self.key))
        return told

    def _yield_to(self, source: Address, why: str, now_s: float) -> list[Effect]:
        """Let go, and then say what we were: the winner, which may not have heard us before, must
        announce its addresses again, or neighbours and switches go on sending to us."""
        last_words = self.advertise(now_s)
        release, *rest = self._step_down(f"{source} {why}", source, now_s)
        return [release, *last_words, *rest]

    def _step_down(self, reason: str, to: Address | None, now_s: float) -> list[Effect]:
        self._heard_s = self._followed_s = now_s
        self.master, self._followed = to, BEST
        release: list[Effect] = [ReleaseAddresses(self.key)]
        return release + self._become(State.BACKUP, reason, now_s)

    def _become(self, state: State, reason: str, now_s: float) -> list[Effect]:
        old, self.state = self.state, state
        self.reason, self.since_s = reason, now_s
        if state is not State.MASTER:
            self.leaving, self.rival, self._tied_s = False, None, None
            self._announce_at_s = []
        if state in (State.INIT, State.DISABLED):
            self.master = None
        return [Transition(self.key, old, state, reason)]
