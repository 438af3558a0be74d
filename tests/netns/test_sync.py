"""Configuration from one firewall to the other, through their agents: what arrives, what is
refused, and what is left when something breaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from carpool.agent.localclient import LocalClient
from carpool.api.identity import make
from carpool.errors import CarpoolError, PeerError
from tests.netns.agents import GROUP, LINK, AgentNode, made_group, start
from tests.netns.lab import Network, wait_until
from tests.netns.nursery import NurseryNode
from tests.netns.pair import PAIR, SYNC, StandInFailover

SECTIONS = """
[section.web]
paths = ["/etc/web/", "/etc/web.conf"]
nosync = ["/etc/web/own.conf"]
secret = ["*.key"]
check = ["/bin/sh", "-c", "cat /etc/web.conf; . /etc/web/check.sh"]
services = ["webd"]

[section.tunnel]
paths = ["/etc/tunnel.conf"]
services = ["tunneld", { name = "webd", on_change = "restart" }]
role = "master"
order = 40

[section.other]
paths = ["/etc/other.conf"]
template = true
"""
# The services of a node: what they are told is in `log`; what one must do, a file of its name says.
SERVICE = """#!/bin/sh
cd "$(dirname "$0")"
echo "$1 $2" >>log
test "$1" = status && { test ! -e "$2.stopped" || exit 3; exit 0; }
test -e "$2.$1" || exit 0
. "./$2.$1"
"""
Events = list[dict[str, Any]]


class SyncNode:
    """What the tests do to one firewall."""

    def __init__(self, node: AgentNode) -> None:
        self.node = node
        self.services = node.directory / "services"
        self.services.mkdir()
        script = self.services / "act"
        script.write_text(SERVICE)
        script.chmod(0o755)
        with (node.config_dir / "node.toml").open("a") as file:
            file.write(f'\n[services]\ncommand = ["{script}", "{{action}}", "{{service}}"]\n')
        node.configure(GROUP + LINK + 'sections = ["web"]\n' + SECTIONS)
        self.write("etc/web/check.sh", "grep -q good /etc/web.conf")

    def path(self, name: str) -> Path:
        return self.node.directory / name

    def write(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)

    def read(self, name: str) -> str:
        return self.path(name).read_text()

    def log(self) -> list[str]:
        """What its services were told to do."""
        file = self.services / "log"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if not line.startswith("status")]

    def post(self, path: str, **body: object) -> dict[str, Any]:
        with LocalClient(self.node.run_dir) as agent:
            return agent.post(path, body, timeout_s=60)

    def sync(self, *sections: str, force: bool = True, **more: object) -> Events:
        """Without failover nobody is MASTER: so by force, if nothing else is said."""
        body = {"sections": sections, "by": "tester", "force": force, **more}
        with LocalClient(self.node.run_dir) as agent:
            return list(agent.stream("POST", "/v1/sync", body))

    def pull(self, *sections: str, peer: str = "fw2", force: bool = False) -> Events:
        body = {"peer": peer, "sections": sections, "by": "tester", "reason": "", "force": force}
        with LocalClient(self.node.run_dir) as agent:
            return list(agent.stream("POST", "/v1/pull", body))

    def carpool(self, *words: str) -> str:
        """What the command line says."""
        places = ["--config-dir", self.node.config_dir, "--run-dir", self.node.run_dir]
        line = [sys.executable, "-m", "carpool", *map(str, places), *words]
        env = {**os.environ, "COLUMNS": "300"}
        return subprocess.run(line, capture_output=True, text=True, check=True, env=env).stdout

    def rollback(self, revision: str) -> dict[str, Any]:
        body = {"revision": revision, "by": "tester"}
        with LocalClient(self.node.run_dir) as agent:
            return list(agent.stream("POST", "/v1/rollback", body))[-1]

    def history(self) -> list[dict[str, Any]]:
        with LocalClient(self.node.run_dir) as agent:
            found: list[dict[str, Any]] = agent.get("/v1/history")["revisions"]  # type: ignore[assignment]
        return found

    def drift(self, section: str = "web") -> str:
        with LocalClient(self.node.run_dir) as agent:
            peers: Any = agent.get("/v1/drift")["peers"]
        (sections,) = peers.values()
        return str(sections[section]["drift"])

    def tree(self) -> dict[str, tuple[int, str]]:
        """Everything of the sections, byte for byte."""
        return {
            str(path.relative_to(self.node.directory)): (path.stat().st_mode, path.read_text())
            for path in sorted(self.path("etc").rglob("*"))
            if path.is_file() and "carpool" not in path.parts
        }

    def kill(self) -> None:
        assert self.node.process is not None
        self.node.process.send_signal(signal.SIGKILL)
        self.node.process.wait(10)

    def again(self) -> None:
        start(self.node)


def outcome(events: Events) -> tuple[str, str]:
    (end,) = [event for event in events if event["step"] == "end"]
    return end["outcome"], end.get("error", "")


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> tuple[SyncNode, SyncNode]:
    fw1, fw2 = map(SyncNode, made_group(network, tmp_path, PAIR, NurseryNode))
    fw1.write("etc/web.conf", "good 1\n")
    fw1.write("etc/web/a/site.conf", "site\n")
    fw1.write("etc/web/x.key", "very secret\n")
    fw2.write("etc/web.conf", "good 0\n")
    fw2.write("etc/web/stale.conf", "stale\n")
    for node, text in ((fw1, "of fw1\n"), (fw2, "of fw2\n")):
        node.write("etc/web/own.conf", text)
    start(fw1.node, fw2.node)
    return fw1, fw2


def test_what_the_primary_has_the_peer_gets_and_what_is_its_own_it_keeps(
    pair: tuple[SyncNode, SyncNode],
) -> None:
    fw1, fw2 = pair
    before = fw2.tree()
    (section,) = fw1.post("/v1/diff", sections=["web"])["peers"]["fw2"]["sections"]
    shown = {file["path"]: file for file in section["files"]}
    assert shown["/etc/web.conf"]["text"].endswith("-good 0\n+good 1\n")
    assert shown["/etc/web/stale.conf"]["deed"] == "removed"
    assert shown["/etc/web/x.key"]["secret"]
    assert "very secret" not in str(section)
    assert section["services"] == ["reload webd"]
    assert fw2.tree() == before  # looking changes nothing
    assert fw1.drift() == "unknown"
    fw2.path("etc/web/x.key").unlink(missing_ok=True)
    fw1.path("etc/web/x.key").chmod(0o600)
    assert outcome(fw1.sync("web")) == ("applied", "")
    assert fw2.read("etc/web/own.conf") == "of fw2\n"
    assert fw2.tree() == {**fw1.tree(), "etc/web/own.conf": fw2.tree()["etc/web/own.conf"]}
    assert fw2.log() == ["reload webd"]
    assert fw1.drift() == "in sync"
    assert outcome(fw1.sync("web")) == ("nothing to do", "")
    assert fw2.log() == ["reload webd"]
    check_drift(fw1, fw2)
    check_history(fw2)


def check_drift(fw1: SyncNode, fw2: SyncNode) -> None:
    """What was changed over there is not overwritten unless that is said."""
    fw1.write("etc/web.conf", "good 2\n")
    assert fw1.drift() == "ahead"
    fw2.write("etc/web.conf", "good, in an emergency\n")
    assert fw1.drift() == "differs on the backup"
    ended, why = outcome(fw1.sync("web", force=False))
    assert ended == "failed" and "failover does not say who is master" in why
    assert fw2.read("etc/web.conf") == "good, in an emergency\n"
    assert outcome(fw1.sync("web")) == ("applied", "")
    assert fw2.read("etc/web.conf") == "good 2\n"


def check_history(fw2: SyncNode) -> None:
    """Each state that the peer had is there again when asked for, the emergency's too."""
    texts = ["good 2\n", "good, in an emergency\n", "good 1\n", "good 0\n"]
    kinds = [one["kind"] for one in fw2.history()]
    assert kinds == ["received", "found", "received", "found"]
    for revision, text in zip(fw2.history(), texts, strict=True):
        assert fw2.rollback(revision["short"])["outcome"] in ("applied", "nothing to do")
        assert fw2.read("etc/web.conf") == text
    assert fw2.path("etc/web/stale.conf").exists()
    assert fw2.read("etc/web/own.conf") == "of fw2\n"


