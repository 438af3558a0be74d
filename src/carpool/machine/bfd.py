"""One BFD session (RFC 5880, asynchronous mode, active role) as a state machine.

Room: machine. Told of packets that were found to be this session's (bfdpaths.py) and of time,
answers with effects; knows nothing of sockets, of the clock, of other sessions or of who is master.

    DOWN --Down heard--> INIT --Init or Up heard--> UP      DOWN --Init heard--> UP
    INIT, UP --silence--> DOWN      UP --Down heard--> DOWN      any --AdminDown heard--> DOWN

Rule 1: while it is not UP a session asks for no more than a packet a second (6.8.3); a packet whose
        content changed goes out at once (6.8.7).
Rule 2: intervals change by a poll sequence. Until its end the faster of both values counts where
        the other side cannot know the new one yet (6.8.3).
Rule 3: deadlines are derived from when something was sent or heard, so that a change moves them.
Rule 4: what a session knows of its peer is a `Word`. Only GONE says that a peer that was there fell
        silent; a peer that says goodbye, or says anything, is not gone.
Rule 5: an authenticated session takes a new discriminator when it falls silent (6.3 allows it): to
        a recording of its last life it does not answer, although sequence numbers begin anew then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import NamedTuple

from carpool.model.config import Address
from carpool.proto import bfd
from carpool.proto.bfd import BfdReject, Diag, Packet, SessionState

SLOW_US = 1_000_000  # 6.8.3: while not UP
FORGET_DETECTIONS = 2  # 6.8.1: of silence, and sequence numbers begin anew
HASTY_S = 0.5  # answers to packets that crossed each other would chase each other for ever
JITTER = 0.25  # 6.8.7: up to so much earlier
JITTER_LEAST_OF_ONE = 0.10  # and at least so much if the multiplier is 1

UP, INIT, DOWN, ADMIN_DOWN = (
    SessionState.UP,
    SessionState.INIT,
    SessionState.DOWN,
    SessionState.ADMIN_DOWN,
)
_CONCATENATED = (Diag.CONCATENATED_DOWN, Diag.REVERSE_CONCATENATED_DOWN)


class Path(NamedTuple):
    """Whom a session is with: a logical interface and the peer's own address there."""

    interface: str
    peer: Address

    def __str__(self) -> str:
        return f"{self.peer}@{self.interface}"


class Word(StrEnum):
    """What a session proves about its peer on this link, now."""

    ALIVE = "alive"  # it hears us, and we hear it
    HEARD = "heard"  # it runs, and the session is not up: it began anew, or does not hear us
    LEFT = "left"  # it said that it is administratively down: no proof of anything
    GONE = "gone"  # the session was up, and then there was silence
    UNKNOWN = "unknown"  # it was not up since we began, or since the peer left


@dataclass(frozen=True, slots=True)
class Timing:
    """What this end asks for while a session is up."""

    tx_us: int  # between our packets
    rx_us: int  # between the peer's
    detect_mult: int = 3  # of our packets that may be missing


@dataclass(frozen=True, slots=True)
class Authentication:
    """How a session's packets are signed (6.7)."""

    sending: bfd.Key
    receiving: tuple[bfd.Key, ...]
    first_sequence: int  # random, 32 bits
    auth_type: int = bfd.METICULOUS_SHA1


# -------------------------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class SendControl:
    """Send this to port 3784 of the path's peer, hop limit 255."""

    path: Path
    payload: bytes


@dataclass(frozen=True, slots=True)
class PathUp:
    """The session came up."""

    path: Path


@dataclass(frozen=True, slots=True)
class PathDown:
    """The session was up, and is not any more. `diag`: why, as this end knows; `remote_state` and
    `remote_diag`: the peer's last word; `silent_s`: for how long nothing had been heard."""

    path: Path
    diag: Diag
    remote_state: SessionState
    remote_diag: int
    silent_s: float


BfdEffect = SendControl | PathUp | PathDown


