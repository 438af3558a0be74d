"""Where the pages are, and by which certificate a browser knows them: for `carpool status`.

Room: cli. Asks the agent where, and the pages themselves for their certificate.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

from carpool.agent.localclient import LocalClient
from carpool.api.clean import clean
from carpool.api.control import Answer
from carpool.cli.drift import AT_ONCE_S
from carpool.errors import CarpoolError
from carpool.model.config import Config


def lines(run_dir: Path, config: Config | None) -> Iterator[str]:
    """Nothing without [web], or where no agent answers: that is told elsewhere."""
    if config is None or config.group.web is None:
        return
    try:
        with LocalClient(run_dir) as agent:
            told = agent.get("/v1/web", timeout_s=AT_ONCE_S)
    except CarpoolError:
        return
    yield from _wrong(told)
    addresses, port = told.get("addresses"), int(str(told.get("port")))
    if not isinstance(addresses, list) or not addresses:
        return
    yield "Pages: " + " ".join(f"https://{_host(str(one))}:{port}/" for one in addresses)
    own = {str(one) for each in config.node.addresses.values() for one in each}
    for address in own & set(addresses):  # at a VIP, those of a peer may answer
        if found := fingerprint(str(address), port):
            yield f"  certificate, SHA-256: {found}"
            return
    yield "  they do not answer: `systemctl status carpool-web` says why"


def _wrong(told: Answer) -> Iterator[str]:
    """Why the user's own certificate cannot be used."""
    if error := told.get("error"):
        yield f"Pages: {clean(str(error))}"
        if hint := told.get("hint"):
            yield f"  -> {clean(str(hint))}"


def fingerprint(address: str, port: int) -> str:
    """As browsers show it; nothing when nobody answers there."""
    try:
        pem = ssl.get_server_certificate((address, port), timeout=AT_ONCE_S)
    except OSError:
        return ""
    digest = sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def _host(address: str) -> str:
    return f"[{address}]" if ip_address(address).version == 6 else address
