"""Templates: `{{ node.name }}` and the like become this node's own values.

Room: machine. Pure: bytes in, bytes out. Knows one piece of syntax and refuses to learn another:
what needs a condition or a loop is a file of its own on each node (`keep`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from carpool.errors import ConfigError
from carpool.model.config import Address, Config
from carpool.model.finding import closest

# Names of nodes and interfaces are a-z, 0-9 and -; those under [vars] are the operator's.
_MARK = re.compile(rb"\{\{ *(vars\.[A-Za-z0-9_.-]+|[a-z][a-z0-9_.-]*) *\}\}")
_TOLD_MAX = 5  # unknown names in one message
_KNOWN_SHOWN = 12


class RenderError(ConfigError):
    """A template asks for a value that this node does not have."""


def values(config: Config) -> dict[str, str]:
    """All that a template may ask for on this node, by name."""
    node = config.node
    found = {"node.name": node.name, "node.advskew": str(node.advskew)}
    found |= {f"node.device.{name}": device for name, device in node.interfaces.items()}
    found |= _addresses("node", node.addresses)
    for peer in node.peers:
        found |= _addresses(f"peer.{peer.name}", peer.addresses)
    if len(node.peers) == 1:  # with more, "the peer" is nobody
        (peer,) = node.peers
        found["peer.name"] = peer.name
        found |= _addresses("peer", peer.addresses)
    return found | {f"vars.{name}": value for name, value in node.vars.items()}


def _addresses(whose: str, addresses: Mapping[str, tuple[Address, ...]]) -> dict[str, str]:
    """`WHOSE.address.IF` is the first one, `.IF.0`, `.IF.1` are all of them."""
    found: dict[str, str] = {}
    for interface, some in addresses.items():
        for index, address in enumerate(some):
            found.setdefault(f"{whose}.address.{interface}", str(address))
            found[f"{whose}.address.{interface}.{index}"] = str(address)
    return found


def render(content: bytes, values: Mapping[str, str]) -> bytes:
    """The content with every `{{ name }}` replaced, all else byte for byte; what a value holds is
    not looked at again. Raises RenderError with the lines and names that have no value."""
    unknown = list(_unknown(content, values))
    if unknown:
        told = "; ".join(f"line {line}: {{{{ {name} }}}}" for line, name in unknown[:_TOLD_MAX])
        if len(unknown) > _TOLD_MAX:
            told += f"; and {len(unknown) - _TOLD_MAX} more"
        raise RenderError(f"this node has no value for {told}", hint=_hint(unknown[0][1], values))
    return _MARK.sub(lambda mark: values[mark[1].decode()].encode(), content)


def _unknown(content: bytes, values: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """Line (from 1) and name of each mark without a value."""
    line, seen = 1, 0
    for mark in _MARK.finditer(content):
        if (name := mark[1].decode()) not in values:
            line += content.count(b"\n", seen, mark.start())
            seen = mark.start()
            yield line, name


def _hint(name: str, values: Mapping[str, str]) -> str:
    near = closest(name, values)
    if near:
        return near
    if name.startswith("vars."):
        return f"give it one under [vars] in node.toml: {name.removeprefix('vars.')}"
    kin = [known for known in values if known.split(".")[0] == name.split(".")[0]] or list(values)
    shown = ", ".join(kin[:_KNOWN_SHOWN])
    return f"there is {shown}" + (" and more" if len(kin) > _KNOWN_SHOWN else "")


def template_path(config_dir: str, path: str) -> str:
    """Where the template of a live file lies, on every node: `/etc/carpool/templates/etc/hosts`."""
    return f"{config_dir.rstrip('/')}/templates{path}"
