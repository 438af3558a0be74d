"""What the agent finds wrong around carpool, and whom it tells."""

from __future__ import annotations

import asyncio
from pathlib import Path

from carpool.agent.troubles import Surroundings
from carpool.kernel.clock import monotonic_s
from carpool.kernel.keys import Keys
from tests.netns.test_states_tls import dated


def test_an_expired_certificate_is_among_the_events(tmp_path: Path) -> None:
    keys = Keys(tmp_path, "fw1")
    keys.store_identity(dated("fw1", 2020, 2021))

    async def first_event() -> str:
        events: asyncio.Queue[str] = asyncio.Queue()
        found = Surroundings(lambda: keys, tmp_path, monotonic_s, "fw1", events.put_nowait)
        task = asyncio.create_task(found.run())
        async with asyncio.timeout(20):
            event = await events.get()
        task.cancel()
        assert [one["key"] for one in found.status()] == [f"certificate {keys.identity_path}"]
        return event

    assert f"{keys.identity_path} expired " in asyncio.run(first_event())
