"""Revisions of the configuration, with plain git as the judge of what is on the disk."""

from __future__ import annotations

import itertools
import stat
from pathlib import Path

import pytest

from carpool.agent.history import (
    LOOK_BACK_BYTES,
    PACKS_MAX,
    TEXT_MAX_BYTES,
    NotRecorded,
    Revision,
)
from carpool.errors import KernelError
from carpool.model.manifest import Deed, Entry, Kind, manifest
from tests.unit.agent.desk import Desk, directory, file, link


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_plain_git_reads_what_was_recorded(desk: Desk) -> None:
    made = desk.made(
        "Guests get their own resolver",
        dns=[desk.put("/etc/dnsmasq.conf", b"port=53\n"), link("/etc/dns", "dnsmasq.conf")],
        cron=[desk.put("/etc/cron.daily/backup", b"#!/bin/sh\n", 0o755)],
    )
    desk.fsck()
    assert desk.git("show", "main:dns/etc/dnsmasq.conf") == b"port=53\n"
    listed = desk.git("ls-tree", "-r", "--format=%(objectmode) %(path)", "main").decode()
    assert listed.splitlines() == [
        "100644 cron/.carpool-attributes.json",
        "100755 cron/etc/cron.daily/backup",
        "100644 dns/.carpool-attributes.json",
        "120000 dns/etc/dns",
        "100644 dns/etc/dnsmasq.conf",
    ]
    shown = desk.git("log", "--format=%H|%an|%ae|%aI|%cn|%s|%(trailers:key=Carpool-Node,valueonly)")
    subject = "applied cron, dns: Guests get their own resolver"
    when = "2026-11-23T05:41:21"
    assert shown.decode().startswith(f"{made.id}|alice|alice@fw1|{when}")
    assert shown.decode().strip().endswith(f"|alice|{subject}|fw1")


def test_it_is_for_root_alone(desk: Desk) -> None:
    desk.made(dns=[desk.put("/etc/a", b"secret")])
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o700
    open_to_others = [path for path in desk.path.rglob("*") if path.stat().st_mode & 0o077]
    assert open_to_others == []


def test_a_revision_is_told_whole(desk: Desk) -> None:
    made = desk.made("why", dns=[desk.put("/etc/a", b"1")], kind="received")
    assert made == Revision(
        id=made.id,
        short=made.id[:10],
        when_iso="2026-11-23T05:41:21Z",
        author="alice@fw1",
        node="fw1",
        kind="received",
        sections=("dns",),
        reason="why",
    )
    assert desk.history.log(10) == [made]
    assert desk.history.resolve("HEAD") == made


def test_only_the_given_sections_change(desk: Desk) -> None:
    ntp = [desk.put("/etc/chrony.conf", b"pool a\n")]
    desk.made(dns=[desk.put("/etc/a", b"1"), desk.put("/etc/b", b"2")], ntp=ntp)
    second = desk.made(dns=[desk.put("/etc/a", b"one")])
    assert second.sections == ("dns",)
    assert desk.history.manifest(second, "ntp") == manifest(ntp)
    assert desk.bytes_of(second, "ntp", "/etc/chrony.conf") == b"pool a\n"
    names = desk.git("ls-tree", "-r", "--name-only", "main", "dns/etc").decode().split()
    assert names == ["dns/etc/a"]


def test_nothing_changed_is_no_revision(desk: Desk) -> None:
    dns = [desk.put("/etc/a", b"1")]
    made = desk.made(dns=dns)
    assert desk.commit("again", dns=dns) is None
    assert desk.commit("nothing at all") is None
    assert desk.history.log(10) == [made]


def test_an_empty_section_is_recorded(desk: Desk) -> None:
    desk.made(dns=[desk.put("/etc/a", b"1")])
    emptied = desk.made(dns=[])
    assert desk.history.manifest(emptied, "dns") == {}
    with pytest.raises(NotRecorded, match="has no section ntp"):
        desk.history.manifest(emptied, "ntp")


