"""What this node tells `carpool doctor` of a peer, and what it asks peers for its own.

Room: agent. Gathers facts; who judges them is the command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from carpool.agent.answers import NO_ROUTE, FactsBody, HeardBody, ListenBody, checked
from carpool.agent.apply import Refused
from carpool.agent.client import PeerClient
from carpool.agent.hear import hear
from carpool.agent.scriptrun import Runner
from carpool.agent.waits import LISTEN_MORE_S
from carpool.api import factsjson, hostfacts
from carpool.errors import CarpoolError
from carpool.kernel import clock
from carpool.machine.bucket import Bucket
from carpool.machine.checkup import vip_devices
from carpool.model.config import Config

FACTS_PER_S, FACTS_BURST = 2.0, 10  # that peers may ask for: each reads all devices and addresses
FACTS_MAX_BYTES = 1024 * 1024
FACTS_WAIT_S = 5.0  # the failover process may take 3 s to say nothing
OLDER = "carpool there is older than this, and has no answer to that"


class Examiner:
    """The doctor's hand in the agent."""

    def __init__(self, runner: Runner, now_s: Callable[[], float] = clock.monotonic_s) -> None:
        self._runner = runner
        self._now_s = now_s
        self._listens = asyncio.Lock()
        self._bucket = Bucket(FACTS_PER_S, FACTS_BURST, now_s())

    async def facts(self, config: Config, roles: dict[str, str] | None) -> FactsBody:
        """Of this node, for a peer. Raises Refused when they ask too often, KernelError."""
        if not self._bucket.take(self._now_s()):
            raise Refused(
                f"facts were asked for more than {FACTS_PER_S:g} times a second",
                hint="ask again in a second",
            )
        found = factsjson.told(await asyncio.to_thread(hostfacts.node_facts, config))
        return FactsBody.model_validate({**found, "wall_s": clock.wall_us() / 1e6, "roles": roles})

    async def listen(self, config: Config, body: ListenBody) -> HeardBody:
        """Who speaks on the wires of VIPs, while probes are sent there, for a peer. Raises Refused
        while that is done for another one, KernelError."""
        if self._listens.locked():
            raise Refused("this node listens already", hint="ask again in some seconds")
        async with self._listens:
            nonce = bytes.fromhex(body.nonce)
            found = await hear(self._runner, vip_devices(config), body.seconds, nonce)
        return HeardBody.model_validate({"heard": found})

    async def ask_to_listen(self, peer: PeerClient, body: ListenBody) -> dict[str, object]:
        """What a peer hears, or `error` and `hint`."""
        wait_s = body.seconds + LISTEN_MORE_S
        try:
            answer = await peer.post("/v1/peer/listen", body.model_dump(), timeout_s=wait_s)
            return checked(HeardBody, answer, peer.name).model_dump(mode="json")
        except CarpoolError as error:
            return _told(peer, error)

    async def ask(self, peer: PeerClient) -> dict[str, object]:
        """A peer's facts and how its clock stands to ours, or `error` and `hint`."""
        try:
            return await self._ask(peer)
        except CarpoolError as error:
            return _told(peer, error)

    async def _ask(self, peer: PeerClient) -> dict[str, object]:
        await peer.about()  # the connection is there by now: what follows measures one way and back
        began_s, wall_s = self._now_s(), clock.wall_us() / 1e6
        answer = await peer.get("/v1/peer/facts", timeout_s=FACTS_WAIT_S, max_bytes=FACTS_MAX_BYTES)
        took_s = self._now_s() - began_s
        found = checked(FactsBody, answer, peer.name)
        return {
            "facts": found.model_dump(mode="json"),
            "clock_off_s": found.wall_s - (wall_s + took_s / 2),
            "clock_error_s": took_s / 2,
        }


def _told(peer: PeerClient, error: CarpoolError) -> dict[str, object]:
    message = error.message
    if message.startswith(f"{peer.name}: {NO_ROUTE}"):
        message = f"{peer.name}: {OLDER}"
    return {"error": message, "hint": error.hint}
