"""A lab as a whole: built, looked after, repaired and removed, with a record of what it started.

Room: lab. Joins the network, the two firewalls and their processes. Refuses to know drills, traffic
and how things are shown: progress goes to `say`, one plain sentence at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from carpool.api.identity import introduce
from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import losses, processes, shell
from carpool.lab.bare import BareFirewall
from carpool.lab.firewall import AGENT, ROLES, WEB, Answer, Firewall, agent_troubles, detecting
from carpool.lab.image import Image
from carpool.lab.machine import Machine, disks, mount_disks, unmount_disks
from carpool.lab.processes import Tracked
from carpool.lab.topology import DEFAULT_NAME, FIREWALLS, Network, check_name, other

LABS_DIR = Path("/run/carpool-lab")
HEALTHY_WAIT_S = 45.0  # a reboot with duplicate address detection, bulk sync and preemption
POLL_S = 0.05
PREFERRED = FIREWALLS[0]  # the lower advskew: master of a healthy lab

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What kind of lab it is: written down before anything of it is made."""

    agent: bool = False
    machines: bool = False
    lower: str = ""  # of the machines' disks
    blank: bool = False  # nothing of carpool is configured on the machines: somebody else does it
    bare: bool = False  # nor installed
    pages: bool = False  # both show their pages to this host
    third: bool = False  # a firewall more, behind both
    port: int = 0  # of those of the first firewall, the second's is the next; 0: free ones


