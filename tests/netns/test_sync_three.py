"""One primary and two peers: what each of them gets, what a person sees of it, and what is kept."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from fcntl import ioctl
from typing import Any

import pytest

from carpool.agent.localclient import LocalClient
from carpool.errors import EXIT_FAILED, EXIT_OK
from carpool.kernel.clock import monotonic_s
from tests.netns.agents import made_group, start
from tests.netns.faulty import Faulty
from tests.netns.lab import Network, wait_until
from tests.netns.nursery import NurseryNode, Stop
from tests.netns.pair import TRIO

COLUMNS = 70
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?[349][0-7]m")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PLAIN = ["fw2: offeri", "fw2: sent 0", "fw2: nothin", "fw3: offeri", "fw3: sent 0", "fw3: nothin"]
Trio = tuple[Faulty, Faulty, Faulty]


@pytest.fixture(scope="module")
def firewalls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    with Network() as network:
        directory = tmp_path_factory.mktemp("firewalls")
        fw1, fw2, fw3 = map(Faulty, made_group(network, directory, TRIO, NurseryNode))
        start(fw1.node, fw2.node, fw3.node)
        yield fw1, fw2, fw3


@pytest.fixture
def trio(firewalls: Trio) -> Trio:
    fw1, fw2, fw3 = firewalls
    for one in firewalls:
        one.write("etc/web.conf", "good 0\n")
        one.write("etc/web/site.conf", "site\n")
        if one.node.child.poll() is not None:
            one.again()
    return fw1, fw2, fw3


def carpool(node: Faulty, *words: str, expected: int = EXIT_OK) -> str:
    """What the command line says without a terminal."""
    line = [sys.executable, "-m", "carpool", "--run-dir", str(node.node.run_dir), *words]
    env = {**os.environ, "COLUMNS": "300", "FORCE_COLOR": ""}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, node: Faulty, *words: str, **env: str) -> None:
        self.text = ""
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            line = [sys.executable, "-m", "carpool", "--run-dir", str(node.node.run_dir), *words]
            ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
            os.environ.pop("COLUMNS", None)
            os.execve(sys.executable, line, {**os.environ, "TERM": "xterm-256color", **env})

    def shows(self, words: str) -> None:
        self._read(lambda: words in self.text, words)

    def ended(self) -> int:
        self._read(lambda: False, "the end")
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _read(self, enough: Any, what: str) -> None:
        deadline_s = monotonic_s() + 30
        while not enough():
            left_s = deadline_s - monotonic_s()
            assert left_s > 0 and select.select([self._fd], [], [], left_s)[0], (what, self.text)
            try:
                self.text += os.read(self._fd, 65536).decode()
            except OSError:  # EIO: nobody has it open any more
                return


def rows(node: Faulty, **params: str) -> list[dict[str, Any]]:
    with LocalClient(node.node.run_dir) as agent:
        found: Any = agent.get("/v1/results", params)["results"]
    return list(found)


def drift(node: Faulty) -> dict[str, Any]:
    with LocalClient(node.node.run_dir) as agent:
        peers: Any = agent.get("/v1/drift")["peers"]
    return dict(peers)


def test_one_that_fails_keeps_the_other_from_nothing(trio: Trio) -> None:
    fw1, fw2, fw3 = trio
    fw1.write("etc/web.conf", "good 1\n")
    fw2.kill()
    said = carpool(fw1, "sync", "web", "--force", "-m", "first", expected=EXIT_FAILED)
    assert "fw2: failed: cannot connect to the agent of fw2" in said
    assert "nothing was changed on fw2" in said
    assert re.search(r"^fw3: applied in [0-9.]+ s$", said, re.M)
    assert fw2.read("etc/web.conf") == "good 0\n"
    assert fw3.read("etc/web.conf") == "good 1\n"
    fw2.again()
    found = {peer: one["web"]["drift"] for peer, one in drift(fw1).items()}
    assert found == {"fw2": "unknown", "fw3": "in sync"}
    (fw3.services / "webd.reload").write_text("exit 1")
    fw1.write("etc/web.conf", "good 2\n")
    said = carpool(fw1, "sync", "web", "--force", "-m", "second", expected=EXIT_FAILED)
    (fw3.services / "webd.reload").unlink()
    assert "fw2: applied" in said and "fw3: failed: reload webd" in said
    assert fw3.read("etc/web.conf") == "good 1\n"
    events = fw1.sync("web", peers=["fw3"])
    assert {event["peer"] for event in events if "peer" in event} == {"fw3"}
    assert outcomes(fw1) == [
        ("fw3", "applied", ""),
        ("fw3", "failed", "second"),
        ("fw2", "applied", "second"),
        ("fw3", "applied", "first"),
        ("fw2", "failed", "first"),
    ]
    check_results(fw1)


def outcomes(node: Faulty) -> list[tuple[str, str, str]]:
    return [(row["peer"], row["outcome"], row["reason"]) for row in rows(node)]


def check_results(fw1: Faulty) -> None:
    """By section and file, also when the agent is another one."""
    fw1.kill()
    fw1.again()
    newest, failed = rows(fw1, limit="2")
    changed = {"added": 0, "changed": 1, "removed": 0, "files": [["changed", "/etc/web.conf"]]}
    assert newest["sections"] == failed["sections"] == {"web": changed}
    assert newest["services"] == ["reload webd"]
    assert "reload webd" in failed["error"]
    assert rows(fw1, section="tunnel") == []
    said = carpool(fw1, "history", "--results")
    assert re.search(
        r"fw3 +failed: reload webd: .* put back as it was, but: reload webd.* +web +\w+ +second",
        said,
    )


def test_a_terminal_shows_how_far_it_is_and_keeps_what_came_of_it(trio: Trio) -> None:
    fw1, fw2, fw3 = trio
    fw1.write("etc/web.conf", "good and new\n")
    for number in range(3):
        fw1.write(f"etc/web/{number}.conf", f"{number}\n" * 1000)
    fw2.node.child.stop_at(Stop("open", "arriving-", 2))
    terminal = Terminal(fw1, "sync", "web", "--force")
    fw2.node.wait_stopped()
    terminal.shows("of 4 files, ")
    fw2.node.go_on()
    assert terminal.ended() == EXIT_OK
    text = terminal.text
    assert "\x1b[2K" in text and COLOUR.search(text)  # in place, and coloured
    assert "\x1b[?25h" in text[text.rindex("\x1b[?25l") :]  # the cursor is there again
    assert "sent 4 files" not in CONTROL.sub("", text)
    last = CONTROL.sub("", text)
    found = re.search(
        r"fw2: applied in [0-9.]+ s\s+web +1 changed, 3 added\s+reloaded webd\s", last
    )
    assert found and "fw3: applied in" in last[found.end() :]
    for line in re.split(r"[\r\n]+", last):
        assert len(line) <= COLUMNS, line
    terminal = Terminal(fw1, "sync", "web", "--force", NO_COLOR="1")
    assert terminal.ended() == EXIT_OK
    assert "fw3: nothing to do" in terminal.text
    assert not COLOUR.search(terminal.text)
    assert fw3.read("etc/web/2.conf") == fw1.read("etc/web/2.conf")
    said = carpool(fw1, "sync", "web", "--force")
    assert [line[:11] for line in said.splitlines()] == PLAIN


def test_a_clock_that_is_an_hour_off_is_told_and_changes_nothing(trio: Trio) -> None:
    fw1, fw2, fw3 = trio
    for node, off_s in ((fw2, 3600.0), (fw3, -3600.0)):
        node.kill()
        node.node.clock_off_s = off_s
        node.again()
    fw1.write("etc/web.conf", "good morning\n")
    events = fw1.sync("web", confirm_within_s=0.2)
    told = {event["peer"]: event["text"] for event in events if event["step"] == "warning"}
    for peer, word in (("fw2", "ahead of"), ("fw3", "behind")):  # as far as an answer tells it
        found = re.search(rf"the clock of {peer} is (\d+) s {word} this node's", told[peer])
        assert found and abs(int(found[1]) - 3600) < 60, told[peer]
    ends = [event["outcome"] for event in events if event["step"] == "end"]
    assert ends == ["waiting", "waiting"]
    for node in (fw2, fw3):
        put_back(node)

    def synchronised() -> bool:  # a peer refuses it until its services, too, are as before
        return not any("error" in event for event in fw1.sync("web"))

    wait_until(synchronised, 20, "both take the next one")
    for node in (fw2, fw3):
        assert node.read("etc/web.conf") == "good morning\n"
        node.kill()
        node.node.clock_off_s = 0.0
    fw2.again()
    fw3.again()
    assert {one["web"]["drift"] for one in drift(fw1).values()} == {"in sync"}


def put_back(node: Faulty) -> None:
    wait_until(lambda: node.read("etc/web.conf") == "good 0\n", 20, "it is put back")
