"""Processes that go on with an older program than the one that is installed, and what ends that.

Room: machine. Pure. Words for `carpool status`, `doctor` and `install --upgraded`.
"""

from __future__ import annotations

from collections.abc import Mapping

FAILOVER = "failover"
HANDOVER = "carpool maintenance on && {} && carpool maintenance off"


def outdated(versions: Mapping[str, str], installed: str) -> dict[str, str]:
    """Those of `versions` (by process) that are not of the version `installed`; "" is not told."""
    return {name: one for name, one in versions.items() if one and one != installed}


def restart(process: str, *, master: bool) -> str:
    """The command that has it run what is installed, without a lost connection."""
    command = f"systemctl restart carpool-{process}"
    return HANDOVER.format(command) if master and process == FAILOVER else command


def lines(command: str) -> list[str]:
    """The same in lines that a shell takes as one: what is copied from a narrow screen is whole."""
    return command.replace("&& ", "&&\n").split("\n")
