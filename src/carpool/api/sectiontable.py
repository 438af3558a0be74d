"""One section as it is written in TOML, laid over what is known of it already.

Room: api. Knows the keys of a preset and of `[section.NAME]` of group.toml, which are the same;
refuses to know where they come from (`api/sections.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from carpool.api.settingsync import strings
from carpool.api.tomlfile import Table, TomlFile, cut, shown
from carpool.model.finding import closest
from carpool.model.keypath import KeyPath, quoted
from carpool.model.section import Keep, OnChange, RolePolicy, Section, Service
from carpool.model.validate_sections import path_fault, pattern_fault

SECTION_KEYS = (
    *("description", "packages", "installed", "paths", "exclude", "nosync", "keep", "secret"),
    *("template", "check", "check_timeout", "services", "role", "follows"),
    *("owner", "mode", "order"),
)
KEEP_KEYS = ("file", "begin", "end")
SERVICE_KEYS = (
    *("name", "on_change", "files", "ruleset"),
    *("role", "follows", "on_master", "on_backup", "timeout"),
)
TIMEOUT_MIN_S, TIMEOUT_MAX_S = 1, 600
ORDER_MIN, ORDER_MAX = 0, 99

_OWNER = re.compile(r"[a-z_][a-z0-9_-]{0,31}:[a-z_][a-z0-9_-]{0,31}")
_MODE = re.compile(r"0[0-7]{3}")
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.\\-]{0,120}(@[A-Za-z0-9:_.\\-]{0,120})?")
_FILES = re.compile(r"(/[^/*?[]+)+/[^/]+")
_FILES_HINT = "an absolute one, with * and ? in its last part only"
_FILES_EXPECTED = 'a pattern of paths: "/etc/wireguard/*.conf"'
_RULESET = 'an nftables file of this section: "/etc/nftables.conf"'
_FOLLOWS = re.compile(r"([1-9][0-9]{0,2}@)?[a-z0-9][a-z0-9-]{0,31}")
_FOLLOWED = 'a VHID, "51@lan", or an interface of VIPs, "lan"'
_IN_VAIN = "it for services that run on every node"
_ROLE = 'it beside role = "master", or beside on_master and on_backup'
_ROLE_HINT = "a service that runs everywhere follows nothing"
_BOTH_WAYS = "what is done on the master is undone on a backup, and at a boot"
_KEEP_HINT = "`nosync` is for directories and patterns"

Fault = Callable[[str], str]  # why a text cannot be used, for a sentence; "" if it can


def read(
    table: Table, base: Section, private: Sequence[str], vips: Collection[str] | None = None
) -> Section:
    """The section that `table` makes of `base`: keys that are given replace what is there, and
    exclude, nosync, keep and secret add to it. Mistakes are told to the table's file. `vips` are
    those of the group (`51@lan`); None where they cannot be known."""
    whole = replace(
        base,
        paths=_paths(table, private) if "paths" in table else base.paths,
        role=table.choice("role", base.role),
        follows=_follows(table, base.follows, vips),
    )
    section = replace(
        whole,
        description=_text(table, "description", base.description, 'a line: "DNS resolver"'),
        installed=_installed(table) if "installed" in table else base.installed,
        exclude=base.exclude + _patterns(table, "exclude", whole),
        nosync=base.nosync + _patterns(table, "nosync", whole),
        keep=base.keep + _keeps(table, whole),
        secret=base.secret + _patterns(table, "secret", whole),
        template=table.truth("template", base.template),
        check=_check(table) if "check" in table else base.check,
        check_timeout_s=_bounded(
            table, "check_timeout", base.check_timeout_s, TIMEOUT_MIN_S, TIMEOUT_MAX_S
        ),
        services=_services(table, whole, vips) if "services" in table else base.services,
        owner=_fitting(table, "owner", base.owner, _OWNER, 'user and group: "root:bind"'),
        mode=_mode(table, base.mode),
        order=int(_bounded(table, "order", base.order, ORDER_MIN, ORDER_MAX)),
    )
    followers = [one for one in section.services if has_role(section.placed(one))]
    if (
        not followers
        and "follows" in table
        and not (table.is_lost("role") or table.is_lost("follows"))
    ):
        table.wrong("follows", _IN_VAIN, _ROLE, _ROLE_HINT)
    return section


def check_packages(table: Table) -> None:
    """`packages` is for people and `script/try-presets`: a list of names, and of no effect."""
    if "packages" in table:
        strings(table, "packages", "a list of Debian packages", 'a name, in quotes: "unbound"')


# ------------------------------------------------------------------------------- simple values


def _text(table: Table, key: str, before: str, expected: str) -> str:
    return table.text(key, expected) if key in table else before


def _fitting(
    table: Table, key: str, before: str, rule: re.Pattern[str], expected: str, hint: str = ""
) -> str:
    """A string that fits `rule`."""
    text = _text(table, key, before, expected)
    if key in table and not table.is_lost(key) and not rule.fullmatch(text):
        table.wrong(key, quoted(cut(text)), expected, hint)
        return before
    return text


def _mode(table: Table, before: int | None) -> int | None:
    expected, hint = 'four octal digits in quotes: "0640"', "none of setuid, setgid and sticky"
    text = _fitting(table, "mode", "", _MODE, expected, hint)
    return int(text, 8) if text else before


def _bounded(table: Table, key: str, before: float, low: int, high: int) -> float:
    """A whole number from `low` to `high`."""
    if key not in table:
        return before
    number = table.number(key)
    if not table.is_lost(key) and not low <= number <= high:
        table.wrong(key, str(number), f"a number from {low} to {high}")
    return before if table.is_lost(key) else number


# --------------------------------------------------------------------------------------- lists


def _each(table: Table, key: str, expected: str, each: str, fault: Fault) -> tuple[str, ...]:
    """Those strings of a list that have no fault; each of the others is told."""
    found = []
    for index, text in enumerate(strings(table, key, expected, each)):
        if table.is_lost(key, index):
            continue
        if why := fault(text):
            table.file.wrong((*table.path, key, index), f"{quoted(cut(text))}, {why}", each)
        else:
            found.append(text)
    return tuple(found)


def _paths(table: Table, private: Sequence[str]) -> tuple[str, ...]:
    """() when one of them is wrong: nothing is said then about what must lie in them."""
    told = len(table.file.problems)
    expected = 'a list of paths: ["/etc/unbound/"]'
    each = "the absolute path of a file, or with / at its end of a directory"
    found = _each(table, "paths", expected, each, lambda text: path_fault(text, private))
    if not found and len(table.file.problems) == told:
        table.wrong("paths", "an empty list", "at least one path")
    return found if len(table.file.problems) == told else ()


def _installed(table: Table) -> tuple[str, ...]:
    expected = 'a list of paths: ["/usr/sbin/unbound"]'
    return _each(table, "installed", expected, "an absolute path", _no_path)


def _no_path(text: str) -> str:
    return "" if text.startswith("/") and text.isprintable() else "which is not absolute"


def _patterns(table: Table, key: str, section: Section) -> tuple[str, ...]:
    if key not in table:
        return ()
    expected = 'a list of patterns of absolute paths: ["/etc/unbound/*.key"]'
    return _each(
        table,
        key,
        expected,
        "a pattern of paths in this section",
        lambda text: pattern_fault(text, section) if section.paths else "",
    )


def _check(table: Table) -> tuple[str, ...]:
    """A list of words; an empty one takes a preset's check away."""
    expected = 'a list of words: ["unbound-checkconf"]'
    words = _each(table, "check", expected, "a word", _no_word)
    if words and not words[0]:
        table.file.wrong((*table.path, "check", 0), '""', "a program")
    return words


