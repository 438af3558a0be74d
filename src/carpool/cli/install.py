"""`carpool install`: what a package would bring, for who installed carpool with pip or uv.

Room: cli. Writes the files of `files.py` and tells systemd; says each thing that it does, before it
does it. What an operator wrote (configuration, state) it neither makes nor removes.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import carpool
from carpool.api.clean import clean
from carpool.api.control import FAILOVER, Answer, status
from carpool.cli import setupundo
from carpool.cli.files import LOCAL, NEEDRESTART, VENDOR, files
from carpool.errors import EXIT_OK, CarpoolError, KernelError
from carpool.kernel.sysctlfile import path_below
from carpool.kernel.unitstate import BOOTED
from carpool.machine.outdated import lines, restart

PACKAGED = f"{VENDOR.units}/carpool.target"
WEB_USER = "carpool-web"  # of sysusers.conf
WEB_STATE = Path("/var/lib/carpool-web")  # of its unit
WAIT_S = 120.0  # a stop hands over before it ends
NEXT = """\
next: write /etc/carpool/node.toml and group.toml (man carpool has a pair to begin with), then
      carpool check && systemctl start carpool.target"""
OLDER = """\
failover runs on with the program that it was started with{}: it is MASTER of {}.
When it suits you (a peer takes over, no connection is lost):
{}"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `install` to the command line."""
    parser = subparsers.add_parser(
        "install",
        help="write units and man pages, after pip or uv",
        description="Write the units for systemd, man pages, shell completion and what else a "
        "package would bring, with the path of this installation, and enable carpool.target. "
        "Nothing starts before there is a configuration. Say it again after an upgrade.",
        allow_abbrev=False,
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument(
        "--remove",
        action="store_true",
        help="stop carpool and take away all that was written; configuration and state stay",
    )
    parser.add_argument(
        "--purge",
        action="store_true",
        help="as --remove, and configuration, keys and state, too",
    )
    parser.add_argument(
        "--upgraded",
        action="store_true",
        help="only restart what runs and may be: failover not where it is MASTER",
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="below another root, for who builds a package"
    )
    parser.add_argument(
        "--command",
        metavar="PATH",
        help="what the units start, where it is not this very installation",
    )


def run(args: argparse.Namespace) -> int:
    """KernelError for what cannot be written or done."""
    work = _Work(args.dry_run, args.root, args.command or command())
    if args.remove or args.purge:
        _remove(work, args)
        if args.purge:
            _purge(work, args)
        else:
            print(f"kept: {args.config_dir} and {args.state_dir}")
    elif args.upgraded:
        _restart(work, args.run_dir)
    else:
        _install(work, args.run_dir)
    return EXIT_OK


class _Work:
    """Says each deed, and does it unless it is only to be shown."""

    def __init__(self, dry: bool, root: Path | None, command: str) -> None:
        self.dry = dry
        self.command = command
        self.root = root or Path("/")
        self.staged = root is not None  # files alone: no systemd is there to be told
        self.layout = VENDOR if self.staged else LOCAL

    def write(self, name: str, text: str) -> None:
        path = self.root / name.lstrip("/")
        try:
            if path.is_file() and path.read_bytes() == text.encode():
                print(f"is there: {name}")
                return
            print(f"write {name}")
            if not self.dry:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
                path.chmod(0o644)
        except OSError as error:
            raise KernelError(f"write {path}: {error.strerror}", hint="this needs root") from error

    def remove(self, name: str) -> None:
        path = self.root / name.lstrip("/")
        try:
            if path.is_file():
                print(f"remove {name}")
                if not self.dry:
                    path.unlink()
                    self._tidy(path.parent)
        except OSError as error:
            raise KernelError(f"remove {path}: {error.strerror}", hint="this needs root") from error

    def _tidy(self, directory: Path) -> None:
        """What is left empty goes as well, up to places that a system has anyway."""
        layout = self.layout
        common = (layout.units, layout.tmpfiles, layout.share, layout.man)
        stay = [self.root / one.lstrip("/") for one in common]
        while directory not in (*stay, self.root) and not directory.is_symlink():
            if any(directory.iterdir()):
                return
            directory.rmdir()
            directory = directory.parent

    def clear(self, path: Path) -> None:
        """A directory and all that is in it."""
        if not path.is_dir():
            return
        print(f"remove {path}")
        try:
            if not self.dry:
                shutil.rmtree(path)
        except OSError as error:
            raise KernelError(f"remove {path}: {error.strerror}", hint="this needs root") from error

    def call(self, *argv: str, must: bool = True) -> None:
        """A program of systemd; none is called where systemd does not run."""
        if self.staged or not BOOTED.is_dir():
            return
        print(" ".join(argv))
        if self.dry:
            return
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=WAIT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KernelError(f"{argv[0]}: {error}") from error
        if done.returncode != 0 and must:
            raise KernelError(f"{' '.join(argv)}: {done.stderr.strip()[-500:]}")


def command() -> str:
    """What runs this very installation."""
    script = Path(sys.executable).with_name("carpool")
    return str(script) if script.is_file() else f"{sys.executable} -m carpool"


def _files(work: _Work) -> list[tuple[str, str]]:
    program = Path(carpool.__file__ if work.command == command() else work.command)
    found = files(work.layout, work.command, program)
    wanted = work.staged or Path(NEEDRESTART).parent.is_dir()
    return [(name, text) for name, text in found if wanted or name != NEEDRESTART]


def _install(work: _Work, run_dir: Path) -> None:
    if not work.staged and Path(PACKAGED).is_file():
        raise KernelError(
            f"carpool is installed as a package of the system: {PACKAGED} is there",
            hint="it brings all of this; or remove it first: apt remove carpool",
        )
    for name, text in _files(work):
        work.write(name, text)
    if work.staged:
        return
    work.call("systemd-sysusers", f"{work.layout.sysusers}/carpool.conf")
    work.call("systemd-tmpfiles", "--create", f"{work.layout.tmpfiles}/carpool.conf")
    work.call("systemctl", "daemon-reload")
    work.call("systemctl", "enable", "carpool.target", *_services())
    _restart(work, run_dir)
    print(NEXT)


def _remove(work: _Work, args: argparse.Namespace) -> None:
    work.call("systemctl", "disable", "--now", "carpool.target", *_services(), must=False)
    if not work.dry and not work.staged and BOOTED.is_dir():
        from carpool.cli import release

        release.run(argparse.Namespace(**{**vars(args), "process": None}))
    for name, _text in _files(work):
        work.remove(name)
    work.call("systemctl", "daemon-reload")


def _purge(work: _Work, args: argparse.Namespace) -> None:
    """What a purge of the Debian package takes, and no other thing."""
    if work.staged:
        return
    for path in (args.config_dir, args.state_dir, args.run_dir, WEB_STATE):
        work.clear(path)
    work.remove(str(path_below(work.root)))  # of `carpool doctor --fix`
    _close(work)
    for program in ("userdel", "groupdel"):  # the group goes with the user, or was there before
        if shutil.which(program):
            work.call(program, WEB_USER, must=False)


def _close(work: _Work) -> None:
    """The rule that `carpool setup` added to the operator's: until they are loaded anew it lets a
    peer come to ports on which nobody listens."""
    rules = work.root / setupundo.RULES_FILE
    try:
        if setupundo.is_touched(rules):
            print(f"take the rules of `carpool setup` out of {rules}")
            if not work.dry:
                setupundo.undo(rules)
    except (OSError, UnicodeDecodeError) as error:
        raise KernelError(f"change {rules}: {error}", hint="this needs root") from error
    for kept in setupundo.backups(rules):
        work.remove(str(kept.relative_to(work.root)))


def _restart(work: _Work, run_dir: Path) -> None:
    """What runs already is to run the new program, but no VIP moves for it."""
    work.call("systemctl", "try-reload-or-restart", "carpool-rules.service", must=False)
    work.call("systemctl", "try-restart", *_units("states", "agent", "web"))
    told = status(run_dir, FAILOVER)
    master = masters(told)
    if master is None:
        return
    if master:
        print(older(told, master))
    else:
        work.call("systemctl", "try-restart", "carpool-failover.service")


def masters(told: Answer | CarpoolError) -> list[str] | None:
    """Of which VIPs the node is MASTER; None: no failover answers."""
    vhosts = told.get("vhosts") if isinstance(told, dict) else None
    if not isinstance(vhosts, list):
        return None
    return [f"{one['vhid']}@{one['interface']}" for one in vhosts if one["state"] == "MASTER"]


def older(told: Answer | CarpoolError, master: list[str]) -> str:
    """What goes on with the old program, and how to end that."""
    version = told.get("version") if isinstance(told, dict) else None
    of = f" (carpool {clean(str(version))}; {carpool.__version__} is installed)" if version else ""
    command = "\n".join(f"      {line}" for line in lines(restart(FAILOVER, master=True)))
    return OLDER.format(of, ", ".join(master), command)


def _services() -> list[str]:
    return _units("failover", "states", "agent", "web", "rules")


def _units(*names: str) -> list[str]:
    return [f"carpool-{name}.service" for name in names]
