"""Key paths: where a value stands in a TOML file, as a tuple and as people write it.

Room: model. Knows the spelling only; refuses to know any file or what a key means.
"""

from __future__ import annotations

import json
import re

KeyPath = tuple[str | int, ...]  # ("vip", 0, "addresses", 1): names of keys, indexes of lists

_BARE = re.compile(r"[A-Za-z0-9_-]+")  # TOML 1.0: keys that need no quotes
_TOKEN = re.compile(r'\.?(?:([A-Za-z0-9_-]+)|("(?:[^"\\]|\\.)*"))|\[([0-9]+)\]')


def quoted(text: str) -> str:
    """The text in quotes, safe to print: an invisible or control character shows as its escape."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def render(path: KeyPath) -> str:
    """`vip[0].addresses[1]`, `peer.fw2.address.lan`; a name that is no bare key is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += "." if text else ""
            text += part if _BARE.fullmatch(part) else quoted(part)
    return text


def parse(text: str) -> KeyPath:
    """The inverse of `render`. Raises ValueError for text that is no key path."""
    path: list[str | int] = []
    offset = 0
    while offset < len(text):
        token = _TOKEN.match(text, offset)
        if token is None:
            raise ValueError(f"no key path: {text!r}, at character {offset}")
        bare, string, index = token.groups()
        path.append(int(index) if index else json.loads(string) if string else bare)
        offset = token.end()
    return tuple(path)
