"""`carpool run states` between two real firewalls: what arrives, what must not, who may delete."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import replace

import pytest

from carpool.proto import ctmessage as ct
from tests.netns.lab import holds_for, wait_until
from tests.netns.pair import (
    CLIENT,
    NAT_BITS,
    SERVER,
    WAN_VIP,
    Pair,
    arrives,
    assure,
    flow,
    packed,
    same,
)

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


def test_every_kind_of_flow_arrives_field_by_field(pair: Pair) -> None:
    pair.start()
    client, server = pair.client, pair.server
    with ExitStack() as open_flows:
        for args in (
            (TCP, client, server, (SERVER, 80), None),  # source NAT
            (TCP, client, server, (SERVER, 81), None),  # to a range of ports
            (TCP, client, server, (SERVER, 82), None),  # no NAT
            (TCP, server, client, (WAN_VIP, 8080), 80),  # destination NAT
        ):
            assert open_flows.enter_context(flow(*args)).echoes()
        for udp_args in (
            (UDP, client, server, (SERVER, 83), None),
            (UDP, server, client, (WAN_VIP, 8080), None),
        ):
            assure(pair, open_flows.enter_context(flow(*udp_args)))
        assert client.pings(SERVER, 10)
        expected = {(6, 80): 0x10, (6, 81): 0x10, (6, 82): 0, (6, 8080): 0x20}
        expected |= {(17, 83): 0x10, (17, 8080): 0x20, (1, 0): 0x10}
        for (protocol, dport), nat in expected.items():
            there = arrives(pair.fw2, protocol, dport)
            here = pair.fw1.find(protocol, dport)
            assert here is not None
            same(here, there)
            assert there.status & NAT_BITS == nat and there.mark == 0x2A
    assert pair.fw1.status()["peers"][0]["errors"] == 0
    assert pair.fw2.status()["peers"][0]["errors"] == 0


@pytest.mark.parametrize("replicated", [True, False], ids=["replicated", "control"])
def test_connections_live_on_only_where_they_were_replicated(pair: Pair, replicated: bool) -> None:
    """Through a firewall that drops what belongs to no connection and picks up none midway."""
    if replicated:
        pair.start()
    with (
        flow(TCP, pair.client, pair.server, (SERVER, 80)) as out,
        flow(TCP, pair.server, pair.client, (WAN_VIP, 8080), 80) as back,
        flow(TCP, pair.client, pair.server, (SERVER, 82)) as plain,
    ):
        flows = {80: out, 8080: back, 82: plain}
        for dport, one in flows.items():
            assert one.echoes()
            if replicated:
                arrives(pair.fw2, 6, dport)
            else:  # what is waited for in vain
                one.near.settimeout(1)
                one.far.settimeout(1)
        pair.fail_over()
        lived = {dport: one.echoes(b"still here") for dport, one in flows.items()}
        assert lived == dict.fromkeys(flows, replicated)


def test_nothing_comes_back(pair: Pair) -> None:
    """An injected entry makes events on the backup: they stop there."""
    pair.start()
    before = [(node.counter("events"), node.peer_status()["sent"]) for node in pair.nodes]
    with ExitStack() as open_flows:
        for port in range(1000, 1020):
            made = open_flows.enter_context(flow(TCP, pair.client, pair.server, (SERVER, port)))
            assert made.echoes()
    wait_until(lambda: pair.fw2.peer_status()["injected"] >= 20, 5, "20 entries injected")

    def counts() -> list[tuple[int, int]]:
        return [(node.counter("events"), node.peer_status()["sent"]) for node in pair.nodes]

    settled = counts()
    assert settled[0][1] - before[0][1] == 20  # one event each, none twice
    assert settled[1] == before[1]
    holds_for(lambda: counts() == settled, 0.5, "no more events")


def test_a_deletion_follows_its_original_from_the_master(pair: Pair) -> None:
    pair.start()
    with flow(TCP, pair.client, pair.server, (SERVER, 80)):
        there = arrives(pair.fw2, 6, 80)
        here = pair.fw1.find(6, 80)
        assert here is not None and here.orig == there.orig
        pair.fw1.delete(here)
        wait_until(lambda: pair.fw2.find(6, 80) is None, 5, "deleted on fw2")


@pytest.mark.parametrize("told", [True, False], ids=["backup", "without word from failover"])
def test_the_end_of_a_copy_never_ends_the_original(pair: Pair, told: bool) -> None:
    """Neither its deletion on the backup nor its expiry there. A backup does not even ask for
    events; who does not know what it is does, and says no word of an end."""
    pair.start()
    if not told:
        assert pair.fw2.failover is not None
        pair.fw2.failover.close()
        wait_until(lambda: pair.fw2.status()["failover"] is not None, 5, "failover is missed")
    with (
        flow(TCP, pair.client, pair.server, (SERVER, 80)) as deleted,
        flow(TCP, pair.client, pair.server, (SERVER, 82)) as expired,
    ):
        pair.fw2.delete(arrives(pair.fw2, 6, 80))
        copy = arrives(pair.fw2, 6, 82)
        original = pair.fw1.find(6, 82)
        assert original is not None
        state = ct.Tcp(1)  # in SYN_SENT a copy is not kept longer than it says
        pair.fw2.inject(ct.update_request(replace(copy, timeout_s=1, tcp=state)))
        wait_until(lambda: pair.fw2.find(6, 82) is None, 5, "expired on fw2")
        if told:
            assert pair.fw2.counter("events") == 0
        else:
            wait_until(lambda: pair.fw2.counter("deletes_not_master") == 2, 5, "both ends seen")
            # Nor is the change that made it expire told to the master: no packet asked for it.
            assert pair.fw2.counter("changes_not_master") == 1
        here = pair.fw1.find(6, 82)
        assert here is not None and here.timeout_s > 100 and here.tcp == original.tcp
        assert pair.fw1.find(6, 80) is not None
        assert deleted.echoes() and expired.echoes()


def test_without_word_from_failover_nothing_is_deleted(pair: Pair) -> None:
    pair.start()
    with (
        flow(TCP, pair.client, pair.server, (SERVER, 80)),
        flow(TCP, pair.client, pair.server, (SERVER, 82)),
    ):
        arrives(pair.fw2, 6, 80)
        arrives(pair.fw2, 6, 82)
        assert pair.fw1.failover is not None
        pair.fw1.failover.close()
        wait_until(lambda: not pair.fw1.status()["master"], 5, "failover is missed")
        assert "failover.sock: " in pair.fw1.status()["failover"]
        here = pair.fw1.find(6, 80)
        assert here is not None
        pair.fw1.delete(here)
        wait_until(lambda: pair.fw1.counter("deletes_not_master") == 1, 5, "the end is seen")
        assert pair.fw2.find(6, 80) is not None

        pair.fw1.start_failover(master=True)
        wait_until(lambda: pair.fw1.status()["master"], 5, "failover is back")
        assert pair.fw1.failover.bulks[-1] == (False, "the table of fw2 is complete")
        here = pair.fw1.find(6, 82)
        assert here is not None
        pair.fw1.delete(here)
        wait_until(lambda: pair.fw2.find(6, 82) is None, 5, "deleted on fw2")


def test_connections_of_the_node_itself_stay_on_it(pair: Pair) -> None:
    """Like ssh to its own address, to the VIP, from it to the server, and the stream of states."""
    pair.start()
    fw1 = pair.fw1.namespace
    with (
        flow(TCP, pair.client, fw1, ("10.1.0.2", 22)) as to_own,
        flow(TCP, pair.client, fw1, ("10.1.0.1", 2222), 2222) as to_vip,
        flow(TCP, fw1, pair.server, (SERVER, 25)) as outward,
        flow(TCP, pair.client, pair.server, (SERVER, 80)) as through,
    ):
        for one in (to_own, to_vip, outward, through):
            assert one.echoes()
        arrives(pair.fw2, 6, 80)  # what came before it in the stream is here too
        assert pair.fw1.counter("events") == 1
        for dport in (22, 2222, 25):
            assert pair.fw1.find(6, dport) is not None
            assert pair.fw2.find(6, dport) is None

        # A dump has passed no rule: the same must hold for a table that is taken as a whole.
        pair.fw2.stop()
        copy = pair.fw2.find(6, 80)
        assert copy is not None
        pair.fw2.delete(copy)
        pair.fw2.start()
        pair.synchronised()
        arrives(pair.fw2, 6, 80)
        for dport in (22, 2222, 25):
            assert pair.fw2.find(6, dport) is None
        assert pair.fw1.counter("skipped_local") >= 3
        own_streams = [entry for entry in pair.fw2.entries() if entry.orig.dport == 3782]
        assert all(entry.orig.src == packed("10.3.0.1") for entry in own_streams)


def test_what_is_translated_to_an_address_that_does_not_move_stays_here(pair: Pair) -> None:
    pair.start()
    pair.fw1.namespace.nft(
        "flush chain ip nat postrouting\n"
        "add rule ip nat postrouting ip saddr 10.1.0.0/24 tcp dport 90 masquerade\n"
    )
    pair.fw1.namespace.run(
        "ip", "route", "replace", "10.2.0.0/24", "dev", "wan0", "src", "10.2.0.2"
    )
    with (
        flow(TCP, pair.client, pair.server, (SERVER, 90)),
        flow(TCP, pair.client, pair.server, (SERVER, 82)),
    ):
        arrives(pair.fw2, 6, 82)
        here = pair.fw1.find(6, 90)
        assert here is not None and here.reply.dst == packed("10.2.0.2")
        assert pair.fw2.find(6, 90) is None
        assert pair.fw1.counter("skipped_own_address") == 1


@pytest.mark.parametrize("stale_in", ["translation", "reply"])
def test_a_stale_copy_makes_way_for_the_real_one(pair: Pair, stale_in: str) -> None:
    """Left over from a break: the same original tuple with another translation, or another flow
    that was translated to the same reply tuple."""
    pair.start()
    pair.fw2.stop()
    with flow(TCP, pair.client, pair.server, (SERVER, 80)) as real:
        assert real.echoes()
        wanted = pair.fw1.find(6, 80)
        assert wanted is not None
        if stale_in == "translation":
            stale = replace(wanted, reply=replace(wanted.reply, dport=1))
        else:
            stale = replace(wanted, orig=replace(wanted.orig, src=packed("10.1.0.99"), sport=7))
        pair.fw2.inject(ct.create_request(stale))
        pair.fw2.start()
        pair.synchronised()
        there = [entry for entry in pair.fw2.entries() if entry.orig.dport == 80]
        assert [(entry.orig, entry.reply) for entry in there] == [(wanted.orig, wanted.reply)]
        assert pair.fw2.counter("settled") == 1
        # And the master has its own.
        here = [entry for entry in pair.fw1.entries() if entry.orig.dport == 80]
        assert [(entry.orig, entry.reply) for entry in here] == [(wanted.orig, wanted.reply)]
        for node in pair.nodes:
            assert node.peer_status()["errors"] == 0
        pair.fail_over()
        assert real.echoes()


def test_scope_all_replicates_the_first_packet(pair: Pair) -> None:
    for node in pair.nodes:
        node.configure(scope="all")
    pair.start()
    with pair.client.entered():
        lonely = socket.socket(socket.AF_INET, UDP)
    with lonely:
        lonely.sendto(b"is anybody there?", (SERVER, 9999))
        there = arrives(pair.fw2, 17, 9999)
        assert there.orig.src == packed(CLIENT) and not there.status & ct.SEEN_REPLY
        here = pair.fw1.find(17, 9999)
        assert here is not None
        pair.fw1.delete(here)
        wait_until(lambda: pair.fw2.find(17, 9999) is None, 5, "deleted on fw2")


def test_scope_assured_leaves_questions_and_half_open_connections_here(pair: Pair) -> None:
    pair.start()
    with pair.client.entered():
        lonely = socket.socket(socket.AF_INET, UDP)
    with lonely, flow(UDP, pair.client, pair.server, (SERVER, 53)) as question:
        assert question.echoes()
        lonely.sendto(b"anybody?", (SERVER, 9999))
        with flow(TCP, pair.client, pair.server, (SERVER, 80)):
            arrives(pair.fw2, 6, 80)
        for dport in (53, 9999):
            here = pair.fw1.find(17, dport)
            assert here is not None and pair.fw2.find(17, dport) is None
            pair.fw1.delete(here)  # the end of it wakes nobody either
        last = pair.fw1.find(6, 80)
        assert last is not None
        pair.fw1.delete(last)
        wait_until(lambda: pair.fw2.find(6, 80) is None, 5, "deleted on fw2")
        assert pair.fw1.counter("events") == 2  # of the TCP connection