def test_what_was_changed_on_the_peer_in_an_emergency_is_taken_over(
    pair: tuple[SyncNode, SyncNode],
) -> None:
    fw1, fw2 = pair
    assert outcome(fw1.sync("web")) == ("applied", "")
    fw2.write("etc/web.conf", "good, in an emergency\n")
    fw2.write("etc/web/a/fresh.conf", "fresh\n")
    fw2.path("etc/web/x.key").unlink()
    there, here = fw2.tree(), fw1.tree()
    table = fw1.carpool("sections")
    assert "  on fw2: differs on the backup since 20" in table
    metric = 'carpool_config_drift{peer="fw2",section="web",state="differs on the backup"} 1\n'
    assert metric in fw1.carpool("metrics")
    shown = fw1.carpool("pull", "fw2", "--dry-run")
    assert "+good, in an emergency" in shown and "added /etc/web/a/fresh.conf" in shown
    assert "removed /etc/web/x.key" in shown and "would: reload webd" in shown
    assert (fw1.tree(), fw1.log()) == (here, [])  # looking changes nothing
    check_pull_refusals(fw1, fw2)
    assert "applied" in fw1.carpool("pull", "fw2", "-m", "it burned")
    assert fw1.tree() == {**there, "etc/web/own.conf": here["etc/web/own.conf"]}
    assert fw1.log() == ["reload webd"]
    assert (fw2.tree(), fw2.log()) == (there, ["reload webd"])  # of the sync
    assert (fw1.drift(), fw2.drift()) == ("in sync", "in sync")
    for node in (fw1, fw2):
        newest = node.history()[0]
        assert (newest["kind"], newest["reason"]) == ("pulled", "it burned")
        assert newest["author"].endswith("@fw1")
    assert fw1.history()[1]["sections"] == ["web"]  # what was there before
    assert outcome(fw1.pull()) == ("nothing to do", "")
    check_after_pull(fw1, fw2)


