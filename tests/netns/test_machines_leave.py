"""On a machine that boots: carpool by pip and as a package, at work, and gone without a trace."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.lab import image
from carpool.lab.container import require_tools
from carpool.lab.firewall import group_toml, node_toml
from carpool.lab.machine import Machine, disks, mount_disks, unmount_disks
from carpool.lab.topology import Network
from tests.netns.debian import NOT_OURS, looks
from tests.netns.lab import wait_until
from tests.netns.test_install import wheels
from tests.netns.test_setup import CODE

__all__ = ["wheels"]  # a fixture
# cold: an image and all wheels are fetched
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

UNITS = [f"carpool-{name}.service" for name in ("rules", "failover", "states", "agent", "web")]
VENV = "/usr/local/lib/carpool"
RULES = "etc/nftables.conf"
SETUP = "echo $$; exec carpool setup --listen 0 --answers /root/answers.toml"
# Of a running machine: what its other services write, and who looks at units.
AT_WORK = (
    *("var/lib/systemd", "var/lib/chrony", "var/lib/private", "var/lib/PackageKit"),
    *("root/.cache", "etc/.pwd.lock"),
)

Looks = dict[str, tuple[object, ...] | None]


class Bare(Machine):
    """Its disk tells what was written to it."""

    def written(self) -> Looks:
        found: Looks = {}
        lower = [Path(place) for place in (*self.container.lower.split(":"), "/")]
        for place, directories, files in os.walk(self.container.upper):
            for name in (*directories, *files):
                path = Path(place) / name
                inside = str(path.relative_to(self.container.upper))
                if NOT_OURS.fullmatch(inside) or inside.startswith(AT_WORK):
                    continue
                below = next((one / inside for one in lower if os.path.lexists(one / inside)), None)
                if below is None or looks(path) != looks(below):
                    found[inside] = looks(path)
        return found


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Bare]:
    require_tools()
    made = image.made(print, bare=True)
    network = Network(f"cpl-{secrets.token_hex(3)}", True)
    root = tmp_path / "lab"
    root.mkdir()
    one = None
    try:
        for _step in network.build():
            pass
        mount_disks(root)
        made.unpack(disks(root))
        one = Bare("fw1", network, root / "fw1", made.places(disks(root)), bare=True)
        one.prepare()
        one.forget()
        list(one.start(()))
        one.wait_booted()
        wait_until(lambda: one.troubles() == [], 40, "it is done with booting")
        yield one
    finally:
        if one is not None:
            one.remove()
        network.remove()
        unmount_disks(root)


def at_work(machine: Bare) -> None:
    """It was started, and all of it runs."""
    machine.run(["systemctl", "start", "carpool.target"])
    states = ["systemctl", "show", "--value", "--property=ActiveState", *UNITS]
    wait_until(lambda: machine.run(states).split() == ["active"] * 5, 20, "all processes run")
    assert machine.run(["systemctl", "is-enabled", *UNITS]).split() == ["enabled"] * 5
    wait_until(lambda: "10.10.1.1/" in machine.run(["ip", "address"]), 20, "it is MASTER")
    assert "carpool_rules" in machine.run(["nft", "list", "tables"])
    assert machine.run(["getent", "passwd", "carpool-web"])


def is_gone(machine: Bare, before: Looks, after: Looks) -> None:
    names = sorted({*after, *before})
    assert [name for name in names if after.get(name) != before.get(name)] == []
    assert "carpool" not in machine.run(["systemctl", "list-units", "--all", "--no-legend"])
    assert "carpool" not in machine.run(["nft", "list", "tables"])
    assert "10.10.1.1/" not in machine.run(["ip", "address"])
    assert "carpool" not in machine.run(["getent", "passwd"]) + machine.run(["getent", "group"])
    assert not (machine.files / "run/carpool").exists()
    assert machine.run(["systemctl", "--failed", "--no-legend"]) == ""


def configure(machine: Bare) -> None:
    (machine.config_dir / "node.toml").write_text(node_toml("fw1"))
    (machine.config_dir / "group.toml").write_text(group_toml("lab", image.SERVICES))
    (machine.config_dir / "group.toml").chmod(0o600)


def test_after_pip_all_starts_and_a_purge_leaves_nothing(machine: Bare, wheels: Path) -> None:
    shutil.copytree(wheels, machine.files / "srv/wheels", ignore=shutil.ignore_patterns("sdist"))
    machine.run(["python3", "-m", "venv", VENV])
    only = ["PIP_NO_INDEX=1", "PIP_FIND_LINKS=/srv/wheels"]
    machine.run(["env", *only, f"{VENV}/bin/pip", "-qq", "install", "--no-compile", "carpool"])
    run = f"{VENV}/bin/carpool"
    before = without_caches(machine.written())

    machine.run([run, "install"])
    for place, mode in (("etc/carpool", 0o700), ("var/lib/carpool", 0o700), ("run/carpool", 0o711)):
        assert (machine.files / place).stat().st_mode & 0o7777 == mode, place
    configure(machine)
    at_work(machine)
    told = machine.run([run, "install", "--purge"])
    assert "systemctl disable --now" in told
    is_gone(machine, before, without_caches(machine.written()))


def without_caches(found: Looks) -> Looks:
    """Byte code goes with the environment that it is of."""
    return {name: one for name, one in found.items() if "__pycache__" not in name}


def set_up(machine: Bare) -> None:
    """As far as a first node comes by itself: it waits for the other one, and is interrupted."""
    argv = machine.inside(["sh", "-c", SETUP])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as setup:
        try:
            assert setup.stdout is not None
            pid = setup.stdout.readline().strip()
            told = ""
            while CODE.search(told) is None:
                line = setup.stdout.readline()
                assert line, told
                told += line
            machine.run(["kill", pid])
            setup.communicate(timeout=20)
        finally:
            setup.kill()


def test_a_purge_of_the_package_takes_back_what_setup_wrote(machine: Bare) -> None:
    before = machine.written()
    rules = (machine.files / RULES).read_text()
    (machine.files / "root/answers.toml").write_text('role = "first"\nsync = "sync0"\n')
    machine.run(["sh", "-c", "DEBIAN_FRONTEND=noninteractive apt-get -qy install /root/*.deb"])
    set_up(machine)
    assert 'comment "carpool: nodes on sync"' in (machine.files / RULES).read_text()
    assert (machine.files / f"{RULES}.before-setup-1").exists()
    (machine.files / "etc/sysctl.d/90-carpool.conf").touch()
    at_work(machine)
    link = "etc/systemd/system/nftables.service.wants/carpool-rules.service"
    assert (machine.files / link).is_symlink()

    machine.run(["apt-get", "-qy", "purge", "carpool"])
    (machine.files / "root/answers.toml").unlink()
    assert (machine.files / RULES).read_text() == rules
    is_gone(machine, before, machine.written())
    machine.run(["systemctl", "restart", "nftables.service"])
    assert "carpool" not in machine.run(["nft", "list", "ruleset"])
