"""A change of many files that is done whole or not at all, whatever kills us and whenever.

Room: kernel. First everything that can fail: look, copy what is there, lay what is new beside it,
sync. Then renames only. A journal says how far it is; `roll_back` gets from anywhere to how it was.
Refuses to know what the files mean, and when to confirm.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from carpool.errors import KernelError
from carpool.kernel.rooted import Rooted, failed
from carpool.kernel.swaphands import Hands
from carpool.kernel.swapplan import Plan, Step, check_room, make_plan
from carpool.kernel.tree import Digests
from carpool.model.manifest import Change, Entry, Kind

_JOURNAL = "journal.json"  # is there as long as there is something to roll back
_PLAN = "plan.json"
_SNAPSHOTS = "old"
_BALLAST = "ballast"  # goes overboard when the disk is full and rolling back has to be noted
_BALLAST_BYTES = 256 * 1024
_FRESH = ".fresh"  # ends the name of a file that is not written yet
_TOLD_MAX = 5  # failures in one message


class Phase(StrEnum):
    """How far it is. After PREPARED and SWAPPED all is whole: as it was, or as it shall be."""

    PREPARING = "preparing"  # nothing is changed; what waits beside the files may be incomplete
    PREPARED = "prepared"
    SWAPPING = "swapping"
    SWAPPED = "swapped"
    ROLLING_BACK = "rolling-back"


class Transaction:
    """One change, whose journal and snapshot are in `directory`, which nobody else uses.

    Prepare, swap, then confirm or roll back. After a failure: roll back. All raise KernelError.
    `digests` knows of contents that nobody has touched since they were hashed, and learns what the
    new files are. `tell` hears of each act just before it.
    """

    def __init__(
        self,
        directory: Path,
        root: Path = Path("/"),
        *,
        digests: Digests | None = None,
        tell: Callable[[str], None] = lambda _act: None,
    ) -> None:
        self._directory = directory
        self._rooted = Rooted(root)
        self._digests = digests or Digests()
        self._tell = tell
        self._phase: Phase | None = None
        self._note: dict[str, object] = {}
        self._plan = Plan("", (), {})

    @classmethod
    def left(
        cls,
        directory: Path,
        root: Path = Path("/"),
        *,
        tell: Callable[[str], None] = lambda _act: None,
    ) -> Transaction | None:
        """What a process that was killed left to confirm or roll back; None when there is nothing
        (any more): one that had changed nothing yet is cleared away here."""
        found = cls(directory, root, tell=tell)
        with _refusals("take up again what is in", directory):
            if not found._load():
                found._sweep()
                return None
        if found.phase is Phase.PREPARING:
            found.roll_back()
            return None
        return found

    @property
    def phase(self) -> Phase | None:
        """None before `prepare`, after `confirm` and after `roll_back`."""
        return self._phase

    @property
    def note(self) -> Mapping[str, object]:
        return self._note

    @property
    def changes(self) -> tuple[Change, ...]:
        """As they were asked for."""
        return tuple(Change(one.path, one.old, one.new) for one in self._plan.steps if one.asked)

    def prepare(
        self,
        changes: Sequence[Change],
        source: Callable[[Entry], Path],
        note: Mapping[str, object],
        spare: Collection[Path] = (),
    ) -> None:
        """Get everything ready and change nothing. `source` says where the content of a new file
        is; those in `spare` nobody needs there any more, so that they need not be copied. `note` is
        kept with the journal (what JSON can hold). Raises PeerError for changes that nobody may ask
        for, KernelError for all else; then nothing is left of it."""
        assert self._phase is None, "prepared before"
        if (self._directory / _JOURNAL).exists():
            raise KernelError(
                f"another change is under way in {self._directory}",
                hint="confirm it or roll it back first",
            )
        self._note = dict(note)
        with _refusals("prepare a change in", self._directory):
            self._begin(make_plan(changes, self._rooted, secrets.token_hex(4)))
        try:
            self._copy(source, spare)
            self._enter(Phase.PREPARED)
        except BaseException:  # also a bug in `source`
            self.roll_back()
            raise

    def swap(self) -> None:
        """Do it. Raises KernelError when it cannot be done, or something is not as it was when it
        was prepared: roll back then."""
        assert self._phase is Phase.PREPARED, f"cannot swap what is {self._phase}"
        hands = self._hands()
        for step in self._plan.steps:
            with _refusals("look at", step.path):
                hands.still(step)
        self._enter(Phase.SWAPPING)
        for step in self._plan.steps:
            with _refusals("change", step.path):
                hands.do(step)
        self._sync_places()
        self._enter(Phase.SWAPPED)

    def roll_back(self, *, hold: bool = False) -> None:
        """Make everything as it was. Raises KernelError when something cannot be put back, after
        all else was: mend what it names and do it again. With `hold` a process that finds it `left`
        does it once more, until `finish`: what reads the files is to know of it, too."""
        assert self._phase is not None, "nothing to roll back"
        with _refusals("clear away", self._directory):
            (self._directory / _BALLAST).unlink(missing_ok=True)
        if self._phase in (Phase.PREPARING, Phase.PREPARED):
            self._enter(Phase.PREPARING)  # from here on it cannot be swapped
            self._each("clear away what waits for", self._plan.steps, self._hands().clear)
        else:
            self._enter(Phase.ROLLING_BACK)
            self._each("put back", tuple(reversed(self._plan.steps)), self._hands().undo)
            self._each("clear away what waits for", self._plan.steps, self._hands().clear)
        for directory, mtime_ns in self._plan.touched.items():
            self._tell(f"date {directory}")
            with _refusals("set the time of", directory or "/"):
                self._hands().date(directory, mtime_ns)
        self._sync_places()
        if not hold:
            self.finish()

    def finish(self) -> None:
        """What was rolled back is over. Raises KernelError; then it can be done again."""
        with _refusals("clear away", self._directory):
            self._remove_snapshots()
            self._end()

    def confirm(self) -> None:
        """It stays. The snapshot is gone."""
        assert self._phase is Phase.SWAPPED, f"cannot confirm what is {self._phase}"
        with _refusals("clear away", self._directory):
            self._end()  # the journal first: without a whole snapshot nobody must roll back

    def _hands(self) -> Hands:
        snapshots = self._directory / _SNAPSHOTS
        return Hands(self._plan, self._rooted, snapshots, self._digests, self._tell)

    def _begin(self, plan: Plan) -> None:
        """Write down what is about to be, before anything of it is on the disk."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._sweep()  # of a process that was killed
            self._directory.mkdir(mode=0o700, exist_ok=True)
            self._directory.chmod(0o700)
            check_room(plan, self._rooted, self._directory)
            (self._directory / _SNAPSHOTS).mkdir(mode=0o700)
            (self._directory / _BALLAST).write_bytes(bytes(_BALLAST_BYTES))
            self._plan = plan
            self._write(_PLAN, plan.to_json())
            self._enter(Phase.PREPARING)
        except BaseException:
            self._phase = None
            (self._directory / _JOURNAL).unlink(missing_ok=True)
            self._sweep()
            raise

    def _copy(self, source: Callable[[Entry], Path], spare: Collection[Path]) -> None:
        hands = self._hands()
        for step in self._plan.steps:
            with _refusals("copy", step.path):
                hands.keep(step)
        for step in self._plan.steps:
            with _refusals("get ready", step.path):
                hands.lay(step, source, spare)
        kept = (one for one in self._plan.steps if one.old and one.old.kind is Kind.FILE)
        laid = [one.fresh for one in self._plan.steps if one.fresh]
        self._tell("sync copies")
        with _refusals("sync", self._directory):
            names = [f"/{_SNAPSHOTS}/{one.number}" for one in kept]
            Rooted(self._directory).sync([*names, f"/{_SNAPSHOTS}"])
            self._rooted.sync([*laid, *(one.rpartition("/")[0] for one in laid)])

    def _sync_places(self) -> None:
        """All directories where names came or went, and what changed in its place."""
        places = set(self._plan.touched)
        for step in self._plan.steps:
            places |= {step.path, step.path.rpartition("/")[0]}
        self._tell("sync places")
        with _refusals("sync", self._directory):
            self._rooted.sync(places)

    def _each(self, doing: str, steps: Sequence[Step], act: Callable[[Step], None]) -> None:
        """All of them, whatever becomes of one."""
        failures: list[str] = []
        for step in steps:
            try:
                with _refusals(doing, step.path):
                    act(step)
            except KernelError as error:
                failures.append(str(error))
        if failures:
            more = [f"and {len(failures) - _TOLD_MAX} more"] if len(failures) > _TOLD_MAX else []
            raise KernelError(
                f"not all is as it was before: {'; '.join(failures[:_TOLD_MAX] + more)}",
                hint=f"mend that and roll back again; the snapshot stays in {self._directory}",
            )

    def _enter(self, phase: Phase) -> None:
        with _refusals("write", self._directory / _JOURNAL):
            self._write(_JOURNAL, json.dumps({"phase": phase, "note": self._note}))
        self._phase = phase

    def _write(self, name: str, text: str) -> None:
        """All of it or nothing, also when the power goes."""
        path = self._directory / name
        fresh = self._directory / f"{name}{_FRESH}"
        self._tell(f"write {name}")
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._tell(f"name {name}")
        fresh.rename(path)
        Rooted(self._directory).sync([""])

    def _load(self) -> bool:
        """Whether there is a journal; then this is what it says. Raises KernelError, OSError."""
        path = self._directory / _JOURNAL
        try:
            journal = json.loads(path.read_text(encoding="utf-8"))
            self._plan = Plan.from_json((self._directory / _PLAN).read_text(encoding="utf-8"))
            self._phase, self._note = Phase(journal["phase"]), dict(journal["note"])
        except FileNotFoundError:
            if path.exists():
                raise
            return False
        except (ValueError, KeyError, TypeError) as error:
            raise KernelError(
                f"{path} or {_PLAN} beside it is not as carpool writes them: {error}",
                hint=f"the files as they were are in {self._directory / _SNAPSHOTS}; put back by "
                "hand what is wanted, then remove the directory",
            ) from error
        return True

    def _end(self) -> None:
        self._tell("remove journal")
        (self._directory / _JOURNAL).unlink()
        Rooted(self._directory).sync([""])
        self._phase = None
        self._tell("remove plan")
        with contextlib.suppress(OSError):  # the change has ended; who begins the next one sweeps
            self._sweep()

    def _remove_snapshots(self) -> None:
        self._tell("remove snapshots")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._directory / _SNAPSHOTS)

    def _sweep(self) -> None:
        """Whatever is here without a journal concerns nobody. Only what is ours."""
        self._remove_snapshots()
        for name in (_BALLAST, _PLAN, f"{_PLAN}{_FRESH}", f"{_JOURNAL}{_FRESH}"):
            (self._directory / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not there, or somebody put something into it
            self._directory.rmdir()


@contextlib.contextmanager
def _refusals(doing: str, path: Path | str) -> Iterator[None]:
    """What the kernel refuses meanwhile, as KernelError."""
    try:
        yield
    except OSError as error:
        raise failed(doing, str(path), error) from error
