"""The status of the processes as Prometheus metrics, in its text format (version 0.0.4).

Room: api. Answers of the control sockets and of the agent in, text out; refuses to ask anybody
anything. It believes no answer: what is not told, or is no number, makes no sample. docs/metrics.md
lists all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from carpool.api.clean import clean
from carpool.api.control import FAILOVER, STATES
from carpool.api.render import Fields, entries_of
from carpool.errors import CarpoolError
from carpool.machine.schedule import State
from carpool.model.section import Drift

Labels = Mapping[str, object]
Sample = tuple[Labels, float]
Read = Callable[[Fields], Iterable[Sample]]
Answers = Mapping[str, "Fields | CarpoolError"]  # by process; without one that is not configured

AGENT = "agent"  # what it answers to /v1/drift, hooks, checks, and below `schedule` to schedule

VHOST_STATES = ("INIT", "BACKUP", "MASTER", "DISABLED")
BULK_STATES = ("idle", "sending", "receiving", "complete")
CHECK_STATES = ("off", "sweeping", "on")
DRIFTS = ("missing", "extra", "different")


@dataclass(frozen=True, slots=True)
class Metric:
    """`kind` is gauge or counter; `samples` reads them off the answer of `process`."""

    process: str
    name: str
    kind: str
    help: str
    samples: Read


def text(answers: Answers) -> str:
    """Everything that the processes tell; of one that does not answer, that it does not."""
    lines = list(_family(UP, [({"process": p}, float(_answers(a))) for p, a in answers.items()]))
    told = {process: answer for process, answer in answers.items() if isinstance(answer, Mapping)}
    for metric in (INFO, UPTIME, TROUBLE):
        found = [
            ({"process": process, **labels}, value)
            for process, answer in told.items()
            for labels, value in metric.samples(answer)
        ]
        lines += _family(metric, found)
    for metric in METRICS:
        if metric.process in told:
            lines += _family(metric, metric.samples(told[metric.process]))
    return "".join(f"{line}\n" for line in lines)


def _answers(answer: Fields | CarpoolError) -> bool:
    return not isinstance(answer, CarpoolError)


# ------------------------------------------------------------------------------------ format


def _family(metric: Metric, samples: Iterable[Sample]) -> Iterator[str]:
    """Nothing without samples."""
    lines = [f"{metric.name}{_labels(labels)} {_shown(value)}" for labels, value in samples]
    if lines:
        yield f"# HELP {metric.name} {metric.help}"
        yield f"# TYPE {metric.name} {metric.kind}"
        yield from lines


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: object) -> str:
    return clean(str(value)).replace("\\", r"\\").replace('"', r"\"")


def _shown(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


# ----------------------------------------------------------------------------------- reading


def _number(fields: Fields, *path: str) -> float | None:
    """The number, or the truth of a bool, at a path of keys."""
    value: object = fields
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, int | float) and abs(value) < 1e300:  # neither nan nor infinite
        return float(value)
    return None


def _one(*path: str) -> Read:
    """One sample without labels."""

    def samples(answer: Fields) -> Iterator[Sample]:
        value = _number(answer, *path)
        if value is not None:
            yield {}, value

    return samples


def _each(rows: str, labels: tuple[str, ...], *path: str) -> Read:
    """One sample for each of a list, with some of its values as labels."""

    def samples(answer: Fields) -> Iterator[Sample]:
        for row in entries_of(answer, rows):
            value = _number(row, *path)
            if value is not None:
                yield {name: row.get(name) for name in labels}, value

    return samples


def _counters(answer: Fields) -> Iterator[Sample]:
    counters = answer.get("counters")
    for name in sorted(counters) if isinstance(counters, Mapping) else ():
        value = _number(answer, "counters", name)
        if value is not None:
            yield {"event": name}, value


def _state(labels: Labels, states: Iterable[str], state: object) -> Iterator[Sample]:
    """One sample for each state: 1 for the one that is."""
    if isinstance(state, str):
        for name in states:
            yield {**labels, "state": name}, float(name == state)


def _vhost_states(answer: Fields) -> Iterator[Sample]:
    for vhost in entries_of(answer, "vhosts"):
        labels = {name: vhost.get(name) for name in ("interface", "vhid")}
        yield from _state(labels, VHOST_STATES, vhost.get("state"))


def _roles(answer: Fields) -> Iterator[Sample]:
    return _state({}, (*VHOST_STATES, "SPLIT"), answer.get("role"))


def _info(answer: Fields) -> Iterator[Sample]:
    if "version" in answer:
        yield {name: answer.get(name) or "" for name in ("node", "version")}, 1.0


def _checks(answer: Fields) -> Iterator[Sample]:
    return _state({}, CHECK_STATES, answer.get("window_check"))


def _failover_connected(answer: Fields) -> Iterator[Sample]:
    if "failover" in answer:
        yield {}, float(answer["failover"] is None)


def _bulks(answer: Fields) -> Iterator[Sample]:
    for peer in entries_of(answer, "peers"):
        yield from _state({"peer": peer.get("name")}, BULK_STATES, peer.get("bulk"))


def _encrypted(answer: Fields) -> Iterator[Sample]:
    if "encryption" in answer:
        yield {}, float(answer["encryption"] != "none")


def _changing(answer: Fields) -> Iterator[Sample]:
    if "change" in answer:
        yield {}, float(answer["change"] is not None)


def _config_drift(answer: Fields) -> Iterator[Sample]:
    peers = answer.get("peers")
    for peer, sections in peers.items() if isinstance(peers, Mapping) else ():
        for section, row in sections.items() if isinstance(sections, Mapping) else ():
            if isinstance(row, Mapping):
                yield from _state({"peer": peer, "section": section}, Drift, row.get("drift"))


def _schedule_states(answer: Fields) -> Iterator[Sample]:
    schedule = answer.get("schedule")
    if isinstance(schedule, Mapping):
        yield from _state({}, State, schedule.get("state"))


def _of(label: str, *path: str, scale: float = 1.0) -> Read:
    """One sample for each of `peers`, `hooks`, `checks` or `alerts`, by its name."""

    def samples(answer: Fields) -> Iterator[Sample]:
        for labels, value in _each(f"{label}s", ("name",), *path)(answer):
            yield {label: labels["name"]}, value * scale

    return samples


def _peer(*path: str, scale: float = 1.0) -> Read:
    return _of("peer", *path, scale=scale)


def _kinds(key: str, label: str, kinds: Mapping[str, tuple[str, float]], of: str = "peer") -> Read:
    """Several values of one thing, told apart by a label: `kinds` has their keys and scales."""

    def samples(answer: Fields) -> Iterator[Sample]:
        for kind, (name, scale) in kinds.items():
            for labels, value in _of(of, key, name, scale=scale)(answer):
                yield {**labels, label: kind}, value

    return samples


# ---------------------------------------------------------------------------------- metrics

UP = Metric("", "carpool_up", "gauge", "Whether the process answers.", _one("ok"))
INFO = Metric("", "carpool_info", "gauge", "Always 1; node and version are labels.", _info)
UPTIME = Metric("", "carpool_uptime_seconds", "gauge", "Since the process began.", _one("uptime_s"))
TROUBLE = Metric(
    "",
    "carpool_trouble_seconds",
    "gauge",
    "Since something is wrong that a person has to mend, or to wait for.",
    _each("troubles", ("key",), "since_s"),
)

_VHOST = ("interface", "vhid")
_LAGS = {"0.5": ("p50_ms", 0.001), "0.99": ("p99_ms", 0.001)}
_SENDING = ("sent", "failed", "dropped")
_DRIFTS = {kind: (kind, 1.0) for kind in DRIFTS}


def _failover(name: str, kind: str, help_: str, samples: Read) -> Metric:
    return Metric(FAILOVER, f"carpool_{name}", kind, help_, samples)


def _states(name: str, kind: str, help_: str, samples: Read) -> Metric:
    return Metric(STATES, f"carpool_states_{name}", kind, help_, samples)


def _agent(name: str, kind: str, help_: str, samples: Read) -> Metric:
    return Metric(AGENT, f"carpool_{name}", kind, help_, samples)


METRICS = (
    _failover(
        "role",
        "gauge",
        "1 for the role of this node: MASTER when it is so for all its VHIDs.",
        _roles,
    ),
    _failover("vhost_state", "gauge", "1 for the state of a VHID.", _vhost_states),
    _failover(
        "vhost_state_seconds",
        "gauge",
        "Since the VHID is in its state.",
        _each("vhosts", _VHOST, "since_s"),
    ),
    _failover(
        "vhost_advskew",
        "gauge",
        "As advertised, demotion included.",
        _each("vhosts", _VHOST, "advskew"),
    ),
    _failover("advskew", "gauge", "As configured.", _one("advskew")),
    _failover("effective_advskew", "gauge", "With demotion.", _one("effective_advskew")),
    _failover(
        "demotion",
        "gauge",
        "What a reason of demotion adds to advskew.",
        _each("demotion", ("reason",), "weight"),
    ),
    _failover("enabled", "gauge", "0 after `carpool disable`.", _one("enabled")),
    _failover("maintenance", "gauge", "1 in maintenance mode.", _one("maintenance")),
    _failover(
        "preempt", "gauge", "Whether a preferred node takes the mastership.", _one("preempt")
    ),
    _failover("moves", "gauge", "In the last hour, with this node.", _one("damping", "moves")),
    _failover("damped_seconds", "gauge", "Until it may move.", _one("damping", "left_s")),
    _failover(
        "group_changing",
        "gauge",
        "1 while peers may not have this group.toml, or it waits to be confirmed.",
        _changing,
    ),
    _failover(
        "group_changing_seconds", "gauge", "Since it is changing.", _one("change", "since_s")
    ),
    _failover(
        "interface_ready",
        "gauge",
        "Whether an interface of VIPs can be used.",
        _each("interfaces", ("interface", "device"), "ready"),
    ),
    _failover("bfd_up", "gauge", "By BFD.", _each("bfd", ("peer", "interface"), "up")),
    _failover(
        "failover_events_total",
        "counter",
        "What the failover process counts: adverts sent, received, refused by cause.",
        _counters,
    ),
    _states("entries", "gauge", "Connections in the table of this kernel.", _one("entries")),
    _states("entries_max", "gauge", "How many it can hold.", _one("entries_max")),
    _states("encrypted", "gauge", "Whether the streams to peers are encrypted.", _encrypted),
    _states("master", "gauge", "Whether deletions are sent: this node is master.", _one("master")),
    _states(
        "failover_connected", "gauge", "Whether the failover process is heard.", _failover_connected
    ),
    _states(
        "hold",
        "gauge",
        "Whether preemption is held: the table is not complete.",
        _one("hold", "on"),
    ),
    _states(
        "window_check",
        "gauge",
        "1 for the state of the TCP window check: off on nodes that are no master.",
        _checks,
    ),
    _states(
        "events_total",
        "counter",
        "What the states process counts: events, what did not travel by cause, trouble.",
        _counters,
    ),
    _states(
        "peer_connected", "gauge", "Whether there is a stream with the peer.", _peer("connected")
    ),
    _states(
        "peer_connected_change_seconds", "gauge", "Since the stream came or went.", _peer("since_s")
    ),
    _states(
        "peer_entries",
        "gauge",
        "Connections in the table of the peer, as it told last.",
        _peer("entries"),
    ),
    _states(
        "peer_entries_max",
        "gauge",
        "How many the table of the peer can hold.",
        _peer("entries_max"),
    ),
    _states("peer_sent_requests_total", "counter", "Entries and deletions sent.", _peer("sent")),
    _states(
        "peer_received_requests_total",
        "counter",
        "Entries and deletions received.",
        _peer("received"),
    ),
    _states(
        "peer_injected_requests_total",
        "counter",
        "Of those received: in place in this kernel.",
        _peer("injected"),
    ),
    _states(
        "peer_refused_requests_total",
        "counter",
        "Of those received: refused by this kernel.",
        _peer("errors"),
    ),
    _states("peer_sent_bytes_total", "counter", "Bytes sent, TLS included.", _peer("bytes_sent")),
    _states(
        "peer_received_bytes_total",
        "counter",
        "Bytes received, TLS included.",
        _peer("bytes_received"),
    ),
    _states("peer_queued_bytes", "gauge", "Bytes that wait for the peer.", _peer("queued_bytes")),
    _states(
        "peer_lag_seconds",
        "gauge",
        "From event to acknowledged by the peer, in the last minutes.",
        _kinds("lag", "quantile", _LAGS),
    ),
    _states(
        "peer_bulk",
        "gauge",
        "1 for the state of the table: idle, sending, receiving, complete.",
        _bulks,
    ),
    _states(
        "peer_bulk_done_requests",
        "gauge",
        "Entries of the running bulk so far.",
        _peer("bulk_done"),
    ),
    _states(
        "peer_bulk_expected_requests",
        "gauge",
        "Entries that the running bulk will have, about.",
        _peer("bulk_total"),
    ),
    _states(
        "peer_last_bulk_entries",
        "gauge",
        "Entries of the last bulk.",
        _peer("last_bulk", "entries"),
    ),
    _states(
        "peer_last_bulk_duration_seconds",
        "gauge",
        "How long the last bulk took.",
        _peer("last_bulk", "duration_s"),
    ),
    _states(
        "peer_last_bulk_age_seconds",
        "gauge",
        "Since the last bulk ended.",
        _peer("last_bulk", "ago_s"),
    ),
    _states(
        "peer_drift",
        "gauge",
        "Entries that differed when the tables were compared last.",
        _kinds("drift", "kind", _DRIFTS),
    ),
    _states(
        "peer_drift_age_seconds",
        "gauge",
        "Since the tables were compared.",
        _peer("drift", "ago_s"),
    ),
    _states(
        "peer_drift_total",
        "counter",
        "Entries that differed, ever.",
        _kinds("drift_total", "kind", _DRIFTS),
    ),
    _agent(
        "config_drift",
        "gauge",
        "1 for how the configuration of a section stands on a peer.",
        _config_drift,
    ),
    _agent(
        "hook_runs_total",
        "counter",
        "Runs of a hook that ended, by result: ok, failed.",
        _kinds("runs", "result", {"ok": ("ok", 1), "failed": ("failed", 1)}, "hook"),
    ),
    _agent(
        "hook_last_ok",
        "gauge",
        "Whether the last run of a hook succeeded.",
        _of("hook", "last", "ok"),
    ),
    _agent(
        "hook_last_duration_seconds",
        "gauge",
        "How long the last run of a hook took.",
        _of("hook", "last", "took_s"),
    ),
    _agent(
        "alert_messages_total",
        "counter",
        "Messages to a target of alerts, by result: sent, failed, dropped.",
        _kinds("messages", "result", {one: (one, 1) for one in _SENDING}, "alert"),
    ),
    _agent("check_failing", "gauge", "1 while a check fails.", _of("check", "failing")),
    _agent(
        "check_last_duration_seconds",
        "gauge",
        "How long the last run of a check took.",
        _of("check", "took_s"),
    ),
    _agent(
        "sync_schedule_state",
        "gauge",
        "1 for what became of the scheduled synchronisation that was due last.",
        _schedule_states,
    ),
    _agent(
        "sync_schedule_last_run_timestamp_seconds",
        "gauge",
        "When the last scheduled synchronisation began, since 1970.",
        _one("schedule", "run_unix_s"),
    ),
    _agent(
        "sync_schedule_last_success_timestamp_seconds",
        "gauge",
        "When everything was synchronised last, since 1970.",
        _one("schedule", "success_unix_s"),
    ),
    _agent(
        "sync_schedule_next_timestamp_seconds",
        "gauge",
        "When the next is due, since 1970, without jitter.",
        _one("schedule", "next_unix_s"),
    ),
)
