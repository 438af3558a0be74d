"""What group.toml says about the pages, for `api/settings.py`.

Room: api. Every process loads this: of a certificate it reads the path, and never the file.
"""

from __future__ import annotations

from carpool.api.settingsync import strings
from carpool.api.tomlfile import Table
from carpool.model.config import WEB_PORT, Web

WEB_KEYS = ("interfaces", "port", "certificate", "key")


def web(root: Table) -> Web | None:
    """`[web]` of group.toml."""
    if "web" not in root:
        return None
    table = Table(root.file, ("web",), root.names("web", "a table [web]"), WEB_KEYS)
    if root.is_lost("web"):
        return None
    expected = 'a list of logical interfaces: interfaces = ["lan"]'
    return Web(
        interfaces=strings(table, "interfaces", expected, 'a logical interface, in quotes: "lan"'),
        port=table.number("port", WEB_PORT),
        certificate=_path(table, "certificate", "/etc/ssl/certs/edge.pem"),
        key=_path(table, "key", "/etc/ssl/private/edge.key"),
    )


def _path(table: Table, key: str, example: str) -> str:
    return table.text(key, f'a path, in quotes: "{example}"') if key in table else ""
