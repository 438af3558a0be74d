"""What of a notification URL people are shown, and taking its secrets out of what others say.

Room: machine. Pure. In doubt it hides: with most services the "host" of the URL is a token.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "****"
# Those whose host is a host, and says something to who reads it.
_HOSTED = ("form", "gotify", "json", "mailto", "matrix", "mmost", "mqtt", "nctalk", "rocket", "xml")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(?:([^/?#]*)@)?([^/?#@]*)(.*)", re.DOTALL)
_SECRET_MIN = 3  # letters: what is shorter is in too many words


def is_url(url: str) -> bool:
    """Whether it has the form of one: which services there are, Apprise knows."""
    return _URL.fullmatch(url) is not None and url.isprintable() and " " not in url


def masked(url: str) -> str:
    """`mailtos://****@mail.example.com`, `tgram://****`."""
    found = _URL.fullmatch(url)
    if found is None:
        return HIDDEN
    scheme, user, host, more = found.groups()
    if scheme.lower().removesuffix("s") not in _HOSTED:
        return f"{scheme}://{HIDDEN}"
    return f"{scheme}://{f'{HIDDEN}@' if user else ''}{host}{f'/{HIDDEN}' if more else ''}"


def scrubbed(text: str, url: str) -> str:
    """Without any part of the URL that `masked` does not show."""
    shown = masked(url)
    parts = {part for part in re.split(r"[/:@?&=#,;]+", url) if part not in shown}
    parts |= {unquote(part) for part in parts} | {url}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _SECRET_MIN:
            text = text.replace(part, HIDDEN)
    return text
