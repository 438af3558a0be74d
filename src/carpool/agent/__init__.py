"""The agent: the process that talks HTTP, to this machine's programs and to the agents of peers."""

import sys

# httpx imports its own command line wherever that can be imported, and with it rich and pygments:
# a quarter of what the agent takes to start. A None there makes Python say that there is none.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
