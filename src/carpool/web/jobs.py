"""Work that the agent was asked for from a page, and goes on whether its browser is there or not.

Room: web. One at a time for a node. They live in memory, the last few of them: what came of each
is also in the results and in the history that the agent keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from carpool.api.clean import clean
from carpool.errors import CarpoolError, ConfigError
from carpool.web.ask import Ask
from carpool.web.jobview import Progress

JOBS_MAX = 32  # of which ended ones make room
NUMBER_BYTES = 16
ALL = ""  # every peer
APPLY = "/v1/group/apply"  # an edit of group.toml: it may cut off who asked for it
LOST = "whether it went on is told below History, in Synchronisations"


class Job:
    """`node`: whom it is done to, or ALL."""

    def __init__(self, number: str, what: str, node: str, by: str, path: str) -> None:
        self.number = number
        self.what = clean(what)  # "synchronise fw2"
        self.node = node
        self.by = clean(by)
        self.path = path  # of the agent
        self.body: Mapping[str, object] = {}
        self.links: Sequence[tuple[str, str]] = ()  # name and address of nodes, whatever moves
        self.begun_s = 0.0
        self.ended_s: float | None = None
        self.progress = Progress()

    @property
    def is_over(self) -> bool:
        return self.ended_s is not None

    @property
    def waits_until_s(self) -> float:
        """When the last node puts it back; 0: none waits."""
        return max((one.waits_until_s for one in self.progress.waiting), default=0.0)

    @property
    def state(self) -> str:
        """In a word."""
        if not self.is_over:
            return "running"
        if self.progress.has_failed:
            return "failed"
        if self.progress.waiting:
            return "to be confirmed"
        return "put back" if self.progress.is_put_back else "done"


class Busy(ConfigError):
    """Somebody is at it already."""

    def __init__(self, job: Job) -> None:
        super().__init__(
            f"{job.what} is under way already: {job.by} began it",
            hint="wait until it has ended",
        )
        self.job = job


class Jobs:
    def __init__(
        self, ask: Ask, now_s: Callable[[], float], random_hex: Callable[[int], str]
    ) -> None:
        self._ask = ask
        self._now_s = now_s
        self._random_hex = random_hex
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, what: str, node: str, path: str, body: Mapping[str, object], *, by: str) -> Job:
        """Ask for it. Raises Busy."""
        for job in self._jobs.values():
            if not job.is_over and (ALL in (node, job.node) or node == job.node):
                raise Busy(job)
        ended = [job.number for job in self._jobs.values() if job.is_over]
        for number in ended[: max(0, len(self._jobs) - JOBS_MAX + 1)]:
            del self._jobs[number]
        job = Job(self._random_hex(NUMBER_BYTES), what, node, by, path)
        job.body, job.begun_s = {**body, "by": by}, self._now_s()
        self._jobs[job.number] = job
        task = asyncio.get_running_loop().create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def find(self, number: str) -> Job:
        """Raises CarpoolError."""
        if number not in self._jobs:
            raise CarpoolError(
                "no such work is known here any more: this process was started anew, or much was "
                "done since",
                hint="what came of it is told below History, in Synchronisations",
            )
        return self._jobs[number]

    @property
    def running(self) -> list[Job]:
        return [job for job in self._jobs.values() if not job.is_over]

    async def close(self) -> None:
        """Listen no more; the agent goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, job: Job) -> None:
        progress = job.progress
        try:
            async for event in self._ask.stream(job.path, job.body, by=job.by):
                progress.take(event, self._now_s())
            if not any(node.outcome for node in progress.nodes.values()):
                error = "nothing was done: the agent knows no node to do it to"
                progress.fail(job.node, error, "[peer.NAME] in node.toml says who the peers are")
        except CarpoolError as error:
            progress.fail(job.node, error.message, error.hint)
        except BaseException as error:
            progress.fail(job.node, f"not followed to its end: {type(error).__name__}", LOST)
            raise
        finally:
            job.ended_s = self._now_s()
