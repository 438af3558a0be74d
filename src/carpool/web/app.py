"""The web application: its pages, what they share, and what every answer carries.

Room: web. Holds; refuses to know sockets and certificates (server.py).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from carpool import __version__
from carpool.agent.statuses import status_of
from carpool.errors import CarpoolError
from carpool.kernel import clock
from carpool.kernel.journal import say
from carpool.web import (
    account,
    alerts,
    alonepages,
    backup,
    changepages,
    connections,
    events,
    failoverpages,
    historypages,
    home,
    login,
    monitoring,
    passkeypages,
    pullpages,
    secondpages,
    settings,
    syncpages,
    updatepages,
    users,
    vipedit,
    vips,
)
from carpool.web.accounts import Accounts
from carpool.web.ask import Ask
from carpool.web.atonce import POLL_WAIT_S, AtOnce
from carpool.web.drafts import Drafts
from carpool.web.halfway import Halfway
from carpool.web.headers import Headers
from carpool.web.jobs import Jobs
from carpool.web.known import Known
from carpool.web.lately import Lately
from carpool.web.notes import Notes
from carpool.web.page import COOKIE, FORM_WAIT_S, Pages
from carpool.web.passkeys import Challenges
from carpool.web.session import Sessions
from carpool.web.throttle import Throttle
from carpool.web.words import FILTERS

STATIC = Path(__file__).parent / "static"
PARTS: tuple[Pages, ...] = (
    home.pages,
    backup.pages,
    syncpages.pages,
    updatepages.pages,
    pullpages.pages,
    historypages.pages,
    vips.pages,
    vipedit.pages,
    changepages.pages,
    alonepages.pages,
    events.pages,
    failoverpages.pages,
    connections.pages,
    settings.pages,
    users.pages,
    alerts.pages,
    login.pages,
    account.pages,
    secondpages.pages,
    passkeypages.pages,
)

NOTES_MAX = 32  # for the events, under way

DRIFT_EVERY_S, DRIFT_WAIT_S = 10.0, 5.0  # for all peers, in the background
SAMPLES_EVERY_S = 5.0  # the agent takes one each 10 s
EVENTS_EVERY_S, EVENTS_MAX = 1.5, 20
FAILOVERS_EVERY_S = 3.0  # of all nodes


class Web:
    """What all pages share. `mark`: what no other node has. Browsers keep one cookie of a name for
    a host, whatever its port: two nodes behind one (a tunnel, a lab) would log each other out."""

    def __init__(
        self,
        ask: Ask,
        accounts: Accounts,
        mark: str = "",
        now_s: Callable[[], float] = clock.monotonic_s,
        random_hex: Callable[[int], str] = secrets.token_hex,
        wall_s: Callable[[], float] = clock.wall_s,
    ) -> None:
        self.ask = ask
        self.accounts = accounts
        self.cookie = f"{COOKIE}-{mark}" if mark else COOKIE
        self.form_wait_s = FORM_WAIT_S
        self.now_s = now_s
        self.sessions = Sessions(now_s, random_hex)
        self.wall_s = wall_s
        self.random_hex = random_hex
        self.halfway = Halfway(now_s, random_hex)
        self.setups = secondpages.Setups()
        self.throttle = Throttle(now_s)
        self.token_throttle = Throttle(now_s)  # programs that go on keep nobody from logging in
        self.fresh = users.Fresh()
        self.made = users.Fresh()  # tokens, and recovery codes
        self._notes: set[asyncio.Task[None]] = set()
        wait, few = {"wait_s": f"{DRIFT_WAIT_S:g}"}, {"limit": f"{EVENTS_MAX}"}
        self.drift = Lately(
            lambda: ask.get("/v1/drift", wait, timeout_s=2 * DRIFT_WAIT_S), now_s, DRIFT_EVERY_S
        )
        self.events = Lately(lambda: ask.get("/v1/events", few), now_s, EVENTS_EVERY_S)
        self.samples = Lately(lambda: ask.get("/v1/samples"), now_s, SAMPLES_EVERY_S)
        self.failovers = Lately(partial(failoverpages.lately, ask), now_s, FAILOVERS_EVERY_S)
        self.notes = Notes()
        self.jobs = Jobs(ask, now_s, random_hex)
        self.drafts = Drafts(random_hex)
        self.random_hex = random_hex
        self._templates = Environment(
            loader=PackageLoader("carpool.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(FILTERS)
        self._templates.globals["version"] = __version__
        self.challenges = Challenges(bytes.fromhex(random_hex(32)), now_s, random_hex)
        self.known = Known(bytes.fromhex(random_hex(32)))
        self.own = AtOnce(partial(ask.get, "/v1/node", timeout_s=POLL_WAIT_S), now_s)

    def note(self, by: str, text: str) -> None:
        """Among the events of all nodes: what somebody did on the pages themselves. Nobody waits
        for that, and the log has it, too."""
        say(f"web: {by}: {text}")
        if len(self._notes) < NOTES_MAX:
            task = asyncio.create_task(self._note(by, text))
            self._notes.add(task)
            task.add_done_callback(self._notes.discard)

    def look_at_accounts(self) -> None:
        """Whether `carpool account` changed some: they are logged out."""
        try:
            names = self.accounts.refresh()
        except CarpoolError as error:
            say(f"web: {error.message}")  # what was known before counts
            return
        for name in names:
            self.sessions.end_all(name)
            self.note("the console", f"reset the account {name}")

    async def _note(self, by: str, text: str) -> None:
        try:
            await self.ask.post("/v1/web/note", {"text": text}, by=by)
        except CarpoolError as error:
            say(f"web: the events are not told: {error.message}")

    def render(self, template: str, **values: object) -> str:
        return self._templates.get_template(template).render(**values)


def routes() -> list[BaseRoute]:
    """All; those that ask nobody who they are come after the others."""
    guarded = [route for part in PARTS for route in part.routes]
    static = Mount("/static", StaticFiles(directory=STATIC))
    return [*guarded, *login.open_routes, *passkeypages.open_routes, *monitoring.routes, static]


def build(web: Web) -> ASGIApp:
    app = Starlette(
        routes=routes(),
        exception_handlers={CarpoolError: _failed, HTTPException: _refused, Exception: _bug},
    )
    app.router.redirect_slashes = False  # to whatever host a stranger names
    app.state.web = web
    return Headers(app)


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, CarpoolError)
    return _page(request, status_of(error), error.message, error.hint)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = "there is no such page" if error.status_code == 404 else str(error.detail)
    return _page(request, error.status_code, text, "", error.headers)


def _bug(request: Request, error: Exception) -> Response:
    text = f"a fault of carpool itself: {type(error).__name__}"
    return _page(request, 500, text, "the log of carpool-web tells more: report it")


def _page(
    request: Request, status: int, text: str, hint: str, headers: Mapping[str, str] | None = None
) -> Response:
    web: Web = request.app.state.web
    content = web.render("error.html", text=text, hint=hint, status=status)
    return HTMLResponse(content, status, headers)
