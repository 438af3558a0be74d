"""A running states process takes up what node.toml and group.toml say now, on command.

Room: service. Which addresses move to a peer is taken up at once; for all else the process becomes
itself anew (`kernel/process.py`), with the same pid: peers keep what they have, and the table is
exchanged again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Protocol

from carpool.errors import CarpoolError, KernelError
from carpool.kernel.journal import say
from carpool.kernel.unixserver import Client
from carpool.model.config import Config

Read = Callable[[], Config]  # the files as they are now; CarpoolError when they cannot be used


def reasons(old: Config, new: Config) -> list[str]:
    """What of `new` needs a process that begins anew; none: `vips` at most have changed."""
    told = []
    if old.group.states is None or new.group.states is None:
        if old.group.states is not new.group.states:
            told.append("[states]")
    else:
        for one in fields(old.group.states):
            if getattr(old.group.states, one.name) != getattr(new.group.states, one.name):
                told.append(f"[states] {one.name}")
    for what, before, after in (
        ("name of the group", old.group.name, new.group.name),
        ("name of this node", old.node.name, new.node.name),
        ("devices", old.node.interfaces, new.node.interfaces),
        ("addresses of this node", old.node.addresses, new.node.addresses),
        ("peers", old.node.peers, new.node.peers),
    ):
        if before != after:
            told.append(what)
    return told


class Service(Protocol):
    """The states process."""

    config: Config
    read: Read

    def take_up(self, config: Config) -> None:
        """It differs in its VIPs at most. KernelError when the kernel does not say which addresses
        are here; then that is asked again later."""

    def begin_anew(self) -> None: ...


def reload(service: Service, client: Client | None = None) -> None:
    """`client` is answered with `restarts`: for what the process begins anew."""
    try:
        new = service.read()
    except CarpoolError as error:
        say(f"states: goes by the old configuration: {error.message}")
        if client is not None:
            client.refuse(error.message, error.hint)
        return
    restarts = reasons(service.config, new)
    if client is not None:
        client.answer({"restarts": restarts})
    if restarts:
        say(f"states: begins anew for {', '.join(restarts)}")
        service.begin_anew()
        return
    try:
        service.take_up(new)
    except KernelError as error:  # addresses change just now: they are looked at again anyway
        say(f"states: {error.message}: tried again within seconds")
