"""The configuration that failover goes by: from the files, and from what it went by before.

Room: api. Knows where the texts are and how they are read; refuses to know what a change of them
does (`service/groupchange.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from carpool.api.settings import judge, judge_texts, load, load_texts
from carpool.api.tomlfile import FILE_MAX_BYTES
from carpool.errors import ConfigError, KernelError
from carpool.kernel.appliedfile import PROPOSED, Applied, AppliedFile, Sources, put_back
from carpool.kernel.journal import say
from carpool.kernel.links import device_facts
from carpool.machine.regroup import OLDER_MAX
from carpool.machine.wireform import as_one
from carpool.model.config import Config, Problem
from carpool.model.finding import GROUP_FILE, NODE_FILE
from carpool.model.validate import check_system
from carpool.service.groupchange import Files, Form, Look, Start

TOLD_MAX = 5  # problems in one refusal


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a process begins with, and what is wrong with the files. `unusable` says why `form` is
    what failover went by last, and not what they say; without a form there is no such thing."""

    form: Form | None
    problems: list[Problem]
    unusable: str = ""


def begin(config_dir: Path, state_dir: Path) -> Beginning:
    """For each process that starts. A file that was damaged must not take the gateway with it; but
    who removed both files wants no carpool here."""
    config, problems, texts = load_texts(config_dir)
    if config is not None:
        return Beginning(Form(config, texts), problems)
    why = why_unusable(problems)
    applied = AppliedFile(state_dir).read()
    if applied is None or not any((config_dir / name).exists() for name in (NODE_FILE, GROUP_FILE)):
        return Beginning(None, problems, why)
    last = applied.before or applied.now
    config = judge(last)
    return Beginning(None if config is None else Form(config, last), problems, why)


def why_unusable(problems: Sequence[Problem]) -> str:
    """The first mistake, and how many more there are."""
    fatal = [one for one in problems if one.fatal]
    more = f", and {len(fatal) - 1} more" if len(fatal) > 1 else ""
    first = fatal[0]
    where = f"{first.file}:{first.line}" if first.line else first.file
    return f"{where}: {first.key}: found {first.found}, expected {first.expected}{more}"


def read(config_dir: Path) -> Config:
    """What the files say now. Raises ConfigError."""
    config, problems = load(config_dir)
    if config is None:
        fatal = [str(one) for one in problems if one.fatal]
        raise ConfigError("; ".join(fatal[:TOLD_MAX]), hint="`carpool check` tells more")
    return config


class RunningFiles(Files):
    """Of one node."""

    def __init__(self, config_dir: Path, state_dir: Path) -> None:
        self._config_dir = config_dir
        self._proposed = state_dir / PROPOSED
        self._file = AppliedFile(state_dir)
        self._looked: tuple[list[bytes | str], Look] | None = None  # at what, and what it is

    def start(self, given: Form, *, again: bool) -> Start:
        """A change of the files while no process ran is one like any other: older forms count."""
        applied = self._file.read()
        if applied is None:
            return Start(given)
        form = _form(applied.now, given) if again else given
        if applied.before is not None:
            say("failover: it ended before its change of the group was confirmed: it is put back")
            form = _form(applied.before, given)
            self._try_to_put_back(applied.before)
        vips = form.config.group.vips
        every = _forms(applied.now, *applied.older)
        older = [one for one in every if not as_one(one.config.group.vips, vips)]
        return Start(form, tuple(older[:OLDER_MAX]))

    def read(self, *, proposed: bool = False) -> tuple[Form | None, list[Problem]]:
        config, problems, texts = load_texts(self._config_dir)
        if proposed:
            texts = texts._replace(group=self._proposal())
            config, problems = judge_texts(texts)
        if config is None:
            return None, problems
        problems += check_system(config, device_facts(config.node.interfaces.values()))
        return Form(config, texts), problems

    def _proposal(self) -> str:
        try:
            return self._proposed.read_bytes()[:FILE_MAX_BYTES].decode()
        except (OSError, ValueError) as error:
            raise KernelError(f"read {self._proposed}: {error}") from error

    def look(self) -> Look:
        """Judged again only when it has changed."""
        found = [_content(self._config_dir / name) for name in (NODE_FILE, GROUP_FILE)]
        if self._looked is None or self._looked[0] != found:
            config, problems, texts = load_texts(self._config_dir)
            look = Look("" if config is not None else why_unusable(problems), texts)
            self._looked = found, look
        return self._looked[1]

    def keep(self, now: Form, older: Sequence[Form], before: Form | None) -> None:
        texts = tuple(one.texts for one in older)
        self._file.write(Applied(now.texts, texts, None if before is None else before.texts))

    def put_back(self, texts: Sources) -> list[str]:
        return put_back(self._config_dir, {NODE_FILE: texts.node, GROUP_FILE: texts.group})

    def _try_to_put_back(self, texts: Sources) -> None:
        """A disk that is full keeps no firewall from its addresses."""
        try:
            self.put_back(texts)
        except KernelError as error:
            say(f"failover: {error.message}: put back what {self._config_dir} says by hand")


def _content(path: Path) -> bytes | str:
    """Or why there is none."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        return error.strerror or str(error)


def _form(texts: Sources, given: Form) -> Form:
    """Nothing is read again that is known: a process that died is to be replaced soon."""
    if texts == given.texts:
        return given
    config = judge(texts)
    return given if config is None else Form(config, texts)


def _forms(*texts: Sources) -> tuple[Form, ...]:
    judged = ((one, judge(one)) for one in texts)
    return tuple(Form(config, one) for one, config in judged if config is not None)
