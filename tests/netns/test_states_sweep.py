"""What a new master puts in order: the TCP window check around a failover, and timeouts."""

from __future__ import annotations

import signal
import socket

from carpool.proto import ctmessage as ct
from tests.netns.lab import wait_until
from tests.netns.pair import SERVER, Pair, StatesNode, arrives, assure, flow

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
SETTING = "net/netfilter/nf_conntrack_tcp_be_liberal"


def setting(node: StatesNode) -> int:
    return int(node.namespace.run("cat", f"/proc/sys/{SETTING}").stdout)


def checks(node: StatesNode, word: str) -> None:
    wait_until(lambda: node.status()["window_check"] == word, 5, f"check of {node.name}: {word}")
    assert setting(node) == (0 if word == "on" else 1)


def liberal(node: StatesNode, port: int) -> bool:
    entry = node.find(6, port)
    assert entry is not None and entry.tcp is not None
    return bool(entry.tcp.flags_orig & entry.tcp.flags_reply & ct.BE_LIBERAL)


def change_places(pair: Pair, to: StatesNode) -> None:
    old = next(node for node in pair.nodes if node is not to)
    old.move_away()
    to.move_here()
    for node in pair.nodes:
        assert node.failover is not None
        node.failover.be(node is to)
    wait_until(lambda: to.status()["master"], 5, f"{to.name} knows that it is master")
    wait_until(lambda: not old.status()["master"], 5, f"{old.name} knows that it is none")
    for host in (pair.client, pair.server):
        host.forget_neighbours()


def test_a_connection_lives_through_going_and_coming_back_at_once(pair: Pair) -> None:
    """Bytes that one node forwards are acknowledged through the other, which never saw them."""
    pair.start()
    with flow(TCP, pair.client, pair.server, (SERVER, 80)) as one:
        assert one.echoes()
        wait_until(lambda: pair.fw2.find(6, 80) is not None, 5, "the entry is on fw2")
        assert not liberal(pair.fw1, 80)  # made here, checked strictly
        for number in range(6):
            change_places(pair, pair.nodes[1 - number % 2])
            assert one.echoes(bytes((65 + number,)) * 90), f"move {number + 1}"


def test_new_connections_of_a_master_are_checked(pair: Pair) -> None:
    pair.start()
    checks(pair.fw1, "on")
    checks(pair.fw2, "off")
    with flow(TCP, pair.client, pair.server, (SERVER, 80)):
        change_places(pair, pair.fw2)
        checks(pair.fw1, "off")
        checks(pair.fw2, "on")
        change_places(pair, pair.fw1)
        checks(pair.fw1, "on")
        assert liberal(pair.fw1, 80)
        with flow(TCP, pair.client, pair.server, (SERVER, 82)):
            assert not liberal(pair.fw1, 82)


def test_copies_get_the_timeouts_of_their_protocol(pair: Pair) -> None:
    pair.start()
    with flow(UDP, pair.client, pair.server, (SERVER, 83)) as udp:
        assure(pair, udp)
        assert arrives(pair.fw2, 17, 83).timeout_s > 3000  # outlives silences of the flow
        change_places(pair, pair.fw2)
        wait_until(lambda: arrives(pair.fw2, 17, 83).timeout_s <= 120, 5, "normal again")
        assert udp.echoes()


def test_an_idle_connection_may_be_idle_for_days_on_the_new_master_too(pair: Pair) -> None:
    pair.start()
    with flow(TCP, pair.client, pair.server, (SERVER, 80)):
        assert arrives(pair.fw2, 6, 80).timeout_s <= ct.QUIET_TIMEOUT_S
        change_places(pair, pair.fw2)
        wait_until(lambda: arrives(pair.fw2, 6, 80).timeout_s > 400_000, 5, "five days again")


def test_the_setting_is_left_as_it_was_found(pair: Pair) -> None:
    pair.start()
    checks(pair.fw2, "off")
    assert pair.fw2.stop() == 0
    assert setting(pair.fw2) == 0


def test_a_killed_process_does_not_forget_how_it_was(pair: Pair) -> None:
    pair.start()
    checks(pair.fw2, "off")
    pair.fw2.stop(signal.SIGKILL)
    assert setting(pair.fw2) == 1  # no harm: it forwards nothing
    pair.fw2.start()
    assert pair.fw2.stop() == 0
    assert setting(pair.fw2) == 0


def test_a_user_who_wants_it_off_keeps_it_off(pair: Pair) -> None:
    for node in pair.nodes:
        node.namespace.sysctl(SETTING, 1)
    pair.start()
    wait_until(lambda: pair.fw1.status()["window_check"] == "on", 5, "fw1 has swept")
    assert setting(pair.fw1) == 1
    assert pair.fw1.stop() == 0
    assert setting(pair.fw1) == 1
