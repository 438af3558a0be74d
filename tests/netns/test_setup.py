"""`carpool setup` on two bare machines: by answers of a file, and typed on a terminal."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carpool.api import control
from carpool.errors import EXIT_INTERRUPTED, CarpoolError
from carpool.kernel.clock import monotonic_s
from tests.netns.lab import Namespace, Network, wait_until
from tests.netns.test_ownrules import reaches

FILTER = """flush ruleset
table inet filter {
  chain input { type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname "lo" accept
    meta l4proto { icmp, ipv6-icmp } accept
  }
}
"""
ADDRESSES = {
    "fw1": {"lan0": ["10.10.1.2/24", "fd00:10:1::2/64"], "wan0": ["192.0.2.2/24"]},
    "fw2": {"lan0": ["10.10.1.3/24", "fd00:10:1::3/64"], "wan0": ["192.0.2.3/24"]},
}
SYNC = {"fw1": "10.10.3.1/29", "fw2": "10.10.3.2/29"}
FIRST = """role = "first"
node = "fw1"
group = "home"
peer = "fw2"
password = "a secret of 20 bytes"
"""
LISTEN = ("--listen", "1.5")
CODE = re.compile(r"code:\s+([0-9A-Z-]{30,})")


class Bare:
    """A machine with addresses, and carpool installed."""

    def __init__(self, host: Namespace, home: Path, name: str) -> None:
        self.host = host
        self.name = name
        self.home = home / name
        (self.home / "etc").mkdir(parents=True)
        self.processes: list[subprocess.Popen[str]] = []
        self.logs: list[Path] = []

    @property
    def run_dir(self) -> Path:
        return self.home / "run"

    @property
    def config_dir(self) -> Path:
        return self.home / "etc" / "carpool"

    @property
    def env(self) -> dict[str, str]:
        return {
            "CARPOOL_CONFIG_DIR": str(self.config_dir),
            "CARPOOL_RUN_DIR": str(self.run_dir),
            "CARPOOL_STATE_DIR": str(self.home / "state"),
            "CARPOOL_ROOT": str(self.home),
            "PYTHONUNBUFFERED": "1",
        }

    def argv(self, *words: str) -> list[str]:
        variables = [f"{key}={value}" for key, value in self.env.items()]
        return ["env", *variables, sys.executable, "-m", "carpool", *words]

    def carpool(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.host.run(*self.argv(*words), check=check)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        made = self.host.start(*self.argv(*words))
        self.processes.append(made)
        return made

    def answers(self, text: str) -> Path:
        path = self.home / "answers.toml"
        path.write_text(text)
        return path

    def start(self) -> None:
        for process in ("failover", "states", "agent"):
            self.begin("run", process)

    def stop(self) -> None:
        for one in self.processes:
            if one.poll() is None:
                one.send_signal(signal.SIGTERM)
        for one in self.processes:
            one.communicate(timeout=40)

    def state(self) -> str:
        """Of all that a wizard might change: files and rules."""
        digest = hashlib.sha256()
        for path in sorted(self.home.rglob("*")):
            digest.update(str(path).encode())
            if path.is_file():
                digest.update(path.read_bytes())
        digest.update(self.host.run("nft", "list", "ruleset").stdout.encode())
        digest.update(self.host.run("ip", "address").stdout.split("valid_lft")[0].encode())
        return digest.hexdigest()

    def role(self) -> str:
        answer = control.status(self.run_dir, control.FAILOVER)
        return "silent" if isinstance(answer, CarpoolError) else str(answer["role"])


Machines = tuple[Bare, Bare]


@pytest.fixture
def machines(network: Network, tmp_path: Path) -> Iterator[Machines]:
    hosts = {name: network.host(name, forwarding=True) for name in ADDRESSES}
    stranger = network.host("stranger")
    for device in ("lan0", "wan0"):
        ends = [(host, device, ADDRESSES[name][device]) for name, host in hosts.items()]
        extra = ["10.10.1.77/24"] if device == "lan0" else ["192.0.2.254/24"]
        network.bridge(f"{device}-switch", [*ends, (stranger, device, extra)])
    ends = [(host, "sync0", [SYNC[name]]) for name, host in hosts.items()]
    network.bridge("sync-switch", [*ends, (stranger, "sync0", ["10.10.3.3/29"])])
    for host in hosts.values():
        host.run("ip", "route", "add", "default", "via", "192.0.2.254")
    made = Bare(hosts["fw1"], tmp_path, "fw1"), Bare(hosts["fw2"], tmp_path, "fw2")
    try:
        yield made
    finally:
        for one in made:
            one.stop()


def code_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = ""
    for text in process.stdout:
        said += text
        if found := CODE.search(text):
            return found[1]
    raise AssertionError(said)


def second(code: str, more: str = "") -> str:
    return f'role = "second"\naddress = "10.10.3.1"\ncode = "{code}"\n{more}'


@contextlib.contextmanager
def speaker(host: Namespace, device: str, vhid: int) -> Iterator[None]:
    """UCarp, for another group on this wire."""
    argv = ("ucarp", "-i", device, "-s", "10.10.1.77", "-v", str(vhid), "-p", "theirs")
    child = host.start(*argv, "-a", "10.10.1.99", "-u", "/bin/true", "-d", "/bin/true")
    try:
        yield
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(10)


@pytest.mark.timeout(150)
def test_two_bare_machines_become_a_pair_by_files_of_answers(machines: Machines) -> None:
    fw1, fw2 = machines
    for one in machines:
        (one.home / "etc/nftables.conf").write_text(FILTER)
        one.host.nft(FILTER)
    before = fw1.state()
    answers = fw1.answers(FIRST)
    stranger = Namespace(fw1.host.name.replace("-fw1", "-stranger"))
    with speaker(stranger, "lan0", 51):
        dry = fw1.carpool("setup", "--answers", str(answers), "--dry-run", *LISTEN).stdout
    stranger.kill_children()
    assert fw1.state() != before, "the answers"
    before = fw1.state()
    for line in (
        '+lan = "lan0"',
        '+wan = "wan0"',
        "+vhid = 52",
        '+addresses = ["10.10.1.1/24", "fd00:10:1::1/64"]',
        '+addresses = ["192.0.2.1/24"]',
        '+sync = "10.10.3.2"',
        "    nft insert rule inet filter input iifname",
        'iifname "sync0" ip saddr { 10.10.3.2 } tcp dport { 3782, 3783, 3784 } accept',
    ):
        assert line in dry, dry
    assert "a secret of" not in dry
    assert "Mind:" not in dry
    assert fw1.state() == before

    waiting = fw1.begin("setup", "--answers", str(answers), *LISTEN)
    code = code_of(waiting)
    done = fw2.carpool("setup", "--answers", str(fw2.answers(second(code))), *LISTEN)
    assert "paired with fw1" in done.stdout
    said = waiting.communicate(timeout=40)[0]
    assert waiting.returncode == 0, said
    assert "Then say `carpool setup` again" in said
    groups = [(one.config_dir / "group.toml").read_bytes() for one in machines]
    assert groups[0] == groups[1]
    assert "advskew = 100" in (fw2.config_dir / "node.toml").read_text()
    assert (fw1.config_dir / "group.toml").stat().st_mode & 0o777 == 0o600

    conf = (fw1.home / "etc/nftables.conf").read_text()
    assert conf.startswith(FILTER) and "insert rule inet filter input" in conf
    listener = 'import socket; made = socket.create_server(("", 3782)); input()'
    fw1.host.start(sys.executable, "-c", listener)
    wait_until(lambda: reaches(fw2.host, "10.10.3.2", "10.10.3.1", 3782), 5, "the peer gets in")
    assert not reaches(stranger, "10.10.3.3", "10.10.3.1", 3782)
    fw1.host.kill_children()
    fw1.processes.clear()

    for one in machines:
        one.start()
    again = fw1.carpool("setup", "--answers", str(answers), "--listen", "0", check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "node.toml stays as it is" in again.stdout
    assert "all is well: fw1 and fw2 are a pair" in again.stdout
    assert re.search(r"after \d+ ms fw1 is BACKUP of everything; fw2 says MASTER", again.stdout)
    assert re.search(r"after \d+ ms fw1 is MASTER of everything; fw2 says BACKUP", again.stdout)
    lost = fw1.begin("setup", "--answers", str(answers), "--listen", "0")
    wait_until(lambda: fw1.role() == "BACKUP", 30, "a drill is under way")
    lost.send_signal(signal.SIGHUP)
    assert lost.wait(20) == EXIT_INTERRUPTED
    wait_until(lambda: fw1.role() == "MASTER", 10, "whose end leaves nothing demoted")
    typed_again(fw2)


class Terminal:
    """The wizard on a real terminal, and somebody who types."""

    def __init__(self, machine: Bare, *words: str) -> None:
        self._master, slave = pty.openpty()
        argv = ("ip", "netns", "exec", machine.host.name, *machine.argv(*words))
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.seen = ""
        self._at = 0

    def until(self, words: str, timeout_s: float = 30.0) -> str:
        """What it said up to these words, since the last ones."""
        deadline_s = monotonic_s() + timeout_s
        while words not in self.seen[self._at :]:
            assert monotonic_s() < deadline_s, f"{words!r} not in:\n{self.seen[self._at :]}"
            if select.select([self._master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self._master, 65536).decode(errors="replace")
                except OSError:  # it has ended
                    assert words in self.seen[self._at :], self.seen[self._at :]
        end = self.seen.index(words, self._at) + len(words)
        said, self._at = self.seen[self._at : end], end
        return said

    def type(self, question: str, text: str) -> str:
        """Answer a question; what was said before it."""
        said = self.until(question) + self.until(": ")
        os.write(self._master, f"{text}\n".encode())
        return said

    def ends(self) -> int:
        """All that it said is in `seen` then: EIO comes when nobody has the terminal open."""
        while select.select([self._master], [], [], 30)[0]:
            try:
                self.seen += os.read(self._master, 65536).decode(errors="replace")
            except OSError:
                break
        return self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        os.close(self._master)


@contextlib.contextmanager
def typing(machine: Bare, *words: str) -> Iterator[Terminal]:
    made = Terminal(machine, *words)
    try:
        yield made
    finally:
        made.close()


def typed_again(fw2: Bare) -> None:
    """On a node of a pair nothing need be answered, and nothing changes."""
    with typing(fw2, "setup", "--listen", "0") as wizard:
        wizard.type("fw2 is set up and paired with fw1. Change anything?", "")
        wizard.until("all is well: fw2 and fw1 are a pair")
        wizard.type("A drill now", "no")
        assert wizard.ends() == 0


@pytest.mark.timeout(120)
def test_typed_answers_are_taken_back_and_nothing_happens_before_a_yes(
    machines: Machines,
) -> None:
    fw1, _fw2 = machines
    fw1.host.nft("table inet filter { chain c { }; }")
    before = fw1.state()
    refused = fw1.carpool("setup", check=False)
    assert "--answers FILE" in refused.stderr

    with typing(fw1, "setup", *LISTEN) as wizard:
        wizard.type("first node of the pair, or the second?", "third")
        assert "expected first or second" in wizard.type("first node", "")
        wizard.type("Name of this node", "fw1")
        wizard.type("Name of the group", "Not Good")
        assert 'found "Not Good"' in wizard.type("Name of the group", "home")
        wizard.type("Device of the link", "<")
        wizard.type("Name of the group", "office")
        assert "[sync0]" in wizard.type("Device of the link", "")
        assert "[lan=lan0 wan=wan0]" in wizard.type("Networks with virtual", "")
        wizard.type("addresses on lan", "10.10.1.1/25")
        assert "found 10.10.1.1/25, expected the mask of lan0" in wizard.type("on lan", "")
        wizard.type("VHID on lan", "")
        wizard.type("addresses on wan", "192.0.2.9/24")
        wizard.type("VHID on wan", "51")
        wizard.type("Password", "")
        assert "[fw2]" in wizard.type("Name of the other node", "")
        assert "[10.10.3.2]" in wizard.type("Its address on the link", "")
        wizard.type("take over again", "")
        wizard.type("Replicate connections", "")
        said = wizard.type("Do all this?", "<")
        assert '+name = "office"' in said and "+vhid = 51" in said
        wizard.type("Replicate connections", "no")
        assert "+[states]" not in wizard.type("Do all this?", "no")
        assert wizard.ends() == 1
    assert "nothing was changed" in wizard.seen
    with typing(fw1, "setup", "--listen", "0") as wizard:
        wizard.type("first node of the pair", "")
        wizard.type("Name of this node", "quit")
        assert wizard.ends() == 1
    with typing(fw1, "setup", "--listen", "0") as wizard:
        wizard.until("first node of the pair")
        wizard.process.send_signal(signal.SIGINT)
        assert wizard.ends() == 130
    assert fw1.state() == before


@pytest.mark.timeout(120)
def test_the_second_node_is_typed_in_with_the_code_of_the_first(machines: Machines) -> None:
    fw1, fw2 = machines
    alone = fw1.answers(FIRST + "wait_s = 1\n")
    left = fw1.carpool("setup", "--answers", str(alone), "--listen", "0", check=False)
    assert left.returncode == 1
    assert "nobody joined in 1 s" in left.stderr and "`carpool setup` again" in left.stderr
    with typing(fw1, "setup", "--answers", str(fw1.answers(FIRST)), *LISTEN) as wizard:
        wizard.until("code:")
        code = wizard.until("\r\n").strip()
        assert "group.toml stays as it is" in wizard.seen
        with typing(fw2, "setup", *LISTEN) as other:
            other.type("first node of the pair, or the second?", "second")
            assert "[10.10.3.1]" in other.type("Address of the first node", "")
            other.type("The code", "nonsense")
            wrong = code[:-2] + ("0" if code[-2] != "0" else "1") + code[-1]
            other.type("The code", wrong)
            other.type("The code", code)
            assert "[fw2]" in other.type("Name of this node", "")
            offered = other.type("Which device is in which network", "")
            assert "[lan=lan0 wan=wan0 sync=sync0]" in offered
            other.type("advskew", "")
            assert not fw2.config_dir.exists()
            other.type("Do all this?", "yes")
            assert other.ends() == 0, other.seen
        assert wizard.ends() == 0, wizard.seen
    peers: dict[str, Any] = json.loads(fw2.carpool("peers", "--json").stdout)
    assert [(one["name"], one["paired"]) for one in peers["peers"]] == [("fw1", True)]


@pytest.mark.timeout(60)
def test_what_is_wrong_with_a_file_of_answers_is_told_with_its_line(machines: Machines) -> None:
    fw1, _fw2 = machines
    before = fw1.config_dir.exists()
    path = fw1.answers(FIRST + 'colour = "red"\n[vip]\nlan = 7\n')
    done = fw1.carpool("setup", "--answers", str(path), "--listen", "0", check=False)
    assert done.returncode == 3
    assert f"{path}:6: colour" in done.stderr and f"{path}:8: vip.lan" in done.stderr
    path = fw1.answers(FIRST + '[vip]\nlan = ["10.10.9.1/33"]\n')
    done = fw1.carpool("setup", "--answers", str(path), "--listen", "0", check=False)
    assert f"{path}:7: vip.lan" in done.stderr, done.stderr
    path = fw1.answers(FIRST + '[vip]\ndmz = ["10.10.9.1/24"]\n')
    done = fw1.carpool("setup", "--answers", str(path), "--listen", "0", check=False)
    assert "nobody asks for" in done.stderr
    assert fw1.config_dir.exists() is before

    path = fw1.answers(FIRST)
    fw1.config_dir.mkdir()
    (fw1.config_dir / "group.toml").write_text('name = "mine"\n')
    done = fw1.carpool("setup", "--answers", str(path), "--listen", "0", check=False)
    assert '-name = "mine"' in done.stdout and "would be overwritten" in done.stderr
    assert (fw1.config_dir / "group.toml").read_text() == 'name = "mine"\n'
