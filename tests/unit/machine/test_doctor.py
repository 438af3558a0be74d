"""All checks together: order, what is left after a fix, and what was not looked at."""

from __future__ import annotations

import re
from pathlib import Path

from carpool.machine.doctor import CHECKS, examine
from carpool.model.diagnosis import Severity
from tests.unit.machine.facts import FACTS, facts, without_config

GUIDE = Path(__file__).parents[3] / "docs/doctor.md"
ILL = facts(
    {
        "net/ipv4/conf/all/rp_filter": 1,
        "net/ipv4/conf/all/proxy_arp": 1,
        "net/netfilter/nf_conntrack_events": 0,
    }
)


def test_the_worst_comes_first_and_a_fix_takes_away_what_it_mends() -> None:
    report = examine(ILL)
    names = [(one.check, one.severity) for one in report.findings]
    assert names == [
        ("arp", Severity.ERROR),
        ("rp-filter", Severity.WARNING),
        ("rp-filter", Severity.WARNING),
        ("conntrack-events", Severity.NOTE),
    ]
    assert (report.worst, report.count(Severity.WARNING)) == (Severity.ERROR, 2)
    assert len(report.settings) == 2
    left = report.after(report.settings)
    assert [one.check for one in left.findings] == ["arp", "conntrack-events"]
    assert report.after(report.settings[1:]).worst is Severity.ERROR


def test_each_check_is_described() -> None:
    described = re.findall(r"^### ([a-z-]+)$", GUIDE.read_text(), re.MULTILINE)
    assert sorted(described) == sorted(CHECKS)


def test_only_what_is_asked_for_is_looked_at() -> None:
    report = examine(ILL, ["rp-filter", "rp-filter"])
    assert report.checks == ("rp-filter",)
    assert {one.check for one in report.findings} == {"rp-filter"}
    assert examine(FACTS).worst is None
    assert examine(FACTS).checks == tuple(CHECKS)


def test_what_cannot_be_known_is_said() -> None:
    report = examine(without_config(), ["arp", "configuration"])
    assert [one.check for one in report.skipped] == ["arp"]
    assert report.worst is Severity.NOTE
