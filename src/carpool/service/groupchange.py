"""A running failover process takes up what node.toml and group.toml say now, on command.

Room: service. `reload`, `settle`, `confirm`, `take_back` of the control socket; what a change does
to the virtual hosts is `machine/regroup.py`'s. Files are read and written in a thread.

Rule 1: nothing is taken up of a configuration in which something is wrong, or which the kernel
        refuses: then everything is as it was.
Rule 2: with `confirm_within_s` all is put back, the files too, unless `confirm` is said in time. A
        process that ends before that puts it back when it starts again.
Rule 3: what was before counts beside what is now until `settle`, over restarts.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from carpool.errors import CarpoolError, KernelError
from carpool.kernel.appliedfile import Sources
from carpool.kernel.journal import say
from carpool.kernel.later import Later
from carpool.kernel.unixserver import Client
from carpool.machine import effects as fx
from carpool.machine import groupdiff
from carpool.machine.engine import Engine
from carpool.machine.regroup import OLDER_MAX
from carpool.machine.wireform import as_one
from carpool.model.config import Config, Problem, family_of

TOLD_MAX = 5  # problems in one refusal
CONFIRM_MAX_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Form:
    """A configuration, and the texts that it is written in."""

    config: Config
    texts: Sources

    @property
    def digest(self) -> str:
        """Of group.toml, SHA-256 in hex: the same on all nodes that have the same one."""
        return hashlib.sha256(self.texts.group.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Start:
    """What a process begins with; `older`, the latest first, peers may have still."""

    form: Form
    older: tuple[Form, ...] = ()
    unusable: str = ""  # why `form` is what counted last, and not what the files say


@dataclass(frozen=True, slots=True)
class Look:
    """What is in the files: what is wrong there, or a form."""

    error: str
    texts: Sources


class Files(Protocol):
    """`api/running.py`; all of it may wait for a disk, and raises KernelError."""

    def start(self, given: Form, *, again: bool) -> Start:
        """`given`: what the files said when the first process was started; with `again` one that
        died is replaced, which takes up nothing new."""
        ...

    def read(self, *, proposed: bool = False) -> tuple[Form | None, list[Problem]]:
        """What the files say now, judged with what the kernel says of the devices; with `proposed`,
        the group.toml that is only to be looked at."""
        ...

    def look(self) -> Look:
        """Whether a process that starts now could use what the files say. Raises nothing."""
        ...

    def keep(self, now: Form, older: Sequence[Form], before: Form | None) -> None:
        """For the next `start`; `before` is what it is to put back, if anything."""
        ...

    def put_back(self, texts: Sources) -> list[str]:
        """Make the files what they were; the names of those that were not."""
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """What `reload` is asked."""

    client: Client
    dry_run: bool
    force: bool
    confirm_within_s: float | None
    with_peers: bool = False  # they wait for the same: who confirms asks them, too
    proposed: bool = False  # with `dry_run`: of a text that is no file of ours yet


@dataclass(frozen=True, slots=True)
class _Pending:
    before: Form
    until_s: float
    with_peers: bool


class GroupChange:
    """`put` hands an input to the engine and performs what follows; `failures` are the words of
    what failed in doing so since it was emptied."""

    def __init__(
        self,
        engine: Engine,
        start: Start,
        files: Files,
        later: Later,
        put: Callable[[fx.Input], None],
        now_s: Callable[[], float],
        on_put_back: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._form = start.form
        self._older = list(start.older)
        self._files = files
        self._later = later
        self._put = put
        self._now_s = now_s
        self._on_put_back = on_put_back
        self._since_s = now_s()
        self._pending: _Pending | None = None
        self._busy = False
        self._left: Form | None = None  # `before` of the last `_keep`
        self.unkept = ""  # why the next process would not go by what counts, if it would not
        self.failures: deque[str] = deque(maxlen=TOLD_MAX)
        self._keep(lambda _error: None)

    @property
    def deadline_s(self) -> float | None:
        """When `on_time` is due."""
        return self._pending.until_s if self._pending else None

    def status(self) -> dict[str, object]:
        """`group_digest`, and `change`: null, or what peers may not have yet."""
        change: dict[str, object] | None = None
        if self._older or self._pending:
            oldest = self._older[-1] if self._older else self._form
            left_s = self._pending.until_s - self._now_s() if self._pending else None
            change = {
                "since_s": round(self._now_s() - self._since_s, 3),
                "changes": groupdiff.lines(oldest.config, self._form.config),
                "confirm_left_s": None if left_s is None else round(max(left_s, 0.0), 1),
                "with_peers": self._pending is not None and self._pending.with_peers,
                "older": [one.digest for one in self._older],
            }
        return {"group_digest": self._form.digest, "change": change}

    # ----------------------------------------------------------------------------- commands

    def reload(self, wish: Wish) -> None:
        """Take up what the files say. Answered with `changes`, lines for people, and `transition`:
        whether what was before counts, too, until `settle`, and
        `waits`: whether it is put back unless confirmed, which an edit that concerns other
        processes only is, too."""
        if self._busy:
            wish.client.refuse("a change is under way", "wait for its answer")
        elif self._pending and not wish.dry_run:
            wish.client.refuse(*_WAITS)
        else:
            self._busy = True
            self._later.do(lambda: self._read(wish), lambda found: self._judge(wish, *found))

    def confirm(self, client: Client) -> None:
        """It is kept once the disk says so; until then it waits as before."""
        pending = self._pending
        if pending is None:
            client.refuse("no change of the group waits to be confirmed here")
            return

        def written(error: str | None) -> None:
            if self._pending is not pending:
                client.refuse("it was put back before that was on the disk")
            elif error is not None:
                hint = "make room, and say it again before it is put back"
                client.refuse(f"{error}; the change waits to be confirmed as before", hint)
            else:
                self._pending = None
                client.answer()

        self._keep(written)

    def take_back(self, client: Client | None) -> None:
        """Put back what waits to be confirmed, in the kernel, on the wire and in the files. Where
        these cannot be, the next process tries again."""
        if self._pending is None:
            if client is not None:
                client.refuse("no change of the group waits to be confirmed here")
            return
        before, self._pending = self._pending.before, None
        self._go_by(before)

        def there(error: str | None) -> None:
            self._on_put_back()
            if error is not None:
                error = f"what was before counts again, but not in the files: {error}"
                say(f"failover: {error}: {_FILES_LEFT}")
            # A disk that does not take this has it put back once more, at worst.
            self._keep(lambda _other: tell(error), None if error is None else before)

        def tell(error: str | None) -> None:
            if client is None:
                return
            if error is None:
                client.answer()
            else:
                client.refuse(error, _FILES_LEFT)

        self._later.do(lambda: _tried(lambda: self._files.put_back(before.texts)), there)

    def settle(self, client: Client, digest: str) -> None:
        """What was before counts no more, if `digest` is that of our group.toml."""
        if digest != self._form.digest:
            client.refuse(
                "this node goes by another group.toml than that", "synchronise section carpool"
            )
        elif self._pending is not None:
            client.refuse(*_WAITS)
        else:
            changed, self._older = bool(self._older), []
            self._put(fx.Settle())
            self._keep(lambda error: _answer(client, error, {"changed": changed}))

    def keep_again(self) -> None:
        """What the disk did not take may fit by now."""
        if self.unkept and not self._busy:
            self._keep(lambda _error: None, self._pending.before if self._pending else self._left)

    @property
    def texts(self) -> Sources:
        """What counts, as it is written."""
        return self._form.texts

    def on_time(self) -> None:
        """Nobody has confirmed it."""
        if self._pending is not None and self._now_s() >= self._pending.until_s:
            self.take_back(None)

    # ----------------------------------------------------------------------------- private

    def _read(self, wish: Wish) -> tuple[Form | None, list[Problem], str]:
        try:
            form, problems = self._files.read(proposed=wish.proposed)
        except KernelError as error:
            return None, [], error.message
        return form, problems, ""

    def _judge(self, wish: Wish, form: Form | None, problems: list[Problem], error: str) -> None:
        """Rule 1."""
        self._busy = False
        client = wish.client
        wrong = [str(one) for one in problems if one.fatal or form is None] + [error] * bool(error)
        if form is None or wrong:
            client.refuse("; ".join(wrong[:TOLD_MAX]), "`carpool check` tells more")
            return
        old, new = self._form.config, form.config
        obstacles = groupdiff.obstacles(old, new)
        if obstacles:
            hint = "restart the failover process of this node: what was before will count, too"
            client.refuse(f"only a restart takes up: {'; '.join(obstacles)}", hint)
            return
        worse = [*_links_down(old, new, problems), *self._families_missing(old, new)]
        worse += self._forms_missing(new)
        if worse and not wish.force:
            hint = "mend it first, or say --force"
            client.refuse(f"it would make this node, or a peer, fail: {'; '.join(worse)}", hint)
            return
        changes = groupdiff.lines(old, new)
        if wish.dry_run:
            answer = {"changes": changes, "transition": bool(self._older)}
            client.answer({**answer, "proposed": wish.proposed})
            return
        self._take_up(wish, form, changes)

    def _take_up(self, wish: Wish, form: Form, changes: list[str]) -> None:
        """With a time limit: on the disk first, or a change that ends this process, or the machine,
        would be taken up by the next one for good."""
        if wish.confirm_within_s is None:
            self._take_up_now(wish, form, changes)
            return
        self._busy = True
        before, older = self._form, (self._form, *self._older)

        def written(error: str | None) -> None:
            self._busy = False
            if error is None:
                self._take_up_now(wish, form, changes)
            else:
                wish.client.refuse(f"{error}; nothing was changed", "make room, and say it again")

        self._later.do(lambda: _tried(lambda: self._files.keep(form, older, before)), written)

    def _take_up_now(self, wish: Wish, form: Form, changes: list[str]) -> None:
        before, was_settled = self._form, not self._older
        self._go_by(form)
        if self.failures:
            failed = "; ".join(self.failures)
            self._go_by(before)
            if was_settled:  # no peer has what was taken up for an instant
                self._older = []
                self._put(fx.Settle())
            self._keep(lambda _error: None)
            wish.client.refuse(f"{failed}; everything is as it was")
            return
        if wish.confirm_within_s is not None and form.texts != before.texts:
            until_s = self._now_s() + wish.confirm_within_s
            self._pending = _Pending(before, until_s, wish.with_peers)
        answer = {
            "changes": changes,
            "transition": bool(self._older),
            "waits": self._pending is not None,
        }
        self._keep(
            lambda error: _answer(wish.client, error, answer),
            self._pending.before if self._pending else None,
        )

    def _go_by(self, form: Form) -> None:
        self.failures.clear()
        known = [self._form, *self._older]
        if form.config != self._form.config or not self._older:
            self._since_s = self._now_s()
        self._form = form
        self._put(fx.TakeUp(form.config))
        self._older = [one for one in known if one.config in self._engine.older]

    def _families_missing(self, old: Config, new: Config) -> list[str]:
        """VIPs of a family in which this node has no address of its own on that link.

        What they lack already is not this change's doing: a node that has just come back has no
        IPv6 address until the kernel has looked for a duplicate of it, and may be brought up to
        date meanwhile.
        """
        lacked = {(vip.interface, family) for vip in old.group.vips for family in vip.families}
        told = []
        for vip in new.group.vips:
            port = self._engine.ports.get(vip.interface)
            if port is None or not port.ready:
                continue
            own = {family_of(one) for one in port.own if one.version == 4 or one.is_link_local}
            told += [
                f"{vip.key}: no own {family} address on {vip.interface}"
                for family in vip.families
                if family not in own and (vip.interface, family) not in lacked
            ]
        return told

    def _forms_missing(self, new: Config) -> list[str]:
        """Forms are bounded: who has the oldest one would hear nobody, and be a second master."""
        known = [self._form, *self._older]
        vips = new.group.vips
        if len(known) <= OLDER_MAX or any(as_one(one.config.group.vips, vips) for one in known):
            return []
        return [
            f"{OLDER_MAX} older forms of the group count already, and a peer that still has the "
            "oldest would become a second master: bring the last change to all nodes first"
        ]

    def _keep(self, done: Callable[[str | None], None], before: Form | None = None) -> None:
        """`before`: what the next process is to put back."""
        form, older, self._left = self._form, tuple(self._older), before

        def written(error: str | None) -> None:
            self.unkept = error or ""
            done(error)

        self._later.do(lambda: _tried(lambda: self._files.keep(form, older, before)), written)


_WAITS = (
    "a change of the group waits to be confirmed here",
    "`carpool confirm` keeps it, `carpool rollback --pending` puts it back",
)
_FILES_LEFT = "put them back by hand, or make room: failover does it when it is started again"


def _links_down(old: Config, new: Config, problems: Sequence[Problem]) -> list[str]:
    """Of interfaces that carry a VIP by this change only."""
    fresh = [
        f"interface.{name}" for name in new.vip_interfaces() if name not in old.vip_interfaces()
    ]
    return [str(one) for one in problems if one.key in fresh]


def _tried(action: Callable[[], object]) -> str | None:
    try:
        action()
    except CarpoolError as error:
        return error.message
    return None


def _answer(client: Client, error: str | None, fields: dict[str, object]) -> None:
    if error is None:
        client.answer(fields)
    else:
        client.refuse(
            f"done, but it will not survive a restart: {error}", "make room, and say it again"
        )
