"""How findings look: 80 columns, labels, and one sentence at the end."""

from __future__ import annotations

from rich.console import Console

from carpool.api.renderdoctor import findings, verdict
from carpool.machine.doctor import Report
from carpool.model.diagnosis import Diagnosis, Setting, Severity, Skipped

LOOSE = Setting("net/ipv4/conf/lan0/rp_filter", 2)
STRICT = Diagnosis(
    "rp-filter",
    Severity.WARNING,
    "lan0 takes only packets whose way back leads out of it again (rp_filter=1)",
    "packets of a connection that moved here may come in by another way than this node would "
    "answer; they are dropped without a word",
    "sysctl net/ipv4/conf/lan0/rp_filter=2",
    (LOOSE,),
)
TWICE = Diagnosis("vhid", Severity.ERROR, "\x1b[31m10.1.0.9 says it, too", "it answers", "move it")


def shown(report: Report, fixed: int = 0) -> str:
    console = Console(width=80, highlight=False, color_system=None)
    with console.capture() as captured:
        console.print(findings(report))
        console.print(verdict(report, fixed=fixed), soft_wrap=True)
    return captured.get()


def test_findings_and_what_was_not_looked_at() -> None:
    skipped = (Skipped("mtu", "fw2 is silent"), Skipped("clock", "fw2 is silent"))
    text = shown(Report(("vhid", "rp-filter", "mtu", "clock"), (TWICE, STRICT), skipped))
    assert (
        text
        == """\
error: vhid
  found  ?[31m10.1.0.9 says it, too
  why    it answers
  fix    move it

warning: rp-filter
  found  lan0 takes only packets whose way back leads out of it again
         (rp_filter=1)
  why    packets of a connection that moved here may come in by another way than
         this node would answer; they are dropped without a word
  fix    sysctl net/ipv4/conf/lan0/rp_filter=2

not looked at: mtu, clock
  fw2 is silent

1 error and 1 warning in 2 checks; `carpool doctor --fix` puts 1 right.
"""
    )
    assert max(map(len, text.splitlines())) <= 80


def test_the_sentence_when_all_is_well() -> None:
    assert shown(Report(("vhid", "mtu"), (), ())) == ("All is well, as far as 2 checks can tell.\n")
    assert shown(Report(("vhid",), (), ()), fixed=1) == (
        "1 finding put right. All is well, as far as 1 check can tell.\n"
    )
