"""Firewalls whose agents a test stops at a step of a synchronisation, and what it looks at then."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path

from carpool.agent.localclient import LocalClient
from carpool.errors import CarpoolError
from tests.netns.nursery import NurseryNode
from tests.netns.test_sync import Events, SyncNode

Tree = dict[str, tuple[object, ...]]


def picture(top: Path) -> Tree:
    """All that a rollback brings back, of everything below."""
    found: Tree = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        what: object = None
        if stat.S_ISREG(status.st_mode):
            what = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            what = path.readlink()
        names = os.listxattr(path, follow_symlinks=False)
        attributes = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        kept = status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns
        found[str(path.relative_to(top))] = (what, *kept, attributes)
    return found


def without_times(tree: Tree) -> Tree:
    return {path: (*one[:4], *one[5:]) for path, one in tree.items()}


class Faulty(SyncNode):
    """A firewall whose agent stops where it shall."""

    node: NurseryNode

    @property
    def web(self) -> Path:
        return self.path("etc/web")

    def clean(self) -> bool:
        """Nothing waits, nothing lies about."""
        sync = self.node.state_dir / "sync"
        stages = list((sync / "stages").glob("*"))
        return not stages and not (sync / "transaction").exists()


class Running:
    """`carpool sync` of one node, in the background; or what else is asked for with `body`."""

    def __init__(
        self,
        node: SyncNode,
        path: str = "/v1/sync",
        body: Mapping[str, object] | None = None,
        **more: object,
    ) -> None:
        self._path = path
        self._body = body or {"sections": ["web"], "by": "tester", "force": True, **more}
        self.events: Events = []
        self.error: CarpoolError | None = None
        self._node = node
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with LocalClient(self._node.node.run_dir) as agent:
                for event in agent.stream("POST", self._path, self._body):
                    self.events.append(event)
        except CarpoolError as error:
            self.error = error

    def ended(self) -> Events:
        self._thread.join(30)
        assert not self._thread.is_alive(), self.events
        return self.events
