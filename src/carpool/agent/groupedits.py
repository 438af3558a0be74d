"""group.toml changed by the pages: what a change would do, and doing it on all nodes at once.

Room: agent. The file is edited (`api/groupedit.py`), judged as `carpool check` does, and brought to
the peers as `carpool sync carpool --confirm-within` does: this is its beginning, and its end when
something fails. Refuses to know how processes and peers take it up (`group.py`, `unconfirmed.py`).

Rule 1: nothing is written that a process would refuse.
Rule 2: what fails on any node leaves the file, and all nodes, as they were. So does an agent that
        dies meanwhile, at the latest when it is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

from carpool.agent import absence
from carpool.agent.absence import refuse_present
from carpool.agent.check import Refused
from carpool.agent.configuration import Configuration
from carpool.agent.group import GroupFile
from carpool.agent.job import Event
from carpool.agent.results import Tally
from carpool.agent.send import Wish
from carpool.agent.unconfirmed import STILL
from carpool.api.groupedit import AddVip, ChangeVip, Edit, RemoveVip, SetKey, digest_of, edited
from carpool.api.scriptproblems import script_problems
from carpool.api.sections import CARPOOL, load_sections
from carpool.api.settings import judge_texts, load_texts, placed
from carpool.api.tomledit import content_of
from carpool.api.tomlfile import FILE_MAX_BYTES, TomlFile
from carpool.errors import CarpoolError, ConfigError, KernelError
from carpool.kernel.appliedfile import AppliedFile, Sources, replace_file
from carpool.kernel.journal import say
from carpool.kernel.links import device_facts
from carpool.machine.textdiff import unified
from carpool.model.config import Config, Problem
from carpool.model.finding import GROUP_FILE
from carpool.model.keypath import render
from carpool.model.validate import check_system

BEFORE = ".before"  # ends the name of what group.toml was before the last edit
JOURNAL = "edit.json"  # in the state directory, while an edit is under way
BY_HAND = "`carpool check` on this node tells more"
ALL_BACK = "everything is put back as it was"


class Node(absence.Node, Protocol):
    """The agent, as far as this file goes."""

    config_dir: Path
    state_dir: Path
    root: Path
    group: GroupFile
    configuration: Configuration

    @property
    def name(self) -> str: ...

    async def reload(self) -> list[str]: ...


class GroupEdits:
    """Of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._file = node.config_dir / GROUP_FILE

    async def stand(self) -> dict[str, object]:
        """`digest` of the text, `values` without passwords, `waiting` and `refused`: what is in the
        way of a change now. Raises ConfigError."""
        text = await asyncio.to_thread(self._read)
        return {
            "digest": digest_of(text),
            "values": _shown(content_of(text)),
            "refused": await self._refused(),
            "left_s": await self._node.group.left_s(),
        }

    async def preview(self, edits: Sequence[Edit], digest: str) -> dict[str, object]:
        """What the text would be, and do. Raises ConfigError."""
        old, new, problems = await asyncio.to_thread(self._made, edits, digest)
        fatal = any(one.fatal for one in problems)
        told: dict[str, object] = {}
        if not fatal and new != old:
            try:
                told = {"changes": await self._node.group.would(new)}
            except CarpoolError as error:
                told = {"error": error.message, "hint": error.hint}
        return {
            "changed": new != old,
            "ok": not fatal,
            "problems": [asdict(one) for one in problems],
            "sections": [_diff(str(self._file), old, new)] if new != old else [],
            "failover": told,
            "refused": await self._refused(),
        }

    async def apply(self, edits: Sequence[Edit], digest: str, wish: Wish) -> AsyncIterator[Event]:
        """Each step. All nodes have it then, and wait to have it confirmed; or none has it. Peers
        that the wish is `without` must be away, and get it when they are back. Raises CarpoolError:
        then nothing was changed."""
        assert wish.confirm_within_s is not None
        await self._node.configuration.guard(force=False)
        await refuse_present(self._node, wish.without)
        old, new, problems = await asyncio.to_thread(self._made, edits, digest)
        _refuse(problems)
        if new == old:
            yield {"step": "end", "outcome": "nothing to do"}
            return
        await self._node.group.would(new, force=wish.force)
        wish = replace(wish, reason=wish.reason or words(edits), whole=True)
        edit = _InFile(self._file, self._node, old, new, self._undo)
        last: Event = {}
        steps = self._node.configuration.sync((CARPOOL,), (), wish, around=edit)
        async with aclosing(steps):  # type: ignore[type-var]
            async for event in steps:
                if event.get("step") != "over":
                    if not str(event.get("text")).endswith(STILL):  # it does not: see below
                        yield event
                    continue
                edit.failed = bool(event.get("failed"))
                last = event
        if not edit.failed and not self._node.configuration.unconfirmed.targets(()):
            for event in self._waits_alone(wish):
                yield event
        if edit.failed:
            yield {"step": "warning", "text": f"{ALL_BACK}{edit.but}"}
        yield last

    async def recover(self) -> None:
        """What an agent before us left in the file, and nobody goes by, is taken out again."""
        try:
            if await asyncio.to_thread(self._recover):
                say("agent: an edit of group.toml was cut short: the file is what it was before")
                await self._node.reload()
        except CarpoolError as error:
            say(f"agent: an edit of group.toml was cut short: {error}")

    # ------------------------------------------------------------------------------ private

    def _recover(self) -> bool:
        """Whether something was put back. Blocking. Raises CarpoolError."""
        path = self._node.state_dir / JOURNAL
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            digest = json.loads(path.read_text(encoding="utf-8"))["new"]
            applied = AppliedFile(self._node.state_dir).read()
            taken = applied is not None and digest_of(applied.now.group) == digest
            if not taken and digest_of(self._read()) == digest:
                before = self._file.with_name(f"{GROUP_FILE}{BEFORE}").read_bytes()
                replace_file(self._file.resolve(), before, like=self._file.resolve())
                path.unlink(missing_ok=True)
                return True
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return False

    def _waits_alone(self, wish: Wish) -> Iterator[Event]:
        """A node without peers waits as they do, and says so."""
        tally = Tally(self._node.name, wish.by, wish.reason)
        told = {"number": secrets.token_hex(8), "within_s": wish.confirm_within_s}
        for event in (
            {"step": "waiting", "peer": self._node.name, **told},
            {"step": "end", "peer": self._node.name, "outcome": "waiting"},
        ):
            tally.take(event)
            yield event
        self._node.configuration.results.add(tally.row)

    def _waits(self) -> bool:
        return bool(self._node.configuration.unconfirmed.agreed)

    async def _undo(self) -> list[str]:
        """On peers and in processes; what hinders it, in words."""
        if not self._waits():
            return []
        found = await self._node.configuration.unconfirmed.on_peers((), "take-back")
        return [
            f"{name}: {one['error']}"
            for name, one in found.items()
            if "error" in one and one.get("waited", True)
        ]

    async def _refused(self) -> dict[str, str] | None:
        """Why no change can be made here now."""
        try:
            await self._node.configuration.guard(force=False)
        except CarpoolError as error:
            return {"error": error.message, "hint": error.hint}
        return None

    def _made(self, edits: Sequence[Edit], digest: str) -> tuple[str, str, list[Problem]]:
        """The text as it is and as it would be, and what is wrong with that. Blocking."""
        old = self._read()
        new = edited(old, edits, digest)
        if len(new.encode()) > FILE_MAX_BYTES:
            raise ConfigError(f"group.toml would have more than {FILE_MAX_BYTES} bytes")
        return old, new, self._problems(new)

    def _problems(self, group: str) -> list[Problem]:
        """As `carpool check` tells them. Raises KernelError."""
        directory = self._node.config_dir
        node = load_texts(directory)[2].node
        config, problems = judge_texts(Sources(node, group))
        if config is not None:
            problems += _with_lines([*_here(config), *script_problems(config, directory)], group)
        return problems + load_sections(directory, root=self._node.root, text=group)[1]

    def _read(self) -> str:
        """Raises ConfigError."""
        file = TomlFile.read(self._node.config_dir, GROUP_FILE)
        if file.broken:
            raise ConfigError(f"{file.problems[0]}", hint=BY_HAND)
        return file.source


