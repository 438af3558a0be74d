"""The unix socket by which the pages come: for the group of their process, and nobody else.

Room: agent. Where this machine has no such group there is no door, and the agent goes on without:
pages are worth less than the agent. Who may ask what there is the doorman's business.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from carpool.agent.localclient import WEB_SOCKET
from carpool.errors import KernelError
from carpool.kernel.journal import say
from carpool.kernel.owners import Owners
from carpool.kernel.unixserver import forget, listen_for

GROUP = "carpool-web"  # packaging/sysusers.conf
CONNECTIONS_MAX = 24  # of the pages; the agent has more for others


class WebDoor:
    """`claim` before it is served, `close` after."""

    def __init__(self, run_dir: Path, group: str = GROUP) -> None:
        self.path = run_dir / WEB_SOCKET
        self.socket: socket.socket | None = None
        self._group = group
        self._missing = ""  # why there is no socket
        self._inode = 0

    async def claim(self) -> None:
        """Never raises for what keeps the socket from being made."""
        try:
            gid = Owners().gid(self._group, str(self.path))
            self.socket = await asyncio.to_thread(listen_for, gid, self.path)
            self._inode = self.path.stat().st_ino
        except (KernelError, OSError) as error:
            self._missing = f"no socket for the pages: {error}"

    def tell(self) -> None:
        """Say, once, why pages cannot come; where some are wanted."""
        if self._missing:
            say(f"agent: {self._missing}; pages are served by root alone")
            self._missing = ""

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            forget(self.path, self._inode)
