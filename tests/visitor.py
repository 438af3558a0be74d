"""A person with a browser, for tests: keeps cookies, and sends forms with the token of the page."""

from __future__ import annotations

import html
import re
from types import TracebackType
from typing import Self

import httpx

TOKEN = re.compile(r'name="token" value="([^"]+)"')


class Visitor:
    """Goes to the pages behind `client`, whose `base_url` they are at; ends with it."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers=headers)

    def post(self, path: str, form: dict[str, str], **headers: str) -> httpx.Response:
        """As it is said: the token is the caller's business."""
        return self.client.post(path, data=form, headers=headers)

    def token(self) -> str:
        """Of the session, as its pages have it."""
        found = TOKEN.search(self.get("/password").text)
        assert found is not None
        return html.unescape(found[1])

    def submit(self, path: str, form: dict[str, str] | None = None) -> httpx.Response:
        """A form of a page of theirs."""
        host = str(self.client.base_url).rstrip("/")
        site = {"origin": host, "sec-fetch-site": "same-origin"}
        return self.post(path, {"token": self.token(), **(form or {})}, **site)

    def log_in(self, name: str, password: str) -> httpx.Response:
        return self.post("/login", {"name": name, "password": password})

    def set_password(self, old: str, fresh: str) -> httpx.Response:
        return self.submit("/password", {"old": old, "fresh": fresh, "again": fresh})


def at(link: str) -> Visitor:
    """The pages of a real process, whose certificate nobody vouches for."""
    client = httpx.Client(base_url=link, verify=False, trust_env=False, timeout=20.0)
    return Visitor(client)
