"""A change of many files: all is new or all as it was, whenever its process is killed."""

from __future__ import annotations

import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carpool.errors import KernelError, PeerError
from carpool.kernel.stage import Stage
from carpool.kernel.transaction import Phase, Transaction
from carpool.kernel.tree import Digests
from carpool.model.manifest import Change, Entry, Kind
from tests.unit.kernel.trees import IN_MEMORY, Node, Swap, Tree, build, look, seen, sha256

A: Tree = {
    "same.conf": ("file", 0o644, b"same"),
    "main.conf": ("file", 0o640, b"old\n"),
    "mode.conf": ("file", 0o600, b"mode"),
    "gone.conf": ("file", 0o4711, b"gone"),
    "link": ("link", 0, b"same.conf"),
    "gone-link": ("link", 0, b"/nowhere"),
    "gone.d": ("dir", 0o2750, b""),
    "gone.d/deep": ("dir", 0o700, b""),
    "gone.d/deep/x": ("file", 0o644, b"x"),
    "kind": ("dir", 0o755, b""),
    "kind/y": ("file", 0o644, b"y"),
    "other": ("file", 0o644, b"a file"),
    "swung": ("link", 0, b"/srv"),
    "kept.d": ("dir", 0o755, b""),
}
B: Tree = {
    "same.conf": ("file", 0o644, b"same"),
    "main.conf": ("file", 0o600, b"new\n" * 1000),
    "mode.conf": ("file", 0o444, b"mode"),
    "link": ("link", 0, b"main.conf"),
    "kind": ("file", 0o644, b"a file now"),
    "other": ("dir", 0o750, b""),
    "other/z": ("file", 0o644, b"z"),
    "swung": ("dir", 0o755, b""),
    "swung/w": ("link", 0, b"../link"),
    "kept.d": ("dir", 0o500, b""),
    "new.d": ("dir", 0o755, b""),
    "new.d/" + "n" * 255: ("file", 0o644, b"a long name"),
    "zone.conf": ("file", 0o644, b"the last one"),
}


@pytest.fixture
def swap(tmp_path: Path) -> Swap:
    return swap_of(tmp_path, A, B)


def swap_of(directory: Path, old: Tree, new: Tree) -> Swap:
    made = Swap(directory / "here", directory / "there", directory / "state/transaction")
    build(made.here, old)
    build(made.there, new)
    return made


def test_all_is_new_and_nothing_else_is_left(swap: Swap) -> None:
    transaction = swap.prepared()
    assert (transaction.phase, transaction.note) == (Phase.PREPARED, {"reason": "test"})
    assert list(transaction.changes) == swap.changes()
    transaction.swap()
    assert (transaction.phase, look(swap.here)) == (Phase.SWAPPED, look(swap.there))
    assert seen(swap.here, times=False) == seen(swap.there, times=False)
    transaction.confirm()
    assert transaction.phase is None
    assert not swap.state.exists()
    assert swap.left() is None


def test_preparing_changes_nothing(swap: Swap) -> None:
    before, looked = seen(swap.here), look(swap.here)
    transaction = swap.prepared()
    assert look(swap.here) == looked
    assert seen(swap.here) != before  # what is new waits
    transaction.roll_back()
    assert seen(swap.here) == before
    assert not swap.state.exists()


def test_rolled_back_to_the_last_byte_and_nanosecond(swap: Swap) -> None:
    os.setxattr(swap.here / "etc/site/gone.conf", "user.origin", b"hand")
    before = seen(swap.here)
    transaction = swap.prepared()
    transaction.swap()
    transaction.roll_back()
    assert seen(swap.here) == before
    assert not swap.state.exists()
    assert transaction.phase is None


def test_extended_attributes_stay_with_a_changed_file(swap: Swap) -> None:
    path = swap.here / "etc/site/main.conf"
    os.setxattr(path, "user.origin", b"hand")
    swap.prepared().swap()
    assert os.getxattr(path, "user.origin") == b"hand"


def spared(swap: Swap, directory: Path) -> list[Path]:
    """Contents that nobody needs, as a stage has them; prepared and swapped with these."""
    directory.mkdir()
    for entry in look(swap.there).values():
        if entry.kind is Kind.FILE:
            (directory / entry.sha256).write_bytes(swap.source(entry).read_bytes())
    files = sorted(directory.iterdir())
    transaction = swap.transaction()
    transaction.prepare(swap.changes(), lambda one: directory / one.sha256, {}, files)
    transaction.swap()
    return files


