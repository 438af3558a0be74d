"""The connection table of a namespace, seen from outside: how many entries, and which.

Room: lab. The sockets are made inside the namespace and used from here. Refuses to know who put the
entries there.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from carpool.errors import KernelError
from carpool.kernel.conntrack import Dump
from carpool.kernel.netlink import NETLINK_NETFILTER, NetlinkSocket, Request
from carpool.lab import shell
from carpool.lab.topology import HOST_NUMBER, LAN
from carpool.proto import ctmessage as ct
from carpool.proto import netlink as nl

_GET_STATS = 0x0105  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS
_GLOBAL_ENTRIES = 1  # CTA_STATS_GLOBAL_ENTRIES
_STATUS_TYPE = 3  # CTA_STATUS
_ASSURED = 0x4  # IPS_ASSURED, nf_conntrack_common.h
_SOURCE = slice(ct.BODY_AT + 12, ct.BODY_AT + 16)  # behind the headers of tuple, IP and address
_CLIENT = LAN.ipv4(HOST_NUMBER).ip.packed
_LENGTH = struct.Struct("=H")


class Table:
    """One namespace's. Counting costs microseconds, so it can be done while something runs."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        with inside(namespace):
            self._netlink = NetlinkSocket(NETLINK_NETFILTER, strict=False)

    def close(self) -> None:
        self._netlink.close()

    def count(self) -> int:
        """Entries, of whatever kind."""
        question = nl.message(_GET_STATS, nl.NLM_F_REQUEST, 0, bytes(4))
        (answer,) = self._netlink.ask(Request("count entries", question))
        (entries,) = struct.unpack(">I", nl.attributes(answer.body, 4)[_GLOBAL_ENTRIES])
        return int(entries)

    def flows(self, *, assured: bool) -> set[bytes]:
        """The original tuple, as the kernel writes it, of every entry that the client made; with
        `assured`, of those alone."""
        found: set[bytes] = set()
        with inside(self._namespace):
            dump = Dump()
        try:
            while (piece := dump.read()) is not None:
                for message in piece:
                    (length,) = _LENGTH.unpack_from(message, ct.BODY_AT)
                    if message[_SOURCE] == _CLIENT and (not assured or _is_assured(message)):
                        found.add(message[ct.BODY_AT : ct.BODY_AT + length])
        finally:
            dump.close()
        return found

    def expire(self) -> None:
        """Walk over all: the kernel ends what has run out when it meets it."""
        self.flows(assured=False)

    def flush(self) -> None:
        """Remove everything, and tell nobody but those who listen."""
        shell.run(shell.inside(self._namespace, ["conntrack", "-F"]))


def _is_assured(message: bytes) -> bool:
    status = nl.attributes(message, ct.BODY_AT).get(_STATUS_TYPE, b"")
    return bool(int.from_bytes(status, "big") & _ASSURED)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread in another network namespace: sockets made here stay there (setns(2))."""
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        theirs = os.open(shell.NETNS_DIR / namespace, os.O_RDONLY)
        try:
            _enter(theirs)
        finally:
            os.close(theirs)
        try:
            yield
        finally:
            _enter(ours)
    finally:
        os.close(ours)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, 0):
        raise KernelError(f"enter a network namespace: {os.strerror(ctypes.get_errno())}")
