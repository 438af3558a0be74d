"""Virtual IPs by forms: one more, another one, one less.

Room: web. A form makes a draft, whose page (changepages.py) shows the diff and applies it. What is
wrong is said beside its field, by the agent's judgement of the whole file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.responses import Response

from carpool.agent.objectlines import Answer
from carpool.api.render import Fields, entries_of, text_of
from carpool.errors import CarpoolError
from carpool.web import vipform
from carpool.web.accounts import Role
from carpool.web.backup import told
from carpool.web.changepages import preview, primaries
from carpool.web.drafts import Draft
from carpool.web.notes import Note
from carpool.web.page import Pages, Visit
from carpool.web.vipform import Entry

LISTEN_S, LISTEN_WAIT_S = 3.0, 20.0  # an interval of most adverts, and the agents' own way
PICK = "pick"

pages = Pages()


@pages.get("/vips/edit", Role.ADMIN)
async def form(visit: Visit) -> Response:
    """`vip`: which; without, another one."""
    stand = await visit.web.ask.get("/v1/group")
    entry = _entry(stand, visit.request.query_params.get("vip", ""))
    return await _page(visit, stand, entry, vipform.filled(entry))


@pages.post("/vips/edit", Role.ADMIN)
async def save(visit: Visit) -> Response:
    """Look at it, or pick a VHID for it."""
    stand = await visit.web.ask.get("/v1/group")
    entry = _entry(stand, visit.form.get("vip", ""))
    fields = vipform.given(visit.form)
    if visit.form.get("what") == PICK:
        vhid, notes = await _picked(visit, stand, fields["interface"])
        return await _page(visit, stand, entry, {**fields, "vhid": vhid or fields["vhid"]}, notes)
    edits = [vipform.edit_of(fields, entry)]
    named = f"{fields['vhid']}@{fields['interface']}"
    title = f"change the virtual IP {entry.key}" if entry else f"add the virtual IP {named}"
    back = f"/vips/edit?vip={entry.key}" if entry else "/vips/edit"
    # The text that the form was made of: what somebody else changed since is not overwritten.
    draft = Draft(title, edits, visit.form.get("digest", ""), back)
    found = await preview(visit, draft)
    if isinstance(found, CarpoolError):
        return await _page(visit, stand, entry, fields, [Note.of(found)], status=409)
    if found.get("ok") is not True:
        problems = [one for one in entries_of(found, "problems") if one.get("fatal") is not False]
        index = entry.index if entry else len(vipform.entries(stand.get("values")))
        wrong, others = vipform.by_field(problems, index)
        notes = [Note(text, "", "bad") for text in others]
        return await _page(visit, stand, entry, fields, notes, wrong=wrong, status=422)
    return visit.to(visit.web.drafts.add(visit.session, draft))


@pages.post("/vips/delete", Role.ADMIN)
async def delete(visit: Visit) -> Response:
    stand = await visit.web.ask.get("/v1/group")
    entry = _entry(stand, visit.form.get("vip", ""))
    if entry is None:
        raise HTTPException(404)
    edits = [{"op": "remove_vip", "vip": entry.key}]
    title, digest = f"delete the virtual IP {entry.key}", visit.form.get("digest", "")
    return visit.to(visit.web.drafts.add(visit.session, Draft(title, edits, digest, "/vips")))


def _entry(stand: Fields, key: str) -> Entry | None:
    """None for none; 404 for one that is not there."""
    if not key:
        return None
    for entry in vipform.entries(stand.get("values")):
        if entry.key == key:
            return entry
    raise HTTPException(404)


async def _picked(visit: Visit, stand: Fields, interface: str) -> tuple[str, list[Note]]:
    """A VHID that no VIP of that interface has, nor anybody on its wire; and how sure that is."""
    own = [
        one
        for one in vipform.entries(stand.get("values"))
        if one.values.get("interface") == interface
    ]
    taken = {int(str(one.values["vhid"])) for one in own if str(one.values.get("vhid")).isdigit()}
    body = {"seconds": LISTEN_S, "nonce": visit.web.random_hex(8)}
    asked = visit.web.ask.post("/v1/doctor/listen", body, by=visit.by, timeout_s=LISTEN_WAIT_S)
    answer = await told(asked)
    heard, notes = _heard(answer, interface)
    if not own:
        notes.append(
            Note(
                f"no VIP is on {interface or 'that interface'} yet, so no node listens there",
                "whether somebody else uses this number there is not known",
                "warn",
            )
        )
    vhid = vipform.free_vhid(taken | heard)
    if vhid is None:
        return "", [Note("all 255 are taken", "", "bad")]
    text = f"VHID {vhid} is free: it is not in group.toml for {interface or 'this interface'}"
    if own and not notes:
        text += f", and no peer heard it within {LISTEN_S:g} s"
    return str(vhid), [Note(text, "", "good"), *notes]


def _heard(answer: Answer | CarpoolError, interface: str) -> tuple[set[int], list[Note]]:
    if isinstance(answer, CarpoolError):
        return set(), [Note(f"nobody listened on the wire: {answer.message}", answer.hint, "warn")]
    peers = answer.get("peers")
    found: set[int] = set()
    notes: list[Note] = []
    for name, one in (peers if isinstance(peers, Mapping) else {}).items():
        row = one if isinstance(one, Mapping) else {}
        if row.get("error"):
            notes.append(Note(f"{name} did not listen: {text_of(row, 'error')}", "", "warn"))
        for heard in entries_of(row, "heard"):
            vhid = heard.get("vhid")
            if heard.get("interface") == interface and isinstance(vhid, int):
                found.add(vhid)
    return found, notes


async def _page(
    visit: Visit,
    stand: Fields,
    entry: Entry | None,
    fields: Mapping[str, str],
    notes: Sequence[Note] = (),
    *,
    wrong: Mapping[str, Sequence[str]] | None = None,
    status: int = 200,
) -> Response:
    interfaces, refused = stand.get("interfaces"), stand.get("refused")
    elsewhere = await primaries(visit, stand) if refused else []
    return visit.page(
        "vipform.html",
        status,
        entry=entry,
        fields=fields,
        notes=notes,
        wrong=wrong or {},
        digest=visit.form.get("digest") or text_of(stand, "digest"),
        interfaces=interfaces if isinstance(interfaces, Mapping) else {},
        choices=vipform.CHOICES,
        refused=refused if isinstance(refused, Mapping) else None,
        elsewhere=elsewhere,
    )