class Lab:
    """The lab called `name`. Use `held()` around anything that changes it."""

    def __init__(
        self,
        name: str = DEFAULT_NAME,
        say: Say = lambda text: None,
        labs_dir: Path = LABS_DIR,
    ) -> None:
        self.name = check_name(name)
        self.say = say
        self.labs_dir = labs_dir
        self.root = labs_dir / name
        self._record = self.root / "lab.json"
        self.dark: set[str] = set()  # firewalls that a drill has powered off
        self._take(self._read_record())

    def _take(self, plan: Plan) -> None:
        """Be a lab of this kind."""
        self.plan = plan
        self.network = Network(self.name, plan.machines, plan.third)
        self.firewalls: dict[str, Firewall] = {
            name: self._firewall(name, number) for number, name in enumerate(self.network.firewalls)
        }
        # What runs on each: without "states" in the control drill.
        self.roles: tuple[str, ...] = (*ROLES, AGENT) if plan.agent else ROLES
        if plan.pages:
            self.roles = (*self.roles, WEB)
        if plan.blank and not (self.firewalls[PREFERRED].config_dir / "node.toml").exists():
            self.roles = ()  # nothing can run there yet

    def _firewall(self, name: str, number: int) -> Firewall:
        plan, root = self.plan, self.root / name
        port = plan.port and plan.port + number
        if plan.machines:
            kind = {"bare": plan.bare, "shown": plan.pages}
            return Machine(name, self.network, root, plan.lower, **kind, port=port)
        return BareFirewall(name, self.network, root, port)

    @property
    def is_up(self) -> bool:
        return bool(self.network.existing())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other commands from changing the same lab meanwhile."""
        self.labs_dir.mkdir(mode=0o755, exist_ok=True)
        path = self.labs_dir / f"{self.name}.lock"
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                    raise BlockingIOError  # whoever held it has just removed it
            except (BlockingIOError, FileNotFoundError) as error:
                raise CarpoolError(
                    f"another command is working on the lab {self.name!r}",
                    hint="wait for it, or choose another --name",
                ) from error
            self._take(self._read_record())
            try:
                yield
            finally:
                if not self.root.exists():
                    path.unlink()

    # ---------------------------------------------------------------------- up and down

    def up(
        self,
        *,
        with_agent: bool = False,
        image: Image | None = None,
        blank: bool = False,
        port: int = 0,
        detect_ms: int = 0,
        third: bool = False,
    ) -> None:
        """Build the network, start both firewalls and wait until they are a healthy pair; with an
        image they are machines, if `blank` without any configuration of carpool; where carpool is
        not installed in that, they only boot. `with_agent`: and with the pages, if anything is
        configured; machines have agents anyway."""
        if self.is_up:
            raise CarpoolError(
                f"the lab {self.name!r} is up already, or half of it",
                hint=f"`carpool lab down --name {self.name}` removes it",
            )
        begun_s = monotonic_s()
        self.root.mkdir(parents=True, exist_ok=True)
        lower = image.places(disks(self.root)) if image else ""
        machines, bare = image is not None, image is not None and image.package is not None
        blank = machines and (blank or bare)
        pages = with_agent and not blank
        agent = with_agent or machines
        self._write_record(Plan(agent, machines, lower, blank, bare, pages, third, port))
        if image is not None:
            self.say("disks of the machines, in memory")
            mount_disks(self.root)
            image.unpack(disks(self.root))
        for step in self.network.build():
            self.say(step)
        for firewall in self.firewalls.values():
            firewall.prepare()
            group = firewall.config_dir / "group.toml"
            group.write_text(detecting(group.read_text("utf-8"), detect_ms), encoding="utf-8")
        if self.plan.blank:
            for firewall in self.firewalls.values():
                firewall.forget()
        else:
            introduce({name: firewall.config_dir for name, firewall in self.firewalls.items()})
        for name in self.firewalls:
            self.start_missing(name)
        if self.roles:
            self.say(f"waiting for {PREFERRED} to be master of everything, and for replication")
        self.wait_healthy()
        self.say(f"the lab {self.name!r} is up after {monotonic_s() - begun_s:.1f} s")

    def down(self) -> bool:
        """Remove everything, in whatever state it is; whether there was anything."""
        ended = sum(firewall.remove() for firewall in self.firewalls.values())
        strays = self._strays()
        processes.end(strays)
        ended += len(strays)
        if ended:
            self.say(f"ended {ended} {'machines' if self.plan.machines else 'processes'}")
        removed = self.network.remove()
        if removed:
            self.say("removed " + ", ".join(removed))
        existed = self.root.exists()
        unmount_disks(self.root)
        shutil.rmtree(self.root, ignore_errors=True)
        return bool(ended or removed or existed)

    def start_missing(self, name: str) -> None:
        """Start what does not run on a firewall."""
        for step in self.firewalls[name].start(self.roles):
            self.say(step)

    def tracked(self, name: str, role: str) -> Tracked | None:
        """The living process of that role."""
        return self.firewalls[name].tracked(role)

    def run_only(self, *roles: str) -> None:
        """From now on only these processes are wanted on the firewalls; ends the others."""
        self.roles = roles
        for firewall in self.firewalls.values():
            firewall.only(roles)

    def inside(self, node: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on a node; CarpoolError when that is not there."""
        namespace = self.network.namespace(node)
        if not shell.namespace_exists(namespace):
            hint = "`carpool lab up` builds it"
            raise CarpoolError(f"there is no namespace {namespace}", hint=hint)
        if node in self.firewalls:
            return self.firewalls[node].inside(argv)
        return shell.inside(namespace, argv)

    def pages(self) -> list[str]:
        """Where the pages of each firewall are, in words; nothing when none are served."""
        return [
            f"{name}: {firewall.pages.sentence()}"
            for name, firewall in self.firewalls.items()
            if firewall.pages.port
        ]

    def forget_connections(self) -> None:
        """Empty both tables: what was replicated for an earlier connection serves a later one that
        happens to have its ports."""
        for firewall in self.firewalls.values():
            shell.run(shell.inside(firewall.namespace, ["conntrack", "-F"]))

    # ----------------------------------------------------------------------------- power

    def power_off(self, name: str) -> None:
        """What is left of a power cut after its links were cut: nothing runs."""
        self.firewalls[name].cut_power()
        self.dark.add(name)

    def power_on(self, name: str) -> float:
        """Boot a firewall afresh; gives the time (monotonic) of the start of its processes."""
        self.firewalls[name].reboot()
        self.dark.discard(name)
        started_s = monotonic_s()
        self.start_missing(name)
        return started_s

    def repair(self) -> None:
        """Undo whatever a drill has done; does not wait for the result."""
        self.network.lose(losses.NOTHING)
        for name in self.firewalls:
            if name in self.dark:
                self.power_on(name)
            else:
                self.network.mend(name)
                self.start_missing(name)

    def pull_plug(self, name: str) -> None:
        """All links and all processes of a firewall at once; it stays off until `power_on`."""
        self.power_off(name)
        switch = self.network.namespace("switch")
        shell.ip_batch(switch, self.network.cut_commands(name).splitlines())

    # ---------------------------------------------------------------------------- health

    def wait_healthy(self, timeout_s: float = HEALTHY_WAIT_S) -> None:
        """Wait until nothing is wrong; CarpoolError says what still was, or which process died."""
        deadline_s = monotonic_s() + timeout_s
        troubles = self.troubles()
        while troubles:
            if monotonic_s() > deadline_s:
                raise CarpoolError(
                    f"the lab is not healthy after {timeout_s:.0f} s: " + "; ".join(troubles),
                    hint=f"the logs are {self.root}/fw*/*.log",
                )
            self._check_alive()
            self._give_back()
            sleep_s(POLL_S)
            troubles = self.troubles()

    def _check_alive(self) -> None:
        """CarpoolError, with its last words, for a process that has ended."""
        for firewall in self.firewalls.values():
            for role in self.roles:
                if firewall.ended(role):
                    said = firewall.last_words(role)
                    raise CarpoolError(
                        f"`carpool run {role}` on {firewall.name} ended: {said}",
                        hint=f"all of its log: {firewall.log(role)}",
                    )

    def troubles(self) -> list[str]:
        """What is not as it should be in a healthy lab, one sentence each."""
        found: list[str] = []
        for name in self.firewalls:
            wanted = "MASTER" if name == PREFERRED else "BACKUP"
            found += self.firewalls[name].troubles()
            for role in self.roles:
                if role == AGENT:
                    found += [f"{name}: {text}" for text in agent_troubles(self.firewalls[name])]
                    continue
                if role == WEB:
                    continue  # asked last: each time costs a handshake
                try:
                    answer = self.firewalls[name].ask(role, "status")
                except CarpoolError as error:
                    found.append(error.message)
                    continue
                if role == "failover":
                    found += [f"{name}: {trouble}" for trouble in failover_troubles(answer, wanted)]
                else:
                    found += [f"{name}: {trouble}" for trouble in states_troubles(answer)]
        return found or self._pages_troubles()

    def _pages_troubles(self) -> list[str]:
        return [
            f"{name}: {trouble}"
            for name, firewall in self.firewalls.items()
            if WEB in self.roles
            for trouble in firewall.pages.troubles()
        ]

    def answers(self) -> dict[str, dict[str, Answer | str]]:
        """By node and role: the status, or why there is none."""
        return {
            name: {role: self._status(firewall, role) for role in ROLES}
            for name, firewall in self.firewalls.items()
        }

    def _status(self, firewall: Firewall, role: str) -> Answer | str:
        try:
            return firewall.ask(role, "status")
        except CarpoolError as error:
            return error.message

    def _give_back(self) -> None:
        """A healthy backup that holds everything after a switchover is asked to return it once."""
        try:
            here = self.firewalls[PREFERRED].ask("failover", "status")
            there = self.firewalls[other(PREFERRED)].ask("failover", "status")
            reasons = {reason["reason"] for reason in here["demotion"]}
            if there["role"] == "MASTER" and here["role"] == "BACKUP" and reasons == {"switchover"}:
                self.firewalls[other(PREFERRED)].ask("failover", "switchover")
        except CarpoolError:
            pass  # not ready for it; the caller asks again until its deadline

    # ---------------------------------------------------------------------------- record

    def _strays(self) -> list[Tracked]:
        """Our processes that were started but not yet written down when an `up` was killed."""
        found: list[Tracked] = []
        for namespace in self.network.existing():
            for word in shell.run(["ip", "netns", "pids", namespace]).split():
                ticks = processes.start_ticks(int(word))
                if ticks and self._is_ours(int(word)):
                    found.append(Tracked(namespace, "stray", int(word), ticks))
        return [process for process in found if process.leads]

    def _is_ours(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return any(word.startswith(bytes(self.root) + b"/") for word in words)

    def _read_record(self) -> Plan:
        hint = f"end the processes below {self.root} by hand, then remove that directory"
        try:
            content = json.loads(self._record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Plan()
        except ValueError as error:
            text = f"{self._record} is not a record of a lab: {error}"
            raise CarpoolError(text, hint=hint) from error
        if not isinstance(content, dict):
            raise CarpoolError(f"{self._record} is not a record of a lab", hint=hint)
        known = [field.name for field in fields(Plan)]
        if strange := ", ".join(sorted(content.keys() - set(known))):
            raise CarpoolError(
                f"{self._record} is of another version of carpool: found {strange}, "
                f"expected {', '.join(known)}",
                hint=f"`carpool lab down --name {self.name}` of that version; or {hint}",
            )
        return Plan(**content)

    def _write_record(self, plan: Plan) -> None:
        fresh = self._record.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(plan), indent=1) + "\n", encoding="utf-8")
        fresh.replace(self._record)
        self._take(plan)


def failover_troubles(status: Answer, wanted: str) -> list[str]:
    """What keeps a failover process from being healthy in the role `wanted`."""
    found = []
    if status["role"] != wanted:
        found.append(f"is {status['role']}, expected {wanted} ({status['summary']})")
    reasons = [entry["reason"] for entry in status["demotion"]]
    if wanted == "BACKUP" and "switchover" in reasons:
        reasons.remove("switchover")  # it has given the place back, and is not preferred anyway
    if reasons:
        found.append("demoted by " + ", ".join(reasons))
    return found


def states_troubles(status: Answer) -> list[str]:
    """What keeps a states process from holding a complete copy of its peer's table."""
    found = []
    for peer in status["peers"]:
        if not peer["connected"]:
            found.append(f"no stream with {peer['name']} ({peer['last_error']})")
        elif peer["bulk"] != "complete":
            found.append(f"the table of {peer['name']} is {peer['bulk']}, expected complete")
    if status["hold"]["on"]:
        found.append(f"holds preemption: {status['hold']['reason']}")
    if status["failover"] is not None:
        found.append(f"does not hear failover: {status['failover']}")
    return found