def test_a_content_that_nobody_needs_is_moved(swap: Swap, tmp_path: Path) -> None:
    spared(swap, tmp_path / "stage")
    assert seen(swap.here, times=False) == seen(swap.there, times=False)
    left = {path.name for path in (tmp_path / "stage").iterdir()}
    assert left == {sha256(b"same"), sha256(b"mode")}  # of files that only change in mode


def test_it_is_copied_where_a_directory_hands_something_down(swap: Swap, tmp_path: Path) -> None:
    os.setxattr(swap.here / "etc/site", "user.label", b"as access lists are")
    files = spared(swap, tmp_path / "stage")
    assert {path for path in files if path.exists()} >= {
        tmp_path / "stage" / sha256(b"new\n" * 1000),
        tmp_path / "stage" / sha256(b"the last one"),
    }


def staged(swap: Swap, directory: Path, digests: Digests) -> Stage:
    """All new contents, taken in as a peer's are; long ago, as far as time stamps can tell."""
    stage = Stage(directory, digests)
    for entry in look(swap.there).values():
        if entry.kind is Kind.FILE:
            stage.put(entry.sha256, [swap.source(entry).read_bytes()], entry.size)
    last = max(path.stat().st_ctime_ns for path in directory.iterdir())
    clock = directory / "clock"
    clock.touch()
    while clock.stat().st_ctime_ns <= last:  # until the kernel's clock has gone on
        clock.touch()
    clock.unlink()
    return stage


def test_what_arrived_is_known_in_its_place_without_being_read(swap: Swap, tmp_path: Path) -> None:
    digests = Digests()
    stage = staged(swap, tmp_path / "stage", digests)
    contents = [stage.path(one) for one in stage.have()]
    transaction = Transaction(swap.state, swap.here, digests=digests)
    transaction.prepare(swap.changes(), lambda one: stage.path(one.sha256), {}, contents)
    transaction.swap()
    wanted = look(swap.there)
    new = [one.path for one in transaction.changes if one.new and one.new.kind is Kind.FILE]
    moved = [path for path in new if not stage.path(wanted[path].sha256).exists()]
    assert len(moved) > 2
    for path in moved:
        assert digests.known((swap.here / path[1:]).stat()) == wanted[path].sha256
    changed = swap.here / moved[0][1:]
    content, times = changed.read_bytes(), changed.stat()
    changed.write_bytes(content.swapcase())
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))  # which no time of the inode obeys
    assert digests.known(changed.stat()) is None


def test_what_was_written_to_after_it_arrived_is_read_again(swap: Swap, tmp_path: Path) -> None:
    digests = Digests()
    stage = staged(swap, tmp_path / "stage", digests)
    before = seen(swap.here)
    for path in (stage.path(one) for one in stage.have()):
        times = path.stat()
        path.write_bytes(path.read_bytes().swapcase())
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    contents = [stage.path(one) for one in stage.have()]
    transaction = Transaction(swap.state, swap.here, digests=digests)
    with pytest.raises(KernelError, match="is not what was announced"):
        transaction.prepare(swap.changes(), lambda one: stage.path(one.sha256), {}, contents)
    assert seen(swap.here) == before


def test_a_moved_content_is_what_was_announced(swap: Swap, tmp_path: Path) -> None:
    before, wrong = seen(swap.here), tmp_path / "wrong"
    wrong.write_bytes(b"wrong")
    with pytest.raises(KernelError, match="is not what was announced"):
        swap.transaction().prepare(swap.changes(), lambda _entry: wrong, {}, [wrong])
    assert seen(swap.here) == before


def test_whatever_happens_to_the_files_before_rolling_back(swap: Swap) -> None:
    before = seen(swap.here)
    transaction = swap.prepared()
    transaction.swap()
    site = swap.here / "etc/site"
    (site / "main.conf").write_text("scribbled over")
    (site / "link").unlink()
    (site / "gone.conf").write_text("made again")
    (site / "new.d" / ("n" * 255)).unlink()
    (site / "mode.conf").write_text("in place")
    transaction.roll_back()
    assert seen(swap.here) == before


def test_what_does_not_belong_to_the_section_stays(swap: Swap) -> None:
    (swap.here / "etc/site/gone.d/deep/excluded").write_text("mine")
    asked = [one for one in swap.changes() if not one.path.endswith("/excluded")]
    transaction = swap.transaction()
    transaction.prepare(asked, swap.source, {})
    transaction.swap()
    assert (swap.here / "etc/site/gone.d/deep/excluded").read_text() == "mine"
    assert not (swap.here / "etc/site/gone.d/deep/x").exists()
    transaction.roll_back()
    assert (swap.here / "etc/site/gone.d/deep/x").read_text() == "x"
    assert (swap.here / "etc/site/gone.d/deep/excluded").read_text() == "mine"


