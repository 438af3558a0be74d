"""Who may use the pages: names, roles and passwords, in one file of this node.

Room: web. Passwords are kept as argon2id; refuses to know sessions and HTTP. The file is replaced
as a whole, so it is never half of anything.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from pathlib import Path
from threading import Lock

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from carpool.errors import CarpoolError, ConfigError

FILE = "accounts.json"  # in the state directory of the web process
VERSION = 1
FIRST = "admin"
ACCOUNTS_MAX = 100
# Of argon2id, as OWASP's Password Storage Cheat Sheet has it: 64 MiB are too much of a firewall's
# memory, and more rounds weigh up for that.
TIME_COST, MEMORY_KIB, PARALLELISM = 3, 12 * 1024, 1
PASSWORD_MIN, PASSWORD_MAX = 12, 256  # characters; NIST SP 800-63B asks for length, not for kinds
NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}", re.ASCII)
NAME_RULE = "a lower-case letter, then up to 31 of a-z 0-9 . _ -"


class Role(IntEnum):
    """Each may what those below it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    role: Role
    password: str  # argon2id, as PHC string
    one_time: bool = False  # good for one login, in which another one is set


def one_time_password() -> str:
    """64 bits, easy to read out and to type."""
    return "-".join(secrets.token_hex(2) for _ in range(4))


class Accounts:
    """May be asked by several threads. `hasher` for tests that try many: its default takes some
    35 ms and 12 MiB by intent."""

    def __init__(self, directory: Path, hasher: PasswordHasher | None = None) -> None:
        self._path = directory / FILE
        self._hasher = hasher or PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM)
        self._accounts: dict[str, Account] = {}
        self._verifying = Lock()
        self._lock = Lock()  # around what looks first and then changes
        self._nobody = self._hasher.hash("nobody has this password")

    def open(self, random_word: Callable[[], str]) -> str:
        """Read the file; with none there, make the first account, and return its one-time password.
        Raises ConfigError for a file that cannot be used: nobody is let in by chance."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            password = random_word()
            self._keep(Account(FIRST, Role.ADMIN, self._hasher.hash(password), one_time=True))
            return password
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}") from error
        self._accounts = {one.name: one for one in self._read(text)}
        return ""

    def find(self, name: str) -> Account | None:
        return self._accounts.get(name)

    def all(self) -> list[Account]:
        return sorted(self._accounts.values(), key=lambda one: one.name)

    def check(self, name: str, password: str) -> Account | None:
        """The account, if that is its password. It takes as long for a name that nobody has."""
        account = self._accounts.get(name)
        try:
            with self._verifying:  # one at a time: each takes 12 MiB
                self._hasher.verify(account.password if account else self._nobody, password)
        except (VerificationError, InvalidHashError):
            return None
        return account

    def add(self, name: str, role: Role, password: str) -> None:
        """Its password is good for one login. Raises CarpoolError."""
        if not NAME.fullmatch(name):
            raise CarpoolError(f"{name[:64]!r} is no name of an account", hint=NAME_RULE)
        digest = self._hasher.hash(password)
        with self._lock:
            if name in self._accounts:
                raise CarpoolError(f"there is an account {name} already")
            if len(self._accounts) >= ACCOUNTS_MAX:
                raise CarpoolError(f"there are {ACCOUNTS_MAX} accounts already", hint="remove one")
            self._keep(Account(name, role, digest, one_time=True))

    def set_password(self, name: str, password: str) -> None:
        """Raises CarpoolError for one that is too short."""
        if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
            raise CarpoolError(
                f"a password of {len(password)} characters",
                hint=f"{PASSWORD_MIN} to {PASSWORD_MAX} are expected: some words are easy to type",
            )
        self._set_digest(name, password, one_time=False)

    def renew(self, name: str, password: str) -> None:
        """For who forgot theirs: it is good for one login. Raises CarpoolError."""
        self._set_digest(name, password, one_time=True)

    def set_role(self, name: str, role: Role) -> None:
        """Raises CarpoolError for the last admin."""
        with self._lock:
            account = self._known(name)
            if role is not Role.ADMIN:
                self._check_not_last(name)
            self._keep(replace(account, role=role))

    def remove(self, name: str) -> None:
        """Raises CarpoolError for the last admin."""
        with self._lock:
            self._known(name)
            self._check_not_last(name)
            self._write({key: one for key, one in self._accounts.items() if key != name})

    def _set_digest(self, name: str, password: str, *, one_time: bool) -> None:
        digest = self._hasher.hash(password)
        with self._lock:
            self._keep(replace(self._known(name), password=digest, one_time=one_time))

    def _known(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            raise CarpoolError(f"there is no account {name[:64]!r}")
        return account

    def _check_not_last(self, name: str) -> None:
        if not any(one.role is Role.ADMIN for one in self._accounts.values() if one.name != name):
            raise CarpoolError(f"{name} is the last admin", hint="make somebody else one first")

    def _keep(self, account: Account) -> None:
        self._write({**self._accounts, account.name: account})

    def _write(self, accounts: dict[str, Account]) -> None:
        rows = [{**asdict(one), "role": one.role.word} for one in accounts.values()]
        text = json.dumps({"version": VERSION, "accounts": rows}, indent=1)
        fresh = self._path.with_suffix(".new")
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            raise CarpoolError(f"{self._path}: {error.strerror}", hint="nothing changed") from error
        self._accounts = accounts

    def _read(self, text: str) -> list[Account]:
        try:
            told = json.loads(text)
            if told["version"] != VERSION:
                raise ValueError(f"version {told['version']!r}, expected {VERSION}")
            return [
                Account(
                    str(row["name"]),
                    Role[str(row["role"]).upper()],
                    str(row["password"]),
                    one_time=bool(row["one_time"]),
                )
                for row in told["accounts"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            hint = f"remove {self._path}: the next start makes the account {FIRST} anew"
            raise ConfigError(f"{self._path}: no accounts in it: {error}", hint=hint) from error
