"""All sections that this node knows: presets, laid over by `[section.NAME]` of group.toml.

Room: api. Refuses to touch what the sections hold (`kernel/tree.py`); what is wrong with the files
themselves, and with `[sync]` by itself, `api/settings.py` tells.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from carpool.api.sectiontable import SECTION_KEYS, check_packages, read
from carpool.api.settings import HOMES, placed
from carpool.api.tomlfile import Table, TomlFile
from carpool.model.config import Config, Problem
from carpool.model.finding import GROUP_FILE, closest, is_name
from carpool.model.keypath import KeyPath, quoted
from carpool.model.section import Section
from carpool.model.validate_sections import OWN_DIRECTORY, selection_findings

PRESETS = Path(__file__).with_name("presets")
CARPOOL = "carpool"  # the section that is group.toml itself


@dataclass(frozen=True, slots=True)
class _Context:
    """What all sections are read with."""

    private: Sequence[str]  # directories of which nothing may travel
    known: dict[str, Section]  # those that were read so far
    vips: Collection[str] | None = None  # of the group: `51@lan`; None where they cannot be read


def load_sections(
    config_dir: Path, presets: Path = PRESETS, root: Path = Path("/"), text: str | None = None
) -> tuple[dict[str, Section], list[Problem]]:
    """Sections by name, in the order of their names, and what is wrong with them. Paths are those
    that hold below `root`, where `config_dir` may be. With `text`, as this group.toml says.

    One in which something is wrong is left out. Problems that `settings.load` tells are not told
    again. Raises nothing for what the files hold.
    """
    given, real = _spellings(config_dir, root)
    known = {CARPOOL: _carpool(real)}
    context = _Context((OWN_DIRECTORY, given, real), known)
    files = [
        TomlFile.read(presets, str(path))
        for path in sorted(presets.glob("*.toml"))
        if is_name(path.stem)
    ]
    broken = set()
    for file in files:
        name = Path(file.name).stem
        section = _section(file, (), file.content, Section(name, ()), context)
        if section is None:
            broken.add(name)
        else:
            known[name] = section
    group = (
        TomlFile.read(config_dir, GROUP_FILE, HOMES)
        if text is None
        else TomlFile.of(text, GROUP_FILE, HOMES)
    )
    group.problems.clear()
    broken |= _overlay(group, replace(context, vips=_vips(group)))
    findings = selection_findings(_selected(group), known.values(), broken)
    found = [finding.problem for finding in findings if finding.is_sound(group.lost)]
    files.append(group)
    problems = [problem for file in files for problem in file.problems] + found
    return dict(sorted(known.items())), placed(problems, files)


def selected(config: Config) -> tuple[str, ...]:
    """What is synchronised when nobody names a section: `[sync] sections`, and group.toml, which is
    the same on all nodes."""
    sync = config.group.sync
    return () if sync is None else tuple(dict.fromkeys((CARPOOL, *sync.sections)))


def is_installed(section: Section, root: Path = Path("/")) -> bool:
    """Whether what the section is for is on this machine, whose files are below `root`."""
    paths = section.installed or section.paths
    return not paths or any((root / path.lstrip("/")).exists() for path in paths)


def _carpool(own_directory: str) -> Section:
    """The one section within carpool's own directory: this file of it travels, and no other."""
    path = f"{own_directory}/{GROUP_FILE}"
    return Section(
        name=CARPOOL,
        description="what the nodes of this group share",
        paths=(path,),
        secret=(path,),  # passwords of the VIPs
        # By this very carpool: it judges the new file with this node's node.toml.
        check=(sys.executable, "-m", "carpool", "--config-dir", own_directory, "check"),
        mode=0o600,
    )


def _spellings(directory: Path, root: Path) -> tuple[str, str]:
    """As it was given, and where it leads, both as they are called below `root`."""
    tops = (root.absolute(), root.resolve())
    given, real = (
        Path("/", path.relative_to(top)) if path.is_relative_to(top) else path
        for path, top in zip((directory.absolute(), directory.resolve()), tops, strict=True)
    )
    return str(given), str(real)


def _overlay(group: TomlFile, context: _Context) -> set[str]:
    """Lay `[section.NAME]` over `known`; the names of those with mistakes, which are removed."""
    known = context.known
    broken = set()
    for name, value in _tables(group).items():
        path = ("section", name)
        if not isinstance(value, dict) or not is_name(name):
            continue  # told by api/settings.py
        if name == CARPOOL:
            found = f"{quoted(name)}, which is {GROUP_FILE} itself"
            group.wrong(path, found, "another name", "it is carpool's own, and needs no table")
            continue
        base = known.get(name, Section(name, ()))
        section = _section(group, path, value, base, context)
        if section is None:
            broken.add(name)
            known.pop(name, None)
        else:
            known[name] = section
    return broken


def _section(
    file: TomlFile, path: KeyPath, values: Mapping[str, object], base: Section, context: _Context
) -> Section | None:
    """The section, or None when something is wrong with it, which the file has been told."""
    if file.broken:
        return None
    told = len(file.problems)
    table = Table(file, path, values, SECTION_KEYS)
    check_packages(table)
    section = read(table, base, context.private, context.vips)
    if not ("paths" in table or "services" in table or base.paths):
        expected = 'paths of its own, as it is no preset: paths = ["/etc/unbound/"], or services'
        table.wrong("paths", "nothing", expected, closest(base.name, context.known))
    return section if len(file.problems) == told else None


def _tables(group: TomlFile) -> Mapping[str, object]:
    tables = group.content.get("section")
    return tables if isinstance(tables, dict) else {}


def _vips(group: TomlFile) -> list[str] | None:
    """`[[vip]]`, as far as they can be read; None when one cannot."""
    vips = group.content.get("vip")
    if not isinstance(vips, list) or not all(isinstance(one, dict) for one in vips):
        return None
    return [f"{one.get('vhid')}@{one.get('interface')}" for one in vips]


def _selected(group: TomlFile) -> list[str]:
    """`[sync] sections`, as far as they can be read; "" for those that cannot."""
    sync = group.content.get("sync")
    names = sync.get("sections") if isinstance(sync, dict) else None
    selected = []
    for index, name in enumerate(names if isinstance(names, list) else ()):
        selected.append(name if isinstance(name, str) else "")
        if not is_name(selected[-1]):
            group.lost.add((group.name, ("sync", "sections", index)))
    return selected
