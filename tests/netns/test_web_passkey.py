"""Passkeys in a real browser, with an authenticator that Chromium plays itself.

Without a lab: the pages listen on the loopback of this host. Chromium takes a passkey only where
it trusts the certificate, so it is told the key of this one.
"""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Page

from carpool.web.accounts import FILE, Accounts
from carpool.web.app import Web, build
from carpool.web.ask import Ask
from carpool.web.certificate import Pair, make
from carpool.web.second import Second
from carpool.web.server import Listeners
from tests.netns.browser import Watched, chromium, visit
from tests.ports import free_port
from tests.unit.agent.home import until

pytestmark = pytest.mark.root  # as the other tests with a browser are
PASSWORD = "twelve or more of them"


class Served:
    """An admin with a second factor, whose password is PASSWORD."""

    def __init__(self, directory: Path) -> None:
        self.accounts = Accounts(directory, PasswordHasher(1, 8, parallelism=1))
        self.accounts.open(lambda: "first")
        self.accounts.set_password("admin", PASSWORD)
        self.accounts.change("admin", lambda one: replace(one, second=Second("ABCD", 0, ())))
        self.pair = make("localhost")
        self.port = free_port(["127.0.0.1"])
        self._directory = directory
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        web = Web(Ask(self._directory / "agent.sock"), self.accounts)
        listeners = Listeners(build(web), self.pair)
        listeners.go_by({"addresses": ["127.0.0.1"], "port": self.port})
        await until(lambda: listeners.listens("127.0.0.1", self.port), "a listener")
        self._ready.set()
        await self._stop.wait()
        await listeners.close()
        await web.ask.close()


def spki(pair: Pair) -> str:
    key = x509.load_pem_x509_certificate(pair.certificate.encode()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b64encode(sha256(der).digest()).decode()


@contextmanager
def at_localhost(directory: Path) -> Iterator[tuple[Served, Watched]]:
    with Served(directory) as served:
        trusted = f"--ignore-certificate-errors-spki-list={spki(served.pair)}"
        with chromium(trusted) as browser, browser.new_context() as context:
            url = f"https://localhost:{served.port}"
            with visit(context, url, "passkey") as watched:
                _authenticator(watched.page)
                yield served, watched


def _authenticator(page: Page) -> None:
    """One that keeps keys, and whose owner is always there."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_a_passkey_is_made_and_logs_in(tmp_path: Path) -> None:
    with at_localhost(tmp_path) as (served, watched):
        page = watched.page
        factor = served.accounts.change("admin", lambda one: replace(one, second=None)).second
        assert factor is None
        watched.go("/login?next=/account")  # the status page has no agent to ask
        page.get_by_label("Name").fill("admin")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in", exact=True).click()
        page.wait_for_url(f"{watched.url}/account")
        watched.go("/account/passkeys")
        assert page.get_by_text("Set up the second factor").count() == 1
        served.accounts.change("admin", lambda one: replace(one, second=Second("ABCD", 0, ())))
        watched.go("/account/passkeys")
        page.get_by_label("Which device has it").fill("this laptop")
        page.get_by_label("Your password").fill(PASSWORD)
        page.get_by_role("button", name="Add a passkey").click()
        page.get_by_role("button", name="Remove this laptop").wait_for()
        assert not watched.faults()
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url(f"{watched.url}/login")
        watched.go("/login?next=/account")
        page.get_by_role("button", name="Log in with a passkey").click()
        page.wait_for_url(f"{watched.url}/account")
        (row,) = json.loads((tmp_path / FILE).read_text())["accounts"]
        (kept,) = row["passkeys"]
        assert (kept["name"], kept["host"], kept["used_s"] > 0) == (
            "this laptop",
            "localhost",
            True,
        )
