"""Facts as JSON and back."""

from __future__ import annotations

import json

from carpool.api.factsjson import read, told
from carpool.model.facts import PeerFacts
from tests.unit.machine.facts import NODE_FACTS


def test_there_and_back() -> None:
    facts = {**json.loads(json.dumps(told(NODE_FACTS))), "roles": {"51@lan": "MASTER"}}
    answer = {"facts": facts, "clock_off_s": 1.5, "clock_error_s": 0.25}
    assert read(answer) == PeerFacts(NODE_FACTS, 1.5, 0.25, {"51@lan": "MASTER"})
