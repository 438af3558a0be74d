"""What each scenario takes, and what is refused before a lab is built."""

from __future__ import annotations

import pytest

from carpool.errors import CarpoolError
from carpool.lab.scenes import NAMES, Choice, Partition, scenario


@pytest.mark.parametrize("name", NAMES)
def test_every_scenario_can_be_made_without_options(name: str) -> None:
    assert scenario(name, Choice()).name == name
    assert scenario(name, Choice()).about


@pytest.mark.parametrize(
    ("name", "choice", "words"),
    [
        ("crash", Choice(seconds=3.0), "'crash' takes no --seconds"),
        ("starve", Choice(direction="in"), "'starve' takes no --direction"),
        ("stop-off", Choice(links=("lan",)), "takes no --links"),
        ("partition", Choice(links=("lan", "dmz")), "'dmz', expected some of lan, wan, sync"),
        ("partition", Choice(seconds=0.0), "--seconds 0"),
        ("starve", Choice(seconds=1e9), "--seconds 1e"),
    ],
)
def test_what_it_does_not_take_is_refused(name: str, choice: Choice, words: str) -> None:
    with pytest.raises(CarpoolError) as caught:
        scenario(name, choice)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("direction", "found", "wrong"),
    [
        ("both", {}, ""),
        ("in", {"moves": 1}, "although it heard the master"),
        ("out", {"moves": 1, "two_owners_ms": 5000.0}, "nobody tells of a split brain"),
        ("out", {"moves": 1, "two_owners_ms": 5000.0, "told_by": ["fw1"]}, ""),
        ("both", {"two_owners_after_ms": 3000.0}, "two masters that hear each other"),
    ],
)
def test_what_a_partition_judges(direction: str, found: dict[str, object], wrong: str) -> None:
    quiet = {"moves": 0, "two_owners_ms": 0.0, "two_owners_after_ms": 0.0, "told_by": []}
    sentences = Partition(Choice(direction=direction)).wrong(quiet | found)
    assert [wrong in one for one in sentences] == ([True] if wrong else [])
