"""What a section may hold, and what two of them may not both hold.

Room: model. Judges paths as text; refuses to know the disk, so a symbolic link is judged where it
is followed (`kernel/tree.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase

from carpool.model.finding import GROUP_FILE, Finding, closest
from carpool.model.keypath import quoted
from carpool.model.section import Section

PATH_MAX_BYTES = 4095  # PATH_MAX without its NUL, Linux include/uapi/linux/limits.h
OWN_DIRECTORY = "/etc/carpool"  # node.toml and keys must not travel
_NOT_CONFIGURATION = ("/proc", "/sys", "/dev", "/run")
_WILD = "*?["


def path_fault(path: str, private: Sequence[str] = (OWN_DIRECTORY,)) -> str:
    """Why no section may have this path, for a sentence ("found ..., ..."); "" if one may.

    `private` are directories, without a slash at their end, of which nothing may travel.
    """
    if why := _spelling_fault(path):
        return why
    for directory in private:
        if _is_within(path, directory):
            return f"in {directory}, where this node's own identity is"
    for directory in _NOT_CONFIGURATION:
        if _is_within(path, directory):
            return f"in {directory}, which the kernel or the running system makes"
    if path.endswith("/"):
        for directory in (*private, *_NOT_CONFIGURATION):
            if directory.startswith(path):
                return f"which has {directory} in it"
    if path == "/etc/":  # also where carpool's own files are elsewhere
        return "which is the whole configuration of the machine"
    return ""


def _spelling_fault(path: str) -> str:
    if not path.startswith("/"):
        return "which is not absolute"
    if path == "/":
        return "which is everything"
    if any(part in ("", ".", "..") for part in path.removesuffix("/").split("/")[1:]):
        return "which has a part that is empty, . or .."
    if not path.isprintable():
        return "which has a character that cannot be seen"
    if len(path.encode(errors="surrogatepass")) > PATH_MAX_BYTES:
        return f"which is longer than {PATH_MAX_BYTES} bytes"
    return ""


def pattern_fault(pattern: str, section: Section) -> str:
    """Why a pattern of paths can fit nothing in this section, for a sentence; "" if it may."""
    if pattern.startswith("*"):
        return ""
    if not pattern.startswith("/"):
        return "which fits no absolute path"
    fixed = min((pattern.index(mark) for mark in _WILD if mark in pattern), default=len(pattern))
    if fixed == len(pattern):
        return "" if section.holds(pattern) else "which is not in this section"
    start = pattern[:fixed]
    may_fit = any(path.startswith(start) or start.startswith(path) for path in section.paths)
    return "" if may_fit else "which fits nothing in this section"


def selection_findings(
    selected: Sequence[str], known: Collection[Section], unusable: Collection[str] = ()
) -> Iterator[Finding]:
    """What is wrong with `[sync] sections`: names of no section, and sections that overlap.

    `unusable` are those of which something is told already.
    """
    by_name = {section.name: section for section in known}
    chosen: dict[str, Section] = {}
    for index, name in enumerate(selected):
        place = (GROUP_FILE, ("sync", "sections", index))
        if name not in by_name:
            if name not in unusable:
                yield Finding(
                    place,
                    f"{quoted(name)}, which is no section",
                    "the name of a preset or of a [section.NAME]",
                    closest(name, by_name) or "`carpool sections` lists them",
                )
            continue
        section = by_name[name]
        for other in chosen.values() if name not in chosen else ():
            for path in _shared(section, other):
                yield Finding(
                    place,
                    f"{path} in {quoted(name)}, and in {quoted(other.name)} too",
                    "each path in one selected section",
                    f"give [section.{name}] other `paths`, or an `exclude` in the outer one",
                )
        chosen[name] = section


def _shared(one: Section, two: Section) -> list[str]:
    """Paths of either that the other one holds and does not exclude."""
    return list(
        dict.fromkeys(
            path
            for inner, outer in ((one, two), (two, one))
            for path in inner.paths
            if outer.holds(path) and not _excludes(outer, path)
        )
    )


def _excludes(section: Section, path: str) -> bool:
    """As `kernel/tree.py` does: a pattern that fits a directory takes all that is below with it."""
    patterns = [pattern.rstrip("/") for pattern in (*section.exclude, *section.nosync)]
    parts = path.rstrip("/").split("/")
    above = ["/".join(parts[:count]) for count in range(2, len(parts) + 1)]
    return any(fnmatchcase(one, pattern) for one in above for pattern in patterns)


def _is_within(path: str, directory: str) -> bool:
    return path.rstrip("/") == directory or path.startswith(f"{directory}/")
