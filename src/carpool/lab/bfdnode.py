"""A process with BFD sessions and nothing else: `python -m carpool.lab.bfdnode JSON`, in a network
namespace, for benchmarks and tests beside other implementations.

Room: lab. What the JSON asks for is `Asked`. Each session that comes up or goes down is a line of
JSON on stdout; lines on stdin are commands: `status`, `leave`, `back`, `timing US`, and the end of
stdin is a death without a word.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from carpool.kernel import bfdsocket
from carpool.kernel.clock import monotonic_s
from carpool.kernel.links import LinkMonitor
from carpool.kernel.poller import Poller
from carpool.kernel.realtime import be_realtime
from carpool.machine.bfd import Authentication, Path, PathDown, PathUp, Timing
from carpool.machine.bfdpaths import Wanted
from carpool.proto import bfd
from carpool.service.bfd import BfdService, Port

COMMAND_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """What such a process is to do."""

    devices: Mapping[str, str]  # by logical interface
    peers: tuple[tuple[str, str], ...]  # logical interface, address
    interval_us: int = 50_000
    detect_mult: int = 3
    sending: tuple[int, str] | None = None  # an authentication key: its number, and itself
    receiving: tuple[int, str] | None = None
    realtime: bool = True


class Node:
    """The process."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.poller = Poller()
        self.ended = False
        self.service = BfdService(self.poller, monotonic_s, _told)
        self.links = LinkMonitor(dict(asked.devices))
        self.poller.add(self.links, self._on_links)
        self.poller.add(sys.stdin, self._on_command)
        self._follow(Timing(asked.interval_us, asked.interval_us, asked.detect_mult))
        for state in self.links.current():
            self._on_link(state.interface)

    def run(self) -> None:
        while not self.ended:
            self.poller.run_once(self.service.deadline_s)
            self.service.on_time()

    def _follow(self, timing: Timing) -> None:
        self.service.follow(
            Wanted(Path(interface, ip_address(address)), timing, self._authentication(number))
            for number, (interface, address) in enumerate(self.asked.peers)
        )

    def _authentication(self, number: int) -> Authentication | None:
        sending, receiving = self.asked.sending, self.asked.receiving
        if sending is None or receiving is None:
            return None
        known = list(self.service.paths.sessions.values())
        if known:
            return known[number].authentication
        keys = [bfd.Key(key[0], key[1].encode()) for key in (sending, receiving)]
        return Authentication(keys[0], (keys[1],), bfdsocket.draw())

    def _on_links(self) -> None:
        for state in self.links.read():
            self._on_link(state.interface)

    def _on_link(self, interface: str) -> None:
        state = next(one for one in self.links.current() if one.interface == interface)
        ready = state.up and state.carrier
        own = state.own_addresses
        port = Port(interface, state.device, state.index, ready, own, state.mac)
        self.service.on_port(port)

    def _on_command(self) -> None:
        lines = os.read(sys.stdin.fileno(), COMMAND_MAX_BYTES).decode().splitlines()
        self.ended = not lines
        for line in lines:
            match line.split():
                case ["status"]:
                    _say(self._status())
                case ["leave"]:
                    self.service.leave()
                case ["back"]:
                    self.service.leave(False)
                case ["timing", us]:
                    self._follow(Timing(int(us), int(us), self.asked.detect_mult))
                case _:
                    _say({"error": f"unknown command {line!r}"})

    def _status(self) -> dict[str, object]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "counters": self.service.paths.counters,
            "errors": self.service.errors,
            "cpu_s": used.ru_utime + used.ru_stime,
            "sessions": {
                str(path): {
                    "state": one.state.text,
                    "word": one.word,
                    "interval_ms": one.interval_s * 1000,
                    "detection_ms": one.detection_s * 1000,
                    "polling": one.polling,
                }
                for path, one in self.service.paths.sessions.items()
            },
        }


def _told(effect: PathUp | PathDown) -> None:
    told: dict[str, object] = {"at_s": monotonic_s(), "path": str(effect.path), "up": True}
    if isinstance(effect, PathDown):
        told |= {
            "up": False,
            "diag": bfd.diag_text(effect.diag),
            "remote_state": effect.remote_state.text,
            "remote_diag": bfd.diag_text(effect.remote_diag),
            "silent_ms": effect.silent_s * 1000,
        }
    _say(told)


def _say(told: object) -> None:
    print(json.dumps(told), flush=True)


def main() -> None:
    asked = Asked(**json.loads(sys.argv[1]))
    node = Node(asked)
    if asked.realtime:
        for refused in be_realtime():
            print(refused, file=sys.stderr)
    gc.freeze()
    gc.disable()  # nothing here is a cycle
    node.run()


if __name__ == "__main__":
    main()
