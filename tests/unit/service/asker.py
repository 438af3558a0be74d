"""Who asks something of a service, for tests of it."""

from __future__ import annotations

from collections.abc import Mapping

from carpool.kernel.unixserver import Client


class Asker(Client):
    """A program that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(lambda _client: None)
        self.told: list[Mapping[str, object]] = []

    def send(self, value: Mapping[str, object]) -> bool:
        self.told.append(value)
        return True
