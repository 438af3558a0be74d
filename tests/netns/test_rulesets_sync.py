"""Firewall rules from one node to the other, through their agents: loaded over what runs there."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.proto.nftlisting import parse
from tests.netns.agents import GROUP, LINK, made_pair, start
from tests.netns.lab import Network
from tests.netns.test_sync import Events, SyncNode, outcome

FILE = "etc/nftables.conf"
SECTIONS = """sections = ["nftables", "late"]
[section.late]
paths = ["/etc/late.conf"]
services = ["lated"]
order = 90
"""
RULES = """flush ruleset
table inet filter {{
  set bans {{ type ipv4_addr; flags dynamic,timeout; timeout 1h; }}
  set {} {{ type ipv4_addr; flags timeout; }}
  chain input {{
    type filter hook input priority 0; policy accept;
    ip saddr @bans drop
    tcp dport {} accept
  }}
}}
"""
KEPT = {"192.0.2.1", "192.0.2.2"}


@pytest.fixture
def pair(network: Network, tmp_path: Path) -> tuple[SyncNode, SyncNode]:
    """fw2 runs for a while: its sets know something, and another program has a table."""
    fw1, fw2 = map(SyncNode, made_pair(network, tmp_path))
    for node, (name, port) in ((fw1, ("fresh", 443)), (fw2, ("stale", 80))):
        node.node.configure(GROUP + LINK + SECTIONS)
        node.write(FILE, RULES.format(name, port))
        node.node.namespace.run("nft", "-f", str(node.path(FILE)))
    fw1.write("etc/late.conf", "1\n")
    host = fw2.node.namespace
    host.nft("table inet f2b-table { set addr { type ipv4_addr; elements = { 198.51.100.1 }; }; }")
    host.nft(f"add element inet filter bans {{ {', '.join(KEPT)} }}")
    host.nft("add element inet filter stale { 192.0.2.9 timeout 5m }")
    start(fw1.node, fw2.node)
    return fw1, fw2


def rules(node: SyncNode) -> str:
    return node.node.namespace.sh("nft list ruleset")


def bans(node: SyncNode) -> set[str]:
    return set(parse(rules(node))["inet", "filter"]["set", "bans"].elements)


def steps(events: Events) -> list[str]:
    return [event["step"] for event in events]


def test_rules_arrive_and_what_the_backup_learned_stays(pair: tuple[SyncNode, SyncNode]) -> None:
    fw1, fw2 = pair
    _group, section, _late = fw1.post("/v1/diff")["peers"]["fw2"]["sections"]
    assert section["services"] == ["load nftables"]

    events = fw1.sync()
    assert outcome(events) == ("applied", "")
    (load,) = [event for event in events if event["step"] == "load"]
    assert load["service"] == "nftables"
    assert load["told"] == ["set inet filter stale: is not in the file any more; 1 element is gone"]
    assert steps(events).index("load") < steps(events).index("reload")
    assert fw2.log() == ["reload lated"]  # carpool loads it, not the service
    assert "tcp dport 443 accept" in rules(fw2)
    assert bans(fw2) == KEPT
    assert "198.51.100.1" in rules(fw2)  # of another program

    said = fw1.carpool("sync", "--force", "--restart-services", "-m", "again")
    assert "fw2: loaded the rules of nftables in" in said
    fw1.carpool("services", "restart", "nftables", "--peer", "fw2")
    assert "restart nftables" not in fw2.log()  # it would be open in between
    assert bans(fw2) == KEPT


def test_rules_that_are_put_back_know_what_they_knew(pair: tuple[SyncNode, SyncNode]) -> None:
    """By a failure after them, by a person, and by an agent that finds what a killed one left."""
    fw1, fw2 = pair

    def as_before() -> None:
        now = rules(fw2)
        assert "tcp dport 80 accept" in now
        assert "tcp dport 443 accept" not in now
        assert "fresh" not in now
        assert "198.51.100.1" in now
        assert bans(fw2) == known

    known = set(KEPT)
    failing = fw2.services / "lated.reload"
    failing.write_text("exit 1\n")
    result, error = outcome(fw1.sync())
    assert (result, "put back as it was" in error) == ("failed", True)
    as_before()

    failing.unlink()
    assert outcome(fw1.sync(confirm_within_s=60))[0] == "waiting"
    assert "tcp dport 443 accept" in rules(fw2)
    fw2.node.namespace.nft("add element inet filter bans { 192.0.2.3 }")
    known.add("192.0.2.3")
    fw1.post("/v1/take-back")
    as_before()

    assert outcome(fw1.sync(confirm_within_s=60))[0] == "waiting"
    assert "tcp dport 443 accept" in rules(fw2)
    fw2.kill()
    fw2.again()
    as_before()


def test_rules_that_cannot_or_must_not_be_loaded(pair: tuple[SyncNode, SyncNode]) -> None:
    """The check sees the ruleset that runs, a boot would not load this; and a service that does not
    run loads nothing."""
    fw1, fw2 = pair
    text = RULES.format("fresh", 443)
    fw1.write(FILE, "add rule inet filter input tcp dport 1 drop\n" + text)
    result, error = outcome(fw1.sync())
    assert result == "failed"
    assert "load nftables: nft does not load" in error
    assert f"{FILE}:1:" in error
    assert bans(fw2) == KEPT  # what was there was loaded again
    assert fw2.read(FILE) == RULES.format("stale", 80)

    before = rules(fw2).split("expires")[0]
    fw1.write(FILE, text)
    (fw2.services / "nftables.stopped").touch()
    events = fw1.sync()
    assert outcome(events) == ("applied", "")
    skipped = [(event["deed"], event["service"]) for event in events if event["step"] == "skipped"]
    assert skipped == [("load", "nftables")]
    assert fw2.read(FILE) == text
    assert rules(fw2).split("expires")[0] == before
