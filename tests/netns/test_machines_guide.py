"""The quick start, typed on two bare machines as it is written; then the operator's guide."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.errors import CarpoolError
from carpool.lab import container, image
from carpool.lab.lab import Lab
from tests.guide import steps
from tests.netns.typist import Typist

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def bare_lab() -> Iterator[Lab]:
    try:
        container.require_tools()
    except CarpoolError as error:
        pytest.skip(str(error))
    lab = Lab(f"cpg-{secrets.token_hex(3)}")
    try:
        with lab.held():
            lab.up(image=image.made(lambda text: None, bare=True))
        yield lab
    finally:
        with lab.held():
            lab.down()


@pytest.mark.timeout(900)  # the first time, packages are made and fetched; then it is a minute
def test_the_guides_do_what_they_show(bare_lab: Lab) -> None:
    for name in ("quick-start.md", "operators-guide.md"):
        with Typist(bare_lab) as typist:
            for step in steps(DOCS / name):
                typist.do(step)
