"""The agent's HTTP application: its routes, and how errors are told.

Room: agent. Refuses to know sockets and certificates: see listeners.py.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException

from carpool import __version__
from carpool.agent import (
    alertlocal,
    checklocal,
    connections,
    doctorlocal,
    doctorpeer,
    grouplocal,
    grouppeer,
    hooklocal,
    local,
    nodes,
    operatelocal,
    operatepeer,
    packagelocal,
    packagepeer,
    peer,
    servicelocal,
    servicepeer,
    settinglocal,
    synclocal,
    syncpeer,
    weblocal,
    webpeer,
)
from carpool.agent.agent import Agent
from carpool.agent.answers import API, API_HEADER, NO_ROUTE
from carpool.agent.deeds import Noted
from carpool.agent.described import REFUSALS
from carpool.agent.doorman import Doorman
from carpool.agent.statuses import status_of
from carpool.errors import CarpoolError

DESCRIPTION = "/v1/openapi.json"
# FastAPI offers OpenTelemetry, which its environment could turn on: a firewall reports to nobody.
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def build(agent: Agent) -> FastAPI:
    """All routes of `agent`, which they find as `request.app.state.agent`."""
    app = FastAPI(
        title="carpool agent",
        version=__version__,
        description="On a unix socket for programs of this machine; what is below /v1/peer also "
        "over TLS 1.3 for paired nodes.",
        openapi_url=DESCRIPTION,
        docs_url=None,  # those pages would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        responses=REFUSALS,
    )
    app.state.agent = agent
    app.include_router(local.router, prefix="/v1")
    app.include_router(synclocal.router, prefix="/v1")
    app.include_router(grouplocal.router, prefix="/v1")
    app.include_router(servicelocal.router, prefix="/v1")
    app.include_router(doctorlocal.router, prefix="/v1")
    app.include_router(checklocal.router, prefix="/v1")
    app.include_router(hooklocal.router, prefix="/v1")
    app.include_router(alertlocal.router, prefix="/v1")
    app.include_router(nodes.router, prefix="/v1")
    app.include_router(weblocal.router, prefix="/v1")
    app.include_router(settinglocal.router, prefix="/v1")
    app.include_router(operatelocal.router, prefix="/v1")
    app.include_router(connections.router, prefix="/v1")
    app.include_router(packagelocal.router, prefix="/v1")
    app.include_router(peer.router, prefix="/v1/peer")
    app.include_router(nodes.peer_router, prefix="/v1/peer")
    app.include_router(syncpeer.router, prefix="/v1/peer")
    app.include_router(servicepeer.router, prefix="/v1/peer")
    app.include_router(grouppeer.router, prefix="/v1/peer")
    app.include_router(doctorpeer.router, prefix="/v1/peer")
    app.include_router(webpeer.router, prefix="/v1/peer")
    app.include_router(operatepeer.router, prefix="/v1/peer")
    app.include_router(connections.peer_router, prefix="/v1/peer")
    app.include_router(packagepeer.router, prefix="/v1/peer")
    app.add_exception_handler(CarpoolError, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _bug)
    app.add_middleware(Noted, deeds=agent.deeds)
    app.add_middleware(Doorman, peers=agent.peers, refusals=agent.refusals, now_s=agent.now_s)
    return app


def _failed(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, CarpoolError)
    return _answer(status_of(error), error.message, error.hint)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return _answer(422, "; ".join(found)[:1000], f"{DESCRIPTION} on agent.sock describes it")


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        what = f"{request.method} {request.url.path[:200]!r}"
        return _answer(404, f"{NO_ROUTE} {what}", f"{DESCRIPTION} on agent.sock lists all")
    return _answer(error.status_code, str(error.detail), "", dict(error.headers or {}))


def _bug(_request: Request, error: Exception) -> JSONResponse:
    """The traceback is in the log: whoever serves us gets the exception, too."""
    text = f"a fault of carpool itself: {type(error).__name__}"
    return _answer(500, text, "its log tells more: report it", {API_HEADER: str(API)})


def _answer(
    status: int, error: str, hint: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse({"error": error, "hint": hint}, status, headers)
