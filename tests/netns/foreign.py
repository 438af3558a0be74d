"""Programs of other makers as peers: FRR's bfdd and BIRD, unpacked from Debian's packages.

Nothing is installed and no service of theirs is ever started on this machine: the packages are
downloaded by the machine's apt once, unpacked into a directory that is kept (debian.py says where),
and only the two programs are run, in namespaces of tests.
"""

from __future__ import annotations

import json
import shutil
import socket
from functools import cache
from pathlib import Path

from tests.netns.debian import kept, said
from tests.netns.lab import Namespace, wait_until

PACKAGES = ("frr", "bird2")
VTY_S = 5.0


@cache
def unpacked() -> Path:
    """The root of their files, with the libraries that this machine lacks."""

    def make(place: Path) -> None:
        archives = place / "archives"
        (archives / "partial").mkdir(parents=True)
        # Without locks: what is written is ours alone, and another apt may be at work here.
        options = (f"Dir::Cache::archives={archives}", "APT::Sandbox::User=root")
        ours = [word for option in (*options, "Debug::NoLocking=1") for word in ("-o", option)]
        for package in PACKAGES:
            there = ["apt-get", "-qq", "-y", *ours, "install", "--download-only", "--reinstall"]
            said([*there, "--no-install-recommends", package])
        for file in sorted(archives.glob("*.deb")):
            said(["dpkg-deb", "--extract", str(file), str(place)])
        shutil.rmtree(archives)

    return kept(f"foreign-{'-'.join(PACKAGES)}", make)


def libraries() -> dict[str, str]:
    """The environment in which the programs find their libraries."""
    found = {path.parent for path in unpacked().glob("usr/lib/*/**/*.so.*")}
    return {"LD_LIBRARY_PATH": ":".join(sorted(str(path) for path in found))}


class Bfdd:
    """FRR's bfdd on a host, without zebra: sessions by address, commands over its vty."""

    def __init__(self, host: Namespace, directory: Path, *lines: str) -> None:
        """`lines`: of its configuration, within `bfd`."""
        self.host = host
        self._vty = directory / "bfdd.vty"
        directory.mkdir()
        (directory / "bfdd.conf").write_text("\n".join(["bfd", *lines, "!", ""]))
        groups = Path("/etc/group").read_text().splitlines()
        others = [line for line in groups if not line.startswith("frrvty:")]
        (directory / "group").write_text("\n".join([*others, "frrvty:x:64999:root", ""]))
        program = unpacked() / "usr/lib/frr/bfdd"
        argv = [*("chrt", "--rr", "20", str(program), "-u", "root", "-g", "root", "-P", "0")]
        argv += ["-f", str(directory / "bfdd.conf"), "-i", str(directory / "pid")]
        argv += ["--vty_socket", str(directory), "-z", str(directory / "zserv")]
        argv += ["--bfdctl", str(directory / "control"), "--log", "stdout"]
        # It insists on a group of Debian's: seen by it alone, in the mounts of `ip netns exec`.
        bound = f'mount --bind {directory / "group"} /etc/group; exec "$@"'
        self.child = host.start("sh", "-ec", bound, "bfdd", *argv, env=libraries())

    def show(self) -> dict[str, dict[str, object]]:
        """What it knows of its sessions, by the peer's address."""
        if not self._vty.exists():
            return {}
        told = self.do("show bfd peers json")
        return {one["peer"]: one for one in json.loads(told[-1])}

    def do(self, *commands: str) -> list[str]:
        """Commands of its shell, after `enable`; what each printed."""
        answers = []
        with socket.socket(socket.AF_UNIX) as vty:
            vty.settimeout(VTY_S)
            vty.connect(str(self._vty))
            for command in ("enable", *commands):
                vty.sendall(command.encode() + b"\0")
                answer = b""
                while answer[-4:-1] != b"\0\0\0":  # and then the result
                    answer += vty.recv(65536)
                assert answer[-1] == 0, (command, answer)
                answers.append(answer[:-4].decode())
        return answers[1:]


class Bird:
    """BIRD on a host, with the BFD protocol alone."""

    def __init__(self, host: Namespace, directory: Path, bfd: str) -> None:
        """`bfd`: the body of `protocol bfd`."""
        directory.mkdir()
        lines = ["router id 10.1.1.3;", "protocol device {}", f"protocol bfd {{ {bfd} }}", ""]
        (directory / "bird.conf").write_text("\n".join(lines))
        self.host = host
        self._control = directory / "bird.ctl"
        program = unpacked() / "usr/sbin/bird"
        argv = ["chrt", "--rr", "20", str(program), "-f", "-c", str(directory / "bird.conf")]
        self.child = host.start(*argv, "-s", str(self._control), env=libraries())
        wait_until(self._control.exists)

    def do(self, *words: str) -> str:
        client = str(unpacked() / "usr/sbin/birdcl")
        return self.host.run(client, "-s", str(self._control), *words).stdout

    def states(self) -> dict[str, str]:
        """By the peer's address."""
        lines = [line.split() for line in self.do("show", "bfd", "sessions").splitlines()]
        return {words[0]: words[2] for words in lines if len(words) > 2 and words[1] == "lan0"}
