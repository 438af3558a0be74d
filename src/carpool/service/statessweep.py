"""A new master puts the entries in order that were here before: TCP windows, and timeouts.

Room: service. The kernel drops as INVALID what acknowledges bytes that it has not seen, for ever;
and while another node was master, it saw none. So its check is off (`nf_conntrack_tcp_be_liberal`)
while this node is no master, or not the only one: after a split brain the survivor has not seen
what went through the other. As master, one walk over the table tells old TCP entries to be liberal
and gives the others their protocol's timeouts (`proto/ctsweep.py`); then the check is on again.
Refuses to know who is master why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from errno import ENOENT

from carpool.errors import KernelError
from carpool.kernel import sysctl
from carpool.kernel.conntrack import Dump, Injector
from carpool.kernel.sysctl import Sysctls
from carpool.proto.ctsweep import Sweeper, Timeouts

SETTING = "net/netfilter/nf_conntrack_tcp_be_liberal"
AGAIN_S = 1.0  # after trouble
# The kernel's settings by protocol: nf_conntrack-sysctl.rst. Those that are not here (SCTP, DCCP)
# have too many states.
_TIMEOUTS = {
    6: ("tcp_timeout_established", "tcp_timeout_established"),
    1: ("icmp_timeout", "icmp_timeout"),
    17: ("udp_timeout", "udp_timeout_stream"),
    47: ("gre_timeout", "gre_timeout_stream"),
    58: ("icmpv6_timeout", "icmpv6_timeout"),
}


class Check(StrEnum):
    """The words of `window_check` in the status."""

    OFF = "off"  # not master, or not alone: others forward
    SWEEPING = "sweeping"  # master: old entries are being told to be liberal
    ON = "on"  # as the user set it


def _timeouts() -> Timeouts:
    """As the user has set them, in seconds."""
    found = {
        protocol: [sysctl.read(f"net/netfilter/nf_conntrack_{name}") for name in names]
        for protocol, names in _TIMEOUTS.items()
    }
    return {
        protocol: (fresh_s, assured_s)
        for protocol, (fresh_s, assured_s) in found.items()
        if fresh_s and assured_s
    }


class Sweep:
    """The walk, and the window check until its end. Off until `be_master(True)`."""

    def __init__(
        self,
        sysctls: Sysctls,
        injector: Injector,
        counters: Counter[str],
        tell: Callable[[str, str], None],
    ) -> None:
        self.state = Check.OFF
        self._sysctls = sysctls
        self._injector = injector
        self._counters = counters
        self._tell = tell
        self._sweeper = Sweeper({})
        self._dump: Dump | None = None
        self._next_s = 0.0
        self._relax()

    def be_master(self, master: bool) -> None:
        """Whether this node is, and alone. At once, before any packet is judged."""
        if not master:
            self._end_dump()
            self.state = Check.OFF
            self._relax()
        elif self.state is Check.OFF:
            self.state = Check.SWEEPING
            self._sweeper = Sweeper(_timeouts())

    @property
    def deadline_s(self) -> float | None:
        """When `step` has something to do."""
        return self._next_s if self.state is Check.SWEEPING else None

    def step(self, now_s: float) -> None:
        """Look at one piece of the table."""
        if self.state is not Check.SWEEPING or now_s < self._next_s:
            return
        try:
            if self._dump is None:
                self._dump = Dump()
            piece = self._dump.read()
            if piece is None:
                self._end_dump()
                self._sysctls.restore()
                self.state = Check.ON
                self._counters["sweeps"] += 1
            else:
                self._change(piece)
        except KernelError as error:
            self._end_dump()
            self._next_s = now_s + AGAIN_S
            self._tell("window", f"{error}; the TCP window check stays off until it works")

    def close(self) -> None:
        """Leave the setting as it was found."""
        self._end_dump()
        self._sysctls.restore()

    def _change(self, piece: list[bytes]) -> None:
        requests = [request for entry in piece if (request := self._sweeper.request(entry))]
        if not requests:
            return
        refused = self._injector.inject(b"".join(requests))
        bad = [failure for failure in refused if failure.errno != ENOENT]  # it has ended since
        self._counters["swept"] += len(requests) - len(refused)
        if bad:
            self._counters["sweep_errors"] += len(bad)
            self._tell(
                "window",
                f"{len(bad)} entries could not be put in order ({bad[0].name}): their packets may"
                " be INVALID to the rules until they end",
            )

    def _relax(self) -> None:
        try:
            self._sysctls.set(SETTING, 1)
        except KernelError as error:
            self._counters["sweep_errors"] += 1
            self._tell("window", str(error))

    def _end_dump(self) -> None:
        if self._dump is not None:
            self._dump.close()
            self._dump = None
