"""Messages on their way: a real child with the real library, to servers on the loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from carpool.agent.alertpost import QUEUE_MAX, Post
from carpool.agent.scriptrun import Call, DirectRunner, Ran
from carpool.kernel.clock import monotonic_s
from carpool.model.alerts import AlertKind, Level, Message, Target
from tests.unit.agent.webhook import Webhook

MESSAGE = Message(AlertKind.FAILOVER, Level.WARNING, "[edge] fw2 became MASTER", "Why:\x1b <b>\n")


class Desk:
    """A post that notes what it tells."""

    def __init__(self, runner: Any = None, again_s: tuple[float, ...] = ()) -> None:
        self.told: list[str] = []
        runner = runner or DirectRunner(monotonic_s)
        self.post = Post(runner, self.told.append, lambda: "2026-11-23T03:00:00Z", again_s)

    async def settled(self) -> None:
        async with asyncio.timeout(30):
            while any(row["waiting"] for row in self.post.rows()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[tuple[list[str], str]] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append((envelope.rcpt_tos, envelope.content.decode()))
        return "250 taken"


@asynccontextmanager
async def mail_server(box: Mailbox) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, loop=loop), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def test_a_webhook_and_a_mail_are_sent() -> None:
    box = Mailbox()
    with Webhook() as webhook:

        async def run() -> Desk:
            desk = Desk()
            async with mail_server(box) as port:
                mail = f"mailto://127.0.0.1:{port}?from=fw1@example.com&to=ops@example.com"
                hook = Target("hook", f"json://127.0.0.1:{webhook.port}/t0ken")
                deaf = Target("deaf", "json://127.0.0.1:1", (AlertKind.SYNC,))
                desk.post.meet([hook, Target("mail", mail), deaf])
                desk.post.offer(MESSAGE)
                await desk.settled()
            return desk

        desk = asyncio.run(run())
    (posted,) = webhook.bodies
    assert posted["title"] == MESSAGE.title and posted["type"] == "warning"
    assert posted["message"] == "Why:? <b>"
    ((to, mail),) = box.mails
    assert to == ["ops@example.com"] and "Subject: [edge] fw2 became MASTER" in mail
    assert sorted(desk.told) == [f"{name}: {MESSAGE.title}: sent" for name in ("hook", "mail")]
    rows = {str(row["name"]): row for row in desk.post.rows()}
    assert rows["hook"]["url"] == f"json://127.0.0.1:{webhook.port}/****"
    assert rows["hook"]["messages"] == {"sent": 1, "failed": 0, "dropped": 0}
    assert rows["deaf"]["last"] is None


def test_a_server_that_refuses_is_tried_again_and_no_secret_is_told() -> None:
    with Webhook(statuses=[500, 500]) as webhook:

        async def run() -> Desk:
            desk = Desk(again_s=(0.0, 0.0, 0.0))
            url = f"json://me:s3cret@127.0.0.1:{webhook.port}/t0ken"
            desk.post.meet([Target("hook", url)])
            desk.post.offer(MESSAGE)
            await desk.settled()
            return desk

        desk = asyncio.run(run())
    assert len(webhook.bodies) == 3
    assert [line.split(":")[1] for line in desk.told[:2]] == [" not sent yet"] * 2
    assert desk.told[2].endswith(": sent")
    (row,) = desk.post.rows()
    assert row["last"]["tries"] == 3  # type: ignore[index]
    assert not any(word in json.dumps([desk.told, row]) for word in ("s3cret", "t0ken"))


def test_a_url_that_no_service_has_is_tried_once() -> None:
    async def run() -> Desk:
        desk = Desk(again_s=(60.0,))
        desk.post.meet([Target("odd", "nosuch://s3cret")])
        desk.post.offer(MESSAGE)
        await desk.settled()
        return desk

    desk = asyncio.run(run())
    (line,) = desk.told
    assert "not sent, tried once: no notification URL" in line and "s3cret" not in line


class Slow:
    """Runs nothing, until it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.calls: list[Call] = []

    async def run(self, call: Call) -> Ran:
        self.calls.append(call)
        await self.may.wait()
        return Ran(1, 0.1, "no json://me:s3cret@host/")


def test_the_queue_is_bounded_and_the_newest_stay() -> None:
    async def run() -> tuple[Desk, Slow]:
        runner = Slow()
        desk = Desk(runner)
        desk.post.meet([Target("hook", "json://me:s3cret@host")])
        for number in range(QUEUE_MAX + 5):
            desk.post.offer(replace(MESSAGE, title=f"message {number}"))
            await asyncio.sleep(0)
        runner.may.set()
        await desk.settled()
        return desk, runner

    desk, runner = asyncio.run(run())
    (row,) = desk.post.rows()
    assert row["messages"] == {"sent": 0, "failed": QUEUE_MAX + 1, "dropped": 4}
    assert json.loads(runner.calls[-1].document)["title"] == f"message {QUEUE_MAX + 4}"
    assert all(call.unprivileged for call in runner.calls)
    assert not any("s3cret" in " ".join(call.argv) for call in runner.calls)
    assert not any("s3cret" in line for line in desk.told)


def test_a_try_is_one_and_a_target_that_is_gone_is_tried_no_more() -> None:
    async def run() -> None:
        runner = Slow()
        desk = Desk(runner, again_s=(60.0,))
        desk.post.meet([Target("hook", "json://host")])
        runner.may.set()
        row = await desk.post.attempt("hook", replace(MESSAGE, kind=None))
        assert (row["name"], row["ok"], row["tries"]) == ("hook", False, 1)
        desk.post.offer(MESSAGE)
        await asyncio.sleep(0)
        desk.post.meet([])
        assert desk.post.rows() == []
        desk.post.close()

    asyncio.run(run())
