"""What the web process is told: where to listen, and with which certificate."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from carpool.agent.agent import Agent
from carpool.agent.app import build
from carpool.model.config import Vip, Web
from carpool.web.certificate import make
from tests.unit.agent.home import agent_of
from tests.unit.agent.test_app import ask


def told(agent: Agent, web: Web | None, vips: tuple[Vip, ...] = ()) -> Any:
    group = replace(agent.config.group, web=web, vips=vips)
    agent.config = replace(agent.config, group=group)
    answer = ask(build(agent), "/v1/web")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_own_addresses_and_vips_of_its_interfaces(tmp_path: Path) -> None:
    agent = agent_of(tmp_path)  # whose interface sync is the loopback device of this machine
    assert told(agent, None) == {"node": "fw1", "port": 8443, "addresses": []}
    vip = Vip("sync", 51, b"x", (ip_interface("10.1.1.1/24"), ip_interface("fe80::1/64")))
    other = Vip("lan", 52, b"x", (ip_interface("10.1.2.1/24"),))
    found = told(agent, Web(("sync",), 443), (vip, other))
    assert (found["node"], found["port"]) == ("fw1", 443)
    assert {"10.1.1.1", "127.0.0.11", "127.0.0.1"} <= set(found["addresses"])
    assert not {"10.1.2.1", "fe80::1"} & set(found["addresses"])
    assert "certificate" not in found and "error" not in found


def test_a_certificate_of_the_users_own_or_why_not(tmp_path: Path) -> None:
    agent, pair = agent_of(tmp_path), make("fw1")
    agent.root = tmp_path
    web = Web(("sync",), 443, "/web.pem", "/web.key")
    found = told(agent, web)
    assert "web.pem: No such file" in found["error"] and "key" not in found
    assert found["addresses"], "the pages are there, with the other certificate"
    (tmp_path / "web.pem").write_text(pair.certificate)
    (tmp_path / "web.key").write_text(pair.key)
    found = told(agent, web)
    assert (found["certificate"], found["key"]) == (pair.certificate, pair.key)
    (tmp_path / "web.key").write_text(make("fw1").key)
    found = told(agent, web)
    assert "are no pair" in found["error"] and "certificate" not in found
