"""Missing a peer that died: joins BFD sessions to the failover engine.

Room: service. Follows the configuration and the links, says what the sessions have to say, and
hands to the engine what their silences mean (machine/detect.py). Decides nothing.

Rule 1: nobody is found silent before all that came in was read: of BFD, and adverts.
Rule 2: who stood still for so long that a peer may have missed it says nothing before the engine
        has looked at that (machine/stall.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from carpool.kernel import bfdsocket
from carpool.kernel.links import LinkState
from carpool.kernel.poller import Poller
from carpool.machine import effects as fx
from carpool.machine import stall, watch
from carpool.machine.bfd import Path, PathDown, PathUp
from carpool.machine.bfdpaths import Wanted
from carpool.machine.detect import Detector
from carpool.machine.engine import Engine
from carpool.machine.teller import Teller
from carpool.model.config import Config
from carpool.proto.bfd import SessionState, diag_text
from carpool.service.bfd import BfdService, Port


class Detection:
    """See the module. `put`: hands an input to the engine; `drain`: reads all adverts that wait;
    `record`: keeps an event."""

    def __init__(
        self,
        engine: Engine,
        poller: Poller,
        now_s: Callable[[], float],
        put: Callable[[fx.Input], None],
        drain: Callable[[], None],
        record: Callable[[str], None],
    ) -> None:
        self.bfd = BfdService(poller, now_s, self._told)
        self._detector = Detector(self.bfd.paths)
        self._engine = engine
        self._now_s = now_s
        self._put = put
        self._drain = drain
        self._record = record
        self._teller = Teller()
        self._busy = False

    @property
    def deadline_s(self) -> float | None:
        times = (self.bfd.deadline_s, self._detector.deadline_s)
        return min((at_s for at_s in times if at_s is not None), default=None)

    # ------------------------------------------------------------------------------- inputs

    def follow(self, config: Config) -> None:
        """These peers, links, intervals and keys, and no others."""
        peers = watch.paths_of(config)
        self._detector.peers = peers
        self.bfd.follow([self._wanted(config, path, peer) for path, peer in peers.items()])
        self._sum_up()

    def on_link(self, state: LinkState, ready: bool) -> None:
        """A link is like this now, and the engine knows it."""
        own = state.own_addresses
        port = Port(state.interface, state.device, state.index, ready, own, state.mac)
        self.bfd.on_port(port)
        ports = self._engine.ports.values()
        self.bfd.concatenate(not all(port.ready for port in ports))
        self._sum_up()

    def on_time(self) -> None:
        """After each round of the loop."""
        self._sum_up()
        self.bfd.on_time()
        self._look(self._now_s())

    def speak(self) -> None:
        """Amid work that takes its time: what is due is said, and nobody is judged."""
        self.bfd.speak()
        self._sum_up()

    def tell_reset(self) -> None:
        """This node stood still and gave everything up."""
        self.bfd.reset()
        self._sum_up()

    def leave(self) -> None:
        """For good, and on purpose."""
        self.bfd.leave()
        self.bfd.close()
        self._engine.missed_at_s = None

    # ---------------------------------------------------------------------------- internals

    def _look(self, now_s: float) -> None:
        self._sum_up()
        if self._busy:
            return
        self._busy = True
        try:
            engine = self._engine
            advskew = engine.demotion.advskew(engine.config.node.advskew)
            found = self._detector.look(now_s, advskew)
            if found:
                self._drain()  # Rule 1
            for event in found:
                self._put(event)
        finally:
            self._busy = False

    def _sum_up(self) -> None:
        """Rule 2."""
        at_s = self.bfd.paths.missed_at_s(self._detector.peers)
        if stall.watched_until(self._engine, at_s, self._now_s()):
            self._put(fx.Tick())

    def _wanted(self, config: Config, path: Path, peer: str) -> Wanted:
        made = watch.authentication_of(config, path, peer, bfdsocket.draw())
        known = self.bfd.paths.sessions.get(path)
        before = known.authentication if known is not None else None
        if before is not None and before.receiving == made.receiving:
            if before.sending == made.sending:
                made = before  # it goes on
        return Wanted(path, watch.timing_of(config), made)

    def _told(self, effect: PathUp | PathDown) -> None:
        peer = self._detector.peers.get(effect.path, str(effect.path.peer))
        interface = effect.path.interface
        if isinstance(effect, PathDown):
            self._detector.on_down(effect)
            text = (
                f"{peer} on {interface}: down after {effect.silent_s * 1000:.0f} ms of silence, "
                f"{diag_text(effect.diag)}; its last word: {effect.remote_state.text}, "
                f"{diag_text(effect.remote_diag)}"
            )
        else:
            text = f"{peer} on {interface}: up"
        topic = type(effect), effect.path
        for note in self._teller.tell(topic, "bfd", text, self._now_s()):
            if isinstance(note, fx.Note):
                self._record(note.text)

    @property
    def counters(self) -> Mapping[str, int]:
        """Packets accepted, and refused by cause."""
        return self.bfd.paths.counters

    def status(self) -> list[dict[str, object]]:
        """Of each session, for `status`."""
        return list(self._sessions(self._now_s()))

    def _sessions(self, now_s: float) -> Iterable[dict[str, object]]:
        errors = self.bfd.errors
        for path, one in self.bfd.paths.sessions.items():
            yield {
                "peer": self._detector.peers.get(path, ""),
                "interface": path.interface,
                "address": str(path.peer),
                "up": one.state is SessionState.UP,
                "state": one.state.text,
                "word": str(one.word),
                "since_s": round(now_s - one.since_s, 3),
                "interval_ms": round(one.interval_s * 1000, 3),
                "detection_ms": round(one.detection_s * 1000, 3),
                "diag": diag_text(one.diag),
                "remote_diag": diag_text(one.remote_diag),
                "error": errors.get(path.interface) or errors.get(str(path), ""),
            }
