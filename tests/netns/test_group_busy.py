"""A group is changed while the kernel is too busy for it: nobody dies, and it gets there."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from carpool.api.control import Answer, request
from carpool.api.running import RunningFiles
from carpool.api.settings import load_texts
from carpool.errors import CarpoolError
from carpool.kernel import clock
from carpool.kernel.addresses import FOLLOW_WAIT_S, AddressHolder
from carpool.kernel.flagfile import FlagFile
from carpool.kernel.journal import Journal
from carpool.kernel.later import Later
from carpool.kernel.links import LinkMonitor
from carpool.kernel.poller import Poller
from carpool.kernel.unixserver import UnixServer
from carpool.machine import effects as fx
from carpool.machine.engine import Engine
from carpool.service.failover import FailoverService, Hands
from carpool.service.groupchange import Form, Start
from tests.netns.lab import Network, wait_until
from tests.netns.node import CarpNode, vip

THERE, COMING = "10.10.1.1", "10.10.1.7"
OLD = vip(addresses=(f"{THERE}/24",))
NEW = vip(vhid=53, addresses=(f"{COMING}/24",))


class Firewall:
    """The failover process of a node in a thread of ours, so that its hands can be held."""

    def __init__(self, node: CarpNode) -> None:
        config, _, texts = load_texts(node.directory)
        assert config is not None
        self.namespace = node.namespace
        self.socket = node.directory / "failover.sock"
        files = RunningFiles(node.directory, node.directory / "state")
        with node.namespace.entered():
            self.poller = Poller()
            self.later = Later("files", self.poller)
            self.holder = AddressHolder(config, node.directory)
            hands = Hands(
                poller=self.poller,
                links=LinkMonitor(config.node.interfaces),
                holder=self.holder,
                journal=Journal(node.directory / "events"),
                flag=FlagFile(node.directory / "maintenance", self.later),
                files=files,
                later=self.later,
                now_s=clock.monotonic_s,
                wall_iso=clock.wall_iso,
                suspended_s=clock.suspended_s,
            )
            engine = Engine(config, now_s=clock.monotonic_s(), counter_start_us=clock.wall_us())
            self.service = FailoverService(engine, hands, {}, Start(Form(config, texts)))
        self.server = UnixServer(self.socket, self.poller, self.service.on_request)
        self.end = os.eventfd(0)
        self.poller.add(self.end, self._stop)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _stop(self) -> None:
        os.eventfd_read(self.end)
        self.service.put(fx.Stop())

    def _run(self) -> None:
        with self.namespace.entered():
            self.service.run()

    def ask(self, command: str, **arguments: object) -> Answer:
        return request(self.socket, {"command": command, **arguments}, 10)

    def refused(self) -> int:
        """How often the kernel was too busy."""
        events = self.ask("events", limit=100)["events"]
        assert isinstance(events, list)
        return sum("following the group" in one["text"] for one in events)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """As while a refreshing of addresses waits for the kernel."""
        with self.holder._lock:
            yield

    def close(self) -> None:
        os.eventfd_write(self.end, 1)
        self.thread.join(10)
        self.server.close()
        with self.namespace.entered():
            self.holder.cleanup()
        self.later.close()
        for socket in self.service.sockets.values():
            socket.close()
        self.service.links.close()
        self.poller.close()
        os.close(self.end)


@pytest.fixture
def node(network: Network, tmp_path: Path) -> CarpNode:
    host = network.host("fw1", forwarding=True)
    network.bridge("switch", [(host, "lan0", ("10.10.1.2/24",))])
    made = CarpNode(host, tmp_path, "fw1", 0)
    made.configure(OLD)
    return made


@pytest.fixture
def firewall(node: CarpNode) -> Iterator[Firewall]:
    made = Firewall(node)
    yield made
    made.close()


def test_a_busy_kernel_refuses_a_change_and_still_takes_one_back(
    node: CarpNode, firewall: Firewall
) -> None:
    wait_until(lambda: node.owns(THERE), 10, "it is MASTER")
    node.configure(OLD, NEW)
    with firewall.busy():
        with pytest.raises(CarpoolError) as caught:
            firewall.ask("reload")
        assert (
            f"the kernel is busy: addresses are being refreshed for more than {FOLLOW_WAIT_S}"
            in (caught.value.message)
        )
        assert "everything is as it was" in caught.value.message
    assert not node.owns(COMING)
    assert firewall.ask("reload", confirm_within_s=60)["waits"]
    wait_until(lambda: node.owns(COMING), 10, "it is taken up")
    refused = firewall.refused()
    with firewall.busy():
        firewall.ask("take_back")
        assert firewall.refused() > refused
    wait_until(lambda: not node.owns(COMING), 10, "what is taken back goes")
    assert node.owns(THERE)
    assert firewall.thread.is_alive()
