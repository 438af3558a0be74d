"""Who may use the pages: names, roles, passwords, second factors, tokens; in one file.

Room: web. Passwords are kept as argon2id; refuses to know sessions and HTTP. The file is replaced
as a whole, so it is never half of anything; `carpool account` may replace it, too, while the pages
run.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from carpool.errors import CarpoolError, ConfigError
from carpool.web import passkeys, second, tokens
from carpool.web.passkeys import Passkey
from carpool.web.role import Role as Role
from carpool.web.second import Second
from carpool.web.tokens import Token

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


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    role: Role
    password: str  # argon2id, as PHC string
    one_time: bool = False  # good for one login, in which another one is set
    tokens: tuple[Token, ...] = ()
    second: Second | None = None  # asked for after the password
    passkeys: tuple[Passkey, ...] = ()  # each in place of password and second factor


def without_second(account: Account) -> Account:
    """Passkeys go with it: nobody has them and no other way in."""
    return replace(account, second=None, passkeys=())


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
        self._seen: tuple[int, int] | None = None  # the file that we know
        self._verifying = Lock()
        self._lock = Lock()  # around what looks first and then changes
        self._nobody = self._hasher.hash("nobody has this password")

    def open(self, random_word: Callable[[], str]) -> str:
        """Read the file; with none there, make the first account, and return its one-time password.
        Raises ConfigError for a file that cannot be used: nobody is let in by chance."""
        if not self._path.exists():
            password = random_word()
            self._keep(Account(FIRST, Role.ADMIN, self._hasher.hash(password), one_time=True))
            return password
        self._load()
        return ""

    def refresh(self) -> list[str]:
        """Read the file again if somebody else wrote it: `carpool account`. The names of those
        who have another password now, or are gone. Raises ConfigError."""
        with self._lock:
            before = self._accounts
            if self._identity() in (self._seen, None):  # without a file, what we know counts
                return []
            self._load()
            digests = {name: one.password for name, one in self._accounts.items()}
            return [name for name, one in before.items() if digests.get(name) != one.password]

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

    def change(self, name: str, change: Callable[[Account], Account]) -> Account:
        """What it is now. `change` may raise CarpoolError, and then nothing changed."""
        with self._lock:
            account = change(self._known(name))
            self._keep(account)
            return account

    def by_token(self, text: str, wall_s: float) -> tuple[Account, Token] | None:
        """Whose token that is, if it counts. Takes as long for any answer, but for how many there
        are: nobody finds 256 bits by time."""
        digest = tokens.digest_of(text)
        for account in self._accounts.values():
            token = tokens.found(account.tokens, digest, wall_s)
            if token is not None:
                return account, token
        return None

    def by_passkey(self, key: str) -> tuple[Account, Passkey] | None:
        for account in self._accounts.values():
            for one in account.passkeys:
                if one.id == key:
                    return account, one
        return None

    def used(self, account: Account, token: Token, wall_s: float) -> None:
        """Remember it, now and then. Raises CarpoolError."""
        if wall_s - token.used_s < tokens.USED_EVERY_S:
            return

        def change(now: Account) -> Account:
            fresh = [
                replace(one, used_s=int(wall_s)) if one.digest == token.digest else one
                for one in now.tokens
            ]
            return replace(now, tokens=tuple(fresh))

        self.change(account.name, change)

    def take_code(self, name: str, code: str, wall_s: float) -> bool:
        """Whether it is a code of that account; it never is again. What cannot be written is
        remembered all the same: a full disk keeps nobody out. A recovery code is good only if it
        can be written: raises CarpoolError."""
        with self._lock:
            account = self._known(name)
            left = account.second.after(code, wall_s) if account.second else None
            if left is None or account.second is None:
                return False
            try:
                self._keep(replace(account, second=left))
            except CarpoolError:
                if left.recovery != account.second.recovery:
                    raise
                self._accounts = {**self._accounts, name: replace(account, second=left)}
            return True

    def set_password(self, name: str, password: str) -> None:
        """Raises CarpoolError for one that is too short."""
        if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
            raise CarpoolError(
                f"a password of {len(password)} characters",
                hint=f"{PASSWORD_MIN} to {PASSWORD_MAX} are expected: some words are easy to type",
            )
        digest = self._hasher.hash(password)
        self.change(name, lambda one: replace(one, password=digest, one_time=False))

    def renew(self, name: str, password: str) -> None:
        """For who forgot theirs: it is good for one login. Tokens end, as whoever made them may be
        another one; the second factor stays. Raises CarpoolError."""
        digest = self._hasher.hash(password)
        self.change(name, lambda one: replace(one, password=digest, one_time=True, tokens=()))

    def reset(self, name: str, password: str) -> None:
        """For who lost everything: a one-time password is all that is left. Raises CarpoolError."""
        digest = self._hasher.hash(password)
        self.change(name, lambda one: Account(one.name, one.role, digest, one_time=True))

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
        if self._identity() not in (self._seen, None):
            hint = "`carpool account` did it a moment ago: try again"
            raise CarpoolError("somebody else changed the accounts", hint=hint)
        rows = [asdict(one, dict_factory=_row) for one in accounts.values()]
        text = json.dumps({"version": VERSION, "accounts": rows}, indent=1)
        fresh = self._path.with_suffix(".new")
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            if os.geteuid() == 0 and self._path.exists():  # root's, for a process that is not
                owner = self._path.stat()
                os.chown(fresh, owner.st_uid, owner.st_gid)
            fresh.replace(self._path)
        except OSError as error:
            raise CarpoolError(f"{self._path}: {error.strerror}", hint="nothing changed") from error
        self._accounts, self._seen = accounts, self._identity()

    def _identity(self) -> tuple[int, int] | None:
        """Of the file that is there: who writes it makes another one."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _load(self) -> None:
        self._seen = self._identity()
        try:
            text = self._path.read_text()
            told = json.loads(text)
            if told["version"] != VERSION:
                raise ValueError(f"version {told['version']!r}, expected {VERSION}")
            self._accounts = {one.name: one for one in map(_account, told["accounts"])}
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            hint = f"remove {self._path}: the next start makes the account {FIRST} anew"
            raise ConfigError(f"{self._path}: no accounts in it: {error}", hint=hint) from error


def _row(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    return {key: one.word if isinstance(one, Role) else one for key, one in pairs}


def _account(row: Mapping[str, object]) -> Account:
    """Files of before have no tokens, second factor or passkeys. Raises KeyError, ValueError or
    TypeError."""
    told, keys, factor = row.get("tokens", []), row.get("passkeys", []), row.get("second")
    if not isinstance(told, list) or not isinstance(keys, list):
        raise TypeError("tokens or passkeys is no list")
    if not isinstance(factor, Mapping | None):
        raise TypeError("second is no object")
    return Account(
        str(row["name"]),
        Role[str(row["role"]).upper()],
        str(row["password"]),
        one_time=bool(row["one_time"]),
        tokens=tuple(map(tokens.read, told)),
        passkeys=tuple(map(passkeys.read, keys)),
        second=None if factor is None else second.read(factor),
    )
