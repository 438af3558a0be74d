"""What the agent does to a machine, all of it once: test_units.py runs this in the agent's sandbox.

Ends with 1 and a traceback where something is refused.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from pathlib import Path

from carpool.agent.services import ServiceState
from carpool.agent.systemd import SystemdServices
from carpool.kernel.checkrun import run_check
from carpool.kernel.nftload import attempt, defined, listing
from carpool.model.manifest import Change, Entry, Kind

STATE = Path("/var/lib/carpool")
RULES = "table inet carpool_deeds { chain input { type filter hook input priority 0; }; }\n"


def main() -> None:
    scratch = Path(tempfile.mkdtemp(dir=STATE))
    files()
    check(scratch)
    rules(scratch)
    for argv in (("git", "init", "--quiet", f"{scratch}/history"), ("journalctl", "-n1")):
        subprocess.run(argv, check=True, timeout=20, stdout=subprocess.DEVNULL)
    assert [one.active for one in asyncio.run(services())] == [True]


def files() -> None:
    """Of anybody, anywhere in /etc."""
    directory = Path("/etc/carpool-deeds")
    directory.mkdir()
    os.chown(directory, 0, 1)
    directory.chmod(0o2750)  # as /etc/bind
    file = directory / "new"
    file.write_text("x")
    os.chown(file, 1, 1)
    file.chmod(0o2640)
    file.rename(directory / "file")
    with (directory / "file").open("a") as again:  # another user's
        again.write("y")


def check(scratch: Path) -> None:
    """A check of new files, which may do as other users do."""
    source = STATE / "staged"
    source.write_text("hello")
    new = Entry("/etc/carpool-check", Kind.FILE, 0o644, "root", "root", 5, "0" * 64)
    script = "grep hello /etc/carpool-check && setpriv --reuid 1 --clear-groups true"
    empty = scratch / "empty"
    empty.mkdir()
    result = run_check(["sh", "-c", script], [(Change(new.path, None, new), source)], scratch=empty)
    assert result.ok, result.output


def rules(scratch: Path) -> None:
    """Tried in a network namespace, then loaded."""
    file = scratch / "rules.nft"
    file.write_text(RULES)
    assert "carpool_deeds" in defined(file, Path("/"), scratch)
    assert attempt(file, Path("/"), scratch, {}).failure == ""
    assert "carpool_deeds" in listing()


async def services() -> list[ServiceState]:
    systemd = SystemdServices()
    try:
        return list(await systemd.states(["dbus"]))
    finally:
        await systemd.close()


if __name__ == "__main__":
    main()
