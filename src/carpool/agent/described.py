"""How the OpenAPI description tells of answers that are no success.

Room: agent. Every route may give any of them: the doorman, the files of this machine and a peer
stand behind all. What gives which is in statuses.py and doorman.py.
"""

from __future__ import annotations

from typing import Any

from carpool.agent.answers import Refusal

_WHY = {
    400: "It makes no sense, or cannot be done as it is asked",
    403: "Who asks may not, or a peer did what it should not",
    404: "There is no such route",
    405: "The route has another method",
    408: "The body came too slowly",
    409: "Something speaks against it as things stand: the hint says what to do",
    413: "The body is too large",
    422: "A value is missing, unknown, of the wrong kind or out of its bounds",
    424: "What it goes by is missing here: send that first",
    429: "A peer asks too often",
    500: "This machine refused something, or a fault of carpool itself: its log tells more",
    502: "A peer, or a process of carpool on this machine, does not answer",
    503: "Too many requests are under way",
}
# Without `model`: FastAPI would build a check of its own for each answer of each route.
_SHAPE = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Refusal.__name__}"}}}

REFUSALS: dict[int | str, dict[str, Any]] = {
    "default": {"model": Refusal, "description": "What went wrong, what to do"},
    **{status: {"description": why, "content": _SHAPE} for status, why in _WHY.items()},
}