class _InFile:
    """The new text is in the file, and the old one beside it; put back if it has `failed`."""

    def __init__(
        self,
        file: Path,
        node: Node,
        old: str,
        new: str,
        undo: Callable[[], Awaitable[list[str]]],
    ) -> None:
        self._file = file.resolve()  # a link stays one
        self._before = file.with_name(f"{file.name}{BEFORE}")
        self._node = node
        self._journal = node.state_dir / JOURNAL
        self._old, self._new = old, new
        self._undo = undo
        self.failed = False
        self._left: list[str] = []  # what could not be put back

    @property
    def but(self) -> str:
        """For a sentence."""
        return f", but: {'; '.join(self._left)}" if self._left else ""

    async def __aenter__(self) -> None:
        await asyncio.to_thread(self._write)

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.failed = self.failed or isinstance(error, Exception)
        if self.failed:
            self._left += await self._undo()
        if error is not None or self.failed:
            self._restore()
        with contextlib.suppress(OSError):
            self._journal.unlink(missing_ok=True)
        if self.failed:
            try:
                await self._node.reload()
            except CarpoolError as wrong:
                self._left.append(f"the agent: {wrong.message}")
        if isinstance(error, CarpoolError):
            error.message += f"; {ALL_BACK}{self.but}"

    def _write(self) -> None:
        """Raises KernelError, and Refused when somebody else wrote meanwhile."""
        content = self._content()
        replace_file(self._before, content, like=self._file)
        note = json.dumps({"new": digest_of(self._new)}).encode()
        replace_file(self._journal, note, like=None)
        if self._content() != content:
            raise Refused("group.toml was changed this very moment: nothing was done")
        replace_file(self._file, self._new.encode(), like=self._file)

    def _content(self) -> bytes:
        try:
            content = self._file.read_bytes()
        except OSError as error:
            raise KernelError(f"read {self._file}: {error.strerror}") from error
        if content.decode("utf-8-sig", "replace") != self._old:
            raise Refused("group.toml was changed this very moment: nothing was done")
        return content

    def _restore(self) -> None:
        """Unless failover did, or somebody wrote something else."""
        try:
            if self._file.read_bytes() == self._new.encode():
                replace_file(self._file, self._before.read_bytes(), like=self._file)
        except (OSError, KernelError) as error:
            self._left.append(f"{error}")
            say(f"agent: group.toml is not put back: {error}")