ODD = [
    "/etc/.git/config",
    "/etc/.gitmodules",
    "/etc/.gitattributes",
    "/etc/git~1",
    "/etc/.g\u200cit",
    "/etc/two\nlines",
    "/etc/latin-\udce9",
    '/etc/"quoted"',
    "/etc/ blanks ",
    "/etc/back\\slash\\.git",
    "/etc/50%",
    "/etc/%2egit",
    "/.carpool-attributes.json",
]


def test_a_section_comes_back_exactly(desk: Desk) -> None:
    texts = {path: f"content of {path!r}".encode() for path in ODD}
    entries = [desk.put(path, text) for path, text in texts.items()]
    entries += [directory("/etc/empty", 0o1750), link("/etc/l", "/x\udcff"), link("/.git", "y")]
    entries += [desk.put("/etc/run", b"", 0o4755, "#1234"), desk.put("/etc/key", b"\0\xff", 0o600)]
    made = desk.made(odd=entries)
    desk.fsck()
    found = desk.history.manifest(made, "odd")
    assert found == manifest(entries)
    files = [entry for entry in found.values() if entry.kind is Kind.FILE]
    restored = {
        entry.path: b"".join(chunks) for entry, chunks in desk.history.contents(made, "odd", files)
    }
    assert restored == {**texts, "/etc/run": b"", "/etc/key": b"\0\xff"}


def test_kinds_change_into_one_another(desk: Desk) -> None:
    inner = desk.put("/etc/a/b", b"inner")
    states: list[list[Entry]] = [
        [desk.put("/etc/a", b"file")],
        [directory("/etc/a"), inner],
        [link("/etc/a", "elsewhere")],
        [directory("/etc/a"), inner],
        [desk.put("/etc/a", b"file", 0o755)],
        [directory("/etc/a")],
    ]
    made = [desk.made(dns=state) for state in states]
    desk.fsck()
    for revision, state in zip(made, states, strict=True):
        assert desk.history.manifest(revision, "dns") == manifest(state)
        named = desk.git("ls-tree", "-r", "-z", "--name-only", revision.id, "dns/etc").decode()
        expected = [f"dns{one.path}" for one in state if one.kind is not Kind.DIRECTORY]
        assert named.split("\0")[:-1] == expected


@pytest.mark.parametrize(
    ("section", "entry"),
    [
        ("dns", file("/etc/../shadow", b"")),
        ("dns", file("etc/a", b"")),
        ("dns", link("/etc/a", "\ud800")),
        ("../dns", file("/etc/a", b"")),
        (".git", file("/etc/a", b"")),
    ],
)
def test_what_no_tree_can_hold_is_refused(desk: Desk, section: str, entry: Entry) -> None:
    before = desk.made(dns=[desk.put("/etc/z", b"1"), desk.put("/etc/a", b"")])
    with pytest.raises(KernelError, match="the history cannot hold"):
        desk.record({section: [entry]})
    assert desk.history.log(5) == [before]


def test_contents_that_are_there_are_not_read_again(desk: Desk) -> None:
    same = desk.put("/etc/a", b"same")
    desk.made(dns=[same, desk.put("/etc/copy", b"same"), desk.put("/etc/b", b"2")])
    assert sorted(desk.read) == ["/etc/a", "/etc/b"]
    desk.read.clear()
    moved = desk.put("/etc/moved", b"same", 0o755)
    made = desk.made(dns=[moved, desk.put("/etc/b", b"two"), desk.put("/etc/a", b"same", 0o600)])
    assert desk.read == ["/etc/b"]
    assert desk.bytes_of(made, "dns", "/etc/moved") == b"same"
    assert desk.git("ls-tree", "main", "dns/etc/moved").startswith(b"100755")


def test_large_contents_of_older_revisions_are_not_read_again(desk: Desk) -> None:
    large, small = b"x" * (LOOK_BACK_BYTES + 1), b"small"
    old = [desk.put("/etc/large", large), desk.put("/etc/small", small)]
    first = desk.made(dns=old)
    desk.made(dns=[], ntp=[desk.put("/etc/n", b"n")])
    desk.made(dns=[desk.put("/etc/other", b"other")])
    desk.read.clear()
    back = desk.made(dns=old, kind="rolled back")
    assert desk.read == []
    assert desk.history.manifest(back, "dns") == desk.history.manifest(first, "dns")
    assert desk.bytes_of(back, "dns", "/etc/large") == large
    desk.fsck()


