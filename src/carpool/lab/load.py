"""The traffic of a lab from the drill's side: started, waited for, marked, brought home.

Room: lab. Owns the traffic processes; refuses to know what broke.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab.channel import Child, Report, close_all
from carpool.lab.probe import ON_THE_WAY_S, STATS_S
from carpool.lab.topology import SERVER_IPV4, SERVER_IPV6, Network

FLOW_WAIT_S = 15.0
STATS_SPAN_S = STATS_S + ON_THE_WAY_S + 0.03  # how far back a report of the probe may reach
RESULT_WAIT_S = 5.0  # beyond the moment at which the processes give their results by themselves
POLL_S = 0.01


class Load:
    """Probes of both families and TCP streams through the firewalls; use as a context manager."""

    def __init__(self, network: Network, connections: int) -> None:
        self.connections = connections
        self.children: list[Child] = []
        client, server = network.namespace("client"), network.namespace("server")
        ipv4, ipv6 = str(SERVER_IPV4), str(SERVER_IPV6)
        try:
            echoes = [
                self._start(server, "udp-echo", ipv4),
                self._start(server, "udp-echo", ipv6),
                self._start(server, "tcp-echo", ipv4),
                self._start(server, "tcp-echo", ipv6),
            ]
            self._wait(lambda: all(echo.latest for echo in echoes), "echo servers are ready")
            self.probe = self._start(client, "probe", ipv4)
            self.probe6 = self._start(client, "probe", ipv6, "--every-ms", "5")
            count = str(connections)
            self.streams = self._start(client, "streams", ipv4, ipv6, "--connections", count)
        except BaseException:
            close_all(self.children)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        close_all(self.children)

    def _start(self, namespace: str, role: str, *options: str) -> Child:
        child = Child(namespace, role, *options)
        self.children.append(child)
        return child

    # ---------------------------------------------------------------------------- watching

    def refresh(self) -> None:
        """Take in the newest figures of all; CarpoolError when a traffic process has died."""
        for child in self.children:
            child.read()

    def probes_flow(self, since_s: float = 0.0) -> bool:
        """Whether probes of both families come back, by figures that are from after `since_s`."""
        return all(
            probe.latest.get("sent")
            and probe.latest["answered"] >= probe.latest["sent"] * 0.9
            and probe.latest["at_s"] > since_s + STATS_SPAN_S
            for probe in (self.probe, self.probe6)
        )

    @property
    def flows(self) -> bool:
        """Whether probes come back and every connection is alive."""
        streams = self.streams.latest
        open_ = streams.get("steady", 0) >= self.connections
        return self.probes_flow() and open_ and streams["alive"] == streams["open"]

    def wait_flowing(self, pause: Callable[[float], None] = sleep_s) -> None:
        self._wait(lambda: self.flows, "traffic flows in both families", pause)

    def _wait(
        self, condition: Callable[[], bool], what: str, pause: Callable[[float], None] = sleep_s
    ) -> None:
        deadline_s = monotonic_s() + FLOW_WAIT_S
        self.refresh()
        while not condition():
            if monotonic_s() > deadline_s:
                latest = {child.role: child.latest for child in self.children}
                raise CarpoolError(f"not within {FLOW_WAIT_S:.0f} s: {what}; last seen: {latest}")
            pause(POLL_S)
            self.refresh()

    # ----------------------------------------------------------------------------- the run

    def open_young(self) -> None:
        """From now on open a connection every few milliseconds, until the fault is told."""
        self.streams.send("young")

    def fault(self, at_s: float) -> None:
        """The state of the connections at that moment is what has to survive."""
        self.streams.send("fault", at_s=at_s)

    def measure(
        self, since_s: float, fault_s: float, deadline_s: float, pause: Callable[[float], None]
    ) -> Report:
        """What became of everything; connections have until `deadline_s` to show that they live.

        The traffic goes on. `since_s` is when it began to flow undisturbed.
        """
        self.streams.send("measure", deadline_s=deadline_s)
        streams = self._result(self.streams, deadline_s + RESULT_WAIT_S, pause)
        self.connections = streams["connections"]["survived"]  # the dead are buried
        return {**self.measure_probes(since_s, fault_s, pause), **streams}

    def measure_probes(
        self, since_s: float, fault_s: float, pause: Callable[[float], None]
    ) -> Report:
        """As `measure`, whatever becomes of the connections."""
        for probe in (self.probe, self.probe6):
            probe.send("measure", since_s=since_s, fault_s=fault_s)
        until_s = monotonic_s() + RESULT_WAIT_S
        ipv4, ipv6 = (self._result(probe, until_s, pause) for probe in (self.probe, self.probe6))
        return {**ipv4, "ipv6": ipv6}

    def _result(self, child: Child, deadline_s: float, pause: Callable[[float], None]) -> Report:
        while True:
            result = child.result()
            if result is not None:
                return result
            if monotonic_s() > deadline_s:
                raise CarpoolError(f"the traffic process `{child.role}` gave no result in time")
            pause(POLL_S)
