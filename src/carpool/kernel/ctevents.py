"""Conntrack events: which ones the kernel makes (an nft table), and the socket they come on.

Room: kernel. Hands over each event's bytes as they are; refuses to know what they mean. Nothing is
lost silently: `overflows` counts the times when the socket's buffer was full.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress

from carpool.errors import KernelError
from carpool.kernel import sysctl
from carpool.kernel.netlink import NETLINK_NETFILTER, NetlinkSocket, Request
from carpool.kernel.sysctl import Sysctls
from carpool.proto import netlink as nl
from carpool.proto.ctexclude import MarkFilter
from carpool.proto.ctfilter import event_filter

TABLE = "carpool_states"
RECEIVE_BUFFER_BYTES = 64 * 1024 * 1024  # some 80,000 events; taken only when they wait
EVENT_MAX_BYTES = 8192  # the largest event (labels, a helper, an LSM context) has some 500
NFT_TIMEOUT_S = 10.0

# NFNLGRP_CONNTRACK_NEW, _UPDATE, _DESTROY, _EXP_NEW, _EXP_DESTROY of linux/netfilter/nfnetlink.h
_GROUPS = (1, 2, 3, 4, 6)
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NETLINK_DROP_MEMBERSHIP = 270, 1, 2
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_NFT_GETTABLE, _NFTA_TABLE_NAME = 0x0A01, 1  # NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE
_NFPROTO_INET = 1
ALL_EVENTS = "net/netfilter/nf_conntrack_events"

# What ends a flow's life, and what makes it worth keeping. Those who never get "assured" (ICMP and
# protocols that the kernel knows nothing of) are worth it with the first answer. An expected
# connection (FTP data) is "related" in its first packet, and an error about a flow is so too: the
# flow's own protocol decides, so such a packet sets the mask that is there already. SCTP and DCCP
# are nothing without their tags and numbers, which come with "protoinfo". Newer kernels know
# nothing of DCCP: there the first answer must do.
_LASTING = "{ tcp, udp, udplite, gre }"


def _masks(*, every: bool, labels: bool) -> str:
    """Rules for new flows. Where labels are in use, what changes them is an event too."""
    first = "new,related,reply," if every else ""
    ends = "destroy,label" if labels else "destroy"
    other = f"{first}assured" if every else "reply"
    both = first or "reply,"
    return f"""
    ct state new,related ct protocol sctp ct event set {first}assured,protoinfo,{ends} return
    ct state new,related ct protocol dccp ct event set {both}assured,protoinfo,{ends} return
    ct state new,related ct protocol {_LASTING} ct event set {first}assured,{ends} return
    ct state new,related ct event set {other},{ends}"""


def ruleset(*, every: bool, exclusions: Iterable[str] = (), labels: bool = False) -> str:
    """The table for `nft -f -`: replaces an earlier one in the same step.

    The mask is set on the first packet of a flow. What goes through this node has its events; what
    ends here (ssh to the node, the stream of states itself, CARP, loopback) gets a mask without
    any. What is excluded is known last, after all translation and marking (`ctexclude.rules`).
    Nothing is accepted or dropped here.
    """
    masks = _masks(every=every, labels=labels)
    rules = "".join(f"\n    {rule}" for rule in exclusions)
    last = f"""chain excluded {{
    type filter hook postrouting priority 300; policy accept;{rules}
  }}"""
    return f"""
