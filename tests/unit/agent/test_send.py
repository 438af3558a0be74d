"""What goes from one agent to another, and what does not: odd files on either side, and a peer
whose offers are hostile. Both agents are real, on loopback, and so is TLS between them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Coroutine
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from carpool import __version__
from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.agent.apply import Refused
from carpool.agent.bundle import header
from carpool.agent.doorman import Doorman
from carpool.agent.job import Event
from carpool.agent.send import EVENTS_MAX, OUTCOME_WAIT_S, PREFIX, Wish, oddities, refuse_many
from carpool.errors import KernelError, PeerError
from carpool.kernel import clock
from carpool.model.manifest import Entry, Kind, manifest
from carpool.model.section import Keep, RolePolicy, Section, Service
from tests.unit.agent.home import asked_by, rooted_pair, serving

WISH = Wish("tester", force=True)
OWN = {"owner": "root", "group": "root"}
TEXT = b"hostile\n"
SHA256 = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Agent, Agent]:
    fw1, fw2 = rooted_pair(tmp_path)
    write(fw1, "a/site.conf", "new\n")
    write(fw2, "a/site.conf", "old\n")
    return fw1, fw2


def write(agent: Agent, name: str, text: str) -> Path:
    path = agent.root / "etc/web" / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)
    return path


def look(agent: Agent) -> dict[str, object]:
    """All that the section is, not through any link."""
    top = agent.root / "etc/web"
    return {
        str(path.relative_to(top)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def synchronised(fw1: Agent, fw2: Agent, *names: str) -> list[Event]:
    """`names` of sections; web, if there are none."""
    chosen = list(names) or ["web"]

    async def steps() -> list[Event]:
        async with serving(fw2):
            try:
                return [event async for event in fw1.configuration.sync(chosen, [], WISH)]
            finally:
                await fw1.close()
                for agent in (fw1, fw2):
                    await agent.configuration.settled()

    return asyncio.run(steps())


async def differences(fw1: Agent, fw2: Agent) -> dict[str, Any]:
    async with serving(fw2):
        try:
            found: Any = await fw1.configuration.diff(["web"], [], Wish("diff"))
        finally:
            await fw1.close()
    answer: dict[str, Any] = found["fw2"]
    return answer


def outcome(events: list[Event]) -> tuple[str, str]:
    (end,) = [event for event in events if event["step"] == "end"]
    return str(end["outcome"]), str(end.get("error", ""))


def test_it_tells_how_far_it_is(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair
    write(fw1, "large", "x" * 3_000_000)
    events = synchronised(fw1, fw2)
    assert outcome(events) == ("applied", "")
    last = [event for event in events if event["step"] == "sending"][-1]
    assert (last["files"], last["files_all"]) == (2, 2)
    assert last["bytes"] == last["bytes_all"] == 3_000_004 + 2 * 40
    (plan,) = [event for event in events if event["step"] == "plan"]
    assert plan["sections"] == {
        "web": {
            "added": 1,
            "changed": 1,
            "removed": 0,
            "files": [["changed", "/etc/web/a/site.conf"], ["added", "/etc/web/large"]],
        }
    }


def test_a_section_of_services_alone_brings_nothing_and_hinders_nothing(
    pair: tuple[Agent, Agent],
) -> None:
    dial = Section("dial", (), services=(Service("ppp@isp"),), role=RolePolicy.MASTER)
    for agent in pair:
        agent.sections["dial"] = dial
    assert outcome(synchronised(*pair, "web", "dial")) == ("applied", "")
    assert outcome(synchronised(*pair, "web", "dial")) == ("nothing to do", "")
    assert outcome(synchronised(*pair, "dial")) == ("nothing to do", "")


def test_what_was_changed_over_there_is_overwritten_by_force_only(
    pair: tuple[Agent, Agent],
) -> None:
    fw1, fw2 = pair
    assert outcome(synchronised(fw1, fw2)) == ("applied", "")

    async def without_force() -> list[Event]:
        sender = fw1.configuration.sender
        async with serving(fw2):
            try:
                chosen = sender.chosen(["web"])
                steps = sender.sync(chosen, fw1.peers["fw2"], Wish("tester"))
                return [event async for event in steps]
            finally:
                await fw1.close()

    write(fw2, "a/site.conf", "in an emergency\n")
    with pytest.raises(Refused, match="web: changed on fw2 itself since it was synchronised last"):
        asyncio.run(without_force())
    assert look(fw2)["a/site.conf"] == b"in an emergency\n"
    found = asyncio.run(differences(fw1, fw2))  # what the hint says: it needs no force
    (section,) = found["sections"]
    assert "-in an emergency" in section["files"][0]["text"]
    assert found["warnings"] == ["web: changed on fw2 itself since it was synchronised last"]
    assert look(fw2)["a/site.conf"] == b"in an emergency\n"
    write(fw1, "a/site.conf", "in an emergency\n")  # the same by hand on both: nothing is lost
    assert outcome(asyncio.run(without_force())) == ("nothing to do", "")


def test_a_section_that_is_all_gone_is_emptied_by_force_only(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair
    (fw1.root / "etc/web/a/site.conf").rename(fw1.root / "elsewhere")
    found = asyncio.run(differences(fw1, fw2))
    assert found["warnings"] == ["web: nothing is left of its 1 file"]
    before = look(fw2)

    async def without_force() -> list[Event]:
        sender = fw1.configuration.sender
        async with serving(fw2):
            try:
                steps = sender.sync(sender.chosen(["web"]), fw1.peers["fw2"], Wish("tester"))
                return [event async for event in steps]
            finally:
                await fw1.close()

    with pytest.raises(PeerError, match="web: nothing is left of its 1 file") as caught:
        asyncio.run(without_force())
    assert "mounted" in caught.value.hint
    assert look(fw2) == before
    assert outcome(synchronised(fw1, fw2)) == ("applied", "")
    assert look(fw2) == {}


def test_what_a_node_keeps_as_its_own_is_no_drift(pair: tuple[Agent, Agent]) -> None:
    lines = "! node\nrouter id of {}\n! end\n"
    for agent in pair:
        write(agent, "a/site.conf", f"shared\n{lines.format(agent.name)}{agent.name}\n")
        write(agent, "own", agent.name)
        keep = Keep("/etc/web/own"), Keep("/etc/web/a/site.conf", "! node", "! end")
        agent.sections["web"] = replace(agent.sections["web"], keep=keep)
    fw1, fw2 = pair
    assert outcome(synchronised(fw1, fw2)) == ("applied", "")
    assert look(fw2)["own"] == b"fw2"
    text = f"shared\n{lines.format('fw2')}fw1\n"
    assert look(fw2)["a/site.conf"] == text.encode()

    async def drift(of: Agent = fw1, on: Agent = fw2) -> str:
        async with serving(on):
            found: Any = await of.configuration.drift()
            await of.close()
        return str(found[on.name]["web"]["drift"])

    async def pulled() -> tuple[str, str]:
        async with serving(fw1):
            pull = fw2.configuration.pull(["web"], "fw1", Wish("tester"))
            events = [event async for event in pull]
            await fw2.close()
            await fw2.configuration.settled()
        return outcome(events)

    assert asyncio.run(drift()) == asyncio.run(drift(fw2, fw1)) == "in sync"
    write(fw2, "own", "changed").chmod(0o600)
    write(fw2, "a/site.conf", text.replace("router id of fw2", "another\nand one more"))
    assert asyncio.run(drift()) == asyncio.run(drift(fw2, fw1)) == "in sync"
    write(fw1, "a/site.conf", f"shared\n{lines.format('its own')}fw1\n")
    assert asyncio.run(drift()) == "in sync"  # nobody else has a use for it
    assert asyncio.run(differences(fw1, fw2))["warnings"] == []
    write(fw1, "a/site.conf", text.replace("shared", "new"))
    assert asyncio.run(drift()) == "ahead"
    assert asyncio.run(drift(fw2, fw1)) == "differs on the backup"
    assert asyncio.run(pulled()) == ("applied", "")  # its own lines are no second change
    assert b"and one more" in cast(bytes, look(fw2)["a/site.conf"])
    assert asyncio.run(drift()) == "in sync"
    assert asyncio.run(differences(fw1, fw2))["warnings"] == []
    for changed in (
        text.replace("shared", "an emergency"),  # not its own
        f"{lines.format('fw2')}shared\nfw1\n",  # they are elsewhere
    ):
        write(fw2, "a/site.conf", changed)
        assert asyncio.run(drift()) == "differs on the backup"
        (warning,) = asyncio.run(differences(fw1, fw2))["warnings"]
        assert "web: changed on fw2 itself" in warning
    write(fw2, "a/site.conf", text.replace("! end\n", ""))  # nobody knows which lines are whose
    assert asyncio.run(drift()) == "differs on the backup"


def test_links_are_sent_as_links_and_lead_nothing_out_of_the_section(
    pair: tuple[Agent, Agent],
) -> None:
    fw1, fw2 = pair
    outside = fw2.root / "outside"
    outside.mkdir()
    (outside / "site.conf").write_text("not yours\n")
    (fw2.root / "etc/web/b").symlink_to(outside)  # here a directory, there a link out of it
    write(fw1, "b/site.conf", "new b\n")
    write(fw2, "c/site.conf", "old c\n")  # here a link out of it, there a directory
    (fw1.root / "etc/web/c").symlink_to("../../outside")
    (fw1.root / "etc/web/passwd").symlink_to("/etc/passwd")
    assert outcome(synchronised(fw1, fw2)) == ("applied", "")
    assert look(fw2) == look(fw1)
    assert os.readlink(fw2.root / "etc/web/c") == "../../outside"
    assert not (fw2.root / "etc/web/b").is_symlink()
    assert [path.name for path in outside.iterdir()] == ["site.conf"]
    assert (outside / "site.conf").read_text() == "not yours\n"


def test_a_file_of_this_node_that_cannot_be_sent_is_no_matter_of_a_peer(
    pair: tuple[Agent, Agent],
) -> None:
    fw1, fw2 = pair
    os.mkfifo(fw1.root / "etc/web/pipe")
    with pytest.raises(KernelError, match="/etc/web/pipe is a pipe"):
        asyncio.run(differences(fw1, fw2))


@pytest.mark.parametrize("name", [b"odd\nname", b"caf\xe9"])
@pytest.mark.parametrize("on", ["fw1", "fw2"])
def test_a_name_that_cannot_be_sent_hides_how_its_own_section_stands_and_no_other(
    pair: tuple[Agent, Agent], name: bytes, on: str
) -> None:
    fw1, fw2 = pair
    for agent in pair:
        agent.sections["other"] = replace(
            agent.sections["web"], name="other", paths=("/etc/other/",), services=()
        )
        agent.selected.append("other")
        (agent.root / "etc/other").mkdir()
    bad = fw1 if on == "fw1" else fw2
    (Path(os.fsdecode(bytes(bad.root / "etc/web") + b"/" + name))).touch()

    async def drift() -> dict[str, Any]:
        async with serving(fw2):
            found: Any = await fw1.configuration.drift()
            await fw1.close()
        stands: dict[str, Any] = found["fw2"]
        return stands

    found = asyncio.run(drift())
    assert found["other"]["drift"] == "in sync"
    assert found["web"]["drift"] == "unknown"
    assert found["web"]["why"].startswith("fw2: the path" if on == "fw2" else "the path")
    assert "rename or exclude it" in found["web"]["why"]


def test_a_section_behind_a_link_is_not_followed_there(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair
    away = fw2.root / "elsewhere"
    (fw2.root / "etc/web").rename(away)
    (fw2.root / "etc/web").symlink_to(away)
    ended, why = outcome(synchronised(fw1, fw2))
    assert ended == "failed"
    assert "symbolic link" in why
    assert (away / "a/site.conf").read_text() == "old\n"


def test_more_than_a_peer_takes_is_said_before_anything_is_sent() -> None:
    one = manifest([Entry(f"/etc/web/{number}", Kind.DIRECTORY) for number in range(3)])
    refuse_many({"web": one, "dns": {}}, 3)
    with pytest.raises(Refused, match="all together have 3, and a peer takes 2"):
        refuse_many({"dns": {}, "web": one}, 2)


def hostile(fw1: Agent, fw2: Agent, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with serving(fw2):
            try:
                await act()
            finally:
                await fw1.close()

    before = look(fw2), (fw2.root / "etc/shadow").exists()
    asyncio.run(run())
    assert (look(fw2), (fw2.root / "etc/shadow").exists()) == before


def offer(*rows: dict[str, object]) -> dict[str, object]:
    return {"by": "tester", "sections": {"web": list(rows)}}


def row(path: str, **more: object) -> dict[str, object]:
    return {**asdict(Entry(path, Kind.FILE, 0o644, size=len(TEXT), sha256=SHA256)), **OWN, **more}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row("/etc/web/../shadow")], "empty part, `.` or `..`"),
        ([row("/etc/web/a/../../shadow")], "empty part, `.` or `..`"),
        ([row("/etc/shadow")], "does not belong to it by this node's definition"),
        ([row("etc/web/x")], "is not absolute"),
        ([row("/etc/web//x")], "empty part"),
        ([row("/etc/web/x\0")], "cannot be printed"),
        ([row("/etc/web/.carpool-1-1")], "temporary files"),
        ([row("/etc/web/x", sha256="../../shadow")], "sha256"),
        ([row("/etc/web/x", size=2**60)], "bytes, expected"),
        ([row("/etc/web/x"), row("/etc/web/x")], "comes twice"),
        (
            [row("/etc/web/x", kind="symlink", target="/etc"), row("/etc/web/x/shadow")],
            "lies below",
        ),
    ],
)
def test_a_path_that_leads_out_is_refused(
    pair: tuple[Agent, Agent], rows: list[dict[str, object]], words: str
) -> None:
    fw1, fw2 = pair

    async def act() -> None:
        with pytest.raises(PeerError) as caught:
            await fw1.peers["fw2"].post(f"{PREFIX}/sync", offer(*rows))
        assert words in caught.value.message

    hostile(fw1, fw2, act)


def test_contents_that_are_none_of_those_asked_for_are_refused(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair

    async def act() -> None:
        peer = fw1.peers["fw2"]
        number = (await peer.post(f"{PREFIX}/sync", offer(row("/etc/web/x"))))["number"]
        path = f"{PREFIX}/sync/{number}/contents"
        for sent, words in (
            (header("5" * 64, 8) + TEXT, "nobody asked for content 5555"),
            (header(SHA256, 8) + b"HOSTILE\n", "arrived as"),
            (header(SHA256, 2**40) + TEXT, "ended in the middle of one"),
            (header(SHA256, 9) + TEXT + b"!", "longer than 8 bytes"),
        ):
            with pytest.raises(PeerError, match=words):
                await peer.put(path, sent)
        with pytest.raises(PeerError, match="1 contents have not arrived yet"):
            async for event in peer.stream(
                "POST", f"{PREFIX}/sync/{number}/apply", {"force": True}
            ):
                if "error" in event:
                    raise PeerError(str(event["error"]))

    hostile(fw1, fw2, act)


def test_what_one_peer_offers_another_one_has_no_hand_in(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair
    fw2.peers["fw3"] = fw2.peers["fw1"]
    stranger = asked_by(build(fw2), "fw3")

    async def scenario() -> None:
        async with serving(fw2):
            peer = fw1.peers["fw2"]
            number = (await peer.post(f"{PREFIX}/sync", offer(row("/etc/web/x"))))["number"]
            await fw1.close()
        transport = httpx.ASGITransport(stranger)
        async with httpx.AsyncClient(transport=transport, base_url="http://fw2") as client:
            for verb, what in (("PUT", "contents"), ("GET", "diff"), ("POST", "apply")):
                answer = await client.request(verb, f"{PREFIX}/sync/{number}/{what}", json={})
                assert answer.status_code == 403
                assert answer.json()["error"] == "that transfer is not one of fw3"

    asyncio.run(scenario())


def test_an_offer_that_is_applied_twice_at_once_is_applied_once(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair
    receiver = fw2.configuration.receiver

    async def scenario() -> None:
        async with serving(fw2):
            peer = fw1.peers["fw2"]
            number = str((await peer.post(f"{PREFIX}/sync", offer(row("/etc/web/x"))))["number"])
            await peer.put(f"{PREFIX}/sync/{number}/contents", header(SHA256, len(TEXT)) + TEXT)
            begun = (receiver.apply(number, force=False, confirm_within_s=None) for _ in range(2))
            first, second = await asyncio.gather(*begun)
            assert first is second
            assert (await first.wait())["outcome"] == "applied"
            await fw1.close()
            await fw2.configuration.settled()

    asyncio.run(scenario())
    assert look(fw2)["x"] == TEXT


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({}, []),
        ({"version": __version__, "wall_s": None}, []),
        ({"version": "9.9"}, [f"fw2 runs carpool 9.9, this node {__version__}"]),
        ({"version": 7, "wall_s": "x"}, []),
        ({"wall_s": -3600.0}, ["the clock of fw2 is 3600 s behind this node's"]),
        ({"wall_s": 59.0}, []),
        ({"wall_s": 61.5}, ["the clock of fw2 is 6"]),
    ],
)
def test_what_is_odd_about_a_peer(answer: dict[str, Any], words: list[str]) -> None:
    off_s = answer.get("wall_s")
    if isinstance(off_s, float):
        answer = {**answer, "wall_s": clock.wall_us() / 1e6 + off_s}
    found = list(oddities("fw2", answer))
    assert len(found) == len(words)
    assert all(part in text for text, part in zip(found, words, strict=True))


def test_the_outcome_is_waited_for_while_the_peer_is_at_it(tmp_path: Path) -> None:
    """A check may take longer than a peer may be silent."""
    now_s = 0.0
    fw1, fw2 = rooted_pair(tmp_path)
    app = FastAPI()
    app.add_middleware(Doorman, peers=fw2.peers, refusals=fw2.refusals)

    @app.get(f"{PREFIX}/sync/7/outcome")
    async def outcome() -> dict[str, object]:
        nonlocal now_s
        now_s += 0.6 * OUTCOME_WAIT_S
        is_over = now_s > 1.5 * OUTCOME_WAIT_S
        return {"step": "end", "outcome": "applied"} if is_over else {"step": "checking"}

    async def asked() -> Event:
        async with serving(fw2, app):
            try:
                sender = fw1.configuration.sender
                return await sender._outcome(fw1.peers["fw2"], "7", lambda: now_s)
            finally:
                await fw1.close()

    assert asyncio.run(asked())["outcome"] == "applied"


def test_a_peer_that_answers_an_offer_with_nonsense_is_told_of(pair: tuple[Agent, Agent]) -> None:
    fw1, fw2 = pair
    app = FastAPI()
    app.add_middleware(Doorman, peers=fw2.peers, refusals=fw2.refusals)

    @app.post("/v1/peer/sync")
    async def offered() -> dict[str, object]:
        return {"number": 7}

    async def scenario() -> list[Event]:
        async with serving(fw2, app):
            try:
                return [event async for event in fw1.configuration.sync(["web"], [], WISH)]
            finally:
                await fw1.close()

    events = asyncio.run(scenario())
    assert outcome(events) == ("failed", "fw2 took the offer without a number for it")
    assert events[-1] == {"step": "over", "failed": ["fw2"]}, "others have their turn"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({}, "no step"),
        ({"step": 1}, "no step"),
        ({"step": "end"}, "no outcome"),
        ({"step": "x"}, "more steps"),
    ],
)
def test_steps_of_a_peer_that_are_none_or_have_no_end_are_refused(
    pair: tuple[Agent, Agent], event: Event, words: str
) -> None:
    fw1, fw2 = pair
    app = FastAPI()
    app.add_middleware(Doorman, peers=fw2.peers, refusals=fw2.refusals)

    @app.post("/v1/peer/sync/1/apply")
    async def apply() -> StreamingResponse:
        return StreamingResponse(iter([(json.dumps(event) + "\n") * 20_000]))

    async def scenario() -> int:
        count = 0
        async with serving(fw2, app):
            try:
                with pytest.raises(PeerError, match=words):
                    async for _event in fw1.configuration.sender._followed(
                        fw1.peers["fw2"], "1", {}
                    ):
                        count += 1
            finally:
                await fw1.close()
        return count

    assert asyncio.run(scenario()) <= EVENTS_MAX