@pytest.mark.parametrize("instead", [b"longer than it was", b"short", b"other....", None])
def test_a_file_that_changes_while_it_is_read(desk: Desk, instead: bytes | None) -> None:
    before = desk.made(dns=[desk.put("/etc/a", b"1")])
    good, bad = desk.put("/etc/b", b"good"), desk.put("/etc/c", b"as it was")
    place = desk.stage / bad.sha256
    place.unlink() if instead is None else place.write_bytes(instead)
    expected = "cannot read" if instead is None else "changed while the history read it"
    with pytest.raises(KernelError, match=expected):
        desk.commit(dns=[good, bad])
    assert desk.history.log(5) == [before]
    place.write_bytes(b"as it was")
    after = desk.made(dns=[good, bad])
    assert desk.bytes_of(after, "dns", "/etc/c") == b"as it was"
    desk.fsck()


def test_show_says_what_became_of_each_path(desk: Desk) -> None:
    first = desk.made(
        dns=[
            desk.put("/etc/a", b"1\n"),
            desk.put("/etc/gone", b"gone\n"),
            desk.put("/etc/mode", b"m"),
            directory("/etc/d"),
        ],
        ntp=[desk.put("/etc/n", b"n")],
    )
    second = desk.made(
        dns=[
            desk.put("/etc/a", b"2\n"),
            desk.put("/etc/mode", b"m", 0o600),
            desk.put("/etc/new", b"new\n"),
            directory("/etc/d"),
        ]
    )
    shown = desk.history.show(second)
    assert list(shown) == ["dns"]
    assert [(row.change.path, row.change.deed, row.old, row.new) for row in shown["dns"]] == [
        ("/etc/gone", Deed.REMOVED, b"gone\n", None),
        ("/etc/a", Deed.CHANGED, b"1\n", b"2\n"),
        ("/etc/mode", Deed.ATTRIBUTES, None, None),
        ("/etc/new", Deed.ADDED, None, b"new\n"),
    ]
    assert list(desk.history.show(first)) == ["dns", "ntp"]


def test_show_is_bounded(desk: Desk) -> None:
    sizes = [TEXT_MAX_BYTES, TEXT_MAX_BYTES + 1, *[TEXT_MAX_BYTES - n for n in range(1, 40)]]
    texts = [bytes([65 + n % 26]) * size for n, size in enumerate(sizes)]
    made = desk.made(dns=[desk.put(f"/etc/{n:02}", text) for n, text in enumerate(texts)])
    rows = desk.history.show(made)["dns"]
    assert [row.new for row in rows[:3]] == [texts[0], None, texts[2]]
    assert rows[-1].new is None  # no more room
    assert rows[-1].change.new is not None
    assert sum(len(row.new or b"") for row in rows) <= 8 << 20


def test_log_is_newest_first_and_by_section(desk: Desk) -> None:
    assert desk.history.log(5) == []
    one = desk.made("one", dns=[desk.put("/etc/a", b"1")])
    two = desk.made("two", ntp=[desk.put("/etc/n", b"1")], kind="found")
    three = desk.made("three", dns=[desk.put("/etc/a", b"2")], kind="rolled back")
    assert desk.history.log(10) == [three, two, one]
    assert desk.history.log(2) == [three, two]
    assert desk.history.log(10, "dns") == [three, one]
    assert desk.history.log(10, "dn") == []
    assert [one.kind for one in desk.history.log(3)] == ["rolled back", "found", "applied"]


