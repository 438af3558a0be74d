"""One preset held against its real packages, on the machine that `trials.py` makes for it.

Room: lab. Installs, looks and runs the check: run there only. What it finds goes to
stdout as one line of JSON.
"""

from __future__ import annotations

import glob
import json
import os
import platform
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from carpool.api.sections import PRESETS, load_sections
from carpool.lab.presets.samples import BACKPORTED, ROLES, SAMPLES, SPOILS
from carpool.model.section import OnChange, Section, Service

APT_TIMEOUT_S = 600
ROLE_TIMEOUT_S = 200
UNIT_DIRECTORIES = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
APT = (
    *("apt-get", "-qq", "-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"),
    *("-o", "Dpkg::Options::=--force-confmiss", "-o", "Dpkg::Options::=--force-confnew"),
    *("-o", "APT::Sandbox::User=root"),
)


@dataclass(slots=True)
class Result:
    """What a trial found; `failures` are what has to be mended in the preset."""

    name: str
    packages: str = ""  # versions
    check: str = "none"  # ok, failed, none
    refuses: str = ""  # yes, NO: whether it refuses a spoiled file; "" where none is known
    sample: bool = False  # checked with a configuration of ours, as the package ships none
    units: list[str] = field(default_factory=list)  # of each service: name and how it takes changes
    role: str = ""  # what was measured of it in both roles; "" where that is not tried
    absent: list[str] = field(default_factory=list)  # paths that the packages do not bring
    failures: list[str] = field(default_factory=list)


def main(argv: Sequence[str]) -> int:
    name = argv[0]
    result = Result(name)
    trial(result)
    print(json.dumps(asdict(result)))
    return 0


def trial(result: Result) -> None:
    """Install, then hold everything that the preset says against what is there."""
    sections, problems = load_sections(Path("/nowhere"))
    result.failures += [str(problem) for problem in problems]
    if result.name not in sections:
        return
    section = sections[result.name]
    if not install(packages_of(result.name), result):
        return
    result.failures += [f"no {path}" for path in section.installed if not Path(path).exists()]
    for path, text in SAMPLES.get(result.name, {}).items():
        result.sample = True
        write(Path(path), text)
    result.absent = [path for path in section.paths if not Path(path).exists()]
    if len(result.absent) == len(section.paths):
        result.failures.append("none of its paths is there")
    for service in section.services:
        judge_service(service, result)
    if result.name in ROLES and not result.failures:
        judge_role(result)
    if section.check:
        judge_check(section, result)


def packages_of(name: str) -> list[str]:
    content = tomllib.loads((PRESETS / f"{name}.toml").read_text())
    return [str(package) for package in (*content.get("packages", ()), *ROLES.get(name, ()))]


def install(packages: Sequence[str], result: Result) -> bool:
    """Fetch with the network, install without: no maintainer script touches the real one."""
    if not packages:
        return True
    release = []
    if result.name in BACKPORTED:
        release = ["--target-release", backports()]
    steps = (
        [*APT, *release, "--reinstall", "--download-only", "install", *packages],
        ["unshare", "--net", *APT, *release, "--reinstall", "--no-download", "install", *packages],
    )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in steps:
        done = subprocess.run(
            step,
            capture_output=True,
            text=True,
            timeout=APT_TIMEOUT_S,
            env=environment,
            check=False,
        )
        if done.returncode:
            result.failures.append(f"cannot install: {last_words(done)}")
            return False
    versions = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    result.packages = ", ".join(versions.splitlines())
    return True


def backports() -> str:
    """Let apt know the backports of this release, from where it has all else; their suite."""
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    targets = ["apt-get", "indextargets", "--format", "$(SITE)", f"Codename: {codename}"]
    sites = subprocess.run(targets, capture_output=True, text=True, check=True).stdout.split()
    suite = f"{codename}-backports"
    write(Path("/etc/apt/sources.list.d/trial.list"), f"deb {sites[0]} {suite} main\n")
    subprocess.run([*APT, "update"], capture_output=True, timeout=APT_TIMEOUT_S, check=True)
    return suite


def judge_role(result: Result) -> None:
    """It must take up the role of its node, with the programs that it really runs."""
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "carpool.lab.presets.roletrial", result.name],
        capture_output=True,
        text=True,
        timeout=ROLE_TIMEOUT_S,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        result.failures.append(f"role: {last_words(done)}")
    else:
        result.role = done.stdout.strip()


def judge_check(section: Section, result: Result) -> None:
    """The check must take what is shipped, and should refuse what is spoiled."""
    done = check(section)
    result.check = "failed" if done.returncode else "ok"
    if done.returncode:
        result.failures.append(f"check: {last_words(done)}")
    elif result.name in SPOILS:
        path, text = SPOILS[result.name]
        with Path(path).open("a") as stream:
            stream.write(text)
        result.refuses = "yes" if check(section).returncode else "NO"
        if result.refuses == "NO":
            result.failures.append(f"check takes a spoiled {path}")


def check(section: Section) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "--net", *section.check],
        capture_output=True,
        text=True,
        timeout=section.check_timeout_s,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def judge_service(service: Service, result: Result) -> None:
    template = service.name.partition("@")[0] + "@"
    names = dict.fromkeys((service.name, template if "@" in service.name else service.name))
    found = (u for d in UNIT_DIRECTORIES for n in names for u in glob.glob(f"{d}/{n}.service"))
    unit = next(found, "")
    script = Path("/etc/init.d", service.name)
    if not unit and not script.exists():
        result.failures.append(f"no unit {service.name}.service")
        return
    text = Path(unit).read_text() if unit else ""
    reloads = "\nExecReload=" in text if unit else "reload" in script.read_text()
    kind = "" if unit else " (init script)"
    result.units.append(f"{service.name}{kind}: {service.deed}")
    if service.on_change is OnChange.RELOAD and not reloads:
        result.failures.append(f"{service.name} has no reload")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600 if "wireguard" in str(path) else 0o644)


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return f"exit {done.returncode}: {' | '.join(lines[-4:])}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
