"""Two machines that boot: what is installed runs as its units say, and survives a pulled plug."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.lab import container, drill, image
from carpool.lab.faults import SCENARIOS
from carpool.lab.lab import LABS_DIR, Lab
from carpool.lab.machine import Machine, service, unit
from tests.netns.lab import wait_until
from tests.netns.labs import held_lab, open_lab
from tests.netns.test_lab_drills import carpool_lab, start, traces
from tests.netns.test_lab_pages import PASSWORD, entered, links
from tests.visitor import Visitor

pytestmark = pytest.mark.timeout(800)  # the first one makes the package and its image

CONNECTIONS = 100
PULLS = 2
UP_S = 90.0


@pytest.fixture(scope="module")
def made() -> image.Image:
    container.require_tools()
    return image.made(print)


@pytest.fixture(scope="module")
def lab(made: image.Image) -> Iterator[Lab]:
    """A healthy pair; each test leaves it so."""
    with open_lab(made, with_agent=True) as chosen:
        yield chosen
    assert left_of(chosen.name) == []


def left_of(name: str) -> list[str]:
    """What is left of a lab of machines: what any lab leaves, cgroups, mounts."""
    found = traces(name)
    found += [str(path) for path in container.cgroup_root().glob(f"carpool-lab-{name}*")]
    return found + [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]


def machine(lab: Lab, name: str) -> Machine:
    found = lab.firewalls[name]
    assert isinstance(found, Machine)
    return found


def show(on: Machine, name: str, key: str) -> str:
    return on.run(["systemctl", "show", "--value", f"--property={key}", name]).strip()


@pytest.mark.parametrize("name", ["fw1", "fw2"])
def test_a_machine_runs_what_is_installed_as_its_units_say(lab: Lab, name: str) -> None:
    on = machine(lab, name)
    for role in ("failover", "states", "agent", "web"):
        assert show(on, unit(role), "ActiveState") == "active"
        assert show(on, unit(role), "FragmentPath").endswith(f"/lib/systemd/system/{unit(role)}")
    assert "/usr/lib/carpool/bin/python3" in on.run(["ps", "-o", "args=", "-C", "carpool,python3"])
    assert on.run(["hostname"]).strip() == name
    assert on.run(["systemctl", "--failed", "--no-legend"]) == ""


def test_failover_is_of_real_time_and_its_memory_is_locked(lab: Lab) -> None:
    on = machine(lab, "fw1")
    policies = {os.sched_getscheduler(pid) for pid in on.container.pids(service("failover"))}
    assert os.SCHED_RR in policies
    status = Path(f"/proc/{on._worker()}/status").read_text()
    locked_kb = next(line.split()[1] for line in status.splitlines() if line.startswith("VmLck"))
    assert int(locked_kb) > 0


def test_nothing_of_the_hosts_own_is_seen(lab: Lab) -> None:
    on = machine(lab, "fw1")
    seen = on.run(["find", "/root", "/home", "/opt", "/usr/local", "-mindepth", "1"]).split()
    assert set(seen) <= {"/root/.ssh"}  # its own: systemd-tmpfiles makes it at boot
    assert on.run(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward; sysctl -n kernel.pid_max"])
    refused = "echo 1 2>/dev/null >/proc/sys/vm/drop_caches || echo refused"
    assert on.run(["sh", "-c", refused]).strip() == "refused"


def test_services_are_told_of_both_and_sync_has_them_take_up_what_changed(lab: Lab) -> None:
    here, there = machine(lab, "fw1"), machine(lab, "fw2")
    told = here.run(["carpool", "services"])
    for name in image.SERVICES:
        assert f"{name} " in told
    before = {name: show(there, name, "MainPID") for name in ("nginx", "dnsmasq", "haproxy")}
    loaded = show(there, "nftables", "ActiveEnterTimestampMonotonic")
    here.run(["tee", "-a", "/etc/nginx/conf.d/hidden.conf"], "server_tokens off;\n")
    here.run(["tee", "/etc/dnsmasq.d/office.conf"], "address=/office.example/10.10.1.9\n")
    here.run(["sed", "-i", 's/iifname "lo" accept/& comment "own"/', "/etc/nftables.conf"])

    here.run(["carpool", "sync"])

    assert there.run(["cat", "/etc/nginx/conf.d/hidden.conf"]) == "server_tokens off;\n"
    assert show(there, "nginx", "MainPID") == before["nginx"]  # reloaded: the same master
    journal = ["journalctl", "-u", "nginx", "--output=cat"]
    wait_until(lambda: "Reloaded nginx" in there.run(journal), what="the journal has it")
    assert show(there, "dnsmasq", "MainPID") not in ("0", before["dnsmasq"])  # knows no reload
    assert show(there, "haproxy", "MainPID") == before["haproxy"]  # not its business
    assert 'comment "own"' in there.run(["nft", "list", "chain", "inet", "filter", "input"])
    assert show(there, "nftables", "ActiveEnterTimestampMonotonic") == loaded
    assert "nothing would change" in here.run(["carpool", "diff"])


def test_connections_outlive_a_pulled_plug_and_the_disk_does_too(lab: Lab) -> None:
    on = machine(lab, "fw1")
    boot = on.run(["cat", "/proc/sys/kernel/random/boot_id"])
    on.run(["tee", "/etc/motd"], "of this disk\n")
    seen = {name: entered(*told) for name, told in links(lab.name).items()}
    with lab.held():
        report = drill.run_drill(lab, SCENARIOS["crash"], CONNECTIONS, PULLS)
    on = machine(lab, "fw1")
    for run in report["runs"]:
        assert run["connections"] == {"opened": CONNECTIONS, "survived": CONNECTIONS}, run
        assert run["young"]["survived"] == run["young"]["opened"] > 0, run
        assert run["took_over_ms"] is not None
    assert on.run(["cat", "/proc/sys/kernel/random/boot_id"]) != boot
    assert on.run(["cat", "/etc/motd"]) == "of this disk\n"
    boots = on.run(["journalctl", "--list-boots", "--no-pager"]).strip().splitlines()
    assert len(boots) >= 1 + PULLS  # what it said before each plug can be read
    pages_outlived_it(seen)


def pages_outlived_it(seen: dict[str, Visitor]) -> None:
    """At the same link, with the accounts of the disk; those of fw2 were there all along."""
    with seen["fw1"] as first, seen["fw2"] as second:
        assert second.get("/").status_code == 200
        assert first.get("/").headers["location"].startswith("/login")
        assert first.log_in("admin", PASSWORD).status_code == 303
        page = first.get("/")
        assert page.status_code == 200 and " · fw1 " in page.text


def test_the_pages_are_those_of_the_unit_and_their_password_is_told_to_root_alone(lab: Lab) -> None:
    for name, link in ((name, link) for name, (link, _) in links(lab.name).items()):
        on = machine(lab, name)
        user = on.run(["ps", "-o", "user:20=", "-p", show(on, unit("web"), "MainPID")])
        assert user.strip() == "carpool-web"
        assert show(on, unit("web"), "UnitFileState") == "enabled"
        assert link == on.pages.link and on.pages.troubles() == []
        assert on.pages.log.stat().st_mode & 0o777 == 0o600
        assert on.pages.directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["poweroff", "killall"])
def test_other_drills_are_the_real_thing(lab: Lab, scenario: str) -> None:
    with lab.held():
        report = drill.run_drill(lab, SCENARIOS[scenario], CONNECTIONS, 1)
    (run,) = report["runs"]
    assert drill.passed(run), run


def rebooted(on: Machine) -> None:
    """By its administrator. Nobody enters it meanwhile: that may keep it from going down."""
    before = on.container.leader()
    on.run(["systemctl", "reboot", "--no-block"])
    wait_until(lambda: on.container.leader() not in (None, before), UP_S, "it goes down and boots")
    wait_until(lambda: not on.troubles(), UP_S, "it is done with booting")


def test_a_reboot_by_hand_comes_back_as_master(lab: Lab) -> None:
    on = machine(lab, "fw1")
    boot = on.run(["cat", "/proc/sys/kernel/random/boot_id"])
    rebooted(on)
    lab.wait_healthy()  # with its pages: their socket is handed in once more
    assert on.run(["cat", "/proc/sys/kernel/random/boot_id"]) != boot


def test_commands_find_it_as_any_lab(lab: Lab) -> None:
    shown = carpool_lab("status", lab.name)
    assert "MASTER" in shown.stdout and "not healthy" not in shown.stdout
    done = carpool_lab("exec", lab.name, "fw2", "systemctl", "is-system-running")
    assert done.stdout.strip() == "running", done.stderr
    assert "Welcome to" in (LABS_DIR / lab.name / "fw2" / "console.log").read_text()


def test_down_removes_what_a_killed_up_has_left(made: image.Image) -> None:
    name = f"cpl-{secrets.token_hex(3)}"
    up = start("up", name, "--machines")
    try:
        wait_until(lambda: list(container.cgroup_root().glob(f"carpool-lab-{name}-fw2")), UP_S)
    finally:
        up.kill()
        up.wait(20)
    assert carpool_lab("down", name).returncode == 0
    assert left_of(name) == []
    assert "there is no lab" in carpool_lab("down", name).stderr


@pytest.mark.long
def test_a_machine_whose_disk_lost_group_toml_is_what_it_was_and_says_so_on_its_console(
    lab: Lab,
) -> None:
    here, there = machine(lab, "fw1"), machine(lab, "fw2")
    console = LABS_DIR / lab.name / "fw2" / "console.log"
    text = there.run(["cat", "/etc/carpool/group.toml"])
    there.run(["truncate", "--size=0", "/etc/carpool/group.toml"])
    rebooted(there)
    lab.wait_healthy()
    wait_until(lambda: "goes by what counted before" in console.read_text(errors="replace"), UP_S)

    def status() -> str:
        return " ".join(there.run(["carpool", "status"]).split())

    wait_until(lambda: "fw2: backup, hearing fw1" in status(), UP_S)
    assert "Trouble group.toml: name: found nothing" in status()
    agent = "systemctl is-active --quiet carpool-agent"
    wait_until(lambda: there.run(["sh", "-c", f"{agent} && echo yes || true"]), UP_S)
    here.run(["carpool", "sync", "carpool", "--force"])  # it was changed there, by whatever it was
    assert there.run(["cat", "/etc/carpool/group.toml"]) == text
    wait_until(lambda: "Trouble" not in status(), UP_S, "it is mended")


def test_blank_machines_have_carpool_installed_and_nothing_configured(made: image.Image) -> None:
    with held_lab(image=made, blank=True) as lab:
        on = machine(lab, "fw1")
        assert on.run(["systemctl", "is-active", "carpool.target"]).strip() == "active"
        assert show(on, unit("failover"), "ConditionResult") == "no"
        assert on.run(["find", "/etc/carpool", "-mindepth", "1"]) == ""
        assert Lab(lab.name).roles == ()
    assert left_of(lab.name) == []
