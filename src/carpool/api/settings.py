"""node.toml and group.toml as a `Config`, or the list of everything that is wrong with them.

Room: api. Knows the keys of the files and how each value is written; refuses to know what values
mean together (`model/validate.py`), the kernel, and the way to a line number (`api/locate.py`,
imported only when there is a problem). Every process loads through here: standard library only.
"""

from __future__ import annotations

import contextlib
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, ip_address, ip_interface, ip_network
from pathlib import Path

from carpool.api import settingdetection, settingscripts, settingsweb, settingsync
from carpool.api.settingscripts import CHECK_KEYS, DAMPING_KEYS, HOOK_KEYS
from carpool.api.settingsweb import WEB_KEYS
from carpool.api.settingsync import SERVICES_KEYS, SYNC_KEYS
from carpool.api.tomlfile import Table, TomlFile, cut, shown
from carpool.kernel.appliedfile import Sources
from carpool.model.config import (
    PROTOCOLS,
    STATES_PORT,
    Address,
    AddressWithMask,
    Config,
    Encryption,
    Exclusion,
    Group,
    MacMode,
    Mark,
    Network,
    Node,
    Peer,
    Problem,
    Scope,
    States,
    Transport,
    Vip,
)
from carpool.model.finding import GROUP_FILE, NODE_FILE, closest
from carpool.model.keypath import KeyPath, parse, quoted, render
from carpool.model.validate import check_config

PROBLEMS_MAX = 100  # told at once: nobody mends more in one go

NODE_KEYS = ("name", "advskew", "interface", "address", "peer", "vars", "services")
PEER_KEYS = ("address",)
GROUP_KEYS = (
    "name",
    "preempt",
    "vip",
    "states",
    "sync",
    "web",
    "section",
    "hooks",
    "checks",
    "damping",
    "detection",
)
VIP_KEYS = ("interface", "vhid", "password", "addresses", "advbase", "mac", "transport")
STATES_KEYS = ("interface", "port", "scope", "encryption", "exclude", "no_sync_mark")
EXCLUDE_KEYS = ("interface", "network", "protocol", "port", "mark")
HOMES = {  # where keys belong that were put elsewhere
    "advskew": f"the top of {NODE_FILE}: it differs between nodes",
    "peer": NODE_FILE,
    "address": f"[address] or [peer.NAME.address] of {NODE_FILE}; a VIP has `addresses`",
    "hooks": GROUP_FILE,
    "checks": GROUP_FILE,
    **{key: f"[damping] of {GROUP_FILE}" for key in DAMPING_KEYS},
    "detection": GROUP_FILE,
    "preempt": f"the top of {GROUP_FILE}, above every [table]",
    "section": f"{GROUP_FILE}: [section.NAME]",
    "services": f"{NODE_FILE}, and to each [section.NAME] of {GROUP_FILE}",
    "states": GROUP_FILE,
    "sync": GROUP_FILE,
    "vars": f"{NODE_FILE}: they differ between nodes",
    "vip": GROUP_FILE,
    "web": GROUP_FILE,
    **{key: f"a [[vip]] of {GROUP_FILE}" for key in VIP_KEYS[1:]},
    **{key: f"[states] of {GROUP_FILE}" for key in STATES_KEYS[1:]},
    **{key: f"[sync] of {GROUP_FILE}" for key in SYNC_KEYS[1:]},
    **{key: f"[hooks] or a [hooks.NAME] of {GROUP_FILE}" for key in HOOK_KEYS},
    **{key: f"[checks] or a [checks.NAME] of {GROUP_FILE}" for key in CHECK_KEYS},
    **{key: f"[web] of {GROUP_FILE}" for key in WEB_KEYS},
    "timeout": f"[hooks] or [checks] of {GROUP_FILE}",
    **{key: f"[services] of {NODE_FILE}" for key in SERVICES_KEYS},
    "port": f"[states], [sync] or [web] of {GROUP_FILE}",
    "exclude": f"[states] or a [section.NAME] of {GROUP_FILE}",
}

# These stand in for what could not be read: check_config() keeps quiet about places that are lost.
_NO_ADDRESS = IPv4Address(0)
_NO_ADDRESS_WITH_MASK = IPv4Interface(0)
_NO_VIP = Vip("", 0, b"", ())