def test_a_directory_with_foreign_files_cannot_become_a_file(swap: Swap) -> None:
    (swap.here / "etc/site/kind/excluded").write_text("mine")
    asked = [one for one in swap.changes() if not one.path.endswith("/excluded")]
    with pytest.raises(KernelError, match=r"/etc/site/kind is to become a file, .* with excluded"):
        swap.transaction().prepare(asked, swap.source, {})
    assert swap.left() is None


def test_a_changed_file_is_a_new_one(swap: Swap) -> None:
    path, second = swap.here / "etc/site/main.conf", swap.here / "second"
    os.link(path, second)
    swap.prepared().swap()
    assert second.read_bytes() == b"old\n"
    assert path.read_bytes() == b"new\n" * 1000


def test_missing_parents_come_and_go(tmp_path: Path) -> None:
    swap = Swap(tmp_path / "here", tmp_path / "there", tmp_path / "state")
    swap.here.mkdir()
    build(swap.there, B)
    asked = [Change(path, None, entry) for path, entry in look(swap.there).items()]
    before = seen(tmp_path / "here")
    transaction = swap.transaction()
    transaction.prepare(asked[1:], swap.source, {})  # without /etc/site itself
    assert list(transaction.changes) == asked[1:]
    transaction.swap()
    assert (swap.here / "etc/site").stat().st_mode & 0o7777 == 0o755
    assert (swap.here / "etc/site/other/z").read_bytes() == b"z"
    transaction.roll_back()
    assert seen(tmp_path / "here") == before


@pytest.mark.parametrize(
    ("touch", "message"),
    [
        (lambda site: (site / "main.conf").write_text("new?\n"), "its size is 5, and was 4"),
        (lambda site: (site / "main.conf").write_text("odl\n"), "main.conf .*: its content"),
        (lambda site: (site / "main.conf").unlink(), "it is gone"),
        (lambda site: (site / "gone.conf").chmod(0o600), "its mode is 0600, and was 4711"),
        (lambda site: (site / "new.d").mkdir(), "new.d changed .*: it is there, and was not"),
        (lambda site: ((site / "link").unlink(), (site / "link").symlink_to("x")), "its target"),
        (lambda site: ((site / "link").unlink(), (site / "link").mkdir()), "its kind is dir"),
    ],
    ids=["longer", "content", "gone", "mode", "there", "target", "kind"],
)
def test_what_changed_meanwhile_is_not_overwritten(
    swap: Swap, touch: Callable[[Path], object], message: str
) -> None:
    asked = swap.changes()
    touch(swap.here / "etc/site")
    before = seen(swap.here)
    with pytest.raises(KernelError, match=message):
        swap.transaction().prepare(asked, swap.source, {})
    assert seen(swap.here) == before
    assert not swap.state.exists()


def test_what_changed_after_it_was_prepared_is_not_overwritten(swap: Swap) -> None:
    transaction = swap.prepared()
    (swap.here / "etc/site/main.conf").write_text("edited meanwhile")
    with pytest.raises(KernelError, match=r"main\.conf changed on this node meanwhile"):
        transaction.swap()
    assert transaction.phase is Phase.PREPARED
    transaction.roll_back()
    assert (swap.here / "etc/site/main.conf").read_text() == "edited meanwhile"
    assert look(swap.here)["/etc/site/link"].target == "same.conf"


def test_what_somebody_made_while_it_swapped_is_not_taken_away(swap: Swap) -> None:
    """It failed before it came to that file: there is nothing of ours."""
    path = swap.here / "etc/site/zone.conf"

    def tell(act: str) -> None:
        if act == "do /etc/site/new.d":
            path.write_text("made by hand")
            raise PermissionError(13, "Permission denied")

    transaction = swap.prepared(tell)
    with pytest.raises(KernelError, match=r"cannot change /etc/site/new\.d: Permission denied"):
        transaction.swap()
    transaction.roll_back()
    assert path.read_text() == "made by hand"
    path.unlink()
    assert look(swap.here)["/etc/site/main.conf"].size == len(b"old\n")


