"""The drawing of a group: what is up, what is not, and what nobody knows."""

from __future__ import annotations

from carpool.web.picture import draw
from tests.unit.web.group import node, pair, silent


def test_a_healthy_pair_has_the_master_on_both_networks() -> None:
    picture = draw(pair()["nodes"])
    assert [bar.name for bar in picture.bars] == ["wan", "lan"]  # the world above
    assert [wire.kind for wire in picture.wires] == ["master", "master", "up", "up"]
    assert [(box.word, box.level, box.here) for box in picture.boxes] == [
        ("MASTER", "good", True),
        ("BACKUP", "calm", False),
    ]
    assert [(one.kind, one.word) for one in picture.streams] == [("up", "states")]
    assert picture.words == (
        "lan: fw1 up and MASTER, fw2 up. wan: fw1 up and MASTER, fw2 up. "
        "states between fw1 and fw2: up."
    )


def test_everything_is_within_the_picture_and_no_box_on_another() -> None:
    nodes = [node(f"fw{at}", "fw0", "BACKUP", here=False) for at in range(4)]
    picture = draw(nodes)
    ends = [box.x + 140 for box in picture.boxes]
    assert all(end < box.x for end, box in zip(ends, picture.boxes[1:], strict=False))
    assert max(ends) <= picture.width
    assert all(0 < y <= picture.height for wire in picture.wires for y in (wire.y1, wire.y2))
    assert all(0 < bar.label_y <= picture.height for bar in picture.bars)


def test_a_link_that_is_down_is_drawn_as_that() -> None:
    nodes = pair()["nodes"]
    nodes[1]["failover"]["interfaces"][1].update(ready=False, reason="no carrier")
    picture = draw(nodes)
    assert [wire.kind for wire in picture.wires] == ["master", "master", "down", "up"]
    assert "wan: fw1 up and MASTER, fw2 down" in picture.words


def test_of_a_silent_node_nothing_is_known_but_the_stream_to_it() -> None:
    nodes = silent(pair())["nodes"]
    nodes[0]["states"]["peers"][0]["connected"] = False
    picture = draw(nodes)
    assert [wire.kind for wire in picture.wires[2:]] == ["unknown", "unknown"]
    assert picture.boxes[1].word == "no answer"
    assert picture.streams[0].word == "no stream"


def test_without_replication_it_says_so() -> None:
    nodes = pair()["nodes"]
    for one in nodes:
        one["states"] = None
    assert draw(nodes).streams[0].word == "no states"


def test_a_group_that_tells_nothing_has_an_empty_picture() -> None:
    picture = draw([{"name": "a"}, {"name": "b", "error": "gone", "failover": {"vhosts": 1}}])
    assert picture.words == "states between a and b: not known."
    assert draw([]).boxes == []
