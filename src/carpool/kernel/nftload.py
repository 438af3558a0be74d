"""Load an nftables script in one transaction, over what is loaded, keeping what that has learned.

Room: kernel. Runs nft(8): what it makes of the script is nft's own affair. Refuses to decide what
of the ruleset stays (`machine/ruleset.py`), and who wants it.
"""

from __future__ import annotations

import glob
import os
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from carpool.errors import KernelError
from carpool.kernel.checkrun import ENVIRONMENT
from carpool.proto.nftlisting import TableName
from carpool.proto.nftscript import Clear, Clearing, Include, replaced

NFT_WAIT_S = 60.0  # 60,000 elements are listed in 2.4 s
INCLUDE_DEPTH_MAX = 16  # MAX_INCLUDE_DEPTH of nftables/include/parser.h
INCLUDES_MAX = 1000  # files that include each other by wildcards would be millions before it ends
INCLUDE_DIRECTORY = "/etc"  # where nft looks for relative names: its default -I
SAID_MAX = 2000  # characters of what nft said

# In a network namespace of its own: devices of these names, then the script, then what came of it.
_ALONE = 'ip -force -batch "$1" >/dev/null 2>&1; nft -f "$2" && exec nft list ruleset'


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of a load. `failure` is what nft said; then nothing was changed."""

    failure: str
    cleared: frozenset[TableName] = frozenset()  # by the script, also others' that it names


def defined(file: Path, root: Path, directory: Path) -> str:
    """What `file` defines by itself, as a listing: loaded in a network namespace without anything,
    but with devices that are called as ours are. Blocking. Raises KernelError.

    `root`: what absolute paths of includes are below. `directory` is for copies.
    """
    with _scratch(directory) as scratch:
        script = _Script(Path(scratch), root, {})
        links = Path(scratch, "links")
        # Of a type that every kernel knows; the name and the number are what scripts may ask for.
        found = [one for one in socket.if_nameindex() if one[1] != "lo"]
        lines = (f"link add name {name} index {index} type bridge\n" for index, name in found)
        links.write_text("".join(lines))
        argv = ("sh", "-c", _ALONE, "sh", str(links), str(script.main(file)))
        status, said, listed = _run("unshare", "--net", *argv)
        if status != 0:
            raise KernelError(
                f"nft does not load {file} by itself: {script.original(said)}",
                hint='with `services = ["nftables"]` in [section.nftables] the service reloads it, '
                "which keeps no dynamic sets",
            )
        return listed


def attempt(
    file: Path, root: Path, directory: Path, clearings: Mapping[TableName, Clearing]
) -> Attempt:
    """Load it, with other statements where it clears tables. Blocking. Raises KernelError when nft
    cannot be run, or a file not be read."""
    with _scratch(directory) as scratch:
        script = _Script(Path(scratch), root, clearings)
        status, said, _ = _run("nft", "-f", str(script.main(file)))
        if status != 0:
            return Attempt(script.original(said) or f"exit status {status}")
        return Attempt("", frozenset(script.done))


def listing() -> str:
    """The whole ruleset as nft prints it. Blocking. Raises KernelError."""
    return _answer("nft", "list", "ruleset")


def listing_json() -> str:
    """The same as JSON, without the elements of named sets. Blocking. Raises KernelError."""
    return _answer("nft", "--json", "--terse", "list", "ruleset")


def tables() -> set[TableName]:
    """All that are there. Blocking. Raises KernelError."""
    lines = (line.split() for line in _answer("nft", "list", "tables").splitlines())
    return {(words[1], words[2]) for words in lines if words[:1] == ["table"]}


def give(script: str, *, dry: bool = False) -> str:
    """Have nft do all of this script, or only check it; what it refuses it for, else nothing.
    Blocking. Raises KernelError when nft cannot be run."""
    checked = ("-c",) if dry else ()
    status, said, _ = _run("nft", *checked, "-f", "-", script=script)
    return "" if status == 0 else said.strip()[-SAID_MAX:] or f"exit status {status}"


def _scratch(directory: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".nft-", dir=directory)
    except OSError as error:
        raise KernelError(f"make a directory in {directory}: {error.strerror}") from error


@dataclass(slots=True)
class _Script:
    """Copies of a script and all that it includes, with other statements where it clears tables."""

    directory: Path
    root: Path
    clearings: Mapping[TableName, Clearing]
    done: set[TableName] = field(default_factory=set)  # what was cleared so far
    _copies: list[tuple[str, str]] = field(default_factory=list)  # where, and of what

    def main(self, file: Path) -> Path:
        """The script to give to nft."""
        main = self._copy(file, 0)
        after = [
            line
            for name in self.clearings
            if name in self.done
            for line in self.clearings[name].after
        ]
        with main.open("a", encoding="utf-8") as script:
            script.write("\n".join(["", *after, ""]))
        return main

    def original(self, said: str) -> str:
        """What nft said, with the names of the files that it is about."""
        for copy, of in reversed(self._copies):
            said = said.replace(copy, of)
        return said.strip()[-SAID_MAX:]

    def _copy(self, file: Path, depth: int) -> Path:
        if len(self._copies) > INCLUDES_MAX:
            raise KernelError(
                f"{self._copies[0][1]} includes files more than {INCLUDES_MAX} times",
                hint=f"do they include each other? {file} was the last one",
            )
        try:
            text = file.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            raise KernelError(f"read {file}: {error.strerror}") from error
        copy = self.directory / f"{len(self._copies)}.nft"
        self._copies.append((str(copy), str(file)))

        def instead(one: Clear | Include) -> str | None:
            if isinstance(one, Include):
                return self._included(one.pattern, depth + 1)
            return self._cleared(one)

        new = replaced(text, instead)
        copy.write_text(new, encoding="utf-8", errors="surrogateescape")
        return copy

    def _included(self, pattern: str, depth: int) -> str | None:
        """As nft finds them: all that fit, in order; one without wildcards must be there."""
        at = pattern if pattern.startswith(("/", ".")) else f"{INCLUDE_DIRECTORY}/{pattern}"
        full = os.path.join(self.root, at.lstrip("/") if at.startswith("/") else at)
        files = [one for one in sorted(glob.glob(full)) if os.path.isfile(one)]
        if depth > INCLUDE_DEPTH_MAX or (not files and not glob.has_magic(pattern)):
            return None  # nft says what is wrong
        return "; ".join(f'include "{self._copy(Path(one), depth)}"' for one in files)

    def _cleared(self, one: Clear) -> str | None:
        """What stands in place of a statement that clears tables."""
        if one.table is None:
            names = [name for name in self.clearings if one.family in (None, name[0])]
            fresh = [name for name in names if name not in self.done]
            self.done |= {*fresh}
            return "".join(self.clearings[name].statements for name in fresh)
        name = (one.family or "", one.table)
        again = name in self.done
        self.done.add(name)
        clearing = self.clearings.get(name)
        if clearing is None:
            return None
        if not again:
            return clearing.statements
        return "" if clearing.leaves else None


def _answer(*argv: str) -> str:
    status, said, listed = _run(*argv)
    if status != 0:
        raise KernelError(f"`{shlex.join(argv)}` failed: {said.strip()[-SAID_MAX:]}")
    return listed


def _run(*argv: str, script: str = "") -> tuple[int, str, str]:
    """Exit status, what it complained of, what it answered. `script` is on its stdin."""
    try:
        done = subprocess.run(
            argv,
            input=script.encode(),
            capture_output=True,
            timeout=NFT_WAIT_S,
            check=False,
            env=ENVIRONMENT,
            cwd="/",
        )
    except subprocess.TimeoutExpired as error:
        raise KernelError(f"`{shlex.join(argv)}` did not end in {NFT_WAIT_S:g} s") from error
    except OSError as error:
        hint = f"is {argv[0]} installed?"
        raise KernelError(f"cannot run {argv[0]}: {error.strerror}", hint=hint) from error
    return (
        done.returncode,
        done.stderr.decode(errors="replace"),
        done.stdout.decode(errors="replace"),
    )