def words(edits: Iterable[Edit]) -> str:
    """What is edited, without values: passwords are among them."""
    told = []
    for edit in edits:
        match edit:
            case AddVip(values):
                told.append(f"add VIP {values.get('vhid')}@{values.get('interface')}")
            case ChangeVip(vip, values):
                told.append(f"change {', '.join(values)} of VIP {vip}")
            case RemoveVip(vip):
                told.append(f"remove VIP {vip}")
            case SetKey(path, _value):
                told.append(f"set {render(path)}")
            case _:
                told.append(f"remove {render(edit.path)}")
    return "; ".join(told)[:500]


def _refuse(problems: Iterable[Problem]) -> None:
    fatal = [one for one in problems if one.fatal]
    if fatal:
        more = f", and {len(fatal) - 1} more" if len(fatal) > 1 else ""
        raise Refused(f"nothing was changed: {fatal[0]}{more}", hint="mend it first")


def _here(config: Config) -> list[Problem]:
    return check_system(config, device_facts(config.node.interfaces.values()))


def _with_lines(problems: Sequence[Problem], group: str) -> list[Problem]:
    """Those of group.toml; others have no line here."""
    others = [one for one in problems if one.file != GROUP_FILE]
    return [*placed(problems, [TomlFile.of(group, GROUP_FILE)]), *others]


def _diff(path: str, old: str, new: str) -> dict[str, object]:
    """As the section of a sync shows it."""
    found = unified(path, old.encode(), new.encode(), secret=True, passwords=True)
    file = {**asdict(found), "deed": "changed", "attributes": ""}
    return {"name": CARPOOL, "files": [file], "checks": [], "services": []}


def _shown(value: object) -> object:
    """Without passwords: only that there is one."""
    if isinstance(value, dict):
        return {
            key: True if "password" in key.lower() else _shown(one) for key, one in value.items()
        }
    if isinstance(value, list):
        return [_shown(one) for one in value]
    return value if isinstance(value, bool | int | float | str) else str(value)
