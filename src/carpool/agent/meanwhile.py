"""Files of this node are changed, or its packages are: never both at once.

Room: agent. Each asks here before it begins, and is told who is at the other one and what to do. A
package brings services and files of its own: what a synchronisation checks, swaps and reloads
meanwhile is neither the old node nor the new one. Refuses to know how either is done.
"""

from __future__ import annotations

from typing import Protocol

from carpool.agent.check import Refused


class Receiver(Protocol):
    """What peers bring (`receive.py`)."""

    @property
    def at_work(self) -> bool: ...

    @property
    def is_coming(self) -> bool: ...

    @property
    def busy(self) -> str: ...


class Sender(Protocol):
    """What goes out, and what is fetched (`send.py`)."""

    busy: str


class Changes(Protocol):
    """What changes files of this node (`configuration.py`)."""

    @property
    def receiver(self) -> Receiver: ...

    @property
    def sender(self) -> Sender: ...

    def waits(self) -> object: ...

    def refuse_look(self) -> None:
        """Raises Refused while files are on their way."""


class Meanwhile:
    """Of one node. `updating`: who updates its packages, in words, or nothing."""

    def __init__(self, node: str) -> None:
        self._node = node
        self.updating = ""

    def refuse_change(self) -> None:
        """Of files. Raises Refused."""
        if self.updating:
            raise Refused(
                f"packages of {self._node} are being updated: {self.updating}",
                hint=f"ask again when that has ended: `carpool update --follow` on {self._node} "
                "shows it",
            )

    def refuse_update(self, changes: Changes) -> None:
        """Of packages. Raises Refused."""
        node, receiver = self._node, changes.receiver
        if changes.waits():
            raise Refused(
                f"a change of {node} waits to be confirmed: {receiver.busy}",
                hint="`carpool confirm`, or `carpool rollback --pending`, then ask again",
            )
        wait = "wait until that has ended, then ask again"
        if receiver.at_work or receiver.is_coming:
            raise Refused(f"{node} is being synchronised: {receiver.busy}", hint=wait)
        if changes.sender.busy:
            raise Refused(f"{node} itself synchronises or pulls: {changes.sender.busy}", hint=wait)
        changes.refuse_look()
