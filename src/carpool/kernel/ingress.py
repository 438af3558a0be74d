"""The nft table `netdev carpool`: lets frames for a virtual MAC enter on the parent device.

Room: kernel. A macvlan would be the input device of all that is sent to a VIP's MAC, and no rule
with `iifname "lan0"` would match. So these frames get the MAC of the parent before the macvlan sees
them, as long as the virtual MAC is *admitted*: an element of a set, with a lifetime. A macvlan that
is not admitted hears nothing, not even ARP. It refuses to know who is master. Why so:
docs/decisions/0021-virtual-mac-by-macvlan-and-ingress-rewrite.md.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence

from carpool.errors import KernelError
from carpool.kernel.netlink import NETLINK_NETFILTER, NetlinkSocket, Request
from carpool.proto import nftables as nft
from carpool.proto.ingresstable import TABLE, Macvlan, Parent, control_frame, replace_table

_ABSENT = frozenset({errno.ENOENT})


class Ingress:
    """The table, which belongs to the netlink socket `owner` and goes away with it.

    `lifetime_s`: how long an admitted MAC stays so; whoever holds it admits again before.
    """

    def __init__(self, owner: NetlinkSocket, lifetime_s: float) -> None:
        """Raises KernelError: not root."""
        owner.adopt()
        self._owner = owner
        self._lifetime_ms = int(lifetime_s * 1000)
        self._reader = NetlinkSocket(NETLINK_NETFILTER)
        try:
            self._control = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0
            )
            self._control.setblocking(False)
            self._control.bind(("lo", 0))
        except OSError as error:
            raise KernelError(f"open a packet socket on lo: {error.strerror}") from error

    def close(self) -> None:
        """Close what is ours; the owner is the caller's."""
        self._reader.close()
        self._control.close()

    def install(self, parents: Sequence[Parent]) -> None:
        """Replace the table by one for these devices, in one step; admitted MACs stay admitted.

        Raises KernelError: a device is gone, or another carpool owns the table. May wait for others
        who change the ruleset.
        """
        kept = {parent.index: self.admitted(parent) for parent in parents}
        steps = replace_table(parents, self._lifetime_ms, kept)
        requests = [Request(what, message) for what, message in steps]
        refusals = self._owner.attempt(requests, (nft.batch_begin(), nft.batch_end()))
        if refusals:
            raise KernelError(
                f"table netdev carpool: {refusals[0].reason}", hint=_hint(refusals[0].errno)
            )

    def remove(self) -> None:
        """Delete the table; harmless when there is none."""
        remove_table(self._owner)

    def admit(self, parent: int, macvlan: Macvlan) -> None:
        """Let frames for the virtual MAC in, from now on for the lifetime; `parent` is an index.

        Waits for nobody: a frame that we send to ourselves has the rules of the table do it.
        """
        self._tell(control_frame(parent, macvlan, admit=True))

    def expel(self, parent: int, macvlan: Macvlan) -> None:
        """Let nothing for the virtual MAC in. Harmless when it is not admitted."""
        self._tell(control_frame(parent, macvlan, admit=False))

    def admitted(self, parent: Parent) -> set[bytes]:
        """The virtual MACs that are admitted on a device; empty without a table."""
        question = Request("list admitted MACs", nft.get_elements(TABLE, parent.admitted), _ABSENT)
        return {key for message in self._reader.dump(question) for key in nft.element_keys(message)}

    def _tell(self, frame: bytes) -> None:
        try:
            self._control.send(frame)
        except OSError as error:
            hint = "ip link set lo up" if error.errno == errno.ENETDOWN else ""
            raise KernelError(f"send a frame on lo: {error.strerror}", hint=hint) from error


def remove_table(socket: NetlinkSocket) -> None:
    """Delete the table; harmless when there is none, or when another process owns it."""
    request = Request("delete table netdev carpool", nft.delete_table(TABLE), _ABSENT)
    socket.attempt([request], (nft.batch_begin(), nft.batch_end()))


def _hint(code: int) -> str:
    if code == errno.EPERM and os.geteuid() == 0:
        return "is another `carpool run failover` running here?"
    if code == errno.EOPNOTSUPP:
        return (
            'virtual MACs need Linux 5.16 (the egress hook of nftables); or set mac = "interface"'
        )
    return ""
