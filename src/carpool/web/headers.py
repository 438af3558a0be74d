"""What every answer carries, so that a browser keeps to our own pages.

Room: web. Plain ASGI around everything, faults included: no answer goes without them.
"""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Nothing inline and nothing from elsewhere; forms go to us alone, and nobody frames us.
SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
NO_STORE = "no-store"
KEEP = "public, max-age=31536000, immutable"  # of static files, whose addresses name the version

_TWO_ENDS = PlainTextResponse(
    "Content-Length and Transfer-Encoding: one of them\n", 400, {"connection": "close"}
)


class Headers:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_static = str(scope.get("path", "")).startswith("/static/")

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                keep = KEEP if is_static and message["status"] == 200 else NO_STORE
                found = {**SECURITY, "cache-control": keep}
                own = [(name.encode(), text.encode()) for name, text in found.items()]
                theirs = [one for one in message.get("headers", ()) if one[0].decode() not in found]
                message = {**message, "headers": [*theirs, *own]}
            await send(message)

        await (_TWO_ENDS if _has_two_ends(scope) else self._app)(scope, receive, sent)


def _has_two_ends(scope: Scope) -> bool:
    """A request that tells its end in two ways is cut in two by whoever reads the other one: it is
    answered, and nothing is read after it (RFC 9112 6.1)."""
    names = {name for name, _text in scope.get("headers", ())}
    return {b"content-length", b"transfer-encoding"} <= names
