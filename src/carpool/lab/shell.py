"""The lab's hands: `ip`, `nft` and `sysctl` run as a person would, with their words kept in errors.

Room: lab. Knows commands, not topologies. Nothing here runs in the host's own network namespace
except `ip netns`: every other command names the namespace that it works in.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from carpool.errors import CarpoolError, KernelError

NETNS_DIR = Path("/run/netns")  # where iproute2 keeps the names, ip-netns(8)
COMMAND_TIMEOUT_S = 20.0
TOOLS = ("conntrack", "ip", "nft", "sysctl")
PACKAGES = "conntrack iproute2 nftables procps"


def require_tools() -> None:
    """Raise CarpoolError naming every program that the lab needs and this machine lacks."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise CarpoolError(
            f"the lab needs {', '.join(missing)}, which this machine does not have",
            hint=f"install {PACKAGES}",
        )


def run(argv: Sequence[str], text_in: str | None = None, wait_s: float = COMMAND_TIMEOUT_S) -> str:
    """Run one command to its end, give its output; KernelError with its own words if it fails."""
    try:
        done = subprocess.run(
            argv,
            input=text_in,
            stdin=subprocess.DEVNULL if text_in is None else None,
            capture_output=True,
            text=True,
            timeout=wait_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"`{' '.join(argv)}` did not end in {wait_s:.0f} s") from error
    except OSError as error:
        raise KernelError(
            f"cannot run `{argv[0]}`: {error.strerror}", hint=f"install {PACKAGES}"
        ) from error
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise KernelError(f"`{' '.join(argv)}` failed: {said}")
    return done.stdout


def inside(namespace: str, argv: Iterable[str]) -> list[str]:
    """The command line that runs `argv` inside a namespace."""
    return ["ip", "netns", "exec", namespace, *argv]


def ip(namespace: str, *args: str) -> str:
    return run(["ip", "-n", namespace, *args])


def ip_batch(namespace: str, lines: Iterable[str]) -> None:
    """Many `ip` commands in one process; stops at the first that fails."""
    run(["ip", "-n", namespace, "-batch", "-"], text_in="\n".join(lines) + "\n")


def nft(namespace: str, ruleset: str) -> None:
    """Load a ruleset, all or nothing."""
    run(inside(namespace, ["nft", "-f", "-"]), text_in=ruleset)


def sysctl(namespace: str, values: Mapping[str, int]) -> None:
    """Set sysctls of one namespace. Keys that are not per namespace do not belong here."""
    settings = [f"{key}={value}" for key, value in values.items()]
    run(inside(namespace, ["sysctl", "-qw", *settings]))


def namespace_exists(namespace: str) -> bool:
    return (NETNS_DIR / namespace).exists()