def _no_word(text: str) -> str:
    return "which has a NUL in it" if "\0" in text else ""


# -------------------------------------------------------------------------------------- tables


def _keeps(table: Table, section: Section) -> tuple[Keep, ...]:
    if "keep" not in table:
        return ()
    expected = 'a list of files: keep = ["/etc/x", {file = "/etc/y", begin = "# a", end = "# b"}]'
    entries = enumerate(table.entries("keep", expected, "put it in [ ]"))
    found = (_keep(table.file, (*table.path, "keep", index), value) for index, value in entries)
    keeps = []
    for index, keep in enumerate(found):
        if keep is None:
            continue
        if section.paths and (why := _keep_fault(keep.path, section)):
            where = (*table.path, "keep", index)
            expected = "one file of this section, as it is written there"
            table.file.wrong(where, f"{quoted(cut(keep.path))}, {why}", expected, _KEEP_HINT)
        keeps.append(keep)
    return tuple(keeps)


def _keep_fault(path: str, section: Section) -> str:
    if not section.holds(path):
        return "which is not in this section"
    return "which is not one file" if path.endswith("/") or set(path) & set("*?[") else ""


def _keep(file: TomlFile, path: KeyPath, value: object) -> Keep | None:
    if isinstance(value, str):
        return Keep(value)
    if not isinstance(value, dict):
        file.wrong(path, shown(value), "a file, or a table of file, begin and end")
        return None
    table = Table(file, path, value, KEEP_KEYS)
    keep = Keep(
        table.text("file", "the absolute path of a file"),
        table.text("begin", "a text of the line where it begins"),
        table.text("end", "a text of the line where it ends"),
    )
    for key, text in (("begin", keep.begin), ("end", keep.end)):
        if not table.is_lost(key) and (not text.strip() or not text.isprintable()):
            table.wrong(key, quoted(cut(text)), "a text that one line has in it")
    return None if any(table.is_lost(key) for key in KEEP_KEYS) else keep


