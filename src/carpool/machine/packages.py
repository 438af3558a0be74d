"""What apt says, as values: what it would upgrade, what it kept, why it failed.

Room: machine. Pure: the words of `apt-get` under LC_ALL=C in, values out (apt 2.6 and 3.0: Debian
12 and 13). It believes no text: all of it is bounded and shown by whoever cleans it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PACKAGES_MAX = 5000
LINES_MAX = 8  # of a failure
# `Inst bash [5.2.15-2+b8] (5.2.15-2+b13 Debian:12.15/oldstable [amd64]) []`
_INST = re.compile(
    r"Inst (?P<name>[^\s]{1,256})(?: \[(?P<old>[^\]]{0,256})\])?"
    r" \((?P<new>[^\s)]{1,256})(?P<origins>[^\[)]{0,1000})(?:\[[^\]]*\])?\)"
)
_LEFT = ("The following packages have been kept back:", "Not upgrading:")
_FILE = re.compile(r"Configuration file '([^']{1,1000})'")
_KEEPS = re.compile(r"==> Keeping (?:old|the) (?:old )?config")
_NUMBERS = re.compile(r"(\d+)")
_SECURITY = "-security"
_HELD = "Waiting for cache lock:"


@dataclass(frozen=True, slots=True)
class Package:
    """One that would be upgraded; `old` is "" of one that comes with another."""

    name: str
    old: str
    new: str
    origins: tuple[str, ...]  # `Debian-Security:12/stable-security`

    @property
    def is_security(self) -> bool:
        """By who made it, `Debian-Security:...`, or the suite: `Ubuntu:22.04/jammy-security`."""
        lower = [one.lower() for one in self.origins]
        return any(
            end.endswith(_SECURITY)
            for one in lower
            for end in (one.partition(":")[0], one.rpartition("/")[2])
        )


@dataclass(frozen=True, slots=True)
class Pending:
    """`left`: what has an update that takes a decision: it is held, or another one would go."""

    packages: tuple[Package, ...] = ()
    left: tuple[str, ...] = ()


def pending(text: str) -> Pending:
    """Of `apt-get -s upgrade --with-new-pkgs`."""
    found = [one for line in text.splitlines() if (one := _package(line)) is not None]
    return Pending(tuple(found[:PACKAGES_MAX]), tuple(_left(text))[:PACKAGES_MAX])


def _package(line: str) -> Package | None:
    match = _INST.match(line)
    if match is None:
        return None
    origins = tuple(one.strip() for one in match["origins"].split(",") if one.strip())
    return Package(match["name"], match["old"] or "", match["new"], origins)


def _left(text: str) -> Iterator[str]:
    listing = False
    for line in text.splitlines():
        if line in _LEFT:
            listing = True
        elif listing and line.startswith(" "):
            yield from line.split()
        else:
            listing = False


def kept_files(text: str) -> list[str]:
    """Files of configuration of which a package had a newer one, and dpkg kept the one here."""
    found: dict[str, None] = {}
    file = ""
    for line in text.splitlines():
        if match := _FILE.match(line.strip()):
            file = match[1]
        elif file and _KEEPS.search(line):
            found[file] = None
            file = ""
    return list(found)


def failure(text: str) -> str:
    """Why apt failed, in its own last words: its errors, or else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E: ", "dpkg: error"))]
    if any(line.startswith("E: Unable to acquire") for line in errors):
        errors += [line for line in lines if line.startswith(_HELD)]  # by whom
    return "\n".join(dict.fromkeys(errors[-LINES_MAX:] or lines[-1:]))


def advice(error: str) -> str:
    """What to do about a failure."""
    if "Could not get lock" in error or "Unable to acquire" in error:
        return "another apt is at work there: wait until it has ended, then ask again"
    if "dpkg --configure -a" in error:
        return "an upgrade was cut short there: `dpkg --configure -a` on it mends that"
    if "Failed to fetch" in error or "Unable to fetch" in error:
        return "does it reach its mirror? `apt-get update` on it tells more"
    if "don't have enough free space" in error:
        return "make room there: `apt-get clean`, `journalctl --vacuum-size=100M`"
    return "look at its output above, and at /var/log/apt/term.log there"


def newer_kernel(running: str, installed: Iterable[str]) -> str:
    """The release of a newer kernel of the same kind that a boot would start; "" if none."""
    kind = _kind(running)
    alike = [one for one in installed if _kind(one) == kind]
    best = max(alike, key=_ordered, default=running)
    return best if _ordered(best) > _ordered(running) else ""


def _kind(release: str) -> str:
    """`amd64`, `cloud-amd64`, of `6.1.0-35-amd64`."""
    return release.lstrip("0123456789.-+debu~rct")


def _ordered(release: str) -> list[tuple[int, int | str]]:
    parts = [one for one in _NUMBERS.split(release) if one]
    return [(1, int(one)) if one.isdigit() else (0, one) for one in parts]
