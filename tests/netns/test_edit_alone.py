"""group.toml edited while the peer is dead, on a live pair: nobody is a second MASTER of anything
when it comes back with the older file, it is said who is behind, and the way out ends as one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from carpool.agent.localclient import LocalClient
from carpool.errors import CarpoolError, UnreachableError
from carpool.lab.firewall import Firewall
from carpool.lab.lab import Lab
from carpool.machine.verdict import judge
from tests.netns.lab import wait_until
from tests.netns.test_sync_group import addresses, carpool, one_form, status, transitions

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab(f"cpa-{secrets.token_hex(3)}", say=lambda text: None)
    with made.held():
        try:
            made.up(with_agent=True)
            assert carpool(made.firewalls["fw1"], "sync", "carpool").returncode == 0
            yield made
        finally:
            made.down()


def vip(firewall: Firewall, vhid: int) -> dict[str, object]:
    lan = next(row for row in status(firewall)["vhosts"] if row["interface"] == "lan")
    subnet = next(one for one in lan["addresses"] if "." in one).rpartition(".")[0]
    more = {"interface": "lan", "vhid": vhid, "password": "of it"}
    return {"op": "add_vip", "values": {**more, "addresses": [f"{subnet}.{vhid}/24"]}}


def edit(firewall: Firewall, edits: list[Any], **more: object) -> list[dict[str, Any]]:
    with LocalClient(firewall.run_dir) as agent:
        digest = agent.get("/v1/group")["digest"]
        body = {"digest": digest, "edits": edits, "confirm_within_s": 60.0, **more}
        return list(agent.stream("POST", "/v1/group/apply", body))


def post(firewall: Firewall, path: str, **body: object) -> dict[str, Any]:
    with LocalClient(firewall.run_dir) as agent:
        return agent.post(path, body, timeout_s=60)


def away(firewall: Firewall) -> dict[str, Any]:
    with LocalClient(firewall.run_dir) as agent:
        found: Any = agent.get("/v1/group/away", timeout_s=20)["peers"]
    (one,) = found.values()
    return dict(one)


def reasons(firewall: Firewall) -> list[str]:
    try:
        with LocalClient(firewall.run_dir) as agent:
            nodes: Any = agent.get("/v1/nodes")["nodes"]
    except UnreachableError:
        return ["nothing of group.toml is known: its agent starts"]
    return [one.text for one in judge(nodes).reasons]


def no_two_masters(lab: Lab) -> bool:
    """And each VIP has one."""
    held = [
        (row["vhid"], row["state"])
        for one in lab.firewalls.values()
        for row in status(one)["vhosts"]
    ]
    masters = [vhid for vhid, state in held if state == "MASTER"]
    return sorted(masters) == sorted({vhid for vhid, _state in held})


def is_back(firewall: Firewall) -> bool:
    """It has settled what it is."""
    try:
        return all(row["state"] in ("MASTER", "BACKUP") for row in status(firewall)["vhosts"])
    except CarpoolError:
        return False


def test_a_vip_is_added_while_the_peer_is_dead_and_brought_to_it_afterwards(lab: Lab) -> None:
    fw1, fw2 = lab.firewalls["fw1"], lab.firewalls["fw2"]
    old = one_form(lab)
    assert not away(fw1)["away"]
    events = edit(fw1, [vip(fw1, 77)], without=["fw2"])
    assert "fw2 is not away: it answers" in events[-1]["error"] and one_form(lab) == old
    lab.pull_plug("fw2")
    wait_until(lambda: away(fw1)["away"], 15, "its states are no more, and nothing answers")
    before = transitions(fw1)
    assert edit(fw1, [vip(fw1, 77)], without=["fw2"])[-1]["failed"] == []
    done = post(fw1, "/v1/confirm", peers=[])["done"]
    assert done["fw1"] == {"kept": "the change of the group"}
    assert "not settled without it" in done["fw2"]["group"]
    assert addresses(fw1, 77) and status(fw1)["change"]["older"]

    lab.network.mend("fw2")
    lab.power_on("fw2")
    wait_until(lambda: is_back(fw2) and no_two_masters(lab), 20, "fw2 is BACKUP of what it knows")
    behind = "configuration differs: fw2 has an older group.toml than fw1"
    wait_until(lambda: behind in reasons(fw1) and behind in reasons(fw2), 20, "both say so")
    added = transitions(fw1)[len(before) :]
    assert {one for one in added if "77" not in one} == set(), "nothing else moved"
    assert "77" not in "".join(transitions(fw2)) and "MASTER" not in "".join(transitions(fw2))
    done = carpool(fw1, "sync", "carpool", "--confirm-within", "1h")
    assert done.returncode == 0, done.stdout + done.stderr
    assert carpool(fw1, "confirm").returncode == 0
    assert one_form(lab) not in ("", old) and addresses(fw2, 77)
    assert no_two_masters(lab) and "MASTER" not in "".join(transitions(fw2))


@pytest.mark.long
def test_a_preferred_node_that_comes_back_with_the_older_file_takes_it_over(lab: Lab) -> None:
    """It preempts for what it knows: what it does not know stays where it is, and is served."""
    fw1, fw2 = lab.firewalls["fw1"], lab.firewalls["fw2"]
    lab.wait_healthy()
    old = one_form(lab)
    lab.pull_plug("fw1")
    wait_until(lambda: status(fw2)["role"] == "MASTER", 15, "fw2 takes over")
    wait_until(lambda: away(fw2)["away"], 15, "nothing of fw1 answers")
    text = (fw2.config_dir / "group.toml").read_text()
    assert edit(fw2, [vip(fw2, 79)], without=["fw1"])[-1] == {"step": "over", "failed": []}
    assert addresses(fw2, 79)
    done = post(fw2, "/v1/take-back", peers=[])["done"]
    assert "undone" in done["fw2"] and "error" not in done["fw1"], "nobody waited for it"
    assert not addresses(fw2, 79) and (fw2.config_dir / "group.toml").read_text() == text
    password = {"op": "change_vip", "vip": "51@lan", "values": {"password": "another one"}}
    events = edit(fw2, [password, vip(fw2, 78)], without=["fw1"])
    assert events[-1] == {"step": "over", "failed": []}
    assert post(fw2, "/v1/confirm", peers=[])["done"]["fw2"]["kept"]
    lab.network.mend("fw1")
    lab.power_on("fw1")

    def preempted() -> bool:
        return is_back(fw1) and status(fw1)["role"] == "MASTER" and no_two_masters(lab)

    wait_until(preempted, 40, "fw1 is MASTER of what it knows, and fw2 of what it alone knows")
    assert addresses(fw2, 78)
    behind = "configuration differs: fw1 has an older group.toml than fw2"
    wait_until(lambda: behind in reasons(fw1), 20, "it is said")
    done = carpool(fw1, "sync", "carpool")
    assert done.returncode != 0, "the older file is not sent over the newer one"
    done = carpool(fw1, "pull", "fw2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert one_form(lab) not in ("", old) and addresses(fw1, 78)
    wait_until(lambda: no_two_masters(lab) and status(fw1)["role"] == "MASTER", 20, "all is one")
    wait_until(lambda: not [one for one in reasons(fw1) if "group.toml" in one], 10, "no more")