def test_a_commit_of_plain_git_is_shown_too(desk: Desk) -> None:
    made = desk.made(dns=[desk.put("/etc/a", b"1")])
    stream = (
        "commit refs/heads/main\ncommitter Bob <bob@desk> 1700000000 +0100\n"
        f"data 11\nFix by hand\nfrom {made.id}\nM 100644 inline README\ndata 2\nhi\n"
    )
    desk.git("fast-import", "--quiet", text=stream.encode())
    newest, before = desk.history.log(5)
    assert before == made
    assert (newest.author, newest.reason, newest.node) == ("bob@desk", "Fix by hand", "")
    assert (newest.kind, newest.sections) == ("", ())
    assert desk.history.show(newest) == {}
    after = desk.made(dns=[desk.put("/etc/a", b"2")])
    assert [one.id for one in desk.history.log(5)] == [after.id, newest.id, made.id]


def test_resolve_takes_what_people_type(desk: Desk) -> None:
    made = [desk.made(dns=[desk.put("/etc/a", b"%d" % n)]) for n in range(3)]
    for revision in made:
        assert desk.history.resolve(revision.id) == revision
        assert desk.history.resolve(revision.short) == revision
        assert desk.history.resolve(revision.id[:7]) == revision
    assert [desk.history.resolve(f"HEAD~{n}") for n in range(3)] == made[::-1]
    assert desk.history.resolve("latest") == made[2]


@pytest.mark.parametrize(
    "text",
    ["", "-x", "--upload-pack=touch x", "main", "HEAD^", "abc", "HEAD~", "HEAD~123456", "a" * 41,
     "abcd\n", "HEAD:dns/etc/a", "@{-1}", "../../x", "abcd..ef01", "\x1b[2J", ":/one", "ABCD\0"],
)  # fmt: skip
def test_resolve_refuses_what_is_no_revision(desk: Desk, text: str) -> None:
    desk.made(dns=[desk.put("/etc/a", b"1")])
    with pytest.raises(NotRecorded, match="is no revision") as caught:
        desk.history.resolve(text)
    assert caught.value.message.isprintable()
    assert "4 to 40 digits" in caught.value.hint


def test_resolve_says_what_is_unknown(desk: Desk) -> None:
    with pytest.raises(NotRecorded, match="no revision HEAD; the history holds 0"):
        desk.history.resolve("HEAD")
    made = desk.made(dns=[desk.put("/etc/a", b"1")])
    blob = desk.git("rev-parse", "main:dns/etc/a").decode().strip()
    for text in ("HEAD~1", blob, "0" * 40, f"{made.id[:39]}{'1' if made.id[39] == '0' else '0'}"):
        with pytest.raises(NotRecorded, match=f"no revision {text}; the history holds 1"):
            desk.history.resolve(text)


def test_resolve_says_what_is_ambiguous(desk: Desk) -> None:
    desk.made(dns=[desk.put("/etc/a", b"1")])
    one = "commit refs/heads/main\ncommitter a <a> {} +0000\ndata 0\n"
    many = "".join(one.format(n) + ("from refs/heads/main^0\n" * (n == 0)) for n in range(1500))
    desk.git("fast-import", "--quiet", text=many.encode())
    ids = sorted(desk.git("rev-list", "main").decode().split())
    alike = next(a[:4] for a, b in itertools.pairwise(ids) if a[:4] == b[:4])
    with pytest.raises(
        NotRecorded, match=f"{alike} may be any of [2-9] revisions: {alike}"
    ) as told:
        desk.history.resolve(alike)
    assert told.value.hint == "give more digits"


def test_many_packs_become_few(desk: Desk) -> None:
    assert not desk.history.maintain()
    made = [
        desk.made(dns=[desk.put("/etc/a", b"line\n" * 50 + b"%d" % n)])
        for n in range(PACKS_MAX + 1)
    ]
    packs = desk.path / "objects" / "pack"
    assert len(list(packs.glob("*.pack"))) == PACKS_MAX + 1
    assert desk.history.maintain()
    assert len(list(packs.glob("*.pack"))) < 5
    assert not desk.history.maintain()
    desk.fsck()
    assert desk.history.log(100) == made[::-1]
    assert desk.bytes_of(made[3], "dns", "/etc/a").endswith(b"\n3")
