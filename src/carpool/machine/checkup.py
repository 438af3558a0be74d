"""What a check of `carpool doctor` is, and what several of them need.

Room: machine. Pure: facts in, findings out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from carpool.machine.facts import Facts
from carpool.model.config import Config
from carpool.model.diagnosis import Diagnosis, Skipped
from carpool.model.facts import Unseen

Finding = Diagnosis | Skipped
Judge = Callable[[Facts], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """`judge` gives what it finds, and Skipped for what it cannot know."""

    name: str
    about: str  # in a few words, for a list
    judge: Judge


def vip_devices(config: Config) -> dict[str, str]:
    """Device by logical interface, of those that carry a VIP."""
    return {name: config.device(name) for name in config.vip_interfaces()}


def unconfigured(check: str, facts: Facts) -> Iterator[Skipped]:
    """That a check needs the configuration, where there is none."""
    if isinstance(facts.config, Unseen):
        yield Skipped(check, facts.config.why)
