"""The settings that all nodes share, to be read.

Room: web. Refuses to change them: group.toml is edited, and `carpool apply` takes it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import Response

from carpool.api.clean import clean
from carpool.errors import CarpoolError
from carpool.kernel import clock, zone
from carpool.web import settingform, settingview
from carpool.web.accounts import Role
from carpool.web.backup import told
from carpool.web.members import members_of
from carpool.web.notes import Note
from carpool.web.page import Pages, Visit
from carpool.web.settingfields import BY_SLUG, GROUPS
from carpool.web.settingform import Form

pages = Pages()
ELSEWHERE = (  # settings with pages of their own, and the least role that sees those
    ("/vips", "Virtual IPs", "viewer"),
    ("/accounts", "Accounts", "admin"),
)
EDITED = "They are changed in the file: edit it on the primary, `carpool apply`, `carpool sync`."


@dataclass(frozen=True, slots=True)
class Known:
    """What the agent told: of both files, and of the nodes."""

    answer: Mapping[str, object]
    nodes: Mapping[str, object]

    def part(self, key: str) -> Mapping[str, object]:
        found = self.answer.get(key)
        return found if isinstance(found, Mapping) else {}

    @property
    def values(self) -> Mapping[str, object]:
        return self.part("settings")

    def file(self, key: str) -> str:
        return clean(str(self.part("files").get(key, "")))


@pages.get("/settings")
async def settings(visit: Visit) -> Response:
    known = await _known(visit)
    forms = {group.slug: settingform.filled(group, known.values) for group in GROUPS}
    return await _page(visit, known, forms, notes=visit.web.notes.take(visit.session))


async def _known(visit: Visit) -> Known:
    ask = visit.web.ask
    return Known(await ask.get("/v1/settings"), await ask.get("/v1/nodes"))


def _reading(visit: Visit, known: Known) -> str:
    is_admin = visit.account.role >= Role.ADMIN
    return settingview.reading(members_of(known.nodes), is_admin=is_admin) or EDITED


async def _page(
    visit: Visit,
    known: Known,
    forms: Mapping[str, Form],
    status: int = 200,
    *,
    notes: list[Note],
    wrong: Mapping[str, str] | None = None,
) -> Response:
    """All groups, or the one whose form was sent."""
    checks = await told(visit.web.ask.get("/v1/checks"))
    offered = settingview.offered(known.answer)
    own = settingview.own_keys(known.answer, known.nodes, members_of(known.nodes))
    return visit.page(
        "settings.html",
        status,
        groups=[
            settingview.shown(BY_SLUG[slug], form, offered, wrong or {})
            for slug, form in forms.items()
        ],
        alone=len(forms) == 1,
        reading=_reading(visit, known),
        elsewhere=ELSEWHERE,
        file=known.file("group"),
        node_file=known.file("node"),
        notes=notes,
        times=_times(str(settingform.found(known.values, ("sync", "schedule")) or "")),
        peers=[one.name for one in own if not one.here],
        own=own,
        checks=[] if isinstance(checks, CarpoolError) else settingview.checks_of(checks),
        checks_error=str(checks) if isinstance(checks, CarpoolError) else "",
    )


def _times(schedule: str) -> list[str]:
    return settingview.times(schedule, clock.wall_us() / 1e6, zone)
