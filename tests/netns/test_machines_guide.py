"""The quick start, typed on two bare machines as it is written; then the operator's guide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.errors import CarpoolError
from carpool.lab import container, image
from carpool.lab.lab import Lab
from tests.guide import steps
from tests.netns.labs import open_lab
from tests.netns.typist import Typist

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def bare_lab() -> Iterator[Lab]:
    try:
        container.require_tools()
    except CarpoolError as error:
        pytest.skip(str(error))
    with open_lab(image.made(lambda text: None, bare=True)) as lab:
        yield lab


def typed(lab: Lab, *names: str) -> None:
    for name in names:
        with Typist(lab) as typist:
            for step in steps(DOCS / name):
                typist.do(step)


@pytest.mark.timeout(900)  # the first time, packages are made and fetched; then it is a minute
def test_the_quick_start_does_what_it_shows(bare_lab: Lab) -> None:
    typed(bare_lab, "quick-start.md")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_operators_guide_does_what_it_shows(bare_lab: Lab) -> None:
    typed(bare_lab, "quick-start.md", "operators-guide.md")  # it goes on where the other ends