def _services(table: Table, section: Section, vips: Collection[str] | None) -> tuple[Service, ...]:
    """A list of names or tables; an empty one takes a preset's services away."""
    expected = 'a list of services: services = ["unbound", {name = "x", on_change = "restart"}]'
    entries = enumerate(table.entries("services", expected, "put it in [ ]"))
    places = (((*table.path, "services", index), value) for index, value in entries)
    found = (_service(table.file, path, value, section, vips) for path, value in places)
    return tuple(service for service in found if service is not None)


def _service(
    file: TomlFile,
    path: KeyPath,
    value: object,
    section: Section,
    vips: Collection[str] | None,
) -> Service | None:
    expected = 'the name of a unit, without .service: "unbound"'
    if isinstance(value, str):
        service = Service(value)
    elif isinstance(value, dict):
        table = Table(file, path, value, SERVICE_KEYS)
        told = len(file.problems)
        service = replace(
            Service(table.text("name", expected), table.choice("on_change", OnChange.RELOAD)),
            files=_fitting(table, "files", "", _FILES, _FILES_EXPECTED, _FILES_HINT),
            ruleset=_text(table, "ruleset", "", _RULESET),
        )
        service = _in_role(table, service, section, vips)
        path = (*path, "name")
        if len(file.problems) > told:
            return None
        if service.ruleset and (why := _ruleset_fault(service, section)):
            expected = "an nftables file of this section"
            table.wrong("ruleset", f"{quoted(cut(service.ruleset))}, {why}", expected)
            return None
    else:
        file.wrong(path, shown(value), "a name, or a table of name and on_change")
        return None
    if why := _unit_fault(service):
        file.wrong(path, f"{quoted(cut(service.name))}, {why}", expected)
        return None
    return service


# ---------------------------------------------------------------------------------------- roles


def _in_role(
    table: Table, service: Service, section: Section, vips: Collection[str] | None
) -> Service:
    """With the keys that say how it follows the role of a node."""
    service = replace(
        service,
        role=table.choice("role", RolePolicy.BOTH) if "role" in table else None,
        follows=_follows(table, "", vips),
        on_master=_command(table, "on_master"),
        on_backup=_command(table, "on_backup"),
        timeout_s=_bounded(table, "timeout", service.timeout_s, TIMEOUT_MIN_S, TIMEOUT_MAX_S),
    )
    for key, other in (("on_master", "on_backup"), ("on_backup", "on_master")):
        if key in table and other not in table:
            table.wrong(other, "nothing", f"a command as well, as there is {key}", _BOTH_WAYS)
    if "on_master" in table and service.role is RolePolicy.MASTER:
        expected = "commands, or this"
        table.wrong("role", '"master", which starts and stops it, beside commands', expected)
    if service.follows and not table.is_lost("role") and not has_role(section.placed(service)):
        table.wrong("follows", _IN_VAIN, _ROLE, _ROLE_HINT)
    return service


def has_role(service: Service) -> bool:
    """Whether the role of a node is anything to it, as its section places it."""
    return service.switched or service.role is RolePolicy.MASTER


def _command(table: Table, key: str) -> tuple[str, ...]:
    if key not in table:
        return ()
    expected = 'a list of words: ["ip", "link", "set", "%i", "up"]'
    words = _each(table, key, expected, "a word", _no_word)
    if not table.is_lost(key) and (not words or not words[0]):
        table.wrong(key, "no program", expected)
    return words


def _follows(table: Table, before: str, vips: Collection[str] | None) -> str:
    """VIPs that the group has."""
    follows = _fitting(table, "follows", before, _FOLLOWS, _FOLLOWED)
    known = {name for vip in vips or () for name in (vip, vip.partition("@")[2])}
    if follows and vips is not None and "follows" in table and follows not in known:
        hint = closest(follows, known) or f"there are: {', '.join(sorted(known))}"
        table.wrong(
            "follows", f"{quoted(cut(follows))}, which is no VIP of the group", _FOLLOWED, hint
        )
        return before
    return follows


def _ruleset_fault(service: Service, section: Section) -> str:
    if section.paths and not section.holds(service.ruleset):
        return "which is not in this section"
    if service.ruleset.endswith("/") or set(service.ruleset) & set("*?["):
        return "which is not one file"
    return "of a service with instances" if service.files else ""


def _unit_fault(service: Service) -> str:
    if service.name.endswith(".service"):
        return "which ends with .service"
    if not _UNIT.fullmatch(service.name):
        return "which is no name of a unit"
    if service.files and not service.name.endswith("@"):
        return "which does not end with @ but has `files`"
    if service.name.endswith("@") and not service.files:
        return "which has instances, but no `files` to name them"
    return ""
