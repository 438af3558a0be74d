"""What `[web]` needs: interfaces that there are, a port of its own, and a whole certificate.

Room: model. Part of `model/validate.py`, which see. Refuses to know the files that it names.
"""

from __future__ import annotations

from collections.abc import Iterator

from carpool.model.config import WEB_PORT, Config, Web
from carpool.model.finding import (
    GROUP_FILE,
    Finding,
    Place,
    known_interface,
)
from carpool.model.keypath import quoted
from carpool.model.validate_sync import own_port

INTERFACES_MAX = 32
PATH_MAX = 4095  # PATH_MAX of linux/limits.h, without the NUL


def web_findings(config: Config) -> Iterator[Finding]:
    """Everything about `[web]` that these values say by themselves."""
    web = config.group.web
    if web is None:
        return
    yield from _interfaces(config, web)
    yield from _port(config, web.port)
    yield from _pair(web)


def _interfaces(config: Config, web: Web) -> Iterator[Finding]:
    whole: Place = (GROUP_FILE, ("web", "interfaces"))
    if not web.interfaces:
        hint = "the pages are served there and nowhere else; without [web] there are none"
        yield Finding(whole, "no interface", "at least one", hint, needs=(whole,))
    if len(web.interfaces) > INTERFACES_MAX:
        yield Finding(whole, f"{len(web.interfaces)} interfaces", f"{INTERFACES_MAX} at most")
        return
    first: dict[str, int] = {}
    for index, interface in enumerate(web.interfaces):
        place: Place = (GROUP_FILE, ("web", "interfaces", index))
        yield from known_interface(place, interface, config.node)
        if first.setdefault(interface, index) != index:
            yield Finding(place, f"{quoted(interface)} again", "each interface once")


def _port(config: Config, port: int) -> Iterator[Finding]:
    sync = config.group.sync
    others = {} if sync is None else {sync.port: "the port of the agents, [sync]"}
    yield from own_port(config, "web", port, WEB_PORT, others)


def _pair(web: Web) -> Iterator[Finding]:
    for key, path, other, theirs in (
        ("certificate", web.certificate, "key", web.key),
        ("key", web.key, "certificate", web.certificate),
    ):
        place: Place = (GROUP_FILE, ("web", key))
        if path and (not path.startswith("/") or len(path) > PATH_MAX or "\0" in path):
            yield Finding(place, quoted(path[:60]), "an absolute path of a PEM file on each node")
        elif theirs and not path:
            beside: Place = (GROUP_FILE, ("web", other))
            hint = "without either, the pages have a certificate of carpool's own making"
            yield Finding(
                place, "nothing", f"the file that belongs to `{other}`", hint, needs=(place, beside)
            )
