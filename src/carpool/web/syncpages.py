"""Synchronise, with the diff to read first; how far that is, and keeping what came of it or not.

Room: web. What must not be, the agent refuses: its words are shown, with the way on.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import Response

from carpool.api.render import duration, entries_of
from carpool.api.rendersync import by_whom
from carpool.errors import CarpoolError
from carpool.web import backupview, diffview
from carpool.web.accounts import Role
from carpool.web.backup import in_time, told
from carpool.web.jobs import ALL, APPLY, Busy, Job
from carpool.web.notes import Note
from carpool.web.page import Pages, Visit

WORK_WAIT_S = 300.0  # peers read and write all files of all sections
RESULTS = 100  # of which what waited is looked up
REASON_MAX = 500  # letters, as the history has them
WITHIN_S = (60, 300, 900, 3600)

pages = Pages()


@pages.get("/backup/diff")
async def diff(visit: Visit) -> Response:
    ask = visit.web.ask
    nodes = backupview.nodes_of(await ask.get("/v1/nodes"))
    peers = [one.name for one in nodes if not one.here]
    peer = visit.request.query_params.get("peer", ALL)
    if peer and peer not in peers:
        raise CarpoolError(f"this node knows no peer {peer[:80]!r}", hint="choose one: /backup")
    body = {"sections": [], "peers": [peer] if peer else []}
    asked = ask.post("/v1/diff", body, by=visit.by, timeout_s=WORK_WAIT_S)
    node = next((one for one in nodes if one.name == peer), None)
    answer = await (told(asked) if node is None else in_time(asked, node, WORK_WAIT_S))
    return visit.page(
        "diff.html",
        peer=peer,
        peers=peers,
        failed=[Note.of(answer)] if isinstance(answer, CarpoolError) else [],
        diffs=[] if isinstance(answer, CarpoolError) else diffview.peers_of(answer),
        notes=visit.web.notes.take(visit.session),
        within=[(str(seconds), duration(seconds)) for seconds in WITHIN_S],
    )


@pages.post("/backup/sync", Role.OPERATOR)
async def sync(visit: Visit) -> Response:
    form = visit.form
    peer, within = form.get("peer", ALL), form.get("within", "")
    restart = form.get("restart") == "yes"
    if within not in ("", *map(str, WITHIN_S)):
        raise CarpoolError("no such time to confirm it within", hint="choose one of the list")
    body = {
        "peers": [peer] if peer else [],
        "sections": [],
        "reason": form.get("reason", "")[:REASON_MAX],
        "force": form.get("force") == "yes",
        "confirm_within_s": float(within) if within else None,
        "restart_services": restart,
    }
    what = f"synchronise {peer or 'all peers'}{' and restart all' if restart else ''}"
    return begun(visit, what, peer, "/v1/sync", body)


def begun(
    visit: Visit,
    what: str,
    node: str,
    path: str,
    body: dict[str, object],
    links: Sequence[tuple[str, str]] = (),
) -> Response:
    """The page of what was asked for, or of what is in its way."""
    try:
        job = visit.web.jobs.begin(what, node, path, body, by=visit.by)
    except Busy as busy:
        return _page(visit, busy.job, [Note.of(busy)], 409)
    job.links = links
    return visit.to(f"/backup/job/{job.number}")


@pages.post("/backup/again", Role.OPERATOR)
async def again(visit: Visit) -> Response:
    """The same by force, after it was refused."""
    job = visit.web.jobs.find(visit.form.get("job", ""))
    if job.path == APPLY and visit.account.role < Role.ADMIN:
        raise HTTPException(403, f"{visit.account.name} may not change settings: this takes admin")
    return begun(visit, job.what, job.node, job.path, {**job.body, "force": True}, job.links)


@pages.get("/backup/job/{number}")
async def show(visit: Visit) -> Response:
    job = visit.web.jobs.find(visit.request.path_params["number"])
    waited = bool(job.progress.waiting)
    if waited:
        found = await told(visit.web.ask.get("/v1/results", {"limit": str(RESULTS)}))
        if not isinstance(found, CarpoolError):
            job.progress.settle(entries_of(found, "results"))
    if not visit.is_live:
        return _page(visit, job, visit.web.notes.take(visit.session))
    if visit.request.query_params.get("live") == "left":
        if waited and job.progress.waiting:
            return visit.page("left.html", job=job, now_s=visit.web.now_s())
        return Response(headers={"HX-Refresh": "true"})  # it is decided: the whole page says how
    return visit.page("job_live.html", job=job, now_s=visit.web.now_s())


def _page(visit: Visit, job: Job, notes: list[Note], status: int = 200) -> Response:
    return visit.page("job.html", status, job=job, notes=notes, now_s=visit.web.now_s())


@pages.post("/backup/decide", Role.OPERATOR)
async def decide(visit: Visit) -> Response:
    """Keep what waits, or put it back; without a peer on all of them, and here."""
    form = visit.form
    what, peer = form.get("what", ""), form.get("peer", "")
    if what not in ("confirm", "take-back"):
        raise CarpoolError("neither confirm nor take-back", hint="load the page again")
    body = {"peers": [peer] if peer else []}
    answer = await told(visit.web.ask.post(f"/v1/{what}", body, by=visit.by, timeout_s=WORK_WAIT_S))
    notes = [Note.of(answer)] if isinstance(answer, CarpoolError) else _decided(answer, what)
    for note in notes:
        visit.web.notes.add(visit.session, note)
    number = form.get("job", "")
    if number:
        return visit.to(f"/backup/job/{quote(number, safe='')}")
    return visit.to(f"/backup?node={quote(peer, safe='')}")


def _decided(answer: dict[str, object], what: str) -> list[Note]:
    """By node; a node on which nothing waited is no news where another one did."""
    done = answer.get("done")
    found = {str(name): one for name, one in done.items()} if isinstance(done, dict) else {}
    rows = {name: one for name, one in found.items() if isinstance(one, dict)}
    some = any("error" not in one for one in rows.values())
    notes: list[Note] = []
    for name, one in rows.items():
        if "error" in one and not (some and not one.get("waited", True)):
            notes.append(Note(by_whom(name, str(one["error"])), str(one.get("hint") or ""), "bad"))
        elif "group" in one and len(one) == 1:  # it was left out
            lacks = "has not got it" if what == "confirm" else "was not asked"
            notes.append(Note(f"{name} {lacks}", str(one["group"]), "warn"))
        elif "error" not in one:
            told_so = "kept" if what == "confirm" else "put back"
            more = str(one.get("group") or "")
            notes.append(Note(f"{name}: {told_so}", more, "warn" if more else "good"))
    return notes or [Note("nothing waits to be confirmed", "", "warn")]
