"""How fast carpool's receiving half takes entries: its own code, fed as fast as it can read.

Room: lab. A process of its own in the backup's namespace, as `carpool run states` is; frames come
from a child over TCP on loopback, made beforehand from the master's table.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s
from carpool.kernel.conntrack import Dump, Injector
from carpool.kernel.poller import Poller
from carpool.kernel.stream import Stream
from carpool.lab.statesbench.stage import BACKUP, MASTER, Stage
from carpool.lab.statesbench.table import inside
from carpool.proto import ctmessage as ct
from carpool.proto import statestream as ss
from carpool.proto.ctpatch import Patcher
from carpool.service.statesflow import Inflow
from carpool.service.stateslabels import Labels

WAIT_S = 60.0


def injection(stage: Stage, count: int) -> float:
    """Entries a second, of `count`."""
    stage.fill(MASTER, count)
    namespaces = stage.namespace(MASTER), stage.namespace(BACKUP)
    argv = [sys.executable, "-m", __spec__.name, *namespaces]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=2 * WAIT_S, check=False)
    if done.returncode != 0:
        raise CarpoolError(f"the injection failed: {done.stderr.strip()[-500:]}")
    found = json.loads(done.stdout)
    if abs(found["injected"] - count) > count / 1000 or found["errors"]:
        raise CarpoolError(f"injected {found['injected']} of {count}: {found['errors']} errors")
    rate: float = found["injected"] / found["seconds"]
    return rate


@dataclass(slots=True)
class _Link:
    """The peer, as far as the flow of entries goes."""

    name: str = "bench"
    up: bool = True
    received: int = 0
    injected: int = 0
    errors: int = 0
    queued_bytes: int = 0

    def bulk_begins(self, entries: int) -> None:
        pass

    def bulk_ends(self) -> None:
        pass

    def send(self, frame: bytes, requests: int = 0) -> None:
        """Nothing is sent in this direction."""


def main(master: str, backup: str) -> int:
    frames = _frames(master)
    with inside(backup):
        ours, theirs = _pair()
        injector = Injector()
    child = os.fork()
    if child == 0:
        ours.close()
        theirs.sendall(frames)
        os._exit(0)
    theirs.close()
    del frames
    link, errors, seconds = _take(ours, injector)
    os.waitpid(child, 0)
    print(json.dumps({"injected": link.injected, "errors": errors, "seconds": seconds}))
    return 0


def _frames(namespace: str) -> bytes:
    """All of the master's table as the frames of a bulk."""
    patcher = Patcher(ct.Rules(every=False, local=frozenset(), own=frozenset()))
    with inside(namespace):
        dump = Dump()
    frames: list[bytes] = []
    batch: list[bytes] = []
    size = 0
    while (piece := dump.read()) is not None:
        for request in filter(None, map(patcher.request, piece)):
            if size + len(request) > ss.EVENTS_MAX_BYTES:
                frames.append(ss.build(ss.Kind.EVENTS, b"".join(batch)))
                batch, size = [], 0
            batch.append(request)
            size += len(request)
    dump.close()
    return b"".join([*frames, ss.build(ss.Kind.EVENTS, b"".join(batch))])


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _name = listener.accept()
    return ours, theirs


def _take(sock: socket.socket, injector: Injector) -> tuple[_Link, dict[str, str], float]:
    """Read until the other end closes; what went wrong, and how long it took."""
    link, errors, parser, poller = _Link(), dict[str, str](), ss.Parser(), Poller()
    labels = Labels(Counter(), errors.__setitem__)
    inflow = Inflow(injector, Counter(), errors.__setitem__, labels.translate)
    parser.trust()
    over: list[str] = []

    def on_data(data: bytes) -> None:
        parser.feed(data)
        while (frame := parser.next()) is not None:
            assert isinstance(frame, ss.Frame)
            refused = inflow.take(link, frame.payload)
            if refused is not None:
                errors["refused"] = refused

    Stream(sock, poller, on_data, over.append)
    gc.freeze()
    begun_s = monotonic_s()
    while not over and monotonic_s() < begun_s + WAIT_S:
        poller.run_once(begun_s + WAIT_S)
    seconds = monotonic_s() - begun_s
    inflow.close()
    poller.close()
    return link, errors, seconds


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