def check_pull_refusals(fw1: SyncNode, fw2: SyncNode) -> None:
    """What would be lost, or would not work here, is said, and nothing is changed."""
    good = fw1.read("etc/web.conf")
    fw1.write("etc/web.conf", "good, and ours\n")
    ended, why = outcome(fw1.pull())
    assert ended == "failed" and "web: changed on this node, too" in why
    (warning,) = fw1.post("/v1/pull/diff", peer="fw2")["peers"]["fw1"]["warnings"]
    assert "web was changed on this node, too: only by --force" in warning
    assert fw1.read("etc/web.conf") == "good, and ours\n"
    fw1.write("etc/web.conf", good)
    check = fw1.read("etc/web/check.sh")
    emergency = fw2.read("etc/web.conf")
    fw2.write("etc/web.conf", "bad\n")
    ended, why = outcome(fw1.pull("web"))
    assert ended == "failed" and "the check" in why
    assert (fw1.read("etc/web.conf"), fw1.read("etc/web/check.sh")) == (good, check)
    assert fw1.drift() == "differs on the backup"
    fw2.write("etc/web.conf", emergency)
    assert "no peer fw3" in outcome(fw1.pull(peer="fw3"))[1]
    assert "nginx is not synchronised here" in outcome(fw1.pull("nginx"))[1]


def check_after_pull(fw1: SyncNode, fw2: SyncNode) -> None:
    """The next changes go their way as ever, in both directions."""
    fw1.write("etc/web.conf", "good 7\n")
    assert (fw1.drift(), fw2.drift()) == ("ahead", "differs on the backup")
    assert outcome(fw1.sync("web")) == ("applied", "")
    assert fw2.read("etc/web.conf") == "good 7\n"
    assert (fw1.drift(), fw2.drift()) == ("in sync", "in sync")
    fw2.write("etc/web.conf", "good 8\n")
    assert outcome(fw2.sync("web")) == ("applied", "")
    assert (fw1.drift(), fw2.drift()) == ("in sync", "in sync")


