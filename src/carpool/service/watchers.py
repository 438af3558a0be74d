"""Programs that watch the failover process: the states process and the agent.

Room: service. A line now, and one at each change; who reads too slowly is lost, and asks again.
"""

from __future__ import annotations

from collections.abc import Iterable

from carpool.kernel.unixserver import Client
from carpool.machine.effects import State
from carpool.machine.engine import Engine
from carpool.machine.report import role_of
from carpool.model.config import VhostKey

WATCHERS_MAX = 8


class Watchers:
    """All of them hear what this node is master of; with `moves` also what each VHID is at."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._clients: dict[Client, bool] = {}  # with moves?
        self._were_masters: list[str] | None = None
        self._moved: set[VhostKey] = set()
        self._others = False  # there are other VHIDs than before

    def add(self, client: Client, moves: bool) -> None:
        if len(self._clients) >= WATCHERS_MAX:
            client.refuse(f"{WATCHERS_MAX} programs watch already", "close one of them")
            return
        self._clients[client] = moves
        client.on_gone = lambda: self._leave(client)
        client.send(self._line(None) if moves else self._master)

    def _leave(self, client: Client) -> None:
        self._clients.pop(client, None)

    def moved(self, key: VhostKey) -> None:
        """To be told with the next `tell`."""
        self._moved.add(key)

    def regrouped(self) -> None:
        """There may be other VHIDs: the next `tell` has them all."""
        self._others = True

    def tell_masters(self) -> None:
        """What this node is master of, if that is news; moves wait for `tell`."""
        if self._engine.is_master == bool(self._were_masters) and not (self._moved or self._others):
            return  # most inputs move nothing
        masters = self._masters()
        if masters == self._were_masters:
            return
        self._were_masters = masters
        self._send(self._master, moves=False)

    def tell(self) -> None:
        """Everything that is news."""
        self.tell_masters()
        if self._moved or self._others:
            line = self._line(None if self._others else self._moved)
            self._moved, self._others = set(), False
            self._send(line, moves=True)

    def put_back(self) -> None:
        """The files were, for which nobody asked."""
        self._send({**self._master, "reload": True}, moves=False)

    def _send(self, line: dict[str, object], *, moves: bool) -> None:
        for client in [one for one, wants in self._clients.items() if wants is moves]:
            client.send(line)

    @property
    def _master(self) -> dict[str, object]:
        masters = self._masters()
        return {"master": bool(masters), "masters": masters}

    def _masters(self) -> list[str]:
        vhosts = self._engine.vhosts.values()
        return [str(vhost.key) for vhost in vhosts if vhost.state is State.MASTER]

    def _line(self, keys: Iterable[VhostKey] | None) -> dict[str, object]:
        """Of these, or of all."""
        vhosts = self._engine.vhosts
        some = vhosts if keys is None else [key for key in keys if key in vhosts]
        vips = {str(key): [str(vhosts[key].state), vhosts[key].reason] for key in some}
        return {
            **self._master,
            "role": role_of(self._engine),
            "vips": vips,
            "whole": keys is None,
        }