_BITS = r"(0x[0-9a-fA-F]{1,8}|0|[1-9][0-9]{0,9})"
_MARK = re.compile(f"{_BITS}(?:/{_BITS})?")
_WITH_PREFIX = re.compile(r".*/[0-9]{1,3}", re.ASCII)


def load(config_dir: Path) -> tuple[Config | None, list[Problem]]:
    """Read both files: no Config when a problem is fatal; problems in the order of the files.

    Never raises for what the files hold, nor for one that is missing or cannot be read.
    """
    config, problems, _texts = load_texts(config_dir)
    return config, problems


def load_texts(config_dir: Path) -> tuple[Config | None, list[Problem], Sources]:
    """The same, with what was read: the text of a file that could not be read is empty."""
    node_file = TomlFile.read(config_dir, NODE_FILE, HOMES)
    group_file = TomlFile.read(config_dir, GROUP_FILE, HOMES)
    texts = Sources(node_file.source, group_file.source)
    return *_judged(node_file, group_file), texts


def judge(texts: Sources) -> Config | None:
    """The configuration that these texts are, if there is nothing fatal in them."""
    return judge_texts(texts)[0]


def judge_texts(texts: Sources) -> tuple[Config | None, list[Problem]]:
    """As `load` does with the files."""
    node_file = TomlFile.of(texts.node, NODE_FILE, HOMES)
    group_file = TomlFile.of(texts.group, GROUP_FILE, HOMES)
    return _judged(node_file, group_file)


def _judged(node_file: TomlFile, group_file: TomlFile) -> tuple[Config | None, list[Problem]]:
    config = Config(_node(node_file), _group(group_file))
    problems = [
        *node_file.problems,
        *group_file.problems,
        *check_config(config, {*node_file.lost, *group_file.lost}),
    ]
    fatal = any(problem.fatal for problem in problems)
    return None if fatal else config, placed(problems, (node_file, group_file))


def with_lines(config_dir: Path, problems: Sequence[Problem]) -> list[Problem]:
    """Problems found after `load` (by `check_system`), with lines and in the order of the files."""
    return placed(problems, [TomlFile.read(config_dir, name) for name in (NODE_FILE, GROUP_FILE)])


def secrecy(config_dir: Path) -> list[Problem]:
    """A warning when anybody on this machine may read the passwords of group.toml."""
    try:
        mode = stat.S_IMODE((config_dir / GROUP_FILE).stat().st_mode)
    except OSError:
        return []  # `load` says it better
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return []
    found, hint = f"mode {mode:04o}", f"it holds passwords: chmod 600 {config_dir / GROUP_FILE}"
    return [Problem(GROUP_FILE, "file", found, "mode 0600", hint, fatal=False)]


def placed(problems: Sequence[Problem], files: Sequence[TomlFile]) -> list[Problem]:
    """Problems of these files with lines, in their order; at most PROBLEMS_MAX and one more."""
    if not problems:
        return []
    told: list[Problem] = []
    for file in files:
        here = [problem for problem in problems if problem.file == file.name]
        spelled = [_as_written(problem, file) for problem in here]
        told += sorted(_with_lines(spelled, file), key=lambda problem: problem.line or 0)
    if len(told) <= PROBLEMS_MAX:
        return told
    rest = f"{len(told) - PROBLEMS_MAX} more problems"
    last = told[PROBLEMS_MAX]
    more = replace(last, key="file", found=rest, expected="none", hint="mend those above first")
    return [*told[:PROBLEMS_MAX], more]


def _as_written(problem: Problem, file: TomlFile) -> Problem:
    """`address.lan[0]` is `address.lan` for who wrote a single string."""
    path = parse(problem.key)
    if not path or not isinstance(path[-1], int):
        return problem
    value: object = file.content
    for part in path[:-1]:
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
    return problem if isinstance(value, list) else replace(problem, key=render(path[:-1]))


def _with_lines(problems: list[Problem], file: TomlFile) -> list[Problem]:
    if file.broken or not problems:
        return problems  # a broken file has its line already, if there is one
    try:
        from carpool.api.locate import Locator
    except ImportError:  # the processes run without tree-sitter; the key says where, too
        return problems
    locator = Locator(file.source)
    return [replace(problem, line=locator.line(parse(problem.key))) for problem in problems]