def test_what_a_template_gives_is_not_pulled_but_the_template_is(
    pair: tuple[SyncNode, SyncNode],
) -> None:
    fw1, fw2 = pair
    template = "etc/carpool/templates/etc/other.conf"
    fw1.write(template, "# {{ node.name }}\n")
    assert outcome(fw1.sync("other")) == ("applied", "")
    fw2.write("etc/other.conf", "# by hand\n")
    ended, why = outcome(fw1.pull("other"))
    assert ended == "failed" and "/etc/other.conf here is not what its template gives" in why
    assert fw1.read("etc/other.conf") == "# fw1\n"
    fw2.write(template, "# {{ node.name }}, mended\n")
    fw2.write("etc/other.conf", "# fw2, mended\n")
    assert outcome(fw1.pull("other")) == ("applied", "")
    assert fw1.read("etc/other.conf") == "# fw1, mended\n"
    assert fw1.read(template) == fw2.read(template)


def test_what_fails_leaves_everything_as_it_was_and_says_why(
    pair: tuple[SyncNode, SyncNode],
) -> None:
    fw1, fw2 = pair
    before = fw2.tree()
    fw1.write("etc/web.conf", "bad: line 7 is wrong\n              ^^^^^\n")
    ended, why = outcome(fw1.sync("web"))
    assert ended == "failed"
    assert "nothing was changed. It said:\nbad: line 7 is wrong\n              ^^^^^" in why
    assert (fw2.tree(), fw2.log()) == (before, [])
    fw1.write("etc/web.conf", "good 1\n")
    (fw2.services / "webd.reload").write_text("grep -q 'good 0' ../etc/web.conf || exit 1")
    ended, why = outcome(fw1.sync("web"))
    assert ended == "failed" and "reload webd" in why and "put back" in why
    assert fw2.tree() == before
    assert fw2.log() == ["reload webd", "reload webd"]  # the second one with the old files
    (fw2.services / "webd.reload").write_text("touch webd.stopped")  # it dies of the new files
    ended, why = outcome(fw1.sync("web"))
    assert ended == "failed" and "webd is not active any more" in why
    assert "put back as it was, but: webd was active, and is not any more" in why
    assert fw2.tree() == before


def test_a_service_that_the_new_files_killed_is_started_with_the_old_ones(
    pair: tuple[SyncNode, SyncNode],
) -> None:
    fw1, fw2 = pair
    before = fw2.tree()
    dies = "rm -f webd.stopped; grep -q 'good 0' ../etc/web.conf || { touch webd.stopped; exit 1; }"
    for verb in ("reload", "restart"):
        (fw2.services / f"webd.{verb}").write_text(dies)
    for restart, verb in ((False, "reload"), (True, "restart")):
        said = len(fw2.log())
        ended, why = outcome(fw1.sync("web", restart_services=restart))
        assert ended == "failed" and f"{verb} webd" in why
        assert why.endswith("everything is put back as it was")
        assert fw2.tree() == before
        assert fw2.log()[said:] == [f"{verb} webd", "restart webd"]
        assert not (fw2.services / "webd.stopped").exists()


def test_a_change_that_nobody_confirms_is_put_back(pair: tuple[SyncNode, SyncNode]) -> None:
    fw1, fw2 = pair
    before = fw2.tree()
    assert outcome(fw1.sync("web", confirm_within_s=1))[0] == "waiting"
    wait_until(lambda: fw2.tree() == before, 20, "it is put back")

    def begun() -> bool:  # the peer refuses it until its services, too, are as before
        return outcome(fw1.sync("web", confirm_within_s=60))[0] == "waiting"

    wait_until(begun, 20, "the next one begins")
    with LocalClient(fw2.node.run_dir) as agent:
        waits: Any = agent.get("/v1/drift")["waiting"]
    assert (waits["what"], waits["by"]) == ("sync of web", "tester on fw1")
    assert 30 < waits["left_s"] <= 60
    assert "waits to be confirmed" in outcome(fw1.sync("web"))[1]
    assert fw1.post("/v1/take-back")["done"]["fw2"] == {"undone": "sync of web"}
    assert fw2.tree() == before
    assert outcome(fw1.sync("web", confirm_within_s=60))[0] == "waiting"
    assert fw1.post("/v1/confirm")["done"]["fw2"] == {"kept": "sync of web"}
    assert fw2.read("etc/web.conf") == "good 1\n"
    assert fw1.drift() == "in sync"
    assert outcome(fw1.sync("web")) == ("nothing to do", "")


