"""The questions of `carpool setup`, in their order, and the configuration that answers make.

Room: machine. Pure: what is known of the machine and what was answered go in; the next question, or
what is wrong with an answer, comes out. `model/validate.py` judges; here it is only said which
question a problem belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_interface

from carpool.machine import proposals
from carpool.machine.openings import Opening, openings
from carpool.model.config import (
    Address,
    AddressWithMask,
    Config,
    DeviceFacts,
    Group,
    Node,
    Peer,
    Problem,
    States,
    Vip,
)
from carpool.model.facts import Device, Heard
from carpool.model.finding import NODE_FILE
from carpool.model.section import Sync
from carpool.model.validate import check_config, check_system
from carpool.proto import paircode
from carpool.proto.nftjson import Tables

Answers = Mapping[str, str]
FIRST, SECOND = "first", "second"
YES, NO = "yes", "no"
SECOND_ADVSKEW = 100
_NO_TABLES = Tables({})


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known before anything is asked."""

    hostname: str
    devices: tuple[Device, ...]
    password: str  # made up for this run
    heard: tuple[Heard, ...] = ()  # by device
    answered: frozenset[Address] = frozenset()  # of the proposals, those that a neighbour has
    tables: Tables = _NO_TABLES
    current: Config | None = None  # of the files that are there
    paired: bool = False  # with all peers of these
    theirs: Config | None = None  # of the first node, as it was shown to the second

    def device(self, name: str) -> Device:
        return next((one for one in self.devices if one.name == name), Device(name))


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to be answered. `key` is how a file of answers calls it."""

    key: str
    text: str
    proposal: str = ""  # what no answer means; "": there must be one
    help: str = ""
    wrong: Callable[[str], str] = field(default=lambda _text: "")  # what was expected, or ""
    about: str = ""  # pattern of the places (file:key) of problems that are this answer's
    secret: bool = False


def next_question(seen: Situation, answers: Answers) -> Question | None:
    """The first that is not answered yet; None: all are."""
    return next((one for one in questions(seen, answers) if one.key not in answers), None)


def questions(seen: Situation, answers: Answers) -> Iterator[Question]:
    """All of them as far as the answers lead; each may rest on those before."""
    role = _role(seen)
    yield role
    if answers.get(role.key, role.proposal) == SECOND:
        yield from _second(seen, answers)
    else:
        yield from _first(seen, answers)
    config = draft(seen, answers)
    found = list(openings(config, seen.tables)) if config is not None else []
    if found:
        yield Question(
            "open",
            f"Your rules drop what the other node sends ({found[0].why}). Insert what lets it in?",
            YES,
            "\n".join(one.command for one in found),
            _yes_or_no,
        )


def _role(seen: Situation) -> Question:
    here = seen.current
    second = here is not None and here.node.advskew > 0
    return Question(
        "role",
        "Is this the first node of the pair, or the second?",
        SECOND if second else FIRST,
        "The first one is asked for everything. The second takes it over from there.",
        lambda text: "" if text in (FIRST, SECOND) else f"{FIRST} or {SECOND}",
    )


# ------------------------------------------------------------------------------- the first node


def _first(seen: Situation, answers: Answers) -> Iterator[Question]:
    here = seen.current
    node = re.sub(r"[^a-z0-9-]", "-", seen.hostname.partition(".")[0].lower()).strip("-")[:32]
    yield Question(
        "node", "Name of this node", here.node.name if here else node, about=f"{NODE_FILE}:name$"
    )
    yield Question(
        "group",
        "Name of the group (the same on both nodes)",
        here.group.name if here else "carpool",
        about="group.toml:name$",
    )
    sync = here.group.states.interface if here and here.group.states else ""
    link = here.node.interfaces.get(sync, "") if here else proposals.sync_device(seen.devices)
    yield Question(
        "sync",
        "Device of the link between the nodes",
        link,
        "A cable of its own, best without a switch: connections and configuration go over it.",
        lambda text: _device(seen, text),
    )
    link = answers.get("sync", link)
    roles = proposals.roles(seen.devices, link)
    if here:
        roles = {name: here.node.interfaces[name] for name in here.vip_interfaces()}
    yield Question(
        "networks",
        "Networks with virtual addresses, as NAME=DEVICE",
        proposals.spelled(roles),
        "A name of your choice for each: both nodes use it, whatever their devices are called.",
        lambda text: _pairs(seen, text),
        about=rf"{NODE_FILE}:interface",
    )
    roles = proposals.pairs_in(answers.get("networks", "")) or roles
    yield from _vips(seen, answers, roles)
    yield from _pair(seen, answers, link)


def _vips(seen: Situation, answers: Answers, roles: Mapping[str, str]) -> Iterator[Question]:
    here = {vip.interface: vip for vip in seen.current.group.vips} if seen.current else {}
    numbers: list[int] = []
    for index, (name, device) in enumerate(roles.items()):
        found = proposals.vips(seen.device(device), seen.answered)
        old = here.get(name)
        yield Question(
            f"vip.{name}",
            f"Virtual addresses on {name} ({device}), with their masks",
            " ".join(map(str, old.addresses if old else found)),
            _own(seen.device(device)),
            lambda text: "" if _with_masks(text) else "addresses with masks: 10.10.1.1/24",
            about=rf"group.toml:vip\[{index}\]\.addresses",
        )
        used = proposals.used_vhids(device, seen.heard)
        number = old.vhid if old else proposals.vhid(device, seen.heard, numbers)
        heard = ", ".join(f"{one} ({who})" for one, who in used.items())
        yield Question(
            f"vhid.{name}",
            f"VHID on {name} (1 to 255, free on that wire)",
            str(number),
            f"in use there: {heard}" if used else "nobody else was heard there",
            lambda text, used=used: _vhid(text, used),  # type: ignore[misc]
            about=rf"group.toml:vip\[{index}\]\.vhid",
        )
        numbers.append(int(answers.get(f"vhid.{name}", number)))
    yield Question(
        "password",
        "Password of the adverts",
        next((vip.password.decode() for vip in here.values()), seen.password),
        "At most 20 bytes. The one proposed was made up by chance.",
        about=r"group.toml:vip\[\d+\]\.password",
        secret=True,
    )


def _pair(seen: Situation, answers: Answers, link: str) -> Iterator[Question]:
    here = seen.current
    peers = here.node.peers if here else ()
    name = peers[0].name if peers else proposals.peer_name(answers.get("node", ""))
    yield Question("peer", "Name of the other node", name, about=rf"{NODE_FILE}:peer\.[^.]*$")
    known = [one for each in (peers[0].addresses.values() if peers else ()) for one in each]
    near = proposals.peer_candidates(seen.device(link))
    near.sort(key=lambda address: address not in seen.answered)
    found = known or near[:1]
    yield Question(
        "peer_address",
        f"Its address on the link ({link})",
        " ".join(map(str, found)),
        _own(seen.device(link)),
        lambda text: _peer_address(seen.device(link), text),
        about=rf"{NODE_FILE}:peer\..*address",
    )
    yield Question(
        "preempt",
        "Does a node that comes back take over again?",
        NO if here and not here.group.preempt else YES,
        "The first node is preferred. With `no`, who is MASTER stays it.",
        _yes_or_no,
    )
    states = here is None or here.group.states is not None
    text = "Replicate connections, so that they live through a failover?"
    yield Question("states", text, YES if states else NO, wrong=_yes_or_no)


# ------------------------------------------------------------------------------ the second node


def _second(seen: Situation, answers: Answers) -> Iterator[Question]:
    theirs = seen.theirs
    if theirs is None and not seen.paired:
        link = proposals.sync_device(seen.devices)
        near = proposals.peer_candidates(seen.device(link))
        near.sort(key=lambda address: address not in seen.answered)
        yield Question(
            "address",
            "Address of the first node on the link between them",
            str(near[0]) if near else "",
            wrong=lambda text: "" if _addresses(text) else "an IP address",
        )
        yield Question(
            "code",
            "The code that it shows",
            wrong=lambda text: "" if isinstance(paircode.parse(text), paircode.Code) else "a code",
        )
        return
    here = seen.current if theirs is None else None
    if theirs is not None:
        name = proposals.own_name(theirs, seen.devices, seen.hostname)
        pairs = proposals.mapping(theirs, seen.devices)
        about = f"{theirs.node.name} expects {', '.join(one.name for one in theirs.node.peers)}"
    else:
        assert here is not None
        name, pairs, about = here.node.name, dict(here.node.interfaces), ""
    yield Question(
        "node",
        "Name of this node",
        name,
        about,
        lambda text: _expected(theirs, text),
        about=rf"{NODE_FILE}:(name|peer)",
    )
    yield Question(
        "networks",
        "Which device is in which network, as NAME=DEVICE",
        proposals.spelled(pairs),
        "The names are those of the first node; the same network was looked for.",
        lambda text: _all_pairs(seen, theirs or here, text),
        about=rf"{NODE_FILE}:interface|interface$",
    )
    yield Question(
        "advskew",
        "advskew of this node (0 to 254; the lower one is preferred)",
        str(here.node.advskew if here else SECOND_ADVSKEW),
        wrong=lambda text: "" if text.isdecimal() and len(text) < 4 else "a number from 0 to 254",
        about=f"{NODE_FILE}:advskew",
    )


# -------------------------------------------------------------------------------- what they make


def completed(seen: Situation, answers: Answers) -> dict[str, str]:
    """With the proposal for what is not answered, and nothing for what has none."""
    found = dict(answers)
    role = _role(seen)
    found.setdefault(role.key, role.proposal)
    ask = _second if found[role.key] == SECOND else _first
    while True:
        for one in ask(seen, found):
            if one.key not in found:
                found[one.key] = one.proposal
                break
        else:
            return found


def draft(seen: Situation, answers: Answers) -> Config | None:
    """The configuration, with proposals for what is not answered; None: too little is known."""
    full = completed(seen, answers)
    pairs = proposals.pairs_in(full.get("networks", ""))
    if full["role"] == SECOND:
        if pairs is None or not (seen.theirs or seen.current):
            return None
        return _of_second(seen, full, pairs)
    return None if pairs is None else _of_first(seen, full, pairs)


def _of_first(seen: Situation, full: Answers, pairs: dict[str, str]) -> Config:
    link = next((name for name, device in pairs.items() if device == full["sync"]), "")
    interfaces = dict(pairs)
    if not link:
        link = "sync" if "sync" not in pairs else "sync-link"
        interfaces[link] = full["sync"]
    theirs = _addresses(full["peer_address"])
    own = [
        one.ip
        for one in seen.device(full["sync"]).addresses
        if any(address in one.network for address in theirs) and not one.ip.is_link_local
    ]
    peers = (Peer(full["peer"], {link: tuple(theirs)}),) if full["peer"] and theirs else ()
    node = Node(full["node"], interfaces, 0, {link: tuple(own)} if own else {}, peers)
    vips = tuple(
        Vip(
            name,
            int(full[f"vhid.{name}"]) if full[f"vhid.{name}"].isdecimal() else 0,
            full["password"].encode(),
            tuple(_with_masks(full[f"vip.{name}"])),
        )
        for name in pairs
    )
    states = States(link) if full["states"] == YES else None
    group = Group(full["group"], vips, full["preempt"] == YES, states, Sync(link))
    return _kept(seen.current, Config(node, group))


def _kept(current: Config | None, made: Config) -> Config:
    """What the files say and nobody was asked for stays, as far as it is in these values."""
    if current is None:
        return made
    states, sync = current.group.states, current.group.sync
    if states is not None and made.group.states is not None:
        states = replace(states, interface=made.group.states.interface)
    if sync is not None and made.group.sync is not None:
        sync = replace(sync, interface=made.group.sync.interface)
    old = {vip.key: vip for vip in current.group.vips}
    vips = tuple(
        replace(old[vip.key], password=vip.password, addresses=vip.addresses)
        if vip.key in old
        else vip
        for vip in made.group.vips
    )
    web = current.group.web
    if web is not None:  # an interface that is gone takes its pages along
        here = tuple(name for name in web.interfaces if name in made.node.interfaces)
        web = replace(web, interfaces=here) if here else None
    group = replace(
        made.group,
        vips=vips,
        states=made.group.states and (states or made.group.states),
        sync=sync or made.group.sync,
        web=web,
    )
    node = replace(made.node, vars=current.node.vars, service_command=current.node.service_command)
    return Config(replace(node, advskew=current.node.advskew), group)


def _of_second(seen: Situation, full: Answers, pairs: dict[str, str]) -> Config:
    if seen.theirs is None:
        assert seen.current is not None
        node = replace(seen.current.node, name=full["node"], interfaces=pairs)
        return Config(replace(node, advskew=int(full["advskew"])), seen.current.group)
    first, group = seen.theirs.node, seen.theirs.group
    me = next((peer for peer in first.peers if peer.name == full["node"]), None)
    others = tuple(peer for peer in first.peers if peer is not me)
    return Config(
        Node(
            full["node"],
            pairs,
            int(full["advskew"]) if full["advskew"].isdecimal() else -1,
            dict(me.addresses) if me else {},
            (Peer(first.name, dict(first.addresses)), *others),
        ),
        group,
    )


def problems(seen: Situation, config: Config) -> list[Problem]:
    """All that `carpool check` would say, and does not wait for files."""
    found = check_config(config)
    if any(one.fatal for one in found):
        return found
    facts = {
        one.name: DeviceFacts(one.name, True, one.addresses, one.up, one.carrier)
        for one in seen.devices
    }
    missing = {name for name in config.node.interfaces.values() if name not in facts}
    facts |= {name: DeviceFacts(name, False) for name in missing}
    return [*found, *check_system(config, facts)]


def objection(seen: Situation, answers: Answers, question: Question, text: str) -> str:
    """Why this cannot be the answer; "" if it can."""
    expected = question.wrong(text)
    if expected:
        return f"found {_shown(question, text)}, expected {expected}"
    config = draft(seen, {**answers, question.key: text})
    if config is None or not question.about:
        return ""
    for one in problems(seen, config):
        if one.fatal and re.search(question.about, f"{one.file}:{one.key}"):
            hint = f" ({one.hint})" if one.hint else ""
            return f"found {one.found}, expected {one.expected}{hint}"
    return ""


def to_open(seen: Situation, answers: Answers) -> list[Opening]:
    """The rules to insert, if that was wanted."""
    config = draft(seen, answers)
    wanted = config is not None and answers.get("open") == YES
    return list(openings(config, seen.tables)) if wanted and config is not None else []


# ------------------------------------------------------------------------------ reading answers


def _shown(question: Question, text: str) -> str:
    return "what was typed" if question.secret else f'"{text[:60]}"'


def _yes_or_no(text: str) -> str:
    return "" if text in (YES, NO) else f"{YES} or {NO}"


def _device(seen: Situation, text: str) -> str:
    names = [one.name for one in seen.devices]
    return "" if text in names else f"a device of this machine: {', '.join(names)}"


def _pairs(seen: Situation, text: str) -> str:
    found = proposals.pairs_in(text)
    if not found:
        return "NAME=DEVICE for each network: lan=eth0 wan=eth1"
    return next((why for device in found.values() if (why := _device(seen, device))), "")


def _all_pairs(seen: Situation, theirs: Config | None, text: str) -> str:
    why = _pairs(seen, text)
    if why or theirs is None:
        return why
    names = list(theirs.node.interfaces)
    same = set(proposals.pairs_in(text) or ()) == set(names)
    return "" if same else f"a device for each of {', '.join(names)}, as the first node has them"


def _vhid(text: str, used: Mapping[int, str]) -> str:
    if not text.isdecimal() or len(text) > 3:
        return "a number from 1 to 255"
    return f"one that is free there: {used[int(text)]} has it" if int(text) in used else ""


def _peer_address(device: Device, text: str) -> str:
    found = _addresses(text)
    here = [str(one.network) for one in proposals.networks(device)]
    if found and all(proposals.in_one_network(one, device) for one in found):
        return ""
    return f"its address in {' or '.join(here) or 'a network of the device'}"


def _expected(theirs: Config | None, text: str) -> str:
    if theirs is None or text in {peer.name for peer in theirs.node.peers}:
        return ""
    names = " or ".join(peer.name for peer in theirs.node.peers)
    return f"{names}: so node.toml of {theirs.node.name} calls its peer"


def _addresses(text: str) -> list[Address]:
    """None at all where one cannot be read."""
    try:
        return [ip_address(word) for word in text.replace(",", " ").split()]
    except ValueError:
        return []


def _with_masks(text: str) -> list[AddressWithMask]:
    words = text.replace(",", " ").split()
    try:
        return [ip_interface(word) for word in words] if all("/" in one for one in words) else []
    except ValueError:
        return []


def _own(device: Device) -> str:
    here = ", ".join(map(str, proposals.networks(device)))
    return f"this node has {here} there" if here else f"{device.name} has no address of its own"
