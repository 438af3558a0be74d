"""What is looked for in the connection table, and what of a peer's answer is believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.agent.app import build
from carpool.agent.connections import Search, wanted
from carpool.errors import CarpoolError
from tests.unit.agent.home import agent_of
from tests.unit.agent.test_app import ask


def test_an_address_and_a_port_may_be_anywhere() -> None:
    assert len(wanted(Search())) == 1
    assert [one.values for one in wanted(Search(port=443))] == [
        (("orig.proto.sport", 0xFFFF, 443),),
        (("orig.proto.dport", 0xFFFF, 443),),
        (("reply.proto.sport", 0xFFFF, 443),),
        (("reply.proto.dport", 0xFFFF, 443),),
    ]
    both = wanted(Search(address="192.0.2.7/24", port=443, protocol="TCP", state="established"))
    assert len(both) == 16
    assert both[0].values[0] == ("orig.ip.src", 0xFFFFFF00, 0xC0000200)
    assert {(one.protocol, one.state) for one in both} == {(6, "ESTABLISHED")}


@pytest.mark.parametrize(
    ("search", "why"),
    [
        ({"address": "fw1"}, "'fw1' is no address and no network"),
        ({"protocol": "256"}, "'256' is no protocol"),
        ({"protocol": "²"}, "is no protocol"),
        ({"state": "OPENISH"}, "'OPENISH' is no state"),
    ],
)
def test_what_cannot_be_looked_for_is_told(search: dict[str, str], why: str) -> None:
    with pytest.raises(CarpoolError, match=why):
        wanted(Search.model_validate(search))


@pytest.mark.parametrize("query", ["port=65536", "port=x", "address=" + "x" * 65, "more=1"])
def test_a_question_is_bounded(query: str, tmp_path: Path) -> None:
    app = build(agent_of(tmp_path, port=1))
    assert ask(app, f"/v1/connections?{query}").status_code == 422
    assert ask(app, f"/v1/peer/connections?{query}", "fw2").status_code == 422
    assert ask(app, "/v1/peer/connections").status_code == 403
