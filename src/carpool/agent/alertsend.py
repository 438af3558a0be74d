"""Sends one message by Apprise: the program that the agent starts for each try.

Room: agent. Started by its path, and imports nothing of carpool: a library with a hundred services
and its memory are for seconds, in a process that may nothing. Reads one JSON document on stdin,
where no list of processes shows the URL; says on stdout why it did not work.
"""

from __future__ import annotations

import json
import logging
import os
import sys

SENT, FAILED, USELESS = 0, 1, 2  # exit status; USELESS: trying again changes nothing
DOCUMENT_MAX_BYTES = 64 << 10
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"  # of the machine, in place of the library's own


class Said(logging.Handler):
    """The last warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main() -> int:
    told = json.loads(sys.stdin.buffer.read(DOCUMENT_MAX_BYTES))
    if os.path.exists(AUTHORITIES):
        os.environ["REQUESTS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"] = AUTHORITIES
    said = Said()
    for name in ("apprise", ""):  # it tells nobody else, also not stderr
        logging.getLogger(name).handlers[:] = [said]
    import apprise

    asset = apprise.AppriseAsset(
        app_id="carpool",
        app_desc="carpool",
        app_url="",
        async_mode=False,
        plugin_paths=[],  # programs of anybody's
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    sender = apprise.Apprise(asset=asset)
    if not sender.add(told["url"]):
        tell(f"no notification URL that Apprise {apprise.__version__} knows: {said.text}")
        return USELESS
    sent = sender.notify(
        body=told["body"],
        title=told["title"],
        notify_type=apprise.NotifyType(told["level"]),
        body_format=apprise.NotifyFormat.TEXT,
    )
    if not sent:
        tell(said.text or "the service did not take it")
    return SENT if sent else FAILED


if __name__ == "__main__":
    sys.exit(main())