# -------------------------------------------------------------------------------- node.toml


def _node(file: TomlFile) -> Node:
    root = file.root(NODE_KEYS)
    return Node(
        name=root.text("name", 'the name of this node: "fw1"'),
        interfaces=_interfaces(root),
        advskew=root.number("advskew", 0),
        addresses=_own_addresses(root),
        peers=_peers(root),
        vars=settingsync.variables(root),
        service_command=settingsync.service_command(root),
    )


def _interfaces(root: Table) -> Mapping[str, str]:
    devices = {}
    expected = 'a table [interface] of logical names and devices: lan = "enp1s0"'
    for name, device in root.names("interface", expected, required=True).items():
        devices[name] = device if isinstance(device, str) else ""
        if not isinstance(device, str):
            root.file.wrong(("interface", name), shown(device), 'a device: "enp1s0"')
    return devices


def _own_addresses(table: Table) -> Mapping[str, tuple[Address, ...]]:
    """An `address` table: logical name -> address, or list of addresses."""
    found = {}
    expected = 'a table of logical names and addresses: lan = "10.10.1.2"'
    for interface, value in table.names("address", expected).items():
        path = (*table.path, "address", interface)
        if isinstance(value, list):
            found[interface] = tuple(
                _address(table.file, (*path, index), text) for index, text in enumerate(value)
            )
        else:
            found[interface] = (_address(table.file, path, value),)
    return found


def _address(file: TomlFile, path: KeyPath, value: object) -> Address:
    expected = 'an address without a mask, in quotes: "10.10.1.3"'
    if not isinstance(value, str):
        file.wrong(path, shown(value), expected)
        return _NO_ADDRESS
    hint = ""
    if "/" in value:
        hint = "the mask is the device's own business: leave it out"
    elif "%" in value:
        hint = "leave out the zone: the logical interface says it"
    else:
        try:
            return ip_address(value)
        except ValueError:
            hint = "host names are not looked up: write the address" if _is_name(value) else ""
    file.wrong(path, quoted(cut(value)), expected, hint)
    return _NO_ADDRESS


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9.-]*[G-Zg-z][A-Za-z0-9.-]*", text) is not None


def _peers(root: Table) -> tuple[Peer, ...]:
    peers = []
    expected = "a table for each other node, by its name: [peer.fw2.address]"
    for name, value in root.names("peer", expected).items():
        path = ("peer", name)
        if not isinstance(value, dict):
            root.file.wrong(path, shown(value), expected)
        table = Table(root.file, path, value if isinstance(value, dict) else {}, PEER_KEYS)
        peers.append(Peer(name, _own_addresses(table)))
    return tuple(peers)


# ------------------------------------------------------------------------------- group.toml


def _group(file: TomlFile) -> Group:
    root = file.root(GROUP_KEYS)
    settingsync.check_section_names(root)
    return Group(
        name=root.text("name", 'a name for the group: "edge"'),
        vips=_vips(root),
        preempt=root.truth("preempt", True),
        states=_states(root),
        sync=settingsync.sync(root),
        web=settingsweb.web(root),
        hooks=settingscripts.hooks(root),
        checks=settingscripts.checks(root),
        damping=settingscripts.damping(root),
        detection=settingdetection.detection(root),
    )


def _vips(root: Table) -> tuple[Vip, ...]:
    expected = "a [[vip]] for every virtual host"
    hint = "write [[vip]] with two brackets: there may be several"
    return tuple(
        _vip(root.file, ("vip", index), value)
        for index, value in enumerate(root.entries("vip", expected, hint))
    )


def _vip(file: TomlFile, path: KeyPath, value: object) -> Vip:
    if not isinstance(value, dict):
        file.wrong(path, shown(value), "a table with the keys of a VIP")
        return _NO_VIP
    table = Table(file, path, value, VIP_KEYS)
    return Vip(
        interface=table.text("interface", 'a logical interface: "lan"'),
        vhid=table.number("vhid"),
        password=table.text("password", "a string of 1 to 20 bytes", secret=True).encode(),
        addresses=_vip_addresses(table),
        advbase_s=table.number("advbase", 1),
        mac=table.choice("mac", MacMode.VIRTUAL),
        transport=table.choice("transport", Transport.MULTICAST),
    )


