"""All that `carpool setup` will change, to be shown first and done then.

Room: cli. Does what was confirmed, says each thing, and keeps what was there before.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from carpool.api import control
from carpool.cli import apply, setupundo
from carpool.cli.install import WAIT_S
from carpool.errors import CarpoolError, KernelError
from carpool.kernel import nftload, ownrules, sysctl, sysctlfile
from carpool.kernel.unitstate import BOOTED
from carpool.machine import textdiff
from carpool.machine.openings import Opening
from carpool.model.config import Config
from carpool.model.diagnosis import Setting
from carpool.model.finding import GROUP_FILE, NODE_FILE
from carpool.proto import ownrules as table

NFTABLES = setupundo.RULES_FILE
PROCESSES = ("rules", "failover", "states", "agent", "web")
UNITS = ("carpool.target", *(f"carpool-{name}" for name in PROCESSES))


@dataclass(frozen=True, slots=True)
class Plan:
    """What there will be. A file that is so already is not in `files`."""

    config: Config
    config_dir: Path
    root: Path
    files: dict[str, bytes]  # by name
    openings: list[Opening]
    settings: tuple[Setting, ...]
    warnings: tuple[str, ...] = ()

    @property
    def overwrites(self) -> list[str]:
        return [name for name in self.files if (self.config_dir / name).exists()]

    @property
    def rules_file(self) -> Path:
        return self.root / NFTABLES


def has_systemd() -> bool:
    return BOOTED.is_dir()


def shown(plan: Plan) -> Iterator[str]:
    """The summary, line by line."""
    for name in (NODE_FILE, GROUP_FILE):
        path = plan.config_dir / name
        if name not in plan.files:
            yield f"{path} stays as it is."
            continue
        old = path.read_bytes() if path.exists() else None
        secret = name == GROUP_FILE
        yield textdiff.unified(
            str(path), old, plan.files[name], secret=secret, passwords=secret
        ).text
    for name in plan.overwrites:
        yield f"{plan.config_dir / name} is kept as {_backup(plan.config_dir / name).name}."
    if plan.openings:
        yield "Inserted before your rules, now and at the end of /etc/nftables.conf:"
        yield from (f"    nft {one.command}" for one in plan.openings)
    for setting in plan.settings:
        yield f"sysctl {setting.key} = {setting.value}, now and for the next boots."
    yield "An nftables table of carpool's own, by which strangers are dropped:"
    yield from (f"    {line}" for line in table.text(plan.config).splitlines()[2:])
    if has_systemd():
        yield f"Units that are enabled and started: {', '.join(UNITS)}."
    else:
        yield "systemd does not run here: no process is started, but you are told how."
    yield from (f"Mind: {text}." for text in plan.warnings)


def do(plan: Plan) -> None:
    """All of it, in an order in which it can be begun again. Raises CarpoolError."""
    for name, content in plan.files.items():
        _write(plan.config_dir / name, content)
    if plan.settings:
        sysctlfile.remember(sysctlfile.path_below(plan.root), plan.settings)
        for setting in plan.settings:
            print(f"sysctl {setting.key} = {setting.value}")
            sysctl.write(setting.key, setting.value)
    if plan.openings:
        _open(plan)
    print(f"load table {table.FAMILY} {table.TABLE}")
    ownrules.run(table.text(plan.config))


def start(plan: Plan, run_dir: Path) -> bool:
    """The processes, or what is new for those that run; whether there are any. Raises
    CarpoolError."""
    runs = isinstance(control.status(run_dir, control.FAILOVER), dict)
    if runs and plan.files:
        print("the processes take it up: carpool apply")
        places = {"config_dir": plan.config_dir, "run_dir": run_dir}
        wish = {"dry_run": False, "force": False, "confirm_within": None, "settle": False}
        apply.run(argparse.Namespace(**places, **wish))
    if has_systemd():
        for words in (("enable", *UNITS), ("start", "carpool.target")):
            print(f"systemctl {' '.join(words)}")
            _systemctl(*words)
    return runs or has_systemd()


def by_hand(config: Config) -> str:
    """How processes are started where no systemd does it."""
    names = ["failover", "states", "agent"] if config.group.states else ["failover", "agent"]
    lines = [f"    carpool run {name} &" for name in names]
    return "\n".join(["systemd does not run here. Start the processes of this node:", *lines])


def _systemctl(*words: str) -> None:
    try:
        done = subprocess.run(
            ("systemctl", *words), capture_output=True, text=True, timeout=WAIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"systemctl {words[0]}: {error}") from error
    if done.returncode != 0:
        raise KernelError(
            f"systemctl {' '.join(words)}: {done.stderr.strip()[-500:]}",
            hint="are the units there? `carpool install` writes them; then `carpool setup` again",
        )


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; what was there stays beside it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            kept = _backup(path)
            print(f"keep {path} as {kept.name}")
            os.link(path, kept)
        print(f"write {path}")
        fresh = path.with_name(f".{path.name}.new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise KernelError(f"write {path}: {error.strerror}", hint="this needs root") from error


def _backup(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.name}.before-setup-{number}")).exists():
        number += 1
    return kept


# ------------------------------------------------------------------------- the operator's rules


def _open(plan: Plan) -> None:
    """Now, and for the next load of the operator's file where that defines the chains."""
    live = "".join(f"{one.command}\n" for one in plan.openings)
    print("insert into your rules:")
    print("".join(f"    nft {line}\n" for line in live.splitlines()), end="")
    ownrules.run(live)
    why = _remember(plan, live)
    if why:
        print(f"{plan.rules_file} is left alone: {why}. Write it where your rules are:")
        print(f"    {live.rstrip()}")


def _remember(plan: Plan, lines: str) -> str:
    """Put it at the end of the file; why that was not done, or ""."""
    path = plan.rules_file
    try:
        before = path.read_text(encoding="utf-8")
    except OSError as error:
        return str(error.strerror)
    except UnicodeDecodeError:
        return "it is no UTF-8"
    if lines in before:
        return ""
    end = "" if before.endswith("\n") else "\n"
    after = f"{before}{end}\n{setupundo.OURS}\n{lines}"
    fresh = path.with_name(f".{path.name}.carpool")
    try:
        fresh.write_text(after, encoding="utf-8")
        fresh.chmod(path.stat().st_mode & 0o7777)
        # Alone, as at a boot: the chains must come from this very file.
        nftload.defined(fresh, plan.root, plan.config_dir)
        ownrules.run(after, dry=True)
        kept = _backup(path)
        os.link(path, kept)
        os.replace(fresh, path)
    except CarpoolError as error:
        return f"with it, nft refuses the file ({error.message.splitlines()[0][:200]})"
    except OSError as error:
        return str(error.strerror)
    finally:
        fresh.unlink(missing_ok=True)
    print(f"write {path}; it is kept as {kept.name}")
    return ""
