"""The units of `carpool install`, started by a real systemd in a machine of the test's own."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carpool.cli import files
from tests.netns.lab import wait_until
from tests.netns.machine import CHECKOUT, SEEN, Machine, Refused

PROCESSES = ("failover", "states", "agent", "web")
NODE = """name = "fw1"
[interface]
lan = "lan0"
[address]
lan = "10.10.1.2"
[peer.fw2.address]
lan = "10.10.1.3"
"""
GROUP = """name = "test"
[[vip]]
interface = "lan"
vhid = 51
password = "secret"
addresses = ["10.10.1.1/24"]
[states]
interface = "lan"
encryption = "none"
[sync]
interface = "lan"
"""
LAN = "ip link set lo up && ip link add lan0 type veth peer name other0 && ip link set other0 up "
LAN += "&& ip link set lan0 up && ip address add 10.10.1.2/24 dev lan0"
VIP = "10.10.1.1"
PAGES = "10.10.1.2:8443"
ASK = f"""import ssl, urllib.request
context = ssl._create_unverified_context()
print(urllib.request.urlopen("https://{PAGES}/login", context=context, timeout=20).read())"""
DROP_IN = f"[Unit]\nDefaultDependencies=no\n[Service]\nEnvironment=PYTHONPATH={SEEN}/src\n"


def python() -> str:
    """Ours, as it is called in there."""
    here = Path(sys.executable)
    return f"{SEEN}/{here.relative_to(CHECKOUT)}" if here.is_relative_to(CHECKOUT) else str(here)


def units() -> dict[str, str]:
    found = {}
    for name, text in files.files(files.LOCAL, f"{python()} -m carpool", Path("/usr")):
        if name.startswith(files.LOCAL.units):
            unit = Path(name).name
            found[unit] = text
            if unit.endswith(".service"):
                found[f"{unit}.d/test.conf"] = DROP_IN
    found["carpool.target.d/test.conf"] = "[Unit]\nDefaultDependencies=no\n"
    # The agent's sandbox around what it does: with another command, and without an end to wait for.
    agent = re.sub(
        "^(Type|ExecStart|Restart|WatchdogSec|Condition.*)=.*\n",
        "",
        found["carpool-agent.service"],
        flags=re.M,
    )
    does = f"Type=oneshot\nExecStart={python()} {SEEN}/tests/netns/agent_deeds.py"
    found["deeds.service"] = agent.replace("[Service]", f"[Service]\n{does}")
    found["deeds.service.d/test.conf"] = DROP_IN
    return found


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    try:
        with Machine(tmp_path, units()) as made:
            made.booted()
            made.run("sh", "-c", LAN)
            made.run("systemd-sysusers", f"{SEEN}/packaging/sysusers.conf")
            yield made
    except Refused as error:
        pytest.skip(f"no machine of our own: {error}")


def configure(machine: Machine, group: str = GROUP) -> None:
    machine.run("mkdir", "-p", "-m", "700", "/etc/carpool")
    (machine.root / "etc/carpool/node.toml").write_text(NODE)
    (machine.root / "etc/carpool/group.toml").write_text(group)


def shown(machine: Machine, process: str, *names: str) -> dict[str, str]:
    """Properties of a unit."""
    asked = machine.run(
        "systemctl", "show", f"carpool-{process}.service", *(f"--property={name}" for name in names)
    )
    return dict(line.split("=", 1) for line in asked.stdout.splitlines())


def becomes(machine: Machine, process: str, wanted: str) -> None:
    wait_until(lambda: state(machine, process) == wanted, 60, f"{process} is {wanted}")


def state(machine: Machine, process: str) -> str:
    return shown(machine, process, "ActiveState")["ActiveState"]


def carpool(machine: Machine, *words: str) -> str:
    environment = ("env", f"PYTHONPATH={SEEN}/src")
    return machine.run(*environment, python(), "-m", "carpool", *words).stdout


def failover(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(carpool(machine, "status", "--json"))["failover"]
    return found


def owns(machine: Machine) -> bool:
    return VIP in machine.run("ip", "-o", "address", "show", "up").stdout


def journal(machine: Machine) -> str:
    return machine.run("journalctl", "--no-pager", "--quiet", check=False).stdout


def is_journalled(machine: Machine, words: str) -> None:
    """The journal is written by another process, in its own time."""
    wait_until(lambda: words in journal(machine), 20, f"the journal has {words!r}")


@pytest.mark.timeout(120)
def test_a_node_from_nothing_to_master_killed_and_stopped(machine: Machine) -> None:
    machine.run("systemctl", "start", "carpool.target")
    assert {state(machine, process) for process in PROCESSES} == {"inactive"}  # not configured
    configure(machine)
    machine.run("systemctl", "start", "carpool.target")
    for process in PROCESSES:
        becomes(machine, process, "active")
    wait_until(lambda: owns(machine), 20, "it is master")
    wait_until(
        lambda: "master of all" in shown(machine, "failover", "StatusText")["StatusText"],
        10,
        "systemd knows that it is master",
    )
    said = journal(machine)
    assert "no real-time priority" not in said and "memory is not locked" not in said, said
    modes = machine.run("stat", "-c", "%a", "/etc/carpool", "/run/carpool", "/var/lib/carpool")
    assert modes.stdout.split() == ["700", "711", "700"]
    beside = "-mindepth 1 -not -path /run/carpool/web* -printf %f:%m:%U:%G\\n"
    found = machine.run("find", "/run/carpool", *beside.split()).stdout.split()
    assert "agent.sock:600:0:0" in found
    assert {one.partition(":")[2] for one in found} == {"600:0:0"}, found
    door = ("/run/carpool/web", "/run/carpool/web/agent.sock")
    told = machine.run("stat", "-c", "%a:%U:%G", *door).stdout.split()
    assert told == ["750:root:carpool-web", "660:root:carpool-web"]

    seen = ("nsenter", "-m", "-t", shown(machine, "failover", "MainPID")["MainPID"], "--")
    for directory in ("/etc/carpool", "/run/carpool", "/var/lib/carpool"):  # a change is put back
        machine.run(*seen, "sh", "-c", f"touch {directory}/new && rm {directory}/new")
    assert machine.run(*seen, "touch", "/etc/new", check=False).returncode != 0

    machine.run("systemctl", "restart", "carpool-states.service")  # leaves failover's socket there
    assert failover(machine)["role"] == "MASTER"

    before = shown(machine, "failover", "MainPID")["MainPID"]
    machine.run("systemctl", "kill", "--kill-whom=all", "--signal=KILL", "carpool-failover.service")
    wait_until(
        lambda: (
            shown(machine, "failover", "MainPID")["MainPID"] not in (before, "0")
            and state(machine, "failover") == "active"
        ),
        20,
        "systemd has started it again",
    )
    is_journalled(machine, f"taken away: address {VIP}")
    wait_until(lambda: owns(machine), 20, "it is master again")

    machine.run("systemctl", "stop", "carpool.target")
    for process in (*PROCESSES, "rules"):
        becomes(machine, process, "inactive")
    assert not owns(machine)
    assert "carpool" not in machine.run("nft", "list", "ruleset").stdout
    assert "carp51" not in machine.run("ip", "link").stdout


@pytest.mark.timeout(120)
def test_an_upgrade_restarts_what_moves_no_vip(machine: Machine) -> None:
    def pids() -> dict[str, str]:
        return {process: shown(machine, process, "MainPID")["MainPID"] for process in PROCESSES}

    configure(machine)
    machine.run("systemctl", "start", "carpool.target")
    wait_until(lambda: owns(machine), 20, "it is master")
    becomes(machine, "agent", "active")
    before = pids()
    assert "failover runs on" in carpool(machine, "install", "--upgraded")
    after = pids()
    assert owns(machine)
    assert [name for name in PROCESSES if after[name] == before[name]] == ["failover"]
    carpool(machine, "disable")
    wait_until(lambda: not owns(machine), 10, "it is master no more")
    carpool(machine, "install", "--upgraded")
    assert pids()["failover"] not in (before["failover"], "0")


@pytest.mark.timeout(120)
def test_a_worker_that_hangs_is_ended_by_the_watchdog(machine: Machine) -> None:
    configure(machine)
    quick = machine.root / "etc/systemd/system/carpool-failover.service.d/quick.conf"
    quick.write_text("[Service]\nWatchdogSec=2s\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "carpool-failover.service")
    wait_until(lambda: owns(machine), 20, "it is master")
    worker = int(failover(machine)["pid"])
    machine.run("kill", "-STOP", str(worker))
    wait_until(
        lambda: (
            shown(machine, "failover", "NRestarts")["NRestarts"] != "0"
            and state(machine, "failover") == "active"
        ),
        30,
        "the watchdog has ended it, and systemd started it again",
    )
    assert int(failover(machine)["pid"]) != worker


def test_a_wrong_configuration_is_told_and_waited_out(machine: Machine) -> None:
    configure(machine, GROUP.replace("51", "0"))
    machine.run("systemctl", "start", "carpool-failover.service")
    wait_until(lambda: "vip[0].vhid" in shown(machine, "failover", "StatusText")["StatusText"], 10)
    is_journalled(machine, "vip[0].vhid")
    configure(machine)
    wait_until(lambda: owns(machine), 20, "it is master")
    assert shown(machine, "failover", "NRestarts")["NRestarts"] == "0"


def test_without_states_in_the_group_their_unit_has_done_all_there_is(machine: Machine) -> None:
    configure(machine, re.sub(r"\[states\][^[]*", "", GROUP))
    machine.run("systemctl", "start", "carpool-states.service")
    becomes(machine, "states", "inactive")
    assert shown(machine, "states", "Result") == {"Result": "success"}


@pytest.mark.timeout(120)
def test_the_pages_wait_for_the_agent_and_are_served_by_who_can_do_nothing(
    machine: Machine,
) -> None:
    configure(machine, GROUP + '[web]\ninterfaces = ["lan"]\n')
    machine.run("systemctl", "start", "carpool-web.service")
    becomes(machine, "web", "active")
    status = shown(machine, "web", "StatusText", "NRestarts")
    assert "the agent does not run" in status["StatusText"] and status["NRestarts"] == "0"
    assert not (machine.root / "var/lib/carpool-web/accounts.json").exists()

    machine.run("systemctl", "start", "carpool-agent.service")
    wait_until(
        lambda: "Password" in machine.run(python(), "-c", ASK, check=False).stdout,
        30,
        "the pages are there",
    )
    words = ("env", f"PYTHONPATH={SEEN}/src", python(), "-m", "carpool", "status")
    seen: list[str] = []

    def knows() -> bool:
        seen.append(machine.run(*words, check=False).stdout)  # 4: no failover runs here
        return "SHA-256" in seen[-1]

    wait_until(knows, 20, "status has the fingerprint")
    status_page = seen[-1]
    assert f"https://{PAGES}/" in status_page
    (found,) = re.findall(r"SHA-256: ([0-9A-F:]{95})", status_page)
    is_journalled(machine, f"certificate {found}")
    pid = shown(machine, "web", "MainPID")["MainPID"]
    told = machine.run("cat", f"/proc/{pid}/status").stdout
    assert re.findall(r"^Cap(?:Prm|Eff|Bnd|Amb):\t(\w+)$", told, re.M) == ["0" * 16] * 4
    owners = machine.run("stat", "-c", "%a %U", "/var/lib/carpool-web", f"/proc/{pid}").stdout
    assert owners.split() == ["700", "carpool-web", "555", "carpool-web"]
    wait_until(lambda: "one-time password" in machine.console.read_text(), 10)
    as_it = ("nsenter", "-m", "-t", pid, "--", "setpriv", "--reuid=carpool-web", "--clear-groups")
    for path in ("/etc/carpool", "/var/lib/carpool", "/run/carpool"):
        assert machine.run(*as_it, "ls", path, check=False).returncode != 0, path

    machine.run("systemctl", "kill", "--kill-whom=all", "--signal=KILL", "carpool-web.service")
    wait_until(lambda: shown(machine, "web", "NRestarts")["NRestarts"] == "1", 20)
    wait_until(lambda: "Password" in machine.run(python(), "-c", ASK, check=False).stdout, 30)


def test_the_agent_can_do_in_its_sandbox_what_it_is_for(machine: Machine) -> None:
    done = machine.run("systemctl", "start", "deeds.service", check=False)
    assert done.returncode == 0, journal(machine)
    assert (machine.root / "etc/carpool-deeds/file").stat().st_mode & 0o7777 == 0o2640
    assert os.stat(machine.root / "etc/carpool-deeds").st_gid != 0


def our_table(machine: Machine) -> bool:
    return "carpool_rules" in machine.run("nft", "list", "tables").stdout


@pytest.mark.timeout(120)
def test_our_table_is_there_again_whatever_nftables_service_does(machine: Machine) -> None:
    drop_in = machine.root / "etc/systemd/system/nftables.service.d"
    drop_in.mkdir()
    (drop_in / "test.conf").write_text(
        "[Unit]\nDefaultDependencies=no\n[Service]\nProtectHome=no\n"
    )
    (machine.root / "etc/nftables.conf").write_text(
        "#!/usr/sbin/nft -f\nflush ruleset\nadd table inet filter\n"
    )
    configure(machine)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", "carpool-rules.service")
    machine.run("systemctl", "start", "nftables.service")
    becomes(machine, "rules", "active")  # wanted by nftables.service, as it is at a boot
    assert our_table(machine)
    machine.run("nft", "flush", "ruleset")
    machine.run("systemctl", "reload", "nftables.service")
    wait_until(lambda: our_table(machine), 10, "it is there after a reload")
    machine.run("systemctl", "restart", "nftables.service")
    wait_until(lambda: our_table(machine), 10, "it is there after a restart")
    becomes(machine, "rules", "active")
    machine.run("systemctl", "stop", "nftables.service")
    wait_until(lambda: not our_table(machine), 10, "it goes with nftables")
    machine.run("systemctl", "start", "nftables.service")
    wait_until(lambda: our_table(machine), 10, "it is there after a start")
    assert "filter" in machine.run("nft", "list", "tables").stdout
