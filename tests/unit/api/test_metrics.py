"""Metrics, read by Prometheus's own parser, and their list in docs/metrics.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from carpool.api import metrics
from carpool.api.control import Answer
from carpool.errors import UnreachableError
from carpool.machine.schedule import State
from tests.unit.api import answers
from tests.unit.api.test_renderstates import FULL, PEER

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
MONITORING = DOCS.with_name("monitoring.md")
DASHBOARD = DOCS.parent / "examples" / "grafana.json"
OF_SCRAPES = {"group", "node"}  # labels that the configuration of Prometheus adds
DOWN = UnreachableError("the states process does not answer", hint="is it running?")
ALL = (metrics.UP, metrics.INFO, metrics.UPTIME, metrics.TROUBLE, *metrics.METRICS)
WHOLE: Answer = {
    **FULL,
    "version": "0.1.0",
    "entries_max": 2_000_000,
    "peers": [
        {
            **PEER,
            "entries_max": 2_000_000,
            "drift_total": {"missing": 5, "extra": 2, "different": 1},
        }
    ],
}
SCHEDULE: Answer = {
    "expression": "daily",
    "jitter_s": 600,
    "state": "failed",
    "why": "fw2 does not answer",
    "ago_s": 12.5,
    "next_unix_s": 1795489200,
    "run_unix_s": 1795402800.25,
    "success_unix_s": 1795316400.5,
}
AGENT: Answer = {
    "peers": {"fw2": {"web": {"drift": "ahead", "why": "", "since": "2026-11-23"}}},
    "schedule": SCHEDULE,
    "alerts": [{"name": "ops", "messages": {"sent": 4, "failed": 1, "dropped": 0}}],
    "hooks": [
        {
            "name": "10-cloud",
            "runs": {"ok": 3, "failed": 1},
            "last": {"ok": False, "took_s": 0.25, "status": 3},
        },
        {"name": "new", "runs": {"ok": 0, "failed": 0}, "last": None},
    ],
    "checks": [
        {"name": "disk", "failing": True, "took_s": 0.125},
        {"name": "new", "failing": None, "took_s": None},
    ],
}
Read = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def told(answer: Answer) -> Answer:
    """As it comes over the socket."""
    made: Answer = json.loads(json.dumps(answer))
    return made


def read(text: str) -> Read:
    """By name and labels, as Prometheus reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def whole() -> str:
    failover = {
        **answers.failover(answers.TROUBLED),
        **answers.WATCHED,
        "counters": {"adverts_sent": 5, 'odd"name\\\n': 1},
        "change": {"since_s": 75.5, "changes": [], "confirm_left_s": None},
        "troubles": [{"key": "files", "text": "group.toml:3: ...", "hint": "", "since_s": 61.5}],
    }
    return metrics.text({"failover": told(failover), "states": told(WHOLE), "agent": AGENT})


def test_prometheus_reads_what_is_told() -> None:
    found = read(whole())
    assert found["carpool_up", (("process", "states"),)] == 1
    assert found["carpool_role", (("state", "BACKUP"),)] == 1
    assert found["carpool_role", (("state", "MASTER"),)] == 0
    lan = (("interface", "lan"), ("state", "BACKUP"), ("vhid", "51"))
    assert found["carpool_vhost_state", lan] == 1
    assert found["carpool_demotion", (("reason", "interface wan down"),)] == 240
    assert found["carpool_maintenance", ()] == 1
    assert found["carpool_failover_events_total", (("event", "adverts_sent"),)] == 5
    assert found["carpool_failover_events_total", (("event", 'odd"name\\?'),)] == 1
    assert found["carpool_group_changing", ()] == 1
    assert found["carpool_group_changing_seconds", ()] == 75.5
    files = (("key", "files"), ("process", "failover"))
    assert found["carpool_trouble_seconds", files] == 61.5
    fw2 = ("peer", "fw2")
    assert found["carpool_states_entries", ()] == 1234567
    assert found["carpool_states_events_total", (("event", "skipped_local"),)] == 12345
    assert found["carpool_states_hold", ()] == 1
    assert found["carpool_states_failover_connected", ()] == 1
    assert found["carpool_states_peer_lag_seconds", (fw2, ("quantile", "0.99"))] == 0.01281
    assert found["carpool_states_peer_bulk", (fw2, ("state", "sending"))] == 1
    assert found["carpool_states_peer_drift", (("kind", "missing"), fw2)] == 3
    assert found["carpool_states_peer_drift_total", (("kind", "different"), fw2)] == 1
    assert found["carpool_states_peer_sent_bytes_total", (fw2,)] == 2_345_678_901
    assert found["carpool_states_encrypted", ()] == 1
    web = (fw2, ("section", "web"))
    assert found["carpool_config_drift", (*web, ("state", "ahead"))] == 1
    assert found["carpool_config_drift", (*web, ("state", "differs on the backup"))] == 0
    cloud = ("hook", "10-cloud")
    assert found["carpool_hook_runs_total", (cloud, ("result", "failed"))] == 1
    assert found["carpool_hook_last_ok", (cloud,)] == 0
    assert found["carpool_hook_last_duration_seconds", (cloud,)] == 0.25
    assert ("carpool_hook_last_ok", (("hook", "new"),)) not in found
    assert found["carpool_check_failing", (("check", "disk"),)] == 1
    assert found["carpool_check_last_duration_seconds", (("check", "disk"),)] == 0.125
    assert ("carpool_check_failing", (("check", "new"),)) not in found
    states = {
        state: found["carpool_sync_schedule_state", (("state", state),)]
        for state in map(str, State)
    }
    assert states == {**dict.fromkeys(states, 0.0), "failed": 1.0}
    assert found["carpool_sync_schedule_last_run_timestamp_seconds", ()] == 1795402800.25
    assert found["carpool_sync_schedule_last_success_timestamp_seconds", ()] == 1795316400.5
    assert found["carpool_sync_schedule_next_timestamp_seconds", ()] == 1795489200


