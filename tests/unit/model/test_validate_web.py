"""Rules of [web]."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.model.config import Problem, States, Web
from carpool.model.section import Sync
from carpool.model.validate import check_config
from carpool.model.validate_web import INTERFACES_MAX, PATH_MAX
from tests.unit.model.configs import GROUP, config

SERVED = Web(("lan", "sync"), 443, "/etc/ssl/edge.pem", "/etc/ssl/edge.key")


def told(web: Web, *, sync: Sync | None = None, states: States | None = None) -> list[Problem]:
    return check_config(config(group=replace(GROUP, web=web, sync=sync, states=states)))


def test_good_ones() -> None:
    assert told(SERVED) == told(Web(("wan",))) == []
    assert told(SERVED, sync=Sync("sync"), states=States("sync")) == []


@pytest.mark.parametrize(
    ("web", "key"),
    [
        (replace(SERVED, interfaces=()), "web.interfaces"),
        (replace(SERVED, interfaces=("lan", "nowhere")), "web.interfaces[1]"),
        (replace(SERVED, interfaces=("lan", "lan")), "web.interfaces[1]"),
        (replace(SERVED, interfaces=("lan",) * (INTERFACES_MAX + 1)), "web.interfaces"),
        (replace(SERVED, port=0), "web.port"),
        (replace(SERVED, key=""), "web.key"),
        (replace(SERVED, certificate=""), "web.certificate"),
        (replace(SERVED, key="ssl/edge.key"), "web.key"),
        (replace(SERVED, certificate="/a\0b"), "web.certificate"),
        (replace(SERVED, certificate="/" + "a" * PATH_MAX), "web.certificate"),
    ],
)
def test_bad_ones(web: Web, key: str) -> None:
    (problem,) = told(web)
    assert (problem.file, problem.key, problem.fatal) == ("group.toml", key, True)
    assert len(problem.found) < 80


def test_the_port_is_nobody_elses() -> None:
    assert [one.found for one in told(Web(("lan",), 3783))] == [
        "3783, where nodes are paired, one after the port of the states"
    ]
    (problem,) = told(Web(("lan",), 8443), states=States("sync", 8442), sync=None)
    assert problem.found.startswith("8443, where nodes are paired") and problem.hint == ""
    found = {}
    for port in (4000, 4002, 4003):
        problems = told(
            Web(("lan",), port), states=States("sync", 4000), sync=Sync("sync", (), 4002)
        )
        found[port] = [one.found for one in problems]
    assert found == {
        4000: ["4000, the port of the states"],
        4002: ["4002, the port of the agents, [sync]"],
        4003: [],
    }
