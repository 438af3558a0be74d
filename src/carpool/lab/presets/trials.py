"""`script/try-presets`: each preset held against its real packages; non-zero when one does not fit.

Room: lab. Each trial has a machine of its own: this one's files below an overlay in memory, in
namespaces of mounts and processes; packages are installed there and are gone with it. No service
starts (policy-rc.d), and only fetching packages sees the network.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import carpool
from carpool.api.sections import PRESETS
from carpool.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from carpool.lab.presets.trial import Result

TRIAL_TIMEOUT_S = 1500
SOURCES = Path(carpool.__file__).parents[1]
# $1: an empty directory; $2: lists and archives of apt, for all trials; $3, $4: sources and venv
OVERLAY = r"""
work=$1 apt=$2 sources=$3 venv=$4
shift 4
mount --make-rprivate /
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
root=$work/root
for directory in "$sources" "$venv"; do
    mkdir -p "$root$directory"
    mount --bind "$directory" "$root$directory"
    mount -o remount,bind,ro "$root$directory"
done
mkdir -p "$root/var/lib/apt/lists" "$root/var/cache/apt/archives"
mount --bind "$apt/lists" "$root/var/lib/apt/lists"
mount --bind "$apt/archives" "$root/var/cache/apt/archives"
cp --remove-destination "$(readlink -f /etc/resolv.conf)" "$root/etc/resolv.conf"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mkdir "$root/run/lock"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
exec chroot "$root" "$@"
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="script/try-presets", description=__doc__)
    known = sorted(path.stem for path in PRESETS.glob("*.toml"))
    parser.add_argument("name", nargs="*", help="of presets (all)")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    arguments = parser.parse_args(argv)
    strangers = sorted(set(arguments.name) - set(known))
    if strangers or os.geteuid() != 0:
        why = f"no preset: {', '.join(strangers)}" if strangers else "needs root"
        print(f"try-presets: {why}", file=sys.stderr)
        return EXIT_USAGE
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="carpool-presets-") as scratch:
        for part in ("overlay", "lists/partial", "archives/partial"):
            (Path(scratch) / part).mkdir(parents=True)
        for name in arguments.name or known:
            results.append(tried(name, Path(scratch), update=not results))
            print(line(results[-1]), file=sys.stderr if arguments.json else sys.stdout, flush=True)
    if arguments.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
    return EXIT_FAILED if any(result.failures for result in results) else EXIT_OK


def tried(name: str, scratch: Path, *, update: bool) -> Result:
    """The result of one trial on a machine of its own."""
    module = [sys.executable, "-m", "carpool.lab.presets.trial", name]
    words = ["sh", "-euc", 'apt-get -qq update; exec "$@"', "sh", *module] if update else module
    argv = [
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts"),
        *("sh", "-euc", OVERLAY, "overlay", str(scratch / "overlay"), str(scratch)),
        *(str(SOURCES), sys.prefix, *words),
    ]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=TRIAL_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result(name, failures=[f"did not end in {TRIAL_TIMEOUT_S} s"])
    if done.returncode:
        return Result(name, failures=[f"the trial itself failed: {done.stderr.strip()[-500:]}"])
    return Result(**json.loads(done.stdout.splitlines()[-1]))


def line(result: Result) -> str:
    """One row: verdict, name, check, whether it refuses, units; below it what failed."""
    verdict = "FAILED" if result.failures else "ok"
    check = f"{result.check}{' (sample)' if result.sample and result.check != 'none' else ''}"
    units = ", ".join(result.units) or "-"
    row = f"{verdict:6}  {result.name:24}  {check:11}  {result.refuses or '-':3}  {units}"
    rows = [row]
    if result.absent:
        rows.append(f"        absent, optional: {' '.join(result.absent)}")
    if result.role:
        rows.append(f"        role: {result.role}")
    rows += [f"        {failure}" for failure in result.failures]
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
