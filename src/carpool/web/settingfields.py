"""Which settings of group.toml the pages change, and what group.toml(5) says of each.

Room: web. Data. VIPs have pages of their own; what is not here is edited in the file.
"""

from __future__ import annotations

from carpool.model.config import PROTOCOLS, STATES_PORT, Encryption, Scope
from carpool.model.scripts import Check
from carpool.model.section import AGENT_PORT
from carpool.web.settingform import Choice, Field, Group, Kind

_CHECK = Check()
PROTOCOL_NAMES = tuple(PROTOCOLS)
INTERFACE_KEYS = ("states.interface", "sync.interface")
SECTIONS_KEY, SCHEDULE_KEY = "sync.sections", "sync.schedule"

PREEMPT = Group(
    "preempt",
    "Preemption",
    "Who is MASTER while all nodes are well.",
    (
        Field(
            "preempt",
            "The preferred node takes over",
            "Whether a node with a lower advskew takes over from a master that is well. Without "
            "it the mastership stays where it is until the master is lost, demoted or told to "
            "give it away.",
            Kind.TRUTH,
            default=True,
        ),
    ),
)

DAMPING = Group(
    "damping",
    "Damping",
    "Keeps the group from moving to and fro. A master that dies is replaced at once in any case.",
    (
        Field(
            "damping.hold_down",
            "Hold-down",
            "For so long after a move the group does not move of its own will (default 0s, at most "
            "1h).",
            Kind.TEXT,
            default="0s",
            example="30s, 2m",
        ),
        Field(
            "damping.preempt_delay",
            "Preempt delay",
            "A node that is well again waits so long before it takes over from a master that is "
            "well (default 0s, at most 24h).",
            Kind.TEXT,
            default="0s",
            example="1m, 1h",
        ),
        Field(
            "damping.moves_per_hour",
            "Moves an hour",
            "After so many moves within an hour the group stays where it is, and says so; 0 is no "
            "limit (default 0, else 2 to 1000).",
            Kind.NUMBER,
            default=0,
        ),
    ),
)

STATES = Group(
    "states",
    "State replication",
    "Without it connections are not replicated, and die when the master does.",
    (
        Field(
            "states.interface",
            "Interface",
            "The logical interface between the nodes that states are sent over; best a cable of "
            "its own. Every node's node.toml needs its own and each peer's address on it, of one "
            "family.",
            Kind.CHOICE,
        ),
        Field(
            "states.scope",
            "Scope",
            "Which connections are replicated.",
            Kind.CHOICE,
            default=str(Scope.ASSURED),
            choices=(
                Choice(str(Scope.ASSURED), "assured: those that carried traffic both ways"),
                Choice(str(Scope.ALL), "all"),
            ),
        ),
        Field(
            "states.encryption",
            "Encryption",
            "tls: the nodes talk TLS 1.3, each with the certificate that the other one has "
            "pinned. none: in plain text. Whoever can reach the link can then read and forge "
            "connections, so it must be a cable between the nodes and nothing else.",
            Kind.CHOICE,
            default=str(Encryption.TLS),
            choices=(
                Choice(str(Encryption.TLS), "tls"),
                Choice(str(Encryption.NONE), "none: plain text"),
            ),
        ),
        Field(
            "states.port",
            "Port",
            f"The TCP port, 1 to 65535 (default {STATES_PORT}). The ruleset of every node must "
            "let it in from the others, and while nodes are paired also the one after it.",
            Kind.NUMBER,
            default=STATES_PORT,
        ),
        Field(
            "states.no_sync_mark",
            "Mark of what is not replicated",
            "The bit by which rules of the firewall exempt a connection, as with “no pfsync” of "
            "others: bits of the ct mark, and after a slash their mask.",
            Kind.TEXT,
            example="0x80000000",
        ),
        Field(
            "states.exclude",
            "Exclusions",
            "Connections that stay on their node. A connection is excluded when all that one row "
            "gives holds for it. A row that is emptied goes.",
            Kind.EXCLUSIONS,
            default=[],
        ),
    ),
    table="states",
    switch="Replicate connections",
)

SECTIONS = Group(
    "sections",
    "Sections",
    "The parts of the configuration that are synchronised, over the link of the agents. group.toml "
    "itself always is.",
    (
        Field(
            SECTIONS_KEY,
            "Sections",
            "A section is a named part of the configuration and what to do with it. None of them "
            "may hold a path that another one holds.",
            Kind.SEVERAL,
            default=[],
        ),
        Field(
            "sync.interface",
            "Interface",
            "The logical interface between the nodes that the agents talk over. Every node's "
            "node.toml needs its own and each peer's address on it.",
            Kind.CHOICE,
        ),
        Field(
            "sync.port",
            "Port",
            f"The TCP port of the agents (default {AGENT_PORT}): not that of the states, nor the "
            "one after it.",
            Kind.NUMBER,
            default=AGENT_PORT,
        ),
    ),
)

SCHEDULE = Group(
    "schedule",
    "Schedule",
    "When the agent of the primary synchronises all sections with all peers by itself.",
    (
        Field(
            SCHEDULE_KEY,
            "Schedule",
            "A calendar expression as in OnCalendar= of systemd.timer(5), in the time zone of the "
            "machine. Without it nothing is synchronised by itself.",
            Kind.TEXT,
            example="daily, Mon..Fri 02:30, *-*-01 04:00 or *:0/15",
        ),
        Field(
            "sync.schedule_jitter",
            "Jitter",
            "Each run begins so much later at most, by chance (default 0s, at most 24h).",
            Kind.TEXT,
            default="0s",
            example="30s, 10m, 1h",
        ),
    ),
)

CHECKS = Group(
    "checks",
    "Health checks",
    "About the executables of checks.d, which demote a node while they fail. A [checks.NAME] of "
    "group.toml says otherwise for one of them, and is changed in the file.",
    (
        Field(
            "checks.interval",
            "Interval",
            "How often each is run, on all nodes at the same moments of the wall clock (default "
            f"{_CHECK.interval_s}s, at most 3600s).",
            Kind.TEXT,
            default=f"{_CHECK.interval_s}s",
            example="10s, 1m",
        ),
        Field(
            "checks.timeout",
            "Timeout",
            "One that runs so long is ended, and has failed (at most the interval; default "
            f"{_CHECK.timeout_s}s, or the interval where that is less).",
            Kind.TEXT,
            default=f"{_CHECK.timeout_s}s",
            example="5s",
        ),
        Field(
            "checks.fall",
            "Failures until it fails",
            f"Failures in a row after which it fails (1 to 100, default {_CHECK.fall}).",
            Kind.NUMBER,
            default=_CHECK.fall,
        ),
        Field(
            "checks.rise",
            "Successes until it is well",
            f"Successes in a row after which it is well again (1 to 100, default {_CHECK.rise}).",
            Kind.NUMBER,
            default=_CHECK.rise,
        ),
        Field(
            "checks.weight",
            "Weight",
            f"What it adds to advskew while it fails (0 to 240, default {_CHECK.weight}): any "
            "other reason of demotion weighs 240, which puts a node behind every healthy one. "
            "With 0 it is told, and demotes nothing.",
            Kind.NUMBER,
            default=_CHECK.weight,
        ),
    ),
)

GROUPS = (PREEMPT, DAMPING, STATES, SECTIONS, SCHEDULE, CHECKS)
BY_SLUG = {group.slug: group for group in GROUPS}