def test_a_staged_content_that_is_another_one(swap: Swap) -> None:
    before = seen(swap.here)
    with pytest.raises(
        KernelError, match=r"staged for /etc/site/[a-z.]+ is not what was announced"
    ):
        swap.transaction().prepare(swap.changes(), lambda _entry: swap.here / "etc/site/link", {})
    assert seen(swap.here) == before

    def bug(entry: Entry) -> Path:
        raise KeyError(entry.path)

    with pytest.raises(KeyError):  # a bug leaves nothing, either
        swap.transaction().prepare(swap.changes(), bug, {})
    assert seen(swap.here) == before
    assert not swap.state.exists()


def new_file(place: str, /, **more: object) -> Change:
    entry = Entry(place, Kind.FILE, 0o644, "#0", "#0", 1, sha256(b"x"))
    return Change(place, None, replace(entry, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        new_file("/etc/site/../../escaped"),
        new_file("relative"),
        new_file("/etc/site/\0"),
        new_file("/etc/site/x", mode=0o100644),
        new_file("/etc/site/x", sha256="../x"),
        new_file("/etc/site/x", target="y"),
        new_file("/etc/site/x", path="/etc/shadow"),
        new_file("/etc/site/x", kind=Kind.SYMLINK, sha256="", target="\x1b]0;"),
    ],
    ids=["dots", "relative", "nul", "mode", "digest", "target", "other", "escape"],
)
def test_what_only_a_hostile_peer_asks_for(swap: Swap, change: Change) -> None:
    before = seen(swap.here.parent)
    with pytest.raises(PeerError):
        swap.transaction().prepare([change], swap.source, {})
    assert seen(swap.here.parent) == before


def test_a_link_in_the_way_leads_nowhere(swap: Swap, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (swap.here / "etc/site/trap").symlink_to(outside)
    with pytest.raises(KernelError, match=f"/etc/site/trap is a symbolic link to {outside}"):
        swap.transaction().prepare([new_file("/etc/site/trap/x")], swap.source, {})
    with pytest.raises(KernelError, match=r"/etc/site/same\.conf is no directory"):
        swap.transaction().prepare([new_file("/etc/site/same.conf/x")], swap.source, {})
    assert not list(outside.iterdir())


def test_a_link_that_comes_into_the_way_leads_nowhere(swap: Swap, tmp_path: Path) -> None:
    transaction = swap.prepared()
    outside, site = tmp_path / "outside", swap.here / "etc/site"
    site.rename(outside)
    site.symlink_to(outside)
    before = seen(outside)
    with pytest.raises(KernelError, match="changed on this node meanwhile"):
        transaction.swap()
    assert seen(outside) == before


def test_a_user_that_is_not_here(swap: Swap) -> None:
    change = new_file("/etc/site/x", owner="nobody-has-this")
    with pytest.raises(KernelError, match="/etc/site/x belongs to the user 'nobody-has-this'"):
        swap.transaction().prepare([change], swap.source, {})
    assert not swap.state.exists()


def test_one_at_a_time(swap: Swap) -> None:
    swap.prepared()
    with pytest.raises(KernelError, match="another change is under way"):
        swap.prepared()


def test_the_note_survives(swap: Swap) -> None:
    transaction = swap.prepared()
    transaction.swap()
    found = swap.left()
    assert found is not None
    assert found.phase is Phase.SWAPPED
    assert found.note == {"reason": "test"}
    assert list(found.changes) == list(transaction.changes)
    found.confirm()


def test_a_journal_that_nobody_can_read(swap: Swap) -> None:
    swap.prepared()
    (swap.state / "journal.json").write_text("{")
    with pytest.raises(KernelError, match=r"journal\.json .* not as carpool writes") as caught:
        swap.left()
    assert str(swap.state / "old") in caught.value.hint


def test_what_cannot_be_put_back_does_not_hinder_the_rest(swap: Swap) -> None:
    before = seen(swap.here)
    transaction = swap.prepared()
    transaction.swap()
    path = swap.here / "etc/site/main.conf"
    path.unlink()
    path.mkdir()
    with pytest.raises(KernelError, match=r"cannot put back /etc/site/main\.conf: Is a dir"):
        transaction.roll_back()
    assert transaction.phase is Phase.ROLLING_BACK
    assert (swap.here / "etc/site/gone.conf").read_bytes() == b"gone"
    path.rmdir()
    again = swap.left()
    assert again is not None
    again.roll_back()
    assert seen(swap.here) == before


# Killed at every step


def killed_at(number: int, act: Callable[[Callable[[str], None]], object]) -> bool:
    """Do it in a child that kills itself before its step of this number; whether it came there."""
    child = os.fork()
    if child == 0:
        count = 0

        def tell(_act: str) -> None:
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            act(tell)
            os._exit(0)
        finally:  # whatever it was, nothing of the tests' process may go on in here
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), "the child failed: see its traceback"
    return status != 0


