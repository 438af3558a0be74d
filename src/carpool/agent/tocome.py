"""The sections as the files define them now, before anything goes by that.

Room: agent. Reads; refuses to take anything up (`group.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from carpool.agent.apply import Refused
from carpool.agent.send import chosen_of
from carpool.api.sections import load_sections, selected
from carpool.api.settings import load_texts
from carpool.model.section import Section


class Node(Protocol):
    """Where its files are."""

    config_dir: Path
    root: Path


def to_come(node: Node, names: Sequence[str]) -> tuple[list[Section], str]:
    """These sections, or all that are to be selected, and the text of group.toml that says so.
    Blocking. Raises Refused for unknown ones, and for files that nobody can go by."""
    config, problems, texts = load_texts(node.config_dir)
    if config is None:
        first = next(one for one in problems if one.fatal)
        raise Refused(f"{first}", hint="`carpool check` tells more")
    sections, _problems = load_sections(node.config_dir, root=node.root, text=texts.group)
    return chosen_of(sections, names or selected(config)), texts.group