@pytest.mark.parametrize(("where", "then"), [("reload", "restart"), ("confirm", "reload")])
def test_an_agent_that_is_killed_leaves_the_old_configuration_whole(
    pair: tuple[SyncNode, SyncNode], where: str, then: str
) -> None:
    fw1, fw2 = pair
    before = fw2.tree()
    pipe = fw2.services / "pipe"
    if where == "confirm":
        assert outcome(fw1.sync("web", confirm_within_s=600))[0] == "waiting"
    else:
        os.mkfifo(pipe)
        (fw2.services / "webd.reload").write_text("echo here; cat pipe")
        with LocalClient(fw1.node.run_dir) as agent:
            body = {"sections": ["web"], "by": "tester", "force": True}
            steps = agent.stream("POST", "/v1/sync", body)
            while next(steps)["step"] != "swap":
                pass
            wait_until(lambda: "reload webd" in fw2.log(), 20, "the service is being reloaded")
    assert fw2.read("etc/web.conf") == "good 1\n"
    fw2.kill()
    (fw2.services / "webd.reload").unlink(missing_ok=True)
    if where != "confirm":
        os.close(os.open(pipe, os.O_WRONLY))  # who waits for it ends
    if then == "restart":
        (fw2.services / "webd.stopped").touch()  # of the new files
        (fw2.services / "webd.restart").write_text("rm webd.stopped")
    fw2.again()
    assert fw2.tree() == before
    assert fw2.log()[-1] == f"{then} webd"
    wait_until(lambda: outcome(fw1.sync("web")) == ("applied", ""), 90, "it can be synchronised")


def test_a_sync_starts_nothing_on_a_backup_and_restarts_what_runs_when_that_is_wanted(
    pair: tuple[SyncNode, SyncNode],
) -> None:
    fw1, fw2 = pair
    fw1.write("etc/tunnel.conf", "key 1\n")
    (fw2.services / "tunneld.stopped").touch()  # a service of the master alone, on a backup
    events = fw1.sync("tunnel")
    assert outcome(events) == ("applied", "")
    skipped = [event["service"] for event in events if event["step"] == "skipped"]
    assert skipped == ["tunneld"], "nobody is to think that it has them"
    assert fw2.read("etc/tunnel.conf") == "key 1\n"
    assert fw2.log() == ["restart webd"]
    assert outcome(fw1.sync("web", restart_services=True)) == ("applied", "")
    assert fw2.log()[1:] == ["restart webd"]  # in place of the reload
    assert outcome(fw1.sync("web", "tunnel", restart_services=True)) == ("services restarted", "")
    assert fw2.log()[2:] == ["restart webd"]
    (fw2.services / "tunneld.stopped").unlink()
    assert outcome(fw1.sync("web", "tunnel", restart_services=True)) == ("services restarted", "")
    assert sorted(fw2.log()[3:]) == ["restart tunneld", "restart webd"]
    assert fw1.log() == []
    (fw2.services / "webd.restart").write_text("exit 1")
    ended, why = outcome(fw1.sync("web", restart_services=True))
    assert ended == "failed" and "restart webd" in why


def test_a_section_of_the_master_alone_that_comes_fits_the_role_that_is_there(
    pair: tuple[SyncNode, SyncNode],
) -> None:
    _fw1, fw2 = pair
    vpn = '[section.vpn]\npaths = ["/etc/vpn.conf"]\nservices = ["vpnd"]\nrole = "master"\n'
    for name in ("tunneld", "vpnd"):
        (fw2.services / f"{name}.stop").write_text(f"touch {name}.stopped")
    failover = StandInFailover(fw2.node.run_dir / "failover.sock")
    try:
        for names, stopped in (
            ('"web", "tunnel"', ["stop tunneld"]),
            ('"web", "tunnel", "vpn"', ["stop tunneld", "stop vpnd"]),
        ):
            sections = f"sections = [{names}]\n"
            fw2.node.configure(GROUP + LINK + sections + SECTIONS + vpn)
            fw2.post("/v1/reload")
            wait_until(lambda: fw2.log() == stopped, 20, "what runs is stopped")  # noqa: B023
    finally:
        failover.close()


