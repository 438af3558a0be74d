"""The whole run: every measure with every contender, in turns, so that noise falls on all alike.

Room: lab. One after the other in each run, not all runs of one and then of the next. Whoever fails
is told and has no sample of that run; refuses to judge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s
from carpool.lab.figures import Samples
from carpool.lab.statesbench.measures import Found, Measure, Sizes
from carpool.lab.statesbench.replicators import Replicator
from carpool.lab.statesbench.stage import Stage


def measure(
    stage: Stage, measures: Sequence[Measure], runs: int, sizes: Sizes, only: Sequence[str]
) -> Samples:
    """Samples by row's key and contender. A key "KEY/NAME" is a sample of contender NAME. `only`:
    contenders whose names hold one of these texts."""
    samples: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in range(1, runs + 1):
        for entry in measures:
            for contender in entry.contenders(stage):
                if not any(text in contender.name for text in only):
                    continue
                begun_s = monotonic_s()
                found = _once(stage, entry, contender, sizes)
                for key, value in found.items():
                    name, _, owner = key.partition("/")
                    samples[name, owner or contender.name].append(value)
                figures = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
                took_s = monotonic_s() - begun_s
                stage.say(f"run {run}, {contender.name}: {figures or 'nothing'} ({took_s:.0f} s)")
    return samples


def _once(stage: Stage, entry: Measure, contender: Replicator, sizes: Sizes) -> Found:
    stage.clear()
    try:
        return entry.take(stage, contender, sizes)
    except CarpoolError as error:
        stage.say(f"{contender.name}, {entry.name}: {error}")
        return {}
    finally:
        contender.stop()
