"""The HTTP status of each kind of error, as the agent and the pages answer.

Room: agent. Loads nothing but the errors.
"""

from __future__ import annotations

from http import HTTPStatus

from carpool.errors import (
    CarpoolError,
    ConfigError,
    DefinitionError,
    KernelError,
    PeerError,
    UnreachableError,
)

STATUS_OF: dict[type[CarpoolError], int] = {
    ConfigError: HTTPStatus.CONFLICT,
    PeerError: HTTPStatus.FORBIDDEN,
    DefinitionError: HTTPStatus.FAILED_DEPENDENCY,  # the sender knows what to send first
    KernelError: HTTPStatus.INTERNAL_SERVER_ERROR,
    UnreachableError: HTTPStatus.BAD_GATEWAY,
    CarpoolError: HTTPStatus.BAD_REQUEST,
}


def status_of(error: CarpoolError) -> int:
    """The HTTP status of an error: that of the nearest class that has one."""
    return next(STATUS_OF[each] for each in type(error).__mro__ if each in STATUS_OF)