def swap_and_confirm(swap: Swap, tell: Callable[[str], None]) -> None:
    transaction = swap.prepared(tell)
    transaction.swap()
    transaction.confirm()


def prepare_and_roll_back(swap: Swap, tell: Callable[[str], None]) -> None:
    swap.prepared(tell).roll_back()


def roll_back_what_is_left(swap: Swap, tell: Callable[[str], None]) -> None:
    found = swap.left(tell)
    if found is not None:
        found.roll_back()


@pytest.fixture
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as directory:
        yield Path(directory)


def test_killed_at_every_step(memory: Path) -> None:
    """Then killed again while it rolls back, each time at another step."""
    whole = {"old": 0, "new": 0}
    number, was_killed = 0, True
    while was_killed:
        number += 1
        swap = swap_of(memory / str(number), A, B)
        old, new = seen(swap.here), seen(swap.there, times=False)
        was_killed = killed_at(number, partial(swap_and_confirm, swap))
        found = swap.left()
        if found is not None and found.phase is Phase.SWAPPED and number % 2:
            found.confirm()
        elif found is not None:
            killed_at(number % 37 + 1, partial(roll_back_what_is_left, swap))
            roll_back_what_is_left(swap, lambda _act: None)
        is_new = seen(swap.here, times=False) == new
        assert is_new or seen(swap.here) == old, f"half of it at step {number}"
        assert not swap.state.exists()
        whole["new" if is_new else "old"] += 1
    assert whole["new"] > 2
    assert whole["old"] > 40


def test_killed_at_every_step_of_rolling_back(memory: Path) -> None:
    number, was_killed = 0, True
    while was_killed:
        number += 1
        swap = swap_of(memory / str(number), A, B)
        old = seen(swap.here)
        swap.prepared().swap()
        was_killed = killed_at(number, partial(roll_back_what_is_left, swap))
        roll_back_what_is_left(swap, lambda _act: None)
        assert seen(swap.here) == old, f"not as it was after step {number}"
        assert not swap.state.exists()
    assert number > 30


def test_killed_while_it_clears_away_what_was_prepared(memory: Path) -> None:
    """What cannot be swapped whole any more does not say that it can."""

    number, was_killed, swapped = 0, True, 0
    while was_killed:
        number += 1
        swap = swap_of(memory / str(number), A, B)
        old = seen(swap.here)
        was_killed = killed_at(number, partial(prepare_and_roll_back, swap))
        found = swap.left()
        if found is None:
            assert seen(swap.here) == old
        else:
            found.swap()
            found.confirm()
            assert seen(swap.here, times=False) == seen(swap.there, times=False)
            swapped += 1
    assert swapped > 0


# Any tree to any other

NAMES = st.sampled_from(["a", "b", "c.conf", ".d", "e f"])
NODES = st.one_of(
    st.tuples(st.just("file"), st.sampled_from([0o600, 0o644, 0o755]), st.binary(max_size=40)),
    st.tuples(st.just("dir"), st.sampled_from([0o700, 0o755]), st.just(b"")),
    st.tuples(st.just("link"), st.just(0), st.sampled_from([b"a", b"/etc", b"../../x"])),
)


def plant(nodes: dict[tuple[str, ...], Node]) -> Tree:
    """Only what stands in a directory of the tree can be."""
    tree: dict[str, Node] = {}
    for path in sorted(nodes):
        above = str(PurePosixPath(*path).parent)
        if above == "." or (above in tree and tree[above][0] == "dir"):
            tree["/".join(path)] = nodes[path]
    return tree


PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
TREES = st.dictionaries(PATHS, NODES, max_size=12).map(plant)


@settings(max_examples=50)
@given(TREES, TREES)
def test_any_tree_becomes_any_other_and_comes_back(old: Tree, new: Tree) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as directory:
        swap = swap_of(Path(directory), old, new)
        before = seen(swap.here)
        transaction = swap.prepared()
        transaction.swap()
        assert seen(swap.here, times=False) == seen(swap.there, times=False)
        found = Transaction.left(swap.state, swap.here)
        assert found is not None
        found.roll_back()
        assert seen(swap.here) == before