class Session:
    """See the module. `draw`: a random number of 32 bits that no other session has for its
    discriminator; `chance`: a random number of [0, 1)."""

    __slots__ = (
        *("_chance", "_draw", "_factor", "_heard_s", "_poll_sent", "_remote_mult"),
        *(
            "_rx_used_us",
            "_sent_s",
            "_sequence",
            "_signaled_s",
            "missed_at_s",
            "reset_s",
            "_tx_used_us",
            "_was_up",
            "authentication",
            "deadline_s",
        ),
        *(
            "concatenated",
            "diag",
            "discriminator",
            "path",
            "polling",
            "ready",
            "remote_demand",
            "remote_diag",
        ),
        *(
            "remote_discriminator",
            "remote_min_rx_us",
            "remote_min_tx_us",
            "remote_state",
            "since_s",
        ),
        *("state", "timing", "verifier"),
    )

    def __init__(
        self,
        path: Path,
        timing: Timing,
        *,
        draw: Callable[[], int],
        chance: Callable[[], float],
        now_s: float,
        authentication: Authentication | None = None,
    ) -> None:
        self.path = path
        self.timing = timing
        self.state = DOWN
        self.diag = Diag.NONE
        self.since_s = now_s
        self.ready = True  # the link can be sent on
        self.concatenated = False  # another link of ours is down: what the peer is told while UP
        self.discriminator = draw()
        self.polling = False
        self.remote_discriminator = 0
        self.remote_state = DOWN
        self.remote_diag = 0
        self.remote_demand = False
        self.remote_min_rx_us = 1  # 6.8.1
        self.remote_min_tx_us = 0
        self._remote_mult = 0
        self.verifier: bfd.Verifier | None = None
        self.authentication = authentication
        self._sequence = 0
        if authentication is not None:
            self.verifier = bfd.Verifier(authentication.receiving, authentication.auth_type)
            self._sequence = authentication.first_sequence
        self._draw = draw
        self._chance = chance
        self._poll_sent = False
        self.missed_at_s = inf  # the peer, which hears us, finds us silent if nothing more comes
        self.reset_s = -inf  # when the peer began to say that it stood still and gave up
        self._signaled_s = -inf  # when the peer's word brought the session down
        self._was_up = False
        self._tx_used_us = self.desired_min_tx_us
        self._rx_used_us = timing.rx_us
        self._heard_s = now_s
        self._sent_s = -inf  # the first one goes at once
        self._factor = 1.0
        self.deadline_s = now_s
        self._arm()

    # ------------------------------------------------------------------------------- asking

    @property
    def desired_min_tx_us(self) -> int:
        """What we tell (bfd.DesiredMinTxInterval); Rule 1."""
        return self.timing.tx_us if self.state is UP else max(self.timing.tx_us, SLOW_US)

    @property
    def interval_s(self) -> float:
        """Between our packets, before jitter (6.8.7)."""
        return max(self._tx_used_us, self.remote_min_rx_us) / 1_000_000

    @property
    def detection_s(self) -> float:
        """After so much silence the peer is gone (6.8.4); 0 before it was heard."""
        return self._remote_mult * max(self._rx_used_us, self.remote_min_tx_us) / 1_000_000

    @property
    def word(self) -> Word:
        """Rule 4."""
        if self.state is UP:
            return Word.ALIVE
        if self.remote_discriminator:
            return Word.LEFT if self.remote_state is ADMIN_DOWN else Word.HEARD
        return Word.GONE if self._was_up else Word.UNKNOWN

    @property
    def heard_s(self) -> float:
        """When the peer was heard last, or the session began."""
        return self._heard_s

    def expires_by(self, now_s: float) -> bool:
        """Whether a peer that was heard is silent for too long."""
        return self.remote_discriminator != 0 and now_s >= self._silent_at_s(1)

    @property
    def says_link_down(self) -> bool:
        """Whether the peer, which is alive here, says that another link of its is down (6.8.17)."""
        return self.state is UP and self.remote_diag in _CONCATENATED

    # ------------------------------------------------------------------------------- inputs

    def on_packet(
        self, packet: Packet, payload: bytes, now_s: float
    ) -> list[BfdEffect] | BfdReject:
        """A packet whose sender and discriminators are this session's: the rest of 6.8.6."""
        verifier = self.verifier
        if packet.authenticated:
            if verifier is None:
                return BfdReject.AUTH_UNWANTED
            refused = verifier.check(payload, packet.detect_mult)
            if refused is not None:
                return refused
        elif verifier is not None:
            return BfdReject.AUTH_MISSING
        if packet.diag == Diag.FORWARDING_RESET != self.remote_diag:
            self.reset_s = now_s
        self._learn(packet)
        if self.state is ADMIN_DOWN:
            self._heard_s = now_s  # or the window of its sequence numbers would be forgotten
            self._arm()
            return BfdReject.ADMIN_DOWN
        silent_s, self._heard_s = now_s - self._heard_s, now_s
        done = self._follow(packet.state, silent_s, now_s)
        if packet.poll:
            done.append(self._send(now_s, final=True))
        self._arm()
        return done

    def speak(self, now_s: float) -> list[BfdEffect]:
        """Send what may go by now, and judge nobody."""
        if now_s < self.early_s:
            return []
        done: list[BfdEffect] = [self._send(now_s)]
        self._arm()
        return done

    def excuse(self, due_s: float, now_s: float) -> None:
        """We stood still since `due_s`: that is nobody's silence, as far as it was not heard."""
        if self._heard_s < due_s:
            self._heard_s = min(now_s, self._heard_s + now_s - due_s)
            self._arm()

    def reset(self, now_s: float, diag: Diag = Diag.FORWARDING_RESET) -> list[BfdEffect]:
        """This node gave up what it forwarded: the peer is told, and the session begins anew."""
        if self.state is not UP:
            return []
        silent_s = now_s - self._heard_s
        self._was_up = False
        self._enter(DOWN, diag, now_s)
        done = [*self._tell(now_s), self._down(silent_s)]
        self._arm()
        return done

    def on_tick(self, now_s: float, *, early: bool = False) -> list[BfdEffect]:
        """Do what is due. What came in is to be handled first. `early`: and send what jitter would
        let go by now."""
        done: list[BfdEffect] = []
        if self.expires_by(now_s):
            self.remote_discriminator = 0  # 6.8.1
            self.remote_demand = False
            if self.state in (INIT, UP):
                done += self._go_down(Diag.EXPIRED, now_s - self._heard_s, now_s)
        verifier = self.verifier
        if verifier is not None and verifier.known:
            if now_s >= self._silent_at_s(FORGET_DETECTIONS):
                verifier.forget()
        if now_s >= (self.early_s if early else self._send_at_s()):
            done.append(self._send(now_s))
        self._arm()
        return done

    def on_link(self, ready: bool, now_s: float) -> list[BfdEffect]:
        """The interface can be used, or not: the path is known to be down without waiting."""
        if ready == self.ready:
            return []
        self.ready = ready
        done: list[BfdEffect] = []
        if not ready:
            self.remote_discriminator = 0
            self._was_up = False  # our own end is no proof about the peer's
            if self.state in (INIT, UP):
                done = self._go_down(Diag.PATH_DOWN, now_s - self._heard_s, now_s)
            if self.state is not ADMIN_DOWN:
                self.diag = Diag.PATH_DOWN
        self._sent_s = -inf
        self._arm()
        return done

    def set_admin_down(self, on: bool, now_s: float) -> list[BfdEffect]:
        """Say goodbye, so that the peer concludes nothing from silence (6.8.16), or begin anew."""
        if on == (self.state is ADMIN_DOWN):
            return []
        was_up = self.state is UP
        self._was_up = False
        self._enter(ADMIN_DOWN if on else DOWN, Diag.ADMIN_DOWN if on else self.diag, now_s)
        done = self._tell(now_s)
        if was_up:
            silent_s = now_s - self._heard_s
            done.append(self._down(silent_s))
        self._arm()
        return done

    def set_concatenated(self, on: bool, now_s: float) -> list[BfdEffect]:
        """Another link of this node is down, or is not any more: the session stays up and says so
        (6.8.17)."""
        if on == self.concatenated:
            return []
        self.concatenated = on
        if self.state is not UP:
            return []
        self.diag = self._up_diag
        done = self._tell(now_s)
        self._arm()
        return done

    def change(self, timing: Timing, now_s: float) -> list[BfdEffect]:
        """Other intervals or another multiplier, from now on; Rule 2."""
        if timing == self.timing:
            return []
        before = self.desired_min_tx_us, self.timing.rx_us
        self.timing = timing
        if before != (self.desired_min_tx_us, timing.rx_us):
            self._poll()
        done = self._tell(now_s)
        self._arm()
        return done

    # ---------------------------------------------------------------------------- internals

    @property
    def _up_diag(self) -> Diag:
        return Diag.CONCATENATED_DOWN if self.concatenated else Diag.NONE

    def _learn(self, packet: Packet) -> None:
        self.remote_discriminator = packet.my_discriminator
        self.remote_state = packet.state
        self.remote_diag = packet.diag
        self.remote_demand = packet.demand
        self.remote_min_rx_us = packet.required_min_rx_us
        if packet.final and self.polling and self._poll_sent:
            self.polling = False
            self._tx_used_us, self._rx_used_us = self.desired_min_tx_us, self.timing.rx_us
        self.remote_min_tx_us = packet.desired_min_tx_us
        self._remote_mult = packet.detect_mult

    def _follow(self, remote: SessionState, silent_s: float, now_s: float) -> list[BfdEffect]:
        """The table of 6.8.6."""
        if remote is ADMIN_DOWN:
            self._was_up = False
            return [] if self.state is DOWN else self._go_down(Diag.SIGNALED, silent_s, now_s)
        if self.state is DOWN and remote is DOWN:
            self._enter(INIT, self.diag, now_s)
            return self._tell(now_s)
        if (self.state, remote) in ((DOWN, INIT), (INIT, INIT), (INIT, UP)):
            self._was_up = True
            self._enter(UP, self._up_diag, now_s)
            return [*self._tell(now_s), PathUp(self.path)]
        if self.state is UP and remote is DOWN:
            return self._go_down(Diag.SIGNALED, silent_s, now_s)
        return []

    def _go_down(self, diag: Diag, silent_s: float, now_s: float) -> list[BfdEffect]:
        was_up = self.state is UP
        self._enter(DOWN, diag, now_s)
        if self.authentication is not None and diag is not Diag.SIGNALED:
            self.discriminator = self._draw()  # Rule 5
        hasty = False
        if diag is Diag.SIGNALED:
            hasty, self._signaled_s = now_s - self._signaled_s < HASTY_S, now_s
        done = [] if hasty else self._tell(now_s)
        return [*done, self._down(silent_s)] if was_up else done

    def _down(self, silent_s: float) -> PathDown:
        return PathDown(self.path, self.diag, self.remote_state, self.remote_diag, silent_s)

    def _enter(self, state: SessionState, diag: Diag, now_s: float) -> None:
        before_us = self.desired_min_tx_us
        self.state, self.diag, self.since_s = state, diag, now_s
        if self.desired_min_tx_us != before_us:
            self._poll()

    def _poll(self) -> None:
        """Begin a poll sequence, or begin it anew; Rule 2."""
        self.polling, self._poll_sent = True, False
        up = self.state is UP
        if not up or self.desired_min_tx_us < self._tx_used_us:
            self._tx_used_us = self.desired_min_tx_us
        if not up or self.timing.rx_us > self._rx_used_us:
            self._rx_used_us = self.timing.rx_us

    def _tell(self, now_s: float) -> list[BfdEffect]:
        """Rule 1: the content changed."""
        return [self._send(now_s)] if self._may_send() else []

    def _may_send(self) -> bool:
        if not self.ready or self.remote_min_rx_us == 0:
            return False
        silenced = self.remote_demand and self.state is UP and self.remote_state is UP
        return self.polling or not silenced

    def _send(self, now_s: float, *, final: bool = False) -> SendControl:
        """A packet of 6.8.7; one that answers a poll does not count as one of the periodic ones."""
        poll = self.polling and not final
        packet = Packet(
            self.state,
            self.diag,
            self.timing.detect_mult,
            self.discriminator,
            self.remote_discriminator,
            self.desired_min_tx_us,
            self.timing.rx_us,
            poll=poll,
            final=final,
        )
        if not final:
            self.missed_at_s = now_s + self.timing.detect_mult * self.interval_s
            self._poll_sent = self._poll_sent or poll
            self._sent_s = now_s
            single = self.timing.detect_mult == 1
            least = JITTER_LEAST_OF_ONE if single else 0.0
            self._factor = 1.0 - least - (JITTER - least) * self._chance()
        authentication = self.authentication
        if authentication is None:
            return SendControl(self.path, bfd.build(packet))
        key, kind = authentication.sending, authentication.auth_type
        self._sequence = (self._sequence + 1) % bfd.SEQUENCES
        return SendControl(self.path, bfd.build(packet, key, self._sequence, kind))

    def _send_at_s(self) -> float:
        return self._sent_s + self._factor * self.interval_s if self._may_send() else inf

    @property
    def early_s(self) -> float:
        """When the next packet may go at the earliest."""
        return self._sent_s + (1.0 - JITTER) * self.interval_s if self._may_send() else inf

    def _silent_at_s(self, detections: int) -> float:
        return self._heard_s + detections * self.detection_s

    def _arm(self) -> None:
        """When `on_tick` is due next; infinity: only an input can change anything."""
        due_s = self._send_at_s()
        if self.remote_discriminator:
            due_s = min(due_s, self._silent_at_s(1))
        elif self.verifier is not None and self.verifier.known:
            due_s = min(due_s, self._silent_at_s(FORGET_DETECTIONS))
        self.deadline_s = due_s