def test_every_metric_has_a_sample_a_help_and_a_type() -> None:
    text = whole()
    for metric in ALL:
        assert f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n" in text
        assert re.search(rf"^{metric.name}[ {{]", text, re.MULTILINE), metric.name
        assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert text.count("# TYPE ") == len(ALL) == len({metric.name for metric in ALL})


def test_the_list_in_the_docs_is_complete() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*) \|$", DOCS.read_text(), re.MULTILINE)
    assert [(name, kind, text) for name, kind, _labels, text in rows] == [
        (metric.name, metric.kind, metric.help) for metric in ALL
    ]
    labels = {
        name: {label for found, labels in read(whole()) if found == name for label, _ in labels}
        for name, *_ in rows
    }
    assert {name: set(filter(None, text.split(", "))) for name, _, text, _ in rows} == labels


@pytest.mark.parametrize("path", [DOCS, MONITORING, DASHBOARD], ids=lambda path: path.name)
def test_no_document_names_a_metric_that_is_not_told(path: Path) -> None:
    named = set(re.findall(r"\bcarpool_\w+", path.read_text()))
    assert named
    assert named - {metric.name for metric in ALL} == set()


def test_the_dashboard_asks_for_labels_that_are_told() -> None:
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| (.*?) \| .* \|$", DOCS.read_text(), re.MULTILINE)
    labels = {name: set(filter(None, text.split(", "))) for name, text in rows}
    dashboard = json.loads(DASHBOARD.read_text())
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    for target in (*targets, *dashboard["annotations"]["list"]):
        expression = target["expr"]
        told = [labels[name] for name in re.findall(r"\bcarpool_\w+", expression)]
        asked = set(re.findall(r"(\w+)(?:=~|!=|=)\"", expression))
        asked |= set(re.findall(r"\w+", " ".join(re.findall(r"by \((.*?)\)", expression))))
        shown = target.get("legendFormat") or target.get("titleFormat") or ""
        asked |= set(re.findall(r"{{(\w+)}}", shown))
        assert asked - set.intersection(*told) - OF_SCRAPES == set(), expression


def test_who_does_not_answer_is_down() -> None:
    text = metrics.text({"failover": DOWN, "states": DOWN})
    assert read(text) == {
        ("carpool_up", (("process", process),)): 0.0 for process in ("failover", "states")
    }
    assert "states" not in metrics.text({"failover": DOWN})


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"peers": [{}], "counters": [], "hold": 1, "vhosts": "none", "role": 5, "uptime_s": "x"},
        {"peers": [{"name": None, "bulk": 4, "lag": [], "drift": {"missing": None}}]},
        {"peers": {"fw2": {"web": {"drift": 1}, "dns": "ahead"}, "fw3": []}},
        {"schedule": {"state": 1, "next_unix_s": "x", "run_unix_s": None}},
        {"schedule": "daily"},
        {"entries": float("nan"), "uptime_s": float("inf"), "counters": {"a": None, "b": 1e400}},
    ],
)
def test_no_answer_is_believed(broken: Answer) -> None:
    found = read(metrics.text({"failover": broken, "states": broken, "agent": broken}))
    assert all(value == value and abs(value) < 1e300 for value in found.values())


def test_a_group_that_does_not_change_is_told_as_well() -> None:
    found = read(metrics.text({"failover": told({**answers.failover(), "change": None})}))
    assert found["carpool_group_changing", ()] == 0
    assert ("carpool_group_changing_seconds", ()) not in found
