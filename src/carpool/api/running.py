"""The configuration that failover goes by: from the files, and from what it went by before.

Room: api. Knows where the texts are and how they are read; refuses to know what a change of them
does (`service/groupchange.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from carpool.api.settings import judge, load, load_texts
from carpool.errors import ConfigError, KernelError
from carpool.kernel.appliedfile import Applied, AppliedFile, Sources, put_back
from carpool.kernel.journal import say
from carpool.kernel.links import device_facts
from carpool.machine.regroup import OLDER_MAX
from carpool.machine.wireform import as_one
from carpool.model.config import Config, Problem
from carpool.model.finding import GROUP_FILE, NODE_FILE
from carpool.model.validate import check_system
from carpool.service.groupchange import Files, Form, Start

TOLD_MAX = 5  # problems in one refusal


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
        self._file = AppliedFile(state_dir)

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

    def read(self) -> tuple[Form | None, list[Problem]]:
        config, problems, texts = load_texts(self._config_dir)
        if config is None:
            return None, problems
        problems += check_system(config, device_facts(config.node.interfaces.values()))
        return Form(config, texts), problems

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


def _form(texts: Sources, given: Form) -> Form:
    """Nothing is read again that is known: a process that died is to be replaced soon."""
    if texts == given.texts:
        return given
    config = judge(texts)
    return given if config is None else Form(config, texts)


def _forms(*texts: Sources) -> tuple[Form, ...]:
    judged = ((one, judge(one)) for one in texts)
    return tuple(Form(config, one) for one, config in judged if config is not None)
