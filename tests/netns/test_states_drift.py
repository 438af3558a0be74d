"""Two tables that have come apart: found exactly, mended, and nothing else is touched."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from socket import SOCK_STREAM as TCP
from typing import Any

from carpool.proto import ctmessage as ct
from carpool.proto import statestream as ss
from tests.netns.lab import wait_until
from tests.netns.pair import SERVER, WAN_VIP, Pair, StatesNode, arrives, flow, packed

ENTRIES = 3000
DRIFT = 1000
Flows = frozenset[tuple[ct.Tuple, ct.Tuple]]


def made_up(number: int, source: str = "10.9", port: int = 1024) -> ct.Entry:
    """An established connection, every second one translated."""
    src = packed(f"{source}.{number // 250}.{number % 250 + 1}")
    orig = ct.Tuple(src, packed(SERVER), ct.IP_TCP, port + number, 80)
    reply = replace(orig.inverted(), dst=packed(WAN_VIP)) if number % 2 else orig.inverted()
    return ct.Entry(orig, reply, ct.SEEN_REPLY | ct.ASSURED, 3600, tcp=ct.Tcp(ct.TCP_ESTABLISHED))


def fill(node: StatesNode, entries: list[ct.Entry]) -> None:
    for payload, _count in ss.payloads([ct.create_request(entry) for entry in entries]):
        node.inject(payload)


def remove(node: StatesNode, entries: list[ct.Entry]) -> None:
    for payload, _count in ss.payloads([ct.delete_request(entry) for entry in entries]):
        node.inject(payload)


def flows(node: StatesNode) -> Flows:
    """What the two tables must have in common."""
    return frozenset(
        (entry.orig, entry.reply) for entry in node.entries() if entry.orig.dst == packed(SERVER)
    )


def verified(node: StatesNode) -> dict[str, Any]:
    (result,) = node.ask("verify")["results"]
    assert result["error"] is None
    return dict(result)


def counts(missing: int = 0, extra: int = 0, different: int = 0) -> dict[str, int]:
    return {"missing_there": missing, "extra_there": extra, "different": different}


def drifted(pair: Pair) -> tuple[list[ct.Entry], list[ct.Entry]]:
    """A thousand copies deleted on the backup, and a thousand there that are of nothing."""
    pair.start()
    real = [made_up(number) for number in range(ENTRIES)]
    fill(pair.fw1, real)
    wait_until(lambda: len(flows(pair.fw2)) == ENTRIES, 10, "all of them on fw2")
    assert verified(pair.fw1)["counts"] == counts()
    lost = random.Random(3).sample(real, DRIFT)
    false = [made_up(number, "10.8", 40_000) for number in range(DRIFT)]
    remove(pair.fw2, lost)
    fill(pair.fw2, false)
    return lost, false


def test_what_is_amiss_is_found_exactly_and_left_as_it_is(pair: Pair) -> None:
    lost, false = drifted(pair)
    there = flows(pair.fw2)
    for node, missing, extra in ((pair.fw1, lost, false), (pair.fw2, false, lost)):
        found = verified(node)
        assert found["counts"] == counts(DRIFT, DRIFT)
        assert (found["entries_here"], found["entries_there"]) == (ENTRIES, ENTRIES)
        for key, wanted in (("missing_there", missing), ("extra_there", extra)):
            shown = [ct.parse_create(bytes.fromhex(one)) for one in found[key]]
            tuples = {one.orig for one in shown if isinstance(one, ct.Entry)}
            assert tuples == {one.orig for one in wanted}
    assert flows(pair.fw2) == there
    assert pair.fw1.peer_status()["drift"] is None  # nothing has been mended


def test_all_of_it_is_mended_and_counted(pair: Pair) -> None:
    lost, _false = drifted(pair)
    another = next(one for one in (made_up(n) for n in range(ENTRIES)) if one not in lost)
    elsewhere = replace(another, reply=replace(another.reply, dport=7))
    pair.fw2.delete(another)
    pair.fw2.inject(ct.create_request(elsewhere))  # the same flow with another translation
    assert verified(pair.fw1)["counts"] == counts(DRIFT, DRIFT, different=1)

    (result,) = pair.fw1.ask("resync")["results"]
    assert result["error"] is None
    wait_until(lambda: flows(pair.fw2) == flows(pair.fw1), 10, "equal tables")
    assert len(flows(pair.fw1)) == ENTRIES
    # The bulk has mended what was missing or different before the walks looked; what was too
    # much, no bulk can tell.
    assert result["mended"]["extra"] == DRIFT
    for node in pair.nodes:  # in all: a walk of a node's own may have followed, and found nothing
        assert node.peer_status()["drift_total"]["extra"] == DRIFT
        assert node.peer_status()["errors"] == 0
    assert verified(pair.fw1)["counts"] == verified(pair.fw2)["counts"] == counts()


def test_what_ended_while_they_could_not_hear_each_other_stays_ended(pair: Pair) -> None:
    pair.start()
    fill(pair.fw1, [made_up(number) for number in range(200)])
    wait_until(lambda: len(flows(pair.fw2)) == 200, 10, "all of them on fw2")
    pair.fw2.stop()
    remove(pair.fw1, [made_up(number) for number in range(100)])
    pair.fw2.start()
    pair.synchronised()
    assert (len(flows(pair.fw1)), len(flows(pair.fw2))) == (100, 200)
    (result,) = pair.fw1.ask("resync")["results"]
    assert result["mended"]["extra"] == 100
    assert flows(pair.fw2) == flows(pair.fw1)


def test_what_was_made_on_both_in_a_split_is_on_both_after_it(pair: Pair) -> None:
    pair.start()
    assert pair.fw2.failover is not None
    switch = pair.network.hosts["sync"]
    switch.run("ip", "link", "set", "br0", "down")
    for node in pair.nodes:
        wait_until(node.lost_peer, 10, "they hear nobody")
    pair.fw2.failover.be(True)
    wait_until(lambda: pair.fw2.status()["master"], 5, "fw2 is master too")
    fill(pair.fw2, [made_up(number) for number in range(50)])
    fill(pair.fw1, [made_up(number, "10.8", 40_000) for number in range(50)])
    pair.fw2.failover.be(False)  # fw1 wins, before the two processes hear each other
    wait_until(lambda: not pair.fw2.status()["master"], 5, "fw2 is backup again")
    switch.run("ip", "link", "set", "br0", "up")
    pair.synchronised()
    wait_until(lambda: len(flows(pair.fw1)) == len(flows(pair.fw2)) == 100, 10, "both have both")


def test_traffic_during_a_walk_is_no_drift(pair: Pair) -> None:
    """Connections begin and end all the time, real ones too, on both sides of where a walk is."""
    pair.start()
    alive = [made_up(number) for number in range(ENTRIES)]
    fill(pair.fw1, alive)
    wait_until(lambda: len(flows(pair.fw2)) == ENTRIES, 10, "all of them on fw2")
    dice, changes = random.Random(7), 0
    with ThreadPoolExecutor(1) as person:
        for round_ in range(6):
            answer = person.submit(verified, pair.nodes[round_ % 2])
            while not answer.done():
                dice.shuffle(alive)
                born = [made_up(ENTRIES + 20 * changes + number) for number in range(20)]
                fill(pair.fw1, born)
                remove(pair.fw1, alive[:20])
                alive = alive[20:] + born
                changes += 1
                if changes % 10 == 0:
                    with flow(TCP, pair.client, pair.server, (SERVER, 82)) as one:
                        assert one.echoes()
            assert answer.result()["counts"] == counts()
    assert changes > 30


def test_a_person_may_ask_for_one_peer_and_is_told_what_cannot_be(pair: Pair) -> None:
    pair.start()
    assert pair.fw1.ask("verify", peer="fw2")["results"][0]["peer"] == "fw2"
    refused = pair.fw1.ask("verify", peer="fw9")
    assert not refused["ok"] and "'fw9'" in refused["error"] and "fw2" in refused["hint"]
    assert "no peer '[]'" in pair.fw1.ask("verify", peer=[])["error"]
    pair.fw2.stop()
    wait_until(pair.fw1.lost_peer, 10, "fw2 is missed")
    assert pair.fw1.ask("verify")["results"] == [{"peer": "fw2", "error": "no stream with it"}]


def test_the_traffic_with_a_peer_is_measured(pair: Pair) -> None:
    pair.start()
    before = pair.fw1.peer_status()
    assert before["last_bulk"]["duration_s"] >= 0 and before["bytes_received"] > 0
    fill(pair.fw1, [made_up(number) for number in range(500)])
    wait_until(lambda: pair.fw1.peer_status()["lag"]["samples"], 5, "an acknowledgement")
    told = pair.fw1.peer_status()
    assert 0 < told["lag"]["p50_ms"] <= told["lag"]["p99_ms"]
    wait_until(lambda: pair.fw1.peer_status()["sent_per_s"] > 0, 5, "a rate")
    wait_until(lambda: pair.fw2.peer_status()["received_per_s"] > 0, 5, "a rate")
    least = before["bytes_sent"] + 500 * 100  # the first acknowledgement is not that of the last
    wait_until(lambda: pair.fw1.peer_status()["bytes_sent"] > least, 5, "all are sent")


def test_each_node_knows_how_full_the_others_table_is(pair: Pair) -> None:
    pair.start()
    with flow(TCP, pair.client, pair.server, (SERVER, 82)):
        arrives(pair.fw2, 6, 82)
        wait_until(lambda: (pair.fw1.peer_status()["entries"] or 0) > 0, 10, "fw2 has told")
        told = pair.fw1.peer_status()
        assert told["entries_max"] == pair.fw1.status()["entries_max"] > 0
        assert told["master"] is False
        wait_until(lambda: pair.fw2.peer_status()["master"], 10, "fw1 has told that it is master")
