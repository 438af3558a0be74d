"""What a peer's silence means: two nodes on three links, in virtual time, cut here and there."""

from __future__ import annotations

import random
from heapq import heappop, heappush
from ipaddress import ip_address

import pytest

from carpool.machine.bfd import BfdEffect, Path, PathDown, SendControl, Timing, Word
from carpool.machine.bfdpaths import BfdPaths, Wanted
from carpool.machine.detect import WAIT_DETECTIONS, Detector
from carpool.machine.effects import Detected, Verdict
from carpool.model.config import Address
from carpool.proto.bfd import Diag, SessionState

OURS, THEIRS = ip_address("10.1.1.2"), ip_address("10.1.1.3")
LINKS = ("lan", "wan", "sync")
TIMING = Timing(50_000, 50_000)
DETECTION_S = 0.15
DELAY_S = 0.0005
UP_S = 5.0  # by then all sessions are up


class World:
    """fw1, whose detector is asked at each turn, and fw2."""

    def __init__(self, seed: int = 1, links: tuple[str, ...] = LINKS) -> None:
        self.links = links
        self.now_s = 0.0
        self.nodes: dict[str, BfdPaths] = {}
        for number, (name, peer) in enumerate((("fw1", THEIRS), ("fw2", OURS))):
            dice = random.Random(seed * 2 + number)
            node = BfdPaths(lambda dice=dice: dice.getrandbits(32), dice.random)  # type: ignore[misc]
            node.follow([Wanted(Path(link, peer), TIMING) for link in links], 0.0)
            self.nodes[name] = node
        self.detector = Detector(self.nodes["fw1"])
        self.detector.peers = {Path(link, THEIRS): "fw2" for link in links}
        self.advskew = 0
        self.cut: set[tuple[str, str]] = set()  # who says nothing where
        self.found: list[tuple[float, Detected]] = []
        self._wire: list[tuple[float, int, str, str, bytes]] = []
        self._count = 0
        self.run(UP_S)
        assert {one.word for one in self.nodes["fw1"].sessions.values()} == {Word.ALIVE}

    def silence(self, *links: str) -> None:
        self.cut |= {("fw2", link) for link in links}

    def run(self, until_s: float) -> None:
        while True:
            due = [node.deadline_s for node in self.nodes.values()]
            due += [self.detector.deadline_s, *(one[0] for one in self._wire[:1])]
            next_s = min(at_s for at_s in due if at_s is not None)
            if next_s > until_s:
                self.now_s = until_s
                return
            self.now_s = max(self.now_s, next_s)
            while self._wire and self._wire[0][0] <= self.now_s:
                self._arrive(*heappop(self._wire)[2:])
            for name, node in self.nodes.items():
                self._perform(name, node.tick(self.now_s))
            found = self.detector.look(self.now_s, self.advskew)
            self.found += [(self.now_s, one) for one in found]

    def _arrive(self, sender: str, link: str, payload: bytes) -> None:
        to, source = ("fw2", OURS) if sender == "fw1" else ("fw1", THEIRS)
        done = self.nodes[to].receive(link, source, 255, payload, self.now_s)
        self._perform(to, done)

    def _perform(self, name: str, effects: list[BfdEffect]) -> None:
        for effect in effects:
            if isinstance(effect, SendControl):
                link = effect.path.interface
                if (name, link) not in self.cut:
                    self._count += 1
                    item = (self.now_s + DELAY_S, self._count, name, link, effect.payload)
                    heappush(self._wire, item)
            elif isinstance(effect, PathDown) and name == "fw1":
                self.detector.on_down(effect)

    def verdicts(self) -> dict[str, Verdict]:
        return {one.interface: one.verdict for _at_s, one in self.found}


@pytest.mark.parametrize("seed", range(20))
def test_who_falls_silent_everywhere_is_dead_once_the_last_path_is_silent(seed: int) -> None:
    world = World(seed)
    world.silence(*LINKS)
    world.run(UP_S + 1)
    assert world.verdicts() == dict.fromkeys(LINKS, Verdict.DEAD)
    times = {at_s for at_s, _one in world.found}
    assert len(times) == 1  # together
    assert DETECTION_S - 0.05 <= times.pop() - UP_S <= DETECTION_S + DELAY_S
    lan = next(one for _at_s, one in world.found if one.interface == "lan")
    assert (lan.peer, lan.alive_s < UP_S + DETECTION_S) == ("fw2", True)
    assert lan.text.startswith("fw2 is silent on lan for 1")
    assert lan.text.endswith("ms and on every other link")


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("silent", [("lan",), ("lan", "wan"), ("sync",)])
def test_who_is_heard_anywhere_is_not(seed: int, silent: tuple[str, ...]) -> None:
    world = World(seed)
    world.silence(*silent)
    world.run(UP_S + 1)
    assert world.verdicts() == dict.fromkeys(silent, Verdict.WELL)


