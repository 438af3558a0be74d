"""Keeps the table `inet carpool_rules` as the files ask for it, where it is loaded at all.

Room: api. Refuses to load it where nobody wanted it: `carpool rules --load` and its unit do.
"""

from __future__ import annotations

from carpool.kernel import ownrules as hands
from carpool.model.config import Config
from carpool.proto import ownrules


def follow(config: Config) -> bool:
    """Put the table of this configuration in place of the one that is there; whether there was one.
    Blocking. Raises CarpoolError."""
    if not hands.is_loaded():
        return False
    hands.run(ownrules.text(config))
    return True
