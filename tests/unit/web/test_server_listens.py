"""Where the pages listen, and which certificate they show: as the agent says, from then on."""

from __future__ import annotations

import asyncio
import ssl

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from carpool.web.certificate import make
from carpool.web.server import Listeners
from tests.ports import free_port
from tests.unit.agent.home import until

HERE = "127.0.0.13"


async def hello(_request: object) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def shown(port: int) -> str:
    """The certificate that a browser is shown, as PEM; "" when nobody listens."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        _reader, writer = await asyncio.open_connection(HERE, port, ssl=context)
    except ConnectionRefusedError:
        return ""
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return ssl.DER_cert_to_PEM_cert(der)


class Heard(Listeners):
    said = ""

    def trouble(self, text: str) -> None:
        self.said = text


def test_it_goes_by_what_the_agent_says_now() -> None:
    own, theirs = make("own"), make("theirs")
    first, second = free_port([HERE]), free_port([HERE])

    async def scenario() -> None:
        listeners = Heard(Starlette(routes=[Route("/", hello)]), own)
        try:
            listeners.go_by({"addresses": [HERE], "port": first})
            await until(lambda: listeners.listens(HERE, first), "a listener")
            assert await shown(first) == own.certificate
            pair = {"certificate": theirs.certificate, "key": theirs.key}
            listeners.go_by({"addresses": [HERE], "port": first, **pair})
            assert await shown(first) == theirs.certificate, "at the port that it had"
            listeners.go_by({"addresses": [HERE], "port": first, "error": "no pair"})
            assert listeners.said == "no pair"
            assert await shown(first) == own.certificate
            listeners.go_by({"addresses": [HERE], "port": second})
            await until(lambda: listeners.listens(HERE, second), "the other port")
            assert [await shown(first), await shown(second)] == ["", own.certificate]
            listeners.go_by({"addresses": [], "port": second})
            assert await shown(second) == ""
        finally:
            await listeners.close()

    asyncio.run(scenario())
