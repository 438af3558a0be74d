"""Joins BFD sessions to their sockets, for a process that has a loop.

Room: service. Opens and closes what the sessions need, carries packets in and out, and tells the
loop what came up or went down; decides nothing, and reads no clock but the one it was given.

The loop that holds it handles what is readable first (`Poller.run_once` does), and calls `on_time`
then: a process that was paused hears its peers before it concludes that they are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from carpool.errors import KernelError
from carpool.kernel import bfdsocket
from carpool.kernel.bfdsocket import BfdSpeaker
from carpool.kernel.bfdwire import BfdWire
from carpool.kernel.poller import Poller
from carpool.machine.bfd import BfdEffect, Path, PathDown, PathUp, SendControl
from carpool.machine.bfdpaths import BfdPaths, Wanted
from carpool.model.config import Address, Family, family_of

PACKETS_MAX = 64  # handled a round, so that a flood cannot keep the deadlines waiting


@dataclass(frozen=True, slots=True)
class Port:
    """A logical interface that sessions run on, as it is now."""

    interface: str
    device: str
    index: int  # 0: the device is gone
    ready: bool
    own: tuple[Address, ...]  # in the order of preference
    mac: bytes = b""


class BfdService:
    """See the module. `told` is called for each session that came up or went down."""

    def __init__(
        self, poller: Poller, now_s: Callable[[], float], told: Callable[[PathUp | PathDown], None]
    ) -> None:
        self.paths = BfdPaths(bfdsocket.draw, bfdsocket.chance)
        self.errors: dict[str, str] = {}  # what cannot be had now, by what it is for
        self._poller = poller
        self._now_s = now_s
        self._told = told
        self._ports: dict[str, Port] = {}
        self._wires: dict[str, BfdWire] = {}
        self._speakers: dict[Path, BfdSpeaker] = {}

    # --------------------------------------------------------------------------------- loop

    @property
    def deadline_s(self) -> float | None:
        return self.paths.deadline_s

    def on_time(self) -> None:
        """After each round of the loop."""
        due_s = self.paths.deadline_s
        if due_s is None or self._now_s() < due_s:
            return
        if self.paths.expires_by(self._now_s()):
            for interface in list(self._wires):  # it may have come meanwhile
                self._on_packets(interface)
        self._perform(self.paths.tick(self._now_s()))

    def speak(self) -> None:
        """Say what is due, and judge nobody."""
        due_s = self.paths.deadline_s
        if due_s is not None and (now_s := self._now_s()) >= due_s:
            self._perform(self.paths.speak(now_s))

    # ------------------------------------------------------------------------------- inputs

    def follow(self, wanted: Iterable[Wanted]) -> None:
        """These sessions and no others."""
        self._perform(self.paths.follow(wanted, self._now_s()))
        for path in [path for path in self._speakers if path not in self.paths.sessions]:
            self._speakers.pop(path).close()
        self._equip()

    def on_port(self, port: Port) -> None:
        """An interface is like this now; harmless when nothing has changed."""
        self._ports[port.interface] = port
        self._equip()
        self._perform(self.paths.link(port.interface, port.ready, self._now_s()))

    def close(self) -> None:
        """Without a word: `paths.leave` says goodbye, if there is one to say."""
        for interface in list(self._wires):
            self._cut(interface)
        for speaker in self._speakers.values():
            speaker.close()
        self._speakers.clear()

    def leave(self, on: bool = True) -> None:
        """Say goodbye on all paths, or come back."""
        self._perform(self.paths.leave(on, self._now_s()))

    def concatenate(self, on: bool) -> None:
        """Say that a link here is down, or that none is."""
        self._perform(self.paths.concatenated(on, self._now_s()))

    def reset(self) -> None:
        """Say that this node gave up whatever it was master of."""
        self._perform(self.paths.reset(self._now_s()))

    # ---------------------------------------------------------------------------- internals

    def _perform(self, effects: list[BfdEffect]) -> None:
        for effect in effects:
            if isinstance(effect, SendControl):
                path = effect.path
                speaker, wire = self._speakers.get(path), self._wires.get(path.interface)
                if speaker is not None and wire is not None:
                    wire.send(speaker, path.peer, effect.payload)
            else:
                self._told(effect)

    def _on_packets(self, interface: str) -> None:
        wire = self._wires.get(interface)
        for heard in wire.receive(PACKETS_MAX) if wire is not None else ():
            now_s = self._now_s()
            self._perform(
                self.paths.receive(interface, heard.source, heard.hop_limit, heard.payload, now_s)
            )

    def _equip(self) -> None:
        """Sockets for the sessions that there are, on the devices and addresses that there are."""
        self.errors.clear()
        heard: dict[str, set[Family]] = {}
        for path in self.paths.sessions:
            heard.setdefault(path.interface, set()).add(family_of(path.peer))
        for interface, wire in list(self._wires.items()):
            port = self._ports.get(interface)
            if interface not in heard or port is None or port.index != wire.index:
                self._cut(interface)
        for interface, families in heard.items():
            self._listen(interface, families)
        for path in self.paths.sessions:
            self._speak(path)

    def _listen(self, interface: str, families: set[Family]) -> None:
        port = self._ports.get(interface)
        if port is None or not port.index:
            return
        try:
            wire = self._wires.get(interface)
            if wire is None:
                wire = BfdWire(port.index, port.device, port.mac)
                self._wires[interface] = wire
                self._poller.add(wire, lambda: self._on_packets(interface))
            wire.mac = port.mac
            wire.occupy(families)
        except KernelError as error:
            self.errors[interface] = str(error)

    def _cut(self, interface: str) -> None:
        wire = self._wires.pop(interface)
        self._poller.remove(wire)
        wire.close()

    def _speak(self, path: Path) -> None:
        port = self._ports.get(path.interface)
        source = None if port is None else _source(port, path.peer)
        known = self._speakers.get(path)
        if known is not None:
            if port is not None and (known.index, known.source) == (port.index, source):
                return
            self._speakers.pop(path).close()
        if port is None or not port.index or source is None:
            return
        try:
            self._speakers[path] = BfdSpeaker(port.index, port.device, source, path.peer)
        except KernelError as error:
            self.errors[str(path)] = str(error)


def _source(port: Port, peer: Address) -> Address | None:
    """Our address that a session with this peer comes from: of its family and scope."""
    for own in port.own:
        if own.version == peer.version and own.is_link_local == peer.is_link_local:
            return own
    return None