def _vip_addresses(table: Table) -> tuple[AddressWithMask, ...]:
    expected = 'a list of addresses with their masks: ["10.10.1.1/24"]'
    return tuple(
        _address_with_mask(table.file, (*table.path, "addresses", index), value)
        for index, value in enumerate(table.entries("addresses", expected, "put it in [ ]"))
    )


def _address_with_mask(file: TomlFile, path: KeyPath, value: object) -> AddressWithMask:
    expected = 'an address with the mask of its network, in quotes: "10.10.1.1/24"'
    if not isinstance(value, str):
        file.wrong(path, shown(value), expected)
        return _NO_ADDRESS_WITH_MASK
    hint = ""
    if "%" in value:
        hint = "leave out the zone: `interface` says it"
    elif _WITH_PREFIX.fullmatch(value):
        try:
            return ip_interface(value)
        except ValueError:
            pass
    elif "/" not in value:
        hint = "add the mask of the interface's network, /24 for instance"
    else:
        hint = "write the mask as a number of bits, /24 for instance"
    file.wrong(path, quoted(cut(value)), expected, hint)
    return _NO_ADDRESS_WITH_MASK


def _states(root: Table) -> States | None:
    if "states" not in root:
        return None
    expected = "a table [states]"
    table = Table(root.file, ("states",), root.names("states", expected), STATES_KEYS)
    if root.is_lost("states"):
        return None
    return States(
        interface=table.text("interface", 'a logical interface: "sync"'),
        port=table.number("port", STATES_PORT),
        scope=table.choice("scope", Scope.ASSURED),
        exclude=_exclusions(table),
        no_sync_mark=_mark(table, "no_sync_mark"),
        encryption=table.choice("encryption", Encryption.TLS),
    )


def _exclusions(table: Table) -> tuple[Exclusion, ...]:
    if "exclude" not in table:
        return ()
    expected = 'a list of tables: exclude = [{interface = "guest"}, {port = 53}]'
    entries = table.entries("exclude", expected, "put it in [ ]")
    return tuple(
        _exclusion(table.file, (*table.path, "exclude", index), value)
        for index, value in enumerate(entries)
    )


def _exclusion(file: TomlFile, path: KeyPath, value: object) -> Exclusion:
    if not isinstance(value, dict):
        expected = 'a table of what to exclude by: {interface = "guest"}'
        file.wrong(path, shown(value), expected, "all keys of one table must hold together")
        return Exclusion()
    table = Table(file, path, value, EXCLUDE_KEYS)
    named = "interface" in table
    return Exclusion(
        interface=table.text("interface", 'a logical interface: "guest"') if named else "",
        network=_network(table),
        protocol=_protocol(table),
        port=table.number("port") if "port" in table else None,
        mark=_mark(table, "mark"),
    )


def _network(table: Table) -> Network | None:
    expected = 'a network, in quotes: "10.9.0.0/16"'
    if "network" not in table or not (text := table.text("network", expected)):
        return None
    try:
        return ip_network(text)
    except ValueError:
        hint = ""
    with contextlib.suppress(ValueError):
        hint = f"did you mean {quoted(str(ip_network(text, strict=False)))}?"
    table.wrong("network", quoted(cut(text)), expected, hint)
    return None


def _protocol(table: Table) -> int | None:
    expected = f"one of {', '.join(PROTOCOLS)}"
    if "protocol" not in table or not (text := table.text("protocol", expected)):
        return None
    if text not in PROTOCOLS:
        table.wrong("protocol", quoted(cut(text)), expected, closest(text, PROTOCOLS))
        return None
    return PROTOCOLS[text]


def _mark(table: Table, key: str) -> Mark | None:
    expected = 'bits of a ct mark, in quotes: "0x1", or with a mask: "0x1/0xff"'
    if key not in table or not (text := table.text(key, expected)):
        return None
    numbers = _MARK.fullmatch(text)
    if numbers is None:
        table.wrong(key, quoted(cut(text)), expected)
        return None
    value = int(numbers[1], 0)
    mask = int(numbers[2], 0) if numbers[2] else value
    if not 0 < mask < 2**32 or value & ~mask:
        hint = "the mask has bits, 32 at most, and the value none outside of it"
        table.wrong(key, quoted(cut(text)), expected, hint)
        return None
    return Mark(value, mask)
