"""A synchronisation that is broken off at each of its steps: by a killed agent on either side, a
lost link, a full disk. What is left is the old configuration or the new one, whole, and said so."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.agents import made_group, start
from tests.netns.faulty import Faulty, Running, picture, without_times
from tests.netns.lab import Network, wait_until
from tests.netns.nursery import NurseryNode, Stop
from tests.netns.pair import PAIR
from tests.netns.test_sync import outcome

JOURNAL = "journal.json"
OLD, NEW = "old", "new"
# Where the agent of the peer is cut off, and what its files are afterwards.
STEPS = {
    "offer": (Stop("open", "agreed.json"), OLD),
    "upload": (Stop("open", "arriving-", 2), OLD),
    "staged": (Stop("os.rename", "arriving-", 4), OLD),
    "check": (Stop("subprocess.Popen", "overlaid.py"), OLD),
    "snapshot": (Stop("open", "transaction/old/", 2), OLD),
    "halfway through the swap": (Stop("os.rename", "'.carpool-", 3), OLD),
    "swapped": (Stop("os.rename", JOURNAL, 4), OLD),
    "reload": (Stop("subprocess.Popen", "'reload'"), OLD),
    "verify": (Stop("subprocess.Popen", "'status'", 2), OLD),
    "confirm": (Stop("os.remove", f"{JOURNAL}'"), OLD),
    "confirmed": (Stop("os.rename", "agreed.json"), NEW),
}
EARLY = ("offer", "upload", "staged")  # nobody has said "apply" yet


@pytest.fixture(scope="module")
def firewalls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Faulty, Faulty]]:
    """One pair for all of them; each begins with `prepared`."""
    with Network() as network:
        directory = tmp_path_factory.mktemp("firewalls")
        fw1, fw2 = map(Faulty, made_group(network, directory, PAIR, NurseryNode))
        fw1.write("etc/web.conf", "good 1\n")
        start(fw1.node, fw2.node)
        yield fw1, fw2


@pytest.fixture
def pair(firewalls: tuple[Faulty, Faulty]) -> tuple[Faulty, Faulty]:
    """fw2 has something of everything that a sync changes."""
    fw1, fw2 = firewalls
    for one in firewalls:
        if one.node.child.poll() is not None:
            one.again()
    for name in "abc":
        fw1.write(f"etc/web/{name}/site.conf", f"site {name}\n")
        fw2.write(f"etc/web/{name}/site.conf", f"old site {name}\n")
    fw1.write("etc/web/fresh/x.key", "very secret\n")
    fw1.path("etc/web/fresh/x.key").chmod(0o600)
    if not fw1.path("etc/web/link").is_symlink():
        fw1.path("etc/web/link").symlink_to("a/site.conf")
    fw2.path("etc/web/link").unlink(missing_ok=True)
    fw2.write("etc/web/stale/x.conf", "stale\n")
    fw2.write("etc/web/own.conf", "of fw2\n")
    fw2.path("etc/web/fresh/x.key").unlink(missing_ok=True)
    if fw2.path("etc/web/fresh").exists():
        fw2.path("etc/web/fresh").rmdir()
    fw2.path("etc/web/a/site.conf").chmod(0o640)
    os.chown(fw2.path("etc/web/b/site.conf"), 1, 1)
    os.setxattr(fw2.path("etc/web/c/site.conf"), "user.note", b"mine")
    fw2.write("etc/web.conf", "good 0\n")
    for path in [fw2.web, *fw2.web.rglob("*")]:
        os.utime(path, ns=(10**18, 10**18 + len(str(path))), follow_symlinks=False)
    return fw1, fw2


def is_new(fw1: Faulty, fw2: Faulty) -> None:
    here, there = without_times(picture(fw1.web)), without_times(picture(fw2.web))
    assert there.pop("own.conf")[0] == b"of fw2\n"
    attributes = there["c/site.conf"][-1]
    assert attributes == {"user.note": b"mine"}  # stays with a changed file
    there["c/site.conf"] = here["c/site.conf"]
    assert there == here
    assert fw2.read("etc/web.conf") == fw1.read("etc/web.conf")


@pytest.mark.parametrize("step", STEPS)
def test_the_peers_agent_is_killed(pair: tuple[Faulty, Faulty], step: str) -> None:
    fw1, fw2 = pair
    stop, left = STEPS[step]
    before = picture(fw2.web)
    fw2.node.child.stop_at(stop)
    running = Running(fw1)
    fw2.node.wait_stopped()
    fw2.kill()
    fw2.again()
    ended, why = outcome(running.ended())
    if left is OLD:
        assert picture(fw2.web) == before
        assert ended == "failed"
        words = "nothing was changed on fw2" if step in EARLY else "everything is as it was before"
        assert words in why
    else:
        is_new(fw1, fw2)
        assert (ended, why) == ("applied", "")
        assert fw1.drift() == "in sync"
    assert fw2.clean()
    if step in ("upload", "swapped"):
        assert outcome(fw1.sync("web")) == ("applied", "")
        is_new(fw1, fw2)


def test_it_is_killed_again_before_the_services_have_what_was_put_back(
    pair: tuple[Faulty, Faulty],
) -> None:
    """The files are what they were, and who reads them does not know yet: the next one tells."""
    fw1, fw2 = pair
    before, (stop, _left) = picture(fw2.web), STEPS["reload"]
    fw2.node.child.stop_at(stop)
    running = Running(fw1)
    for _ in range(2):
        fw2.node.wait_stopped()
        fw2.kill()
        fw2.node.first_stop = stop
        fw2.node.start()
    fw2.node.wait_stopped()
    assert picture(fw2.web) == before
    fw2.kill()
    done = len(fw2.log())
    fw2.again()
    assert fw2.log()[done:] == ["reload webd"]
    assert picture(fw2.web) == before and fw2.clean()
    ended, why = outcome(running.ended())
    assert ended == "failed" and "everything is as it was before" in why
    fw2.kill()
    fw2.again()
    assert fw2.log()[done:] == ["reload webd"], "once is enough"


@pytest.mark.parametrize("step", ["upload", "check", "halfway through the swap", "confirm"])
def test_the_agent_that_sends_is_killed(pair: tuple[Faulty, Faulty], step: str) -> None:
    """What has begun over there goes on to its end; what has not is forgotten at the next sync."""
    fw1, fw2 = pair
    before = picture(fw2.web)
    fw2.node.child.stop_at(STEPS[step][0])
    running = Running(fw1)
    fw2.node.wait_stopped()
    fw1.kill()
    fw2.node.go_on()
    running.ended()
    assert running.error is not None
    fw1.again()
    if step == "upload":
        assert outcome(fw1.sync("web")) == ("applied", "")
    else:
        wait_until(fw2.clean, 20, "it has ended over there")
        assert fw2.log()[-1] == "reload webd"
        assert outcome(fw1.sync("web")) == ("nothing to do", "")
    assert picture(fw2.web) != before
    is_new(fw1, fw2)


@pytest.mark.parametrize(
    "step", ["offer", "upload", "check", "halfway through the swap", "confirm"]
)
def test_the_connection_is_cut(pair: tuple[Faulty, Faulty], step: str) -> None:
    fw1, fw2 = pair
    before = picture(fw2.web)
    fw2.node.child.stop_at(STEPS[step][0])
    running = Running(fw1)
    fw2.node.wait_stopped()
    fw1.node.namespace.run("ss", "-K", "dport", "=", "3784")
    fw2.node.go_on()
    ended, why = outcome(running.ended())
    if step in EARLY:
        assert ended == "failed" and "nothing was changed on fw2" in why
        assert picture(fw2.web) == before
        assert outcome(fw1.sync("web")) == ("applied", "")
    else:
        assert "link" in [event["step"] for event in running.events]
        assert (ended, why) == ("applied", "")
        wait_until(fw2.clean, 20, "nothing is left")
        assert fw1.drift() == "in sync"
    is_new(fw1, fw2)


def test_the_link_is_down_for_a_while(pair: tuple[Faulty, Faulty]) -> None:
    fw1, fw2 = pair
    fw2.node.child.stop_at(STEPS["halfway through the swap"][0])
    running = Running(fw1)
    fw2.node.wait_stopped()
    fw2.node.namespace.run("ip", "link", "set", "sync0", "down")
    fw2.node.go_on()
    wait_until(fw2.clean, 20, "it has ended over there")
    is_new(fw1, fw2)
    fw2.node.namespace.run("ip", "link", "set", "sync0", "up")
    assert outcome(running.ended()) == ("applied", "")
    timers = fw1.node.namespace.run("ss", "-Htno", "dport", "=", "3784").stdout
    assert "timer:(keepalive" in timers  # one that never comes back is noticed, too


def test_a_file_changes_between_the_look_at_it_and_its_sending(pair: tuple[Faulty, Faulty]) -> None:
    fw1, fw2 = pair
    before = picture(fw2.web)
    fw2.node.child.stop_at(STEPS["offer"][0])
    running = Running(fw1)
    fw2.node.wait_stopped()
    fw1.write("etc/web/a/site.conf", "SITE a\n")
    fw2.node.go_on()
    ended, why = outcome(running.ended())
    assert ended == "failed" and "/etc/web/a/site.conf changed after it was looked at" in why
    assert picture(fw2.web) == before
    assert outcome(fw1.sync("web")) == ("applied", "")
    is_new(fw1, fw2)


@pytest.fixture
def small(network: Network, tmp_path: Path) -> tuple[Faulty, Faulty, Path, Path]:
    """A new pair; the files of fw2 are on a small disk, and what its agent keeps on another one:
    as a test sees them."""
    fw1, fw2 = map(Faulty, made_group(network, tmp_path, PAIR, NurseryNode))
    fw2.write("etc/web/check.sh", "true\n")
    fw2.write("etc/web/old.conf", "old\n" * 1000)
    fw2.node.state_dir.mkdir()
    web, state = fw2.path("etc/web"), fw2.node.state_dir
    fw2.node.disks = {web: "size=400k", state: "size=2m"}
    fw1.write("etc/web.conf", "good 1\n")
    start(fw1.node, fw2.node)
    return fw1, fw2, fw2.node.seen(web), fw2.node.seen(state)


def fill(directory: Path) -> None:
    with (directory / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_is_told_and_nothing_is_changed(
    small: tuple[Faulty, Faulty, Path, Path],
) -> None:
    fw1, fw2, web, state = small
    before = picture(web)
    fw1.write("etc/web/large", "x" * 600_000)
    ended, why = outcome(fw1.sync("web"))
    assert ended == "failed" and "KiB free and" in why and "/etc/web" in why, why
    fw1.write("etc/web/large", "x" * 3_000_000)
    events = fw1.sync("web")
    ended, why = outcome(events)
    assert ended == "failed" and "KiB free, and" in why and "/state" in why, why
    assert "sent" not in [event["step"] for event in events]
    assert picture(web) == before
    fw1.write("etc/web/large", "x" * 30_000)
    for stop in (Stop("open", "arriving-", 2), STEPS["halfway through the swap"][0]):
        fw2.node.child.stop_at(stop)
        running = Running(fw1)
        fw2.node.wait_stopped()
        fill(state)
        fw2.node.go_on()
        ended, why = outcome(running.ended())
        assert ended == "failed" and "No space left on device" in why, why
        assert picture(web) == before
        (state / "filler").unlink()
    assert outcome(fw1.sync("web")) == ("applied", "")
    assert (web / "large").stat().st_size == 30_000