@pytest.mark.parametrize("seed", range(20))
def test_who_says_elsewhere_that_a_link_is_down_is_believed(seed: int) -> None:
    world = World(seed)
    world.silence("lan")
    world._perform("fw2", world.nodes["fw2"].concatenated(True, world.now_s))
    world.run(UP_S + 1)
    assert world.verdicts() == {"lan": Verdict.LINK}
    (told,) = world.found
    assert "says over wan and sync that a link of its is down" in told[1].text


def test_a_link_that_is_back_is_not_told_any_more() -> None:
    world = World()
    world._perform("fw2", world.nodes["fw2"].concatenated(True, world.now_s))
    world._perform("fw2", world.nodes["fw2"].concatenated(False, world.now_s))
    world.silence("lan")
    world.run(UP_S + 1)
    assert world.verdicts() == {"lan": Verdict.WELL}


def test_one_path_alone_proves_nothing() -> None:
    world = World(links=("lan",))
    world.silence("lan")
    world.run(UP_S + 1)
    assert world.verdicts() == {"lan": Verdict.ALONE}


def test_silences_that_did_not_begin_together_are_no_death() -> None:
    world = World(links=("lan", "sync"))
    world.silence("sync")
    world.run(UP_S + 60)
    world.silence("lan")
    world.run(UP_S + 61)
    assert [one.verdict for _at_s, one in world.found] == [Verdict.WELL, Verdict.ALONE]


def test_who_says_goodbye_is_not_silent() -> None:
    world = World()
    world._perform("fw2", world.nodes["fw2"].leave(True, world.now_s))
    world.run(UP_S + 0.01)
    world.silence(*LINKS)
    world.run(UP_S + 5)
    assert world.found == []


def test_a_goodbye_that_came_on_one_path_only_is_no_death() -> None:
    world = World(links=("lan", "sync"))
    world.silence("lan")
    world._perform("fw2", world.nodes["fw2"].leave(True, world.now_s))
    world.run(UP_S + 0.01)
    world.silence("lan", "sync")
    world.run(UP_S + 5)
    assert Verdict.DEAD not in world.verdicts().values()


def test_a_link_of_our_own_that_is_down_proves_nothing_about_the_peer() -> None:
    world = World()
    for link in LINKS:
        world._perform("fw1", world.nodes["fw1"].link(link, False, world.now_s))
    world.silence(*LINKS)
    world.run(UP_S + 1)
    assert world.found == []


def test_who_says_that_it_stood_still_is_as_good_as_dead() -> None:
    world = World()
    before_s = world.now_s
    world._perform("fw2", world.nodes["fw2"].reset(world.now_s))
    world.run(UP_S + 1)
    assert world.verdicts() == dict.fromkeys(LINKS, Verdict.RESET)
    assert max(at_s for at_s, _one in world.found) == pytest.approx(before_s + DELAY_S)
    world.run(UP_S + 5)
    assert {one.word for one in world.nodes["fw1"].sessions.values()} == {Word.ALIVE}
    assert len(world.found) == len(LINKS)


def test_a_path_that_is_asked_about_no_more_is_forgotten() -> None:
    world = World()
    world.silence(*LINKS)
    for link in ("lan", "opt"):  # one that is up, and one that there is not
        path = Path(link, THEIRS)
        world.detector.on_down(PathDown(path, Diag.EXPIRED, SessionState.UP, 0, 0.2))
    peers: dict[Path, str] = {}
    world.run(UP_S + 0.1)
    world.detector.peers = peers
    world.run(UP_S + 1)
    assert world.found == []


@pytest.mark.parametrize("advskew", [0, 100, 240])
def test_among_several_who_waits_for_more_takes_over_later(advskew: int) -> None:
    world = World()
    third: Address = ip_address("10.1.1.4")
    world.detector.peers = {**world.detector.peers, Path("lan", third): "fw3"}
    world.advskew = advskew
    world.silence(*LINKS)
    world.run(UP_S + 1)
    assert world.verdicts() == dict.fromkeys(LINKS, Verdict.DEAD)
    wait_s = WAIT_DETECTIONS * DETECTION_S * advskew / 256
    for at_s, _one in world.found:
        assert wait_s + DETECTION_S - 0.05 <= at_s - UP_S <= wait_s + DETECTION_S + DELAY_S