table inet {TABLE} {{ }}
delete table inet {TABLE}
table inet {TABLE} {{
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;{masks}
  }}
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    ct state new,related ct event set 0
  }}
  chain output {{
    type filter hook output priority filter - 10; policy accept;
    ct state new,related ct event set 0
  }}
  {last if rules else ""}
}}
"""


class EventMask:
    """The table `inet carpool_states`. `flush ruleset` of somebody else removes it: look again."""

    def __init__(
        self,
        *,
        every: bool,
        exclusions: Iterable[str] = (),
        labels: bool = False,
        settings: Sysctls | None = None,
    ) -> None:
        """`settings` remembers what is changed for good, or as long as this host replicates."""
        self.labels = labels
        self._settings = settings
        self._every = every
        self._exclusions = tuple(exclusions)
        self._installed = ""
        self._netlink = NetlinkSocket(NETLINK_NETFILTER, strict=False)

    def install(self) -> None:
        """Put it there, in one step with the removal of an older one. Raises KernelError.

        An entry that is made while nobody listens can never tell its end unless the kernel is told
        to prepare all entries for events; otherwise a restart of this process would leave copies of
        those on the peers. 2 ("when somebody listens") is the default; a 0 is an operator's choice.
        So that stays over our end; `carpool release` puts it back when carpool goes.
        """
        wanted = self._ruleset()
        _nft(wanted)
        self._installed = wanted
        if self._settings is not None and sysctl.read(ALL_EVENTS) == 2:
            with suppress(KernelError):  # not writable in a sandbox: then it is as it was before
                self._settings.set(ALL_EVENTS, 1)

    @property
    def stale(self) -> bool:
        """Whether it was put there for other labels than now."""
        return self._installed != self._ruleset()

    def present(self) -> bool:
        """Whether the table is there: one question to the kernel, some microseconds."""
        body = bytes((_NFPROTO_INET, 0, 0, 0)) + nl.string(_NFTA_TABLE_NAME, TABLE)
        question = nl.message(_NFT_GETTABLE, nl.NLM_F_REQUEST, 0, body)
        missing = frozenset({errno.ENOENT})
        return bool(self._netlink.ask(Request(f"look for nft table {TABLE}", question, missing)))

    def remove(self) -> None:
        """Take it away; harmless when it is not there. Raises KernelError."""
        _nft(f"table inet {TABLE} {{ }}\ndelete table inet {TABLE}\n")

    def close(self) -> None:
        self._netlink.close()

    def _ruleset(self) -> str:
        return ruleset(every=self._every, exclusions=self._exclusions, labels=self.labels)


def _nft(commands: str) -> None:
    try:
        done = subprocess.run(
            ["nft", "-f", "-"],
            input=commands,
            capture_output=True,
            text=True,
            timeout=NFT_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise KernelError(f"cannot run nft: {error.strerror}", hint="install nftables") from error
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"nft did not end within {NFT_TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        raise KernelError(
            f"nft refused table inet {TABLE}: {done.stderr.strip()[:500]}",
            hint="nftables 1.0 or newer and the kernel modules nf_tables and nft_ct are needed",
        )


class EventSocket:
    """Events of this network namespace, IPv4 and IPv6, but those that `own_port` caused.

    Raises KernelError when the kernel has no ctnetlink, or this process may not listen.
    """

    def __init__(self, own_port: int, *, every: bool, marks: Sequence[MarkFilter] = ()) -> None:
        self.overflows = 0
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
            )
            self._socket.bind((0, 0))
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
            _attach(self._socket, event_filter(own_port, every=every, marks=marks))
            self.listen(True)
        except OSError as error:
            raise KernelError(
                f"listen for conntrack events: {error.strerror}",
                hint="this needs root, or CAP_NET_ADMIN, and the module nf_conntrack_netlink",
            ) from error

    def listen(self, on: bool) -> None:
        """Whether events are wanted. While nobody in this namespace wants any, the kernel makes
        none, and takes injected entries twice as fast."""
        change = _NETLINK_ADD_MEMBERSHIP if on else _NETLINK_DROP_MEMBERSHIP
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, change, group)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def drain(self, events_max: int) -> list[bytes]:
        """Events that wait, oldest first. Fewer than asked for: no more are there."""
        receive = self._socket.recv
        events: list[bytes] = []
        add = events.append
        while len(events) < events_max:
            try:
                for _ in range(events_max - len(events)):
                    add(receive(EVENT_MAX_BYTES))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(f"receive conntrack events: {error.strerror}") from error
                self.overflows += 1
        return events


def _attach(sock: socket.socket, program: bytes) -> None:
    """SO_ATTACH_FILTER: struct sock_fprog is a count and a pointer."""
    instructions = ctypes.create_string_buffer(program)
    fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
