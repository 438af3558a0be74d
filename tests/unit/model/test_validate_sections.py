"""Paths that no section may hold, patterns that fit nothing, and sections that overlap."""

from __future__ import annotations

import pytest

from carpool.model.section import Section
from carpool.model.validate_sections import path_fault, pattern_fault, selection_findings

UNBOUND = Section("unbound", ("/etc/unbound/", "/etc/default/unbound"))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "which is not absolute"),
        ("etc/unbound", "which is not absolute"),
        ("/", "which is everything"),
        ("//", "which has a part that is empty, . or .."),
        ("/etc//unbound", "which has a part that is empty, . or .."),
        ("/etc/unbound//", "which has a part that is empty, . or .."),
        ("/etc/./unbound", "which has a part that is empty, . or .."),
        ("/srv/../etc/carpool/node.toml", "which has a part that is empty, . or .."),
        ("/etc/a\nb", "which has a character that cannot be seen"),
        ("/etc/" + "a" * 4095, "which is longer than 4095 bytes"),
        ("/etc/carpool", "in /etc/carpool, where this node's own identity is"),
        ("/etc/carpool/", "in /etc/carpool, where this node's own identity is"),
        ("/etc/carpool/group.toml", "in /etc/carpool, where this node's own identity is"),
        ("/srv/own/node.toml", "in /srv/own, where this node's own identity is"),
        ("/srv/", "which has /srv/own in it"),
        ("/etc/", "which has /etc/carpool in it"),
        ("/proc/sys/net", "in /proc, which the kernel or the running system makes"),
        ("/sys/", "in /sys, which the kernel or the running system makes"),
        ("/dev/null", "in /dev, which the kernel or the running system makes"),
        ("/run/x", "in /run, which the kernel or the running system makes"),
    ],
)
def test_paths_that_no_section_may_have(path: str, why: str) -> None:
    assert path_fault(path, ("/etc/carpool", "/srv/own")) == why


@pytest.mark.parametrize(
    "path", ["/etc/carpool.d/", "/etc/carpools", "/srv/ownx", "/etc/x", "/runs/", "/etc/a b/ü"]
)
def test_paths_that_a_section_may_have(path: str) -> None:
    assert path_fault(path, ("/etc/carpool", "/srv/own")) == ""


def test_all_of_etc_is_refused_wherever_carpool_has_its_own_files() -> None:
    assert path_fault("/etc/", ("/srv/own",)) == "which is the whole configuration of the machine"


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("*.key", ""),
        ("/etc/unbound/*.key", ""),
        ("/etc/*/unbound", ""),
        ("/etc/unbound/own.conf", ""),
        ("/etc/unbound/own/", ""),
        ("/etc/default/unbound", ""),
        ("unbound.key", "which fits no absolute path"),
        ("", "which fits no absolute path"),
        ("/etc/unbund/*.key", "which fits nothing in this section"),
        ("/etc/unbound.conf", "which is not in this section"),
    ],
)
def test_patterns(pattern: str, why: str) -> None:
    assert pattern_fault(pattern, UNBOUND) == why


def told(selected: list[str], *known: Section, unusable: tuple[str, ...] = ()) -> list[str]:
    return [str(one.problem) for one in selection_findings(selected, known, unusable)]


def test_a_selected_section_is_known() -> None:
    assert told(["unbound"], UNBOUND) == []
    assert told(["unbound", "unbuond"], UNBOUND) == [
        'group.toml: sync.sections[1]: found "unbuond", which is no section, expected the name of '
        'a preset or of a [section.NAME] (did you mean "unbound"?)'
    ]
    assert told(["x"], UNBOUND)[0].endswith("(`carpool sections` lists them)")
    assert told(["broken"], UNBOUND, unusable=("broken",)) == []


def test_selected_sections_share_no_path() -> None:
    inner = Section("own", ("/etc/unbound/own/",))
    assert told(["unbound"], UNBOUND, inner) == []
    assert told(["unbound", "own"], UNBOUND, inner) == [
        'group.toml: sync.sections[1]: found /etc/unbound/own/ in "own", and in "unbound" too, '
        "expected each path in one selected section "
        "(give [section.own] other `paths`, or an `exclude` in the outer one)"
    ]
    assert len(told(["own", "unbound"], UNBOUND, inner)) == 1
    twin = Section("twin", ("/etc/default/unbound",))
    assert len(told(["twin", "unbound"], UNBOUND, twin)) == 1
    assert told(["unbound", "unbound"], UNBOUND) == []  # model/validate_sync.py tells that


@pytest.mark.parametrize("pattern", ["/etc/unbound/own", "/etc/unbound/own/", "/etc/unbound/o*"])
def test_what_the_outer_one_excludes_is_free(pattern: str) -> None:
    for inner in (Section("own", ("/etc/unbound/own/",)), Section("own", ("/etc/unbound/own/a",))):
        for outer in (
            Section("unbound", ("/etc/unbound/",), exclude=(pattern,)),
            Section("unbound", ("/etc/unbound/",), nosync=(pattern,)),
        ):
            assert told(["unbound", "own"], outer, inner) == []
