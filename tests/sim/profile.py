"""How long hypothesis searches: the same plans every time, or many fresh ones.

CARPOOL_SIM_EXAMPLES=N draws N fresh plans for every test of tests/sim.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FRESH = int(os.environ.get("CARPOOL_SIM_EXAMPLES", "0"))
TIMEOUT_S = 36_000 if FRESH else 240  # of one test; a busy machine takes its time


def search(examples: int) -> settings:
    """`examples` plans, or as many as the environment asks for."""
    return settings(
        max_examples=FRESH or examples,
        derandomize=not FRESH,  # a gate must not fail by chance
        database=None,
        deadline=None,  # machines that run this are shared
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


SEARCH = search(14)
