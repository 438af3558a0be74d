"""From one manifest to another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carpool.machine.changes import changes, needed
from carpool.model.manifest import Change, Deed, Entry, Kind, Manifest, digest, manifest


def file(path: str, content: str = "a", mode: int = 0o644) -> Entry:
    return Entry(path, Kind.FILE, mode, "root", "root", len(content), content * 64)


def directory(path: str) -> Entry:
    return Entry(path, Kind.DIRECTORY, 0o755, "root", "root")


NAMES = st.sampled_from(["/e", "/e/a", "/e/a/b", "/e/a/b/c", "/e/d", "/e/d/x"])
ENTRIES = st.builds(file, NAMES, st.sampled_from("ab")) | st.builds(directory, NAMES)
MANIFESTS = st.lists(ENTRIES, max_size=6).map(manifest)


def done(have: Manifest, steps: list[Change]) -> Manifest:
    """What is there after the changes, each of which must fit what is there."""
    now = dict(have)
    for change in steps:
        assert now.get(change.path) == change.old
        if change.new is None:
            del now[change.path]
        else:
            now[change.path] = change.new
    return now


@given(MANIFESTS, MANIFESTS)
def test_the_changes_make_the_one_the_other(have: Manifest, want: Manifest) -> None:
    steps = changes(have, want)
    assert done(have, steps) == want
    assert (digest(have) == digest(want)) == (not steps)


@given(MANIFESTS, MANIFESTS)
def test_what_is_below_a_directory_goes_before_it_and_comes_after_it(
    have: Manifest, want: Manifest
) -> None:
    steps = changes(have, want)
    gone = [change.path for change in steps if change.new is None]
    made = [change.path for change in steps if change.new is not None]
    assert gone == sorted(gone, reverse=True) and made == sorted(made)
    assert [change.path for change in steps] == gone + made


def test_deeds() -> None:
    one, other = file("/a"), file("/a", "b")
    assert Change("/a", None, one).deed is Deed.ADDED
    assert Change("/a", one, None).deed is Deed.REMOVED
    assert Change("/a", one, other).deed is Deed.CHANGED
    assert Change("/a", one, file("/a", mode=0o600)).deed is Deed.ATTRIBUTES


def test_a_content_is_asked_for_once() -> None:
    want = manifest([file("/a"), file("/b"), file("/c", "c"), directory("/d")])
    assert needed(want, frozenset()) == ["a" * 64, "c" * 64]
    assert needed(want, frozenset({"a" * 64})) == ["c" * 64]
