"""`carpool setup` on two machines of the lab that boot, with addresses and rules, unconfigured."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.errors import CarpoolError
from carpool.lab import image
from carpool.lab.container import require_tools
from carpool.lab.machine import Machine, disks, mount_disks, unmount_disks
from carpool.lab.topology import Network
from tests.netns.lab import wait_until
from tests.netns.test_setup import CODE

NAME = f"wizard-{os.getpid()}"
FIRST = 'role = "first"\nsync = "sync0"\n'
SECOND = 'role = "second"\naddress = "10.10.3.2"\ncode = "{}"\n'
UNITS = [f"carpool-{name}.service" for name in ("rules", "failover", "states", "agent", "web")]


class Unconfigured(Machine):
    """As it is on the evening that somebody sets up a pair; its rules let no peer in."""

    def configuration(self) -> dict[str, str]:
        written = super().configuration()
        rules = re.sub(r".*sync0.*\n", "", written["etc/nftables.conf"])
        kept = {path: text for path, text in written.items() if "carpool/" not in path}
        return {**kept, "etc/nftables.conf": rules}

    def prepare(self) -> None:
        self.config_dir.mkdir(parents=True)
        (self.config_dir / "group.toml").touch()
        super().prepare()
        (self.config_dir / "group.toml").unlink()

    def setup(self, answers: str) -> subprocess.Popen[str]:
        (self.files / "root/answers.toml").write_text(answers)
        argv = self.inside(["carpool", "setup", "--answers", "/root/answers.toml"])
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


Machines = tuple[Unconfigured, Unconfigured]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    try:
        require_tools()
        made = image.made(lambda _text: None, _package())
    except CarpoolError as error:
        pytest.skip(f"no machines: {error}")
    network = Network(NAME, True)
    root = tmp_path / "lab"
    root.mkdir()
    found: list[Unconfigured] = []
    try:
        for _step in network.build():
            pass
        mount_disks(root)
        made.unpack(disks(root))
        lower = made.places(disks(root))
        found += [Unconfigured(name, network, root / name, lower) for name in ("fw1", "fw2")]
        for one in found:
            one.prepare()
            list(one.start(()))
        for one in found:
            one.wait_booted()
        yield found[0], found[1]
    finally:
        for one in found:
            one.remove()
        network.remove()
        unmount_disks(root)


def _package() -> Path | None:
    """A package that was made before, where somebody says so; else the lab makes one."""
    named = os.environ.get("CARPOOL_TEST_DEB")
    return Path(named) if named else None


def says(process: subprocess.Popen[str]) -> str:
    """All of it, at its end."""
    said = process.communicate(timeout=200)[0]
    assert process.returncode == 0, said
    return said


@pytest.mark.long  # the quick start types the wizard on two machines in the suite
@pytest.mark.timeout(900)
def test_two_machines_that_boot_become_a_pair_and_are_one_after_a_reboot_of_nftables(
    machines: Machines,
) -> None:
    fw1, fw2 = machines
    with contextlib.ExitStack() as ending:
        first = fw1.setup(FIRST)
        ending.callback(first.kill)
        assert first.stdout is not None
        told = ""
        while (found := CODE.search(told)) is None:
            line = first.stdout.readline()
            assert line, told
            told += line
        second = fw2.setup(SECOND.format(found[1]))
        ending.callback(second.kill)
        there, here = says(second), told + says(first)
    assert "all is well: fw2 and fw1 are a pair" in there
    assert "fw1 is MASTER of everything; fw2 says BACKUP" in here
    assert "write /etc/nftables.conf" in here
    for one in machines:
        assert one.run(["systemctl", "is-enabled", *UNITS]).split() == ["enabled"] * 5
        assert one.run(["systemctl", "is-active", *UNITS]).split() == ["active"] * 5
    fw1.run(["systemctl", "restart", "nftables.service"])

    def back() -> bool:
        rules = fw1.run(["nft", "list", "ruleset"])
        return "carpool_rules" in rules and 'comment "carpool: nodes on sync"' in rules

    wait_until(back, 20, "our table, and the rule that was inserted")
