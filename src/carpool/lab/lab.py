"""A lab as a whole: built, looked after, repaired and removed, with a record of what it started.

Room: lab. Joins the network, the two firewalls and their processes. Refuses to know drills, traffic
and how things are shown: progress goes to `say`, one plain sentence at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from carpool.api.identity import introduce
from carpool.errors import CarpoolError
from carpool.kernel.clock import monotonic_s, sleep_s
from carpool.lab import processes, shell
from carpool.lab.firewall import AGENT, ROLES, Answer, Firewall, agent_troubles
from carpool.lab.processes import Tracked
from carpool.lab.topology import DEFAULT_NAME, FIREWALLS, Network, check_name, other

LABS_DIR = Path("/run/carpool-lab")
HEALTHY_WAIT_S = 45.0  # a reboot with duplicate address detection, bulk sync and preemption
POLL_S = 0.05
PREFERRED = FIREWALLS[0]  # the lower advskew: master of a healthy lab

Say = Callable[[str], None]


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
        self.network = Network(name)
        self.labs_dir = labs_dir
        self.root = labs_dir / name
        self.firewalls = {fw: Firewall(fw, self.network, self.root / fw) for fw in FIREWALLS}
        self._record = self.root / "lab.json"
        self.with_agent = False
        self.processes: list[Tracked] = self._read_record()
        self.dark: set[str] = set()  # firewalls that a drill has powered off
        # What runs on each: without "states" in the control drill, without the agent in all drills.
        self.roles: tuple[str, ...] = (*ROLES, AGENT) if self.with_agent else ROLES

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
            self.processes = self._read_record()
            try:
                yield
            finally:
                if not self.root.exists():
                    path.unlink()

    # ---------------------------------------------------------------------- up and down

    def up(self, *, with_agent: bool = False) -> None:
        """Build the network, start both firewalls and wait until they are a healthy pair."""
        if self.is_up:
            raise CarpoolError(
                f"the lab {self.name!r} is up already, or half of it",
                hint=f"`carpool lab down --name {self.name}` removes it",
            )
        begun_s = monotonic_s()
        self.with_agent = with_agent
        self.roles = (*ROLES, AGENT) if with_agent else ROLES
        self.root.mkdir(parents=True, exist_ok=True)
        self._write_record()
        for step in self.network.build():
            self.say(step)
        for firewall in self.firewalls.values():
            firewall.prepare()
        introduce({name: firewall.config_dir for name, firewall in self.firewalls.items()})
        for name in FIREWALLS:
            self.start_missing(name)
        self.say(f"waiting for {PREFERRED} to be master of everything, and for replication")
        self.wait_healthy()
        self.say(f"the lab {self.name!r} is up after {monotonic_s() - begun_s:.1f} s")

    def down(self) -> bool:
        """Remove everything, in whatever state it is; whether there was anything."""
        tracked = [process for process in self.processes if process.alive]
        tracked += self._strays(tracked)
        if tracked:
            self.say(f"ending {len(tracked)} processes")
            processes.end(tracked)
        removed = self.network.remove()
        if removed:
            self.say("removed " + ", ".join(removed))
        existed = self.root.exists()
        shutil.rmtree(self.root, ignore_errors=True)
        self.processes = []
        return bool(tracked or removed or existed)

    def start_missing(self, name: str) -> None:
        """Start those of a firewall's processes that do not run; remembers each at once."""
        for role in self.roles:
            if self.tracked(name, role) is None:
                process = self.firewalls[name].start(role)
                self.processes.append(process)
                self._write_record()
                self.say(f"{name}: started `carpool run {role}`, pid {process.pid}")

    def tracked(self, name: str, role: str) -> Tracked | None:
        """The living process of that role; forgets those that have died."""
        self.processes = [process for process in self.processes if process.alive]
        wanted = (p for p in self.processes if (p.node, p.role) == (name, role))
        return next(wanted, None)

    def processes_of(self, name: str) -> list[Tracked]:
        found = (self.tracked(name, role) for role in (*ROLES, AGENT))
        return [process for process in found if process is not None]

    def run_only(self, *roles: str) -> None:
        """From now on only these processes are wanted on the firewalls; ends the others."""
        self.roles = roles
        unwanted = [p for name in FIREWALLS for p in self.processes_of(name) if p.role not in roles]
        processes.end(unwanted)

    def forget_connections(self) -> None:
        """Empty both tables: what was replicated for an earlier connection serves a later one that
        happens to have its ports."""
        for firewall in self.firewalls.values():
            shell.run(shell.inside(firewall.namespace, ["conntrack", "-F"]))

    # ----------------------------------------------------------------------------- power

    def power_off(self, name: str) -> None:
        """What is left of a power cut after its links were cut: nothing runs."""
        processes.send(self.processes_of(name), signal.SIGKILL)
        self.dark.add(name)

    def power_on(self, name: str) -> float:
        """Boot a firewall afresh; gives the time (monotonic) of the start of its processes."""
        if not processes.wait_gone(self.processes_of(name), processes.END_WAIT_S):
            raise CarpoolError(f"the processes of {name} do not end, not even by SIGKILL")
        self.network.reboot_firewall(name)
        self.firewalls[name].forget_boot()
        self.dark.discard(name)
        started_s = monotonic_s()
        self.start_missing(name)
        return started_s

    def repair(self) -> None:
        """Undo whatever a drill has done; does not wait for the result."""
        for name in FIREWALLS:
            if name in self.dark:
                self.power_on(name)
            else:
                self.network.mend(name)
                self.start_missing(name)

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
                if self.tracked(firewall.name, role) is None:
                    said = firewall.last_words(role)
                    raise CarpoolError(
                        f"`carpool run {role}` on {firewall.name} ended: {said}",
                        hint=f"all of its log: {firewall.log(role)}",
                    )

    def troubles(self) -> list[str]:
        """What is not as it should be in a healthy lab, one sentence each."""
        found: list[str] = []
        for name in FIREWALLS:
            wanted = "MASTER" if name == PREFERRED else "BACKUP"
            for role in self.roles:
                if role == AGENT:
                    found += [f"{name}: {text}" for text in agent_troubles(self.firewalls[name])]
                    continue
                try:
                    answer = self.firewalls[name].ask(role, "status")
                except CarpoolError as error:
                    found.append(error.message)
                    continue
                if role == "failover":
                    found += [f"{name}: {trouble}" for trouble in failover_troubles(answer, wanted)]
                else:
                    found += [f"{name}: {trouble}" for trouble in states_troubles(answer)]
        return found

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

    def _strays(self, known: list[Tracked]) -> list[Tracked]:
        """Our processes that were started but not yet written down when an `up` was killed."""
        pids = {process.pid for process in known}
        found: list[Tracked] = []
        for namespace in self.network.existing():
            for word in shell.run(["ip", "netns", "pids", namespace]).split():
                ticks = processes.start_ticks(int(word))
                if ticks and int(word) not in pids and self._is_ours(int(word)):
                    found.append(Tracked(namespace, "stray", int(word), ticks))
        return [process for process in found if process.leads]

    def _is_ours(self, pid: int) -> bool:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return any(word.startswith(bytes(self.root) + b"/") for word in words)

    def _read_record(self) -> list[Tracked]:
        try:
            content = json.loads(self._record.read_text(encoding="utf-8"))
            self.with_agent = bool(content["agent"])
            return [Tracked(**entry) for entry in content["processes"]]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError) as error:
            raise CarpoolError(
                f"{self._record} is not a record of a lab: {error}",
                hint=f"end the processes below {self.root} by hand, then remove that directory",
            ) from error

    def _write_record(self) -> None:
        content = {
            "name": self.name,
            "agent": self.with_agent,
            "processes": [asdict(entry) for entry in self.processes],
        }
        fresh = self._record.with_suffix(".new")
        fresh.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        fresh.replace(self._record)


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
