"""TCP windows that moved elsewhere: what this kernel must not judge by when the place comes back.

Room: service. The kernel drops as INVALID what acknowledges bytes that it has not seen, for ever;
and while another node was master, it saw none. So its check is off (`nf_conntrack_tcp_be_liberal`)
while this node is no master; as master, the entries that were here before are told to be liberal,
one by one, and the check is on again for new ones. Refuses to know who is master why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from errno import ENOENT

from carpool.errors import KernelError
from carpool.kernel.conntrack import Dump, Injector
from carpool.kernel.sysctl import Sysctls
from carpool.proto.ctloose import Loosener

SETTING = "net/netfilter/nf_conntrack_tcp_be_liberal"
AGAIN_S = 1.0  # after trouble


class Check(StrEnum):
    """The words of `carpool states`."""

    OFF = "off"  # not master: others forward
    SWEEPING = "sweeping"  # master: old entries are being told to be liberal
    ON = "on"  # as the user set it


class WindowCheck:
    """The kernel's window check on this node. Off until `be_master(True)`."""

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
        self._loosener = Loosener()
        self._dump: Dump | None = None
        self._next_s = 0.0
        self._relax()

    def be_master(self, master: bool) -> None:
        """What failover says. At once, before any packet is judged."""
        if not master:
            self._end_dump()
            self.state = Check.OFF
            self._relax()
        elif self.state is Check.OFF:
            self.state = Check.SWEEPING

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
                self._counters["window_sweeps"] += 1
            else:
                self._loosen(piece)
        except KernelError as error:
            self._end_dump()
            self._next_s = now_s + AGAIN_S
            self._tell("window", f"{error}; the TCP window check stays off until it works")

    def close(self) -> None:
        """Leave the setting as it was found."""
        self._end_dump()
        self._sysctls.restore()

    def _loosen(self, piece: list[bytes]) -> None:
        requests = [request for entry in piece if (request := self._loosener.request(entry))]
        if not requests:
            return
        refused = self._injector.inject(b"".join(requests))
        bad = sum(failure.errno != ENOENT for failure in refused)  # ENOENT: it has ended since
        self._counters["window_loosened"] += len(requests) - len(refused)
        if bad:
            self._counters["window_errors"] += bad
            self._tell(
                "window", f"{bad} entries could not be told to be liberal: {refused[0].name}"
            )

    def _relax(self) -> None:
        try:
            self._sysctls.set(SETTING, 1)
        except KernelError as error:
            self._counters["window_errors"] += 1
            self._tell("window", str(error))

    def _end_dump(self) -> None:
        if self._dump is not None:
            self._dump.close()
            self._dump = None
