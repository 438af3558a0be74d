"""`carpool lab up` shows the pages of both firewalls to the browsers of this host."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator

import httpx
import pytest

from carpool.lab.firewall import WEB
from carpool.lab.lab import Lab
from carpool.lab.topology import FIREWALLS
from tests.netns.lab import wait_until
from tests.netns.test_lab_drills import carpool_lab, traces
from tests.visitor import Visitor, at

pytestmark = pytest.mark.timeout(120)
PASSWORD = "twelve or more of them"


@pytest.fixture(scope="module")
def name() -> Iterator[str]:
    chosen = f"cpl-{secrets.token_hex(3)}"
    try:
        done = carpool_lab("up", chosen)
        assert done.returncode == 0, done.stderr
        yield chosen
    finally:
        carpool_lab("down", chosen)
        assert traces(chosen) == []


@pytest.fixture(scope="module")
def told(name: str) -> dict[str, tuple[str, str]]:
    return links(name)


def links(name: str) -> dict[str, tuple[str, str]]:
    """Link and one-time password of each firewall, as a person reads them."""
    lines = carpool_lab("status", name).stdout.splitlines()
    found = [line.split() for line in lines if "https://127.0.0.1:" in line]
    assert [words[2:6] for words in found] == [["log", "in", "as", "admin"]] * 2
    return {words[0].rstrip(":"): (words[1], words[7].rstrip(",")) for words in found}


def entered(link: str, one_time: str) -> Visitor:
    visitor = at(link)
    assert visitor.log_in("admin", one_time).headers["location"] == "/"
    assert visitor.get("/").headers["location"] == "/password"
    assert visitor.set_password(one_time, PASSWORD).headers["location"] == "/"
    return visitor


def test_both_firewalls_are_seen_in_one_browser_also_after_a_power_cut(
    name: str, told: dict[str, tuple[str, str]]
) -> None:
    assert set(told) == set(FIREWALLS)
    with entered(*told["fw1"]) as first, entered(*told["fw2"]) as second:
        second.client.cookies.update(first.client.cookies)  # those of one address, whatever port
        first.client.cookies.update(second.client.cookies)
        for node, visitor in (("fw1", first), ("fw2", second)):
            page = visitor.get("/")
            assert page.status_code == 200 and f" · {node} " in page.text

        assert carpool_lab("power", name, "fw1", "off").returncode == 0
        with pytest.raises(httpx.TransportError):
            first.get("/")
        assert second.get("/").status_code == 200
        assert carpool_lab("power", name, "fw1", "on").returncode == 0
        assert first.get("/login").status_code == 200  # the socket is there before the process
        assert first.log_in("admin", told["fw1"][1]).status_code == 403
        assert first.log_in("admin", PASSWORD).status_code == 303
        wait_until(lambda: first.get("/").status_code == 200, 30, "the agent answers the pages")

        assert carpool_lab("drill", name, "switchover", "--connections", "2").returncode == 0
        assert second.get("/").status_code == 200  # it was there all the time, to be watched


def test_the_one_time_password_is_roots_alone(name: str) -> None:
    for firewall in Lab(name).firewalls.values():
        assert firewall.log(WEB).parent.stat().st_mode & 0o777 == 0o700


def test_a_port_that_somebody_has_is_told(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = f"cpl-{secrets.token_hex(3)}"
        try:
            done = carpool_lab("up", other, "--port", str(port))
        finally:
            carpool_lab("down", other)
    assert done.returncode == 1
    assert f"127.0.0.1 port {port}" in done.stderr and "--port" in done.stderr


def test_pages_come_with_the_agents_alone(name: str) -> None:
    firewall = Lab(name).firewalls["fw1"]
    assert firewall.pages.troubles() == []
    assert WEB in Lab(name).roles and WEB not in Lab("never-made").roles
