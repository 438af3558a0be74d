"""What a hook is told."""

from __future__ import annotations

import json
from dataclasses import replace

from carpool.machine.hookdocument import TRANSITION, Event, arguments, document, environment
from carpool.machine.moves import Move
from tests.unit.model.configs import config

EVENT = Event(
    TRANSITION,
    Move("group", "BACKUP", "MASTER", "no advertisement for 3.00 s"),
    role="MASTER",
    states={"51@lan": "MASTER"},
    time="2026-03-01T04:05:06.789Z",
    monotonic_s=12.34567,
    sequence=7,
)


def test_of_a_group() -> None:
    whole = config()
    told = json.loads(json.dumps(document(EVENT, whole, 2)))
    vips = told.pop("vips")
    assert told == {
        **{"version": 1, "event": "transition", "kind": "group", "node": whole.node.name},
        **{"group": whole.group.name, "role": "MASTER", "from": "BACKUP", "to": "MASTER"},
        **{"reason": "no advertisement for 3.00 s", "time": "2026-03-01T04:05:06.789Z"},
        **{"monotonic_s": 12.346, "sequence": 7, "overtaken": 2},
    }
    assert [vip["vhid"] for vip in vips] == [vip.vhid for vip in whole.group.vips]
    first = whole.group.vips[0]
    assert vips[0] == {
        **{"vhid": first.vhid, "interface": first.interface},
        **{"device": whole.device(first.interface), "addresses": [*map(str, first.addresses)]},
        "state": EVENT.states.get(str(first.key)),
    }
    assert arguments(EVENT) == ("group", "MASTER")
    assert "CARPOOL_VHID" not in environment(EVENT, whole)


def test_of_a_vip() -> None:
    whole = config()
    key = whole.group.vips[0].key
    event = replace(EVENT, move=Move(str(key), None, "BACKUP", "up"))
    told = document(event, whole, 0)
    assert (told["kind"], told["from"]) == ("vip", None)
    place = (told["interface"], told["vhid"], told["device"])
    assert place == (key.interface, key.vhid, whole.device(key.interface))
    assert arguments(event) == (str(key), "BACKUP")
    words = environment(event, whole)
    assert (words["CARPOOL_FROM"], words["CARPOOL_TO"]) == ("", "BACKUP")
    assert (words["CARPOOL_VHID"], words["CARPOOL_INTERFACE"]) == (str(key.vhid), key.interface)
