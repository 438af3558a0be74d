"""Labs for tests: up when a test begins, and gone afterwards, also when that fails."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from carpool.lab.image import Image
from carpool.lab.lab import Lab


@contextmanager
def held_lab(
    *, with_agent: bool = False, image: Image | None = None, blank: bool = False
) -> Iterator[Lab]:
    """Nobody else, no command either, changes it meanwhile."""
    made = _named()
    with made.held():
        try:
            made.up(with_agent=with_agent, image=image, blank=blank)
            yield made
        finally:
            made.down()


@contextmanager
def open_lab(image: Image, *, with_agent: bool = False) -> Iterator[Lab]:
    """One of machines, that commands may work on."""
    made = _named()
    try:
        with made.held():
            made.up(image=image, with_agent=with_agent)
        yield made
    finally:
        with made.held():
            made.down()


def _named() -> Lab:
    return Lab(f"cpl-{secrets.token_hex(3)}")
