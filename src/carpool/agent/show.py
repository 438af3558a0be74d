"""A revision of the history as `carpool show` has it: what it changed, as a diff.

Room: agent. Refuses to know how revisions are kept (`history.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from carpool.agent.history import History, Shown
from carpool.api.sections import CARPOOL
from carpool.machine import textdiff
from carpool.model.section import Section


def shown(history: History, sections: Mapping[str, Section], text: str) -> dict[str, object]:
    """The revision of this name, by section and file. What a section of today calls secret is not
    shown, nor is anything of one that is defined no more. Blocking."""
    revision = history.resolve(text)
    return {
        "revision": asdict(revision),
        "sections": [
            {"name": name, "files": [_file(sections.get(name), one) for one in files]}
            for name, files in history.show(revision).items()
        ],
    }


def _file(section: Section | None, one: Shown) -> dict[str, object]:
    path = one.change.path
    secret = section is None or section.is_secret(path)
    passwords = secret and section is not None and section.name == CARPOOL
    found = textdiff.unified(path, one.old, one.new, secret=secret, passwords=passwords)
    return {
        "path": path,
        "deed": one.change.deed,
        "binary": found.binary,
        "secret": found.secret,
        "text": found.text,
    }
