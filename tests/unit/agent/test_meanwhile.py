"""Who is told to wait while packages are updated, or files are changed."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from carpool.agent.check import Refused
from carpool.agent.meanwhile import Meanwhile


@dataclass
class Coming:
    at_work: bool = False
    is_coming: bool = False
    busy: str = "ann on fw1 since 12:00"


@dataclass
class Going:
    busy: str = ""


@dataclass
class Here:
    """What is going on with the files of a node."""

    receiver: Coming = field(default_factory=Coming)
    sender: Going = field(default_factory=Going)
    waiting: bool = False
    under_way: str = ""

    def waits(self) -> object:
        return {"what": "sync"} if self.waiting else None

    def refuse_look(self) -> None:
        if self.under_way:
            raise Refused(f"already at it: {self.under_way}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Here(waiting=True), "a change of fw2 waits to be confirmed: ann on fw1"),
        (Here(Coming(at_work=True)), "fw2 is being synchronised: ann on fw1 since 12:00"),
        (Here(Coming(is_coming=True)), "fw2 is being synchronised: ann on fw1 since 12:00"),
        (Here(sender=Going("bob since 11:00")), "fw2 itself synchronises or pulls: bob"),
        (Here(under_way="rollback to 3"), "already at it: rollback to 3"),
    ],
)
def test_an_update_waits_for_a_change_of_files(changes: Here, words: str) -> None:
    with pytest.raises(Refused, match=words):
        Meanwhile("fw2").refuse_update(changes)


def test_a_change_of_files_waits_for_an_update() -> None:
    meanwhile = Meanwhile("fw2")
    meanwhile.refuse_change()
    meanwhile.refuse_update(Here())
    meanwhile.updating = "ann on fw1 since 12:00"
    with pytest.raises(Refused, match="packages of fw2 are being updated: ann on fw1") as told:
        meanwhile.refuse_change()
    assert "carpool update --follow` on fw2" in told.value.hint
