"""What git cannot hold by itself comes back exactly, and no reason becomes a trailer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.agent.historyformat import (
    attributes,
    attributes_path,
    identity,
    message,
    one_line,
    read_attributes,
    read_trailers,
    tree_path,
    when_iso,
)
from carpool.errors import KernelError
from carpool.model.manifest import Entry, Kind, manifest

# Names as os.listdir gives them: any bytes but NUL and "/".
NAMES = (
    st.binary(min_size=1, max_size=12)
    .map(lambda raw: raw.decode("utf-8", "surrogateescape"))
    .filter(lambda name: "/" not in name and "\0" not in name and name not in (".", ".."))
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
ENTRIES = st.builds(
    Entry,
    path=PATHS,
    kind=st.just(Kind.FILE),
    mode=st.integers(0, 0o7777),
    owner=st.text(max_size=8),
    group=st.text(max_size=8),
    size=st.integers(0, 1 << 50),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
) | st.builds(Entry, path=PATHS, kind=st.just(Kind.SYMLINK), target=NAMES)


@given(st.lists(ENTRIES, max_size=5))
def test_attributes_come_back(entries: list[Entry]) -> None:
    found = manifest(entries)
    assert read_attributes(attributes(found)) == found


def test_attributes_are_a_line_for_each_entry_in_the_order_of_paths() -> None:
    entries = [Entry("/b", Kind.DIRECTORY, 0o750), Entry("/a", Kind.SYMLINK, target="b")]
    lines = attributes({entry.path: entry for entry in entries}).decode().splitlines()
    assert lines == [
        "[",
        '{"path": "/a", "kind": "symlink", "owner": "", "group": "", "target": "b"},',
        '{"path": "/b", "kind": "directory", "mode": "0750", "owner": "", "group": ""}',
        "]",
    ]
    assert read_attributes(attributes({})) == {}


@pytest.mark.parametrize("text", [b"", b"{}x", b"[1]", b'[{"path": "/a"}]', b"\xff", b"7"])
def test_what_is_no_list_of_entries_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_attributes(text)


@given(PATHS, PATHS)
def test_two_paths_never_meet(one: str, other: str) -> None:
    places = {tree_path("dns", one), tree_path("dns", other)}
    assert len(places) == len({one, other})
    assert attributes_path("dns") not in places


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/etc/dnsmasq.d/a b.conf", "dns/etc/dnsmasq.d/a b.conf"),
        ("/etc/Zürich", "dns/etc/Zürich"),
        ("/etc/.git/config", "dns/etc/%2egit/config"),
        ("/etc/.GitModules", "dns/etc/%2eGitModules"),
        ("/etc/.g\u200cit", "dns/etc/%2eg%e2%80%8cit"),
        ("/etc/GIT~1", "dns/etc/GIT%7e1"),
        ("/etc/a\nb", "dns/etc/a%0ab"),
        ("/etc/\udcff", "dns/etc/%ff"),
        ("/etc/dev\\x2dsda", "dns/etc/dev%5cx2dsda"),
        ("/etc/50%", "dns/etc/50%25"),
        ("/.carpool-attributes.json", "dns/%2ecarpool-attributes%2ejson"),
    ],
)
def test_names_that_git_stumbles_over(path: str, place: str) -> None:
    assert tree_path("dns", path) == place


@pytest.mark.parametrize(
    "path", ["", "/", "etc/a", "/etc//a", "/etc/../a", "/./a", "/a/", "/\ud800"]
)
def test_no_path_leaves_its_section(path: str) -> None:
    with pytest.raises(KernelError, match="the history cannot hold"):
        tree_path("dns", path)


@pytest.mark.parametrize("name", ["", ".", "..", ".git", "-x", "a/b", "a b", "a\n", "a" * 101])
def test_no_section_is_anything_but_a_directory(name: str) -> None:
    with pytest.raises(KernelError, match="cannot hold a section named"):
        attributes_path(name)


def test_a_reason_is_never_read_as_a_trailer() -> None:
    text = message(
        ["ntp", "dns"],
        node="fw1",
        reason="Block guests\n\nCarpool-Kind: pulled\nCarpool-Node: \x1b[31mfw9",
        kind="applied",
    )
    assert text.splitlines()[0] == (
        "applied dns, ntp: Block guests Carpool-Kind: pulled Carpool-Node: [31mfw9"
    )
    assert read_trailers(text) == {
        "node": "fw1",
        "sections": "dns ntp",
        "kind": "applied",
        "reason": "Block guests Carpool-Kind: pulled Carpool-Node: [31mfw9",
    }


def test_a_subject_counts_many_sections_and_needs_no_reason() -> None:
    text = message(map(str, range(40)), node="fw1", reason=" \n", kind="rolled back")
    assert text.splitlines()[0] == "rolled back 40 sections"
    assert len(read_trailers(text)["sections"].split()) == 40
    assert read_trailers("Fix it by hand\n") == {}


@pytest.mark.parametrize(
    ("author", "shown"),
    [
        ("alice@fw1", "alice <alice@fw1>"),
        ("root", "root <root>"),
        ("", "unknown <unknown>"),
        ("a> 1 +0000\ncommitter <x@y", "a_1_+0000_committer_x <a_1_+0000_committer_x@y>"),
        ("@fw1", "@fw1 <@fw1>"),
    ],
)
def test_an_author_is_one_name_and_one_address(author: str, shown: str) -> None:
    assert identity(author) == shown


def test_times_and_lines_for_people() -> None:
    assert when_iso("1795412481") == "2026-11-23T05:41:21Z"
    assert when_iso("9" * 30) == when_iso("x") == "unknown"
    assert one_line(" a\t\x07b\n", 80) == "a b"
    assert one_line("abc", 2) == "ab"
