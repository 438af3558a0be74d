"""Users and groups by name, as their numbers differ between nodes.

Room: kernel. Asks the system's user database, each question once; make a new one for each errand,
as users come and go.
"""

from __future__ import annotations

import grp
import pwd
from functools import cache

from carpool.errors import KernelError

_ID_MAX = 2**32 - 2  # 2**32 - 1 is "leave it" to chown(2)


class Owners:
    """Names to numbers and back; "#123" is a number without a name."""

    def __init__(self) -> None:
        self.user = cache(_user)
        self.group = cache(_group)
        self._uid = cache(_uid)
        self._gid = cache(_gid)

    def uid(self, name: str, path: str) -> int:
        """The number of a user. Raises KernelError, which names `path` as what wants it."""
        return self._known(self._uid(name), "user", name, path)

    def gid(self, name: str, path: str) -> int:
        """The number of a group. Raises KernelError, which names `path` as what wants it."""
        return self._known(self._gid(name), "group", name, path)

    def _known(self, number: int | None, kind: str, name: str, path: str) -> int:
        if number is None:
            raise KernelError(
                f"{path} belongs to the {kind} {name!a}, whom this node does not have",
                hint=f"install what brings that {kind} here, too, or give the section an `owner`",
            )
        return number


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"#{gid}"


def _uid(name: str) -> int | None:
    if name.startswith("#"):
        return _number(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # ValueError: a NUL or no UTF-8 in it
        return None


def _gid(name: str) -> int | None:
    if name.startswith("#"):
        return _number(name)
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        return None


def _number(name: str) -> int | None:
    digits = name[1:]
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= len(str(_ID_MAX))):
        return None
    return int(digits) if int(digits) <= _ID_MAX else None
