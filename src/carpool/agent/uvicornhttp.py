"""How uvicorn speaks HTTP for us, the agent and the pages: on connections that we hand to it.

Room: agent. Loads nothing else of the agent, for the process of the pages has it, too.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp
from uvicorn import Config

HEAD_MAX_BYTES = 16 * 1024  # request line and headers


def http_config(
    app: ASGIApp, protocol: type[asyncio.Protocol], *, connections_max: int, quiet_s: float
) -> Config:
    """Nobody is believed about who they are, and no answer says what we are. `connections_max` is
    uvicorn's own last resort, `quiet_s` how long a connection is kept on which nothing is asked."""
    config = Config(
        app,
        interface="asgi3",
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # our faults; any stranger can be no HTTP, as often as he likes
        access_log=False,
        proxy_headers=False,  # who asks is known from the socket, never from a header
        server_header=False,
        date_header=False,
        limit_concurrency=connections_max,
        timeout_keep_alive=int(quiet_s),
        h11_max_incomplete_event_size=HEAD_MAX_BYTES,
    )
    config.load()
    return config
