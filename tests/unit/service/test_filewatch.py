"""What is told of files that are broken, and mended, while failover runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from carpool.kernel.appliedfile import Sources
from carpool.model.config import Problem
from carpool.service.filewatch import EDITED_S, LOOK_EVERY_S, FileWatch
from carpool.service.groupchange import Files, Form, Look, Start

COUNTS = Sources("node", "group")


class Editor(Files):
    """Of the files; what it wrote last is seen at the next look."""

    def __init__(self) -> None:
        self.now = Look("", COUNTS)

    def look(self) -> Look:
        return self.now

    def start(self, given: Form, *, again: bool) -> Start:
        raise NotImplementedError

    def read(self, *, proposed: bool = False) -> tuple[Form | None, list[Problem]]:
        raise NotImplementedError

    def keep(self, now: Form, older: Sequence[Form], before: Form | None) -> None:
        raise NotImplementedError

    def put_back(self, texts: Sources) -> list[str]:
        raise NotImplementedError


class AtOnce:
    """In place of a thread."""

    def do(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        done(job())


class Watch:
    """One, and what it is asked with."""

    def __init__(self, unusable: str = "") -> None:
        self.editor, self.counts, self.now_s = Editor(), COUNTS, 0.0
        later: Any = AtOnce()
        self.watch = FileWatch(self.editor, later, lambda: self.counts, unusable)

    def sees(self, look: Look) -> list[tuple[str, float]]:
        """Of each trouble its text, and how long it must last to be told."""
        self.editor.now = look
        self.now_s += LOOK_EVERY_S
        self.watch.on_time(self.now_s)
        return [(one.text, one.after_s) for one in self.watch.troubles]


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_files_that_are_well_are_no_trouble_and_neither_is_an_edit(watch: Watch) -> None:
    assert watch.sees(Look("", COUNTS)) == []
    assert watch.sees(Look("", Sources("node", "edited"))) == []


def test_who_edits_is_not_told_of_each_step(watch: Watch) -> None:
    ((text, after_s),) = watch.sees(Look("group.toml:3: name", Sources("node", "")))
    assert text.startswith("group.toml:3: name: this node goes by what counted before")
    assert after_s == EDITED_S
    assert watch.sees(Look("", COUNTS)) == []


def test_what_was_broken_when_the_process_began_is_told_at_once_and_mended_by_the_same() -> None:
    watch = Watch("group.toml: file")
    assert [one.after_s for one in watch.watch.troubles] == [0.0]
    assert watch.sees(Look("", COUNTS)) == []
    assert watch.sees(Look("", Sources("node", "edited"))) == []  # like any other edit from now on


def test_another_configuration_is_taken_up_when_somebody_says_so() -> None:
    watch = Watch("group.toml: file")
    other = Sources("node", "other")
    ((text, _after_s),) = watch.sees(Look("", other))
    assert "another one" in text
    assert watch.watch.troubles[0].hint.startswith("`carpool apply`")
    watch.counts = other
    assert watch.sees(Look("", other)) == []


def test_it_looks_now_and_then(watch: Watch) -> None:
    watch.sees(Look("", COUNTS))
    watch.editor.now = Look("broken", COUNTS)
    watch.watch.on_time(watch.now_s + LOOK_EVERY_S / 2)
    assert watch.watch.troubles == []
