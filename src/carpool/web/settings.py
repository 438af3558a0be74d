"""The settings that all nodes share: read by all, changed by admins on the primary.

Room: web. A form makes a draft of edits of group.toml, whose page (changepages.py) shows the diff
and applies it. What is wrong is said beside its field, by the agent's judgement of the whole file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.responses import Response

from carpool.api.clean import clean
from carpool.api.render import Fields, entries_of, text_of
from carpool.errors import CarpoolError
from carpool.kernel import clock, zone
from carpool.model.keypath import parse
from carpool.web import settingform, settingview
from carpool.web.accounts import Role
from carpool.web.backup import told
from carpool.web.changepages import preview
from carpool.web.drafts import Draft
from carpool.web.members import members_of
from carpool.web.notes import Note
from carpool.web.page import TOKEN_FIELD, Pages, Visit
from carpool.web.settingfields import BY_SLUG, GROUPS, SCHEDULE, SCHEDULE_KEY
from carpool.web.settingform import Asked, Form, Group

pages = Pages()
ELSEWHERE = (  # settings with pages of their own, and the least role that sees those
    ("/vips", "Virtual IPs", "viewer"),
    ("/settings/alerts", "Alerts", "viewer"),
    ("/accounts", "Accounts", "admin"),
)
DIGEST = "digest"  # a field besides the settings
NOTHING = Note("Nothing changes: group.toml says all of this already.", "", "calm")
MEND = Note("Nothing changed: what is wrong is said beside its field.", "", "bad")


@dataclass(frozen=True, slots=True)
class Known:
    """What the agent told: of group.toml, of what there is to choose from, and of the nodes."""

    group: Fields
    there: Fields
    nodes: Fields

    @property
    def values(self) -> Fields:
        return _of(self.group, "values")

    def file(self, key: str) -> str:
        return text_of(_of(self.there, "files"), key)


@dataclass(frozen=True, slots=True)
class Said:
    """Above the forms, and beside their fields."""

    notes: list[Note] = field(default_factory=list)
    wrong: Mapping[str, str] = field(default_factory=dict)


@pages.get("/settings")
async def settings(visit: Visit) -> Response:
    known = await _known(visit)
    forms = {group.slug: settingform.filled(group, known.values) for group in GROUPS}
    return await _page(visit, known, forms, Said(visit.web.notes.take(visit.session)))


@pages.post("/settings/group/{slug}", Role.ADMIN)
async def save(visit: Visit) -> Response:
    """The page of the change, or what is wrong with it."""
    group, known = _group(visit), await _known(visit)
    form = _form(visit)
    asked = settingform.asked(group, known.values, form)
    refused = await _refused(visit, known, group, asked)
    if refused is not None:
        return refused
    title, back = f"change settings: {group.title}", f"/settings#{group.slug}"
    digest = visit.form.get(DIGEST, "")  # of the text that the form was made of
    draft = Draft(title, _edits(asked), digest, back, _meaning(group, form))
    answer = await preview(visit, draft)
    if isinstance(answer, CarpoolError):
        return await _page(visit, known, {group.slug: form}, Said([Note.of(answer)]), 409)
    if answer.get("ok") is not True:
        said = _mistakes(group, entries_of(answer, "problems"))
        return await _page(visit, known, {group.slug: form}, said, 422)
    return visit.to(visit.web.drafts.add(visit.session, draft))


def _group(visit: Visit) -> Group:
    slug = visit.request.path_params["slug"]
    if slug not in BY_SLUG:
        raise HTTPException(404)
    return BY_SLUG[slug]


async def _known(visit: Visit) -> Known:
    ask = visit.web.ask
    group, there = await ask.get("/v1/group"), await ask.get("/v1/settings")
    return Known(group, there, await ask.get("/v1/nodes"))


def _form(visit: Visit) -> Form:
    besides = (TOKEN_FIELD, DIGEST)
    return {name: value for name, value in visit.form.items() if name not in besides}


def _edits(asked: Asked) -> list[dict[str, object]]:
    """As the agent takes them."""
    return [
        {"op": "remove", "path": list(parse(one.key))}
        if one.value is None
        else {"op": "set", "path": list(parse(one.key)), "value": one.value}
        for one in asked.edits
    ]


def _meaning(group: Group, form: Form) -> list[str]:
    """Of a schedule, the next times."""
    times = _times(form.get(SCHEDULE_KEY, "")) if group.slug == SCHEDULE.slug else []
    return [f"The next times of this schedule: {', '.join(times)}."] if times else []


async def _refused(visit: Visit, known: Known, group: Group, asked: Asked) -> Response | None:
    """The form once more, where nothing comes of it."""
    forms = {group.slug: _form(visit)}
    if reading := _reading(visit, known):
        return await _page(visit, known, forms, Said([Note(reading, "", "bad")]), 409)
    if asked.wrong:
        return await _page(visit, known, forms, Said([MEND], asked.wrong), 422)
    return None if asked.edits else await _page(visit, known, forms, Said([NOTHING]))


def _reading(visit: Visit, known: Known) -> str:
    """Why nothing is changed here and now; "" where it may be."""
    is_admin = visit.account.role >= Role.ADMIN
    if why := settingview.reading(members_of(known.nodes), is_admin=is_admin):
        return why
    if known.group.get("left_s") is not None:
        return "A change of group.toml waits to be confirmed: Backup, or `carpool confirm`."
    refused = _of(known.group, "refused")
    return ": ".join(one for one in (text_of(refused, "error"), text_of(refused, "hint")) if one)


def _mistakes(group: Group, problems: list[Fields]) -> Said:
    """Beside the field that each is about; the others above all."""
    wrong: dict[str, str] = {}
    rest: list[Note] = []
    for one in problems:
        if one.get("fatal") is not True:
            continue
        key = settingform.by_field(group, text_of(one, "key"))
        if key:
            words = " ".join(settingview.mistake(one))
            wrong[key] = f"{wrong[key]}; {words}" if key in wrong else words
        else:
            rest.append(_note(one))
    return Said([MEND, *rest] if wrong else rest, wrong)


def _note(problem: Fields) -> Note:
    text, hint = settingview.mistake(problem)
    return Note(f"{text_of(problem, 'file')}: {text_of(problem, 'key')}: {text}", hint, "bad")


async def _page(
    visit: Visit, known: Known, forms: Mapping[str, Form], said: Said, status: int = 200
) -> Response:
    """All groups, or the one whose form was sent."""
    checks = await told(visit.web.ask.get("/v1/checks"))
    offered = settingview.offered(known.there, known.values)
    own = settingview.own_keys(known.there, known.nodes, members_of(known.nodes))
    schedule = settingform.found(known.values, parse(SCHEDULE_KEY))
    return visit.page(
        "settings.html",
        status,
        groups=[
            settingview.shown(BY_SLUG[slug], form, offered, said.wrong)
            for slug, form in forms.items()
        ],
        alone=len(forms) == 1,
        reading=_reading(visit, known),
        digest=text_of(known.group, "digest"),
        elsewhere=ELSEWHERE,
        file=known.file("group"),
        node_file=known.file("node"),
        notes=said.notes,
        times=_times(schedule) if isinstance(schedule, str) else [],
        peers=[one.name for one in own if not one.here],
        own=own,
        checks=[] if isinstance(checks, CarpoolError) else settingview.checks_of(checks),
        checks_error=clean(str(checks)) if isinstance(checks, CarpoolError) else "",
    )


def _times(schedule: str) -> list[str]:
    return settingview.times(schedule, clock.wall_us() / 1e6, zone)


def _of(fields: Fields, key: str) -> Fields:
    value = fields.get(key)
    return value if isinstance(value, Mapping) else {}