def test_services_of_a_peer(pair: tuple[SyncNode, SyncNode]) -> None:
    fw1, fw2 = pair
    with LocalClient(fw1.node.run_dir) as agent:
        answer: Any = agent.get("/v1/services", {"peer": "fw2"})
        assert answer["node"] == "fw2"
        assert [(row["name"], row["active"]) for row in answer["services"]] == [("webd", True)]
        (fw2.services / "webd.stop").write_text("touch webd.stopped")
        params = {"peer": "fw2"}
        done: Any = agent.post("/v1/services/webd/stop", {"by": "tester"}, params=params)
        assert (done["node"], done["service"]["active"]) == ("fw2", False)
        with pytest.raises(PeerError, match="fw2: no section of this node names a service 'sshd'"):
            agent.post("/v1/services/sshd/stop", {"by": "tester"}, params=params)
        with pytest.raises(CarpoolError, match="start"):
            agent.post("/v1/services/webd/enable", {"by": "tester"}, params=params)
    assert (fw1.log(), fw2.log()) == ([], ["stop webd"])
    assert "stop webd by tester on fw1: done" in fw2.node.stop()


def test_values_of_a_node_are_rendered_on_each(pair: tuple[SyncNode, SyncNode]) -> None:
    fw1, fw2 = pair
    template = "etc/carpool/templates/etc/other.conf"
    fw1.write(template, "bind {{ node.address.sync }} # {{ node.name }}\n10.3.0.1 fw1\n")
    (warning,) = fw1.post("/v1/diff", sections=["other"])["peers"]["fw2"]["warnings"]
    told = "/etc/carpool/templates/etc/other.conf:2: 10.3.0.1: an address of fw1, which fw2 does"
    assert warning.startswith(told)
    peer = "{{ peer.address.sync }} is what the other one has\n"
    fw1.write(template, f"bind {{{{ node.address.sync }}}} # {{{{ node.name }}}}\n{peer}")
    fw1.path(template).chmod(0o640)
    events = fw1.sync("other")
    assert outcome(events) == ("applied", "")
    assert "warning" not in [event["step"] for event in events]
    assert outcome(fw1.sync("other")) == ("nothing to do", "")
    for node, text in ((fw1, "bind 10.3.0.1 # fw1\n"), (fw2, "bind 10.3.0.2 # fw2\n")):
        assert node.read("etc/other.conf").startswith(text)
        for name in ("etc/other.conf", template):  # a service must be able to read it
            assert node.path(name).stat().st_mode & 0o777 == 0o640
    fw1.write(template, "{{ node.nmae }}\n")
    ended, why = outcome(fw1.sync("other"))
    assert ended == "failed" and "node.nmae" in why
    assert fw2.read("etc/other.conf").startswith("bind 10.3.0.2 # fw2\n")
    fw1.path(template).unlink()
    fw1.path(template).symlink_to("web.conf")
    assert outcome(fw1.sync("other")) == ("applied", "")
    assert outcome(fw1.sync("other")) == ("nothing to do", "")
    for node in (fw1, fw2):
        assert node.path(template).readlink() == node.path("etc/other.conf").readlink()


def test_values_of_the_primary_are_found_before_anything_is_sent(
    pair: tuple[SyncNode, SyncNode],
) -> None:
    fw1, fw2 = pair
    before = fw2.tree()
    fw1.write("etc/web.conf", "good\nlisten 10.3.0.1:80\n")
    (warning,) = fw1.post("/v1/diff", sections=["web"])["peers"]["fw2"]["warnings"]
    assert "/etc/web.conf:2" in warning and "10.3.0.1" in warning
    assert fw2.tree() == before
    fw1.write("etc/web.conf", "good\n10.3.0.1 fw1\nlisten 10.3.0.1:80\n")
    events = fw1.sync("web")  # by force; then it is said all the same
    assert outcome(events) == ("applied", "")
    steps = [event["step"] for event in events]
    warnings = [event for event in events if event["step"] == "warning"]
    places = [str(event["text"]).partition(": ")[0] for event in warnings]
    assert places == ["/etc/web.conf:3", "/etc/web.conf:2"]
    assert {event["peer"] for event in warnings} == {"fw2"}
    assert steps.index("offer") < steps.index("warning") < steps.index("sending")
    assert not [event for event in fw1.sync("web") if event["step"] == "warning"]  # nothing new


