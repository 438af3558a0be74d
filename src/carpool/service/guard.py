"""The guard: the parent of the failover worker, which starts it again within milliseconds.

Room: service. The addresses of a dead worker stay in the kernel for up to three seconds, and the
kernel goes on forwarding. A worker that starts and finds them takes them on and hands them to a
peer at once (engine input `Adopt`), or keeps them when there is none: so a kill costs neither the
master-down interval nor the gateway. The worker in turn stops gracefully when the guard dies. This
file does nothing else: what does little breaks seldom.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

from carpool.kernel.journal import say
from carpool.kernel.process import Death, Worker

RESTARTS_MAX = 5  # within RESTART_WINDOW_S; then we give up, and systemd or a person decides
RESTART_WINDOW_S = 60.0
STOP_WAIT_S = 5.0  # a worker that does not stop by then is hung


def guard(main: Callable[..., int], now_s: Callable[[], float]) -> int:
    """Run `main(parent_fd, again=...)` in a child until it stops cleanly or we are told to.
    `again`: in place of one that died. Returns the exit code."""
    deaths_s: list[float] = []
    again = False
    while True:
        worker = Worker(partial(main, again=again))
        again = True
        event = worker.wait()
        while event is None:
            event = worker.wait()
        if isinstance(event, signal.Signals):
            return _stop(worker)
        if event.clean:
            return 0
        deaths_s = [at_s for at_s in deaths_s if now_s() - at_s < RESTART_WINDOW_S] + [now_s()]
        if len(deaths_s) > RESTARTS_MAX:
            say(f"failover: {event.text}; {len(deaths_s)} deaths within a minute: giving up")
            return 1
        say(f"failover: {event.text}; starting it again")


def _stop(worker: Worker) -> int:
    """Ask the worker to leave gracefully; end it when it hangs."""
    worker.kill(signal.SIGTERM)
    event = worker.wait(STOP_WAIT_S)
    while isinstance(event, signal.Signals):  # told twice
        event = worker.wait(STOP_WAIT_S)
    if isinstance(event, Death):
        return 0 if event.clean else 1
    say(f"failover: did not stop within {STOP_WAIT_S:g} s; killed")
    worker.kill(signal.SIGKILL)
    while not isinstance(worker.wait(), Death):
        pass
    return 1