def test_what_the_group_shares_is_judged_with_the_nodes_own_file(
    pair: tuple[SyncNode, SyncNode],
) -> None:
    fw1, fw2 = pair
    group = fw1.node.config_dir / "group.toml"
    good = group.read_text()
    group.write_text(good.replace("vhid = 51", "vhid = 5111"))
    ended, why = outcome(fw1.sync("carpool"))
    assert ended == "failed" and "vip[0].vhid" in why
    group.write_text(f"{good}\n[future]\nof_a_newer_carpool = true\n")  # as the peer sees it
    ended, why = outcome(fw1.sync("carpool"))
    assert ended == "failed" and "nothing was changed" in why and "future" in why
    group.write_text(good.replace("vhid = 51", "vhid = 53"))
    (section,) = fw1.post("/v1/diff", sections=["carpool"])["peers"]["fw2"]["sections"]
    text = section["files"][0]["text"]
    assert "-vhid = 51\n+vhid = 53\n password = (hidden)\n" in text and '"secret"' not in text
    assert outcome(fw1.sync("carpool")) == ("applied", "")
    assert (fw2.node.config_dir / "group.toml").read_text() == group.read_text()
    assert (fw2.node.config_dir / "group.toml").stat().st_mode & 0o777 == 0o600


def test_a_new_section_is_over_there_after_one_sync(pair: tuple[SyncNode, SyncNode]) -> None:
    fw1, fw2 = pair
    group = fw1.node.config_dir / "group.toml"
    theirs = fw2.node.config_dir / "group.toml"
    before = theirs.read_bytes()
    new = '\n[section.new]\npaths = ["/etc/new.conf"]\nservices = ["newd"]\n'
    group.write_text(group.read_text().replace('["web"]', '["web", "new"]') + new)
    fw1.write("etc/new.conf", "new\n")
    shown = fw1.post("/v1/diff")["peers"]["fw2"]["sections"]
    assert [one["name"] for one in shown] == ["carpool", "web", "new"], "as the sync would bring it"
    (new_file,) = shown[2]["files"]
    assert new_file["text"].endswith("+new\n") and shown[2]["services"] == ["reload newd"]
    with pytest.raises(CarpoolError, match="no section new"):  # as that sync would be refused
        fw1.post("/v1/diff", sections=["new"])
    ended, why = outcome(fw1.sync(confirm_within_s=60))
    assert ended == "failed" and "unknown here: section new" in why and "one change" in why
    assert theirs.read_bytes() == before and not fw2.path("etc/new.conf").exists()

    events = fw1.sync()
    assert outcome(events) == ("applied", "")
    offers = [event["sections"] for event in events if event["step"] == "offer"]
    assert offers == [["carpool", "web", "new"], ["carpool"], ["web", "new"]]
    assert theirs.read_bytes() == group.read_bytes()
    assert (fw2.read("etc/new.conf"), fw2.read("etc/web.conf")) == ("new\n", "good 1\n")
    assert "reload newd" in fw2.log()
    assert [fw1.drift(name) for name in ("carpool", "web", "new")] == ["in sync"] * 3

    # Selected, known over there, or wider than over there: what the file says now is what counts.
    group.write_text(group.read_text().replace('"/etc/new.conf"]', '"/etc/new.conf", "/etc/more"]'))
    fw1.write("etc/more", "more\n")
    shown = fw1.post("/v1/diff")["peers"]["fw2"]["sections"]
    assert [one["path"] for one in shown[2]["files"]] == ["/etc/more"]
    fw1.write("etc/web.conf", "bad\n")  # the check of the rest fails
    ended, why = outcome(fw1.sync())
    assert ended == "failed" and "fw2 has group.toml now, and not the rest" in why
    assert theirs.read_bytes() == group.read_bytes() and not fw2.path("etc/more").exists()
    fw1.write("etc/web.conf", "good 2\n")
    assert outcome(fw1.sync()) == ("applied", "")
    assert fw2.read("etc/more") == "more\n"
    group.write_text(group.read_text().replace('"new"]', '"new", "other"]'))
    (fw1.node.config_dir / "templates/etc").mkdir(parents=True)
    (fw1.node.config_dir / "templates/etc/other.conf").write_text("{{ node.name }}\n")
    assert outcome(fw1.sync()) == ("applied", "")
    assert fw2.read("etc/other.conf") == "fw2\n"


def test_a_diff_goes_by_a_group_toml_only_if_a_sync_could(pair: tuple[SyncNode, SyncNode]) -> None:
    fw1, _fw2 = pair
    fw1.node.configure(GROUP + "[sync]\ninterface = 1\n")
    with pytest.raises(CarpoolError, match="interface"):
        fw1.post("/v1/diff")
    assert "error" not in fw1.post("/v1/diff", sections=["web"])["peers"]["fw2"]


def test_another_port_comes_with_a_sync_and_goes_with_what_is_put_back(
    pair: tuple[SyncNode, SyncNode],
) -> None:
    """No agent is started again; the connection that brings it lives to its end."""
    fw1, fw2 = pair
    group = fw1.node.config_dir / "group.toml"

    def listens() -> list[int]:
        told = [str(node.node.about()["listens"]) for node in pair]
        return [int(one.rpartition(" ")[2].strip("']")) for one in told]

    def reached() -> list[bool]:
        return [node.node.about()["peers"][0]["reachable"] for node in pair]

    pids = [node.node.about()["pid"] for node in pair]
    assert outcome(fw1.sync()) == ("applied", "")
    group.write_text(group.read_text().replace(LINK, LINK + "port = 3999\n"))
    assert outcome(fw1.sync(confirm_within_s=60)) == ("waiting", "")
    assert (listens(), reached()) == ([3999, 3999], [True, True])
    assert "undone" in fw1.post("/v1/take-back")["done"]["fw2"]
    assert listens() == [3999, 3784] and reached()[0], "by the door that it had"
    assert outcome(fw1.sync()) == ("applied", "")
    assert (listens(), reached()) == ([3999, 3999], [True, True])
    assert [node.node.about()["pid"] for node in pair] == pids
    fw1.write("etc/web.conf", "good 2\n")
    assert outcome(fw1.sync()) == ("applied", "") and fw2.read("etc/web.conf") == "good 2\n"


def test_a_port_that_the_peer_cannot_have_is_refused_there(
    pair: tuple[SyncNode, SyncNode],
) -> None:
    fw1, fw2 = pair
    group, theirs = (node.node.config_dir / "group.toml" for node in pair)
    line = f"import socket; s = socket.create_server(({SYNC['fw2']!r}, 3999)); input()"
    holder = fw2.node.namespace.start(sys.executable, "-c", line)
    wait_until(lambda: "3999" in fw2.node.namespace.sh("ss -Hltn"), 10, "it is taken")
    before = theirs.read_bytes()
    group.write_text(group.read_text().replace(LINK, LINK + "port = 3999\n"))
    ended, why = outcome(fw1.sync())
    assert ended == "failed" and "port 3999: Address already in use" in why, why
    assert "put back as it was" in why and theirs.read_bytes() == before
    holder.terminate()
    holder.wait(10)
    assert outcome(fw1.sync()) == ("applied", "") and theirs.read_bytes() == group.read_bytes()


def test_who_is_not_there_or_not_trusted_is_said_and_nothing_is_changed(
    pair: tuple[SyncNode, SyncNode],
) -> None:
    fw1, fw2 = pair
    before = fw2.tree()
    fw2.node.keys.store_identity(make("fw2"))
    wait_until(lambda: not fw1.node.about()["peers"][0]["reachable"], 20, "fw2 shows it")
    ended, why = outcome(fw1.sync("web"))
    assert ended == "failed" and "certificate" in why
    fw2.node.stop()
    ended, why = outcome(fw1.sync("web"))
    assert ended == "failed" and "cannot connect to the agent of fw2" in why
    assert fw2.tree() == before
    assert outcome(fw1.sync("wbe")) == ("failed", "no section wbe")
