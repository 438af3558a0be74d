"""Git at its worst: killed, damaged, hanging, or told by others what to do."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carpool.agent.git import NICE, Git
from carpool.agent.history import Revision
from carpool.errors import KernelError
from tests.unit.agent.desk import Desk, run
from tests.unit.agent.offspring import children


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[tuple[dict[str, str], Path]]:
    """A home and an environment that would run `touch` at every turn, and what it would touch."""
    mark = tmp_path / "ran"
    home = tmp_path / "home"
    hooks = home / "template" / "hooks"
    hooks.mkdir(parents=True)
    script = home / "script"
    for path in (script, *(hooks / name for name in ("reference-transaction", "post-commit"))):
        path.write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
        path.chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[core]\nhooksPath = {hooks}\nfsmonitor = {script}\npager = {script}\n"
        f"[init]\ntemplateDir = {home / 'template'}\ndefaultBranch = other\n"
        f"defaultObjectFormat = sha256\n"
        f"[commit]\ngpgSign = true\n[log]\nshowSignature = true\n[gpg]\nprogram = {script}\n"
        f"[user]\nname = mallory\n[gc]\nauto = 1\n[fastimport]\nunpackLimit = 1000\n"
    )
    env = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_DIR": str(tmp_path / "elsewhere"),
        "GIT_TEMPLATE_DIR": str(home / "template"),
        "GIT_OBJECT_DIRECTORY": str(tmp_path / "objects"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": str(hooks),
        "GIT_PAGER": str(script),
        "GIT_TRACE": str(mark),
    }
    yield env, mark


def test_nobodys_configuration_has_a_say(desk: Desk, hostile: tuple[dict[str, str], Path]) -> None:
    env, mark = hostile
    desk.made(dns=[desk.put("/etc/a", b"1")])
    hook = desk.path / "hooks" / "reference-transaction"  # in the repository itself
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    second = desk.put("/etc/a", b"2")
    code = f"""
        made = commit(file("/etc/a", b"2"), Path({str(desk.stage / second.sha256)!r}))
        assert history.log(5)[0] == history.resolve("HEAD") == made
        history.show(made)
        print(made.author)
    """
    child = run(desk, code, **env)
    out, errors = child.communicate(timeout=30)
    assert (out, child.returncode) == ("a@b\n", 0), errors
    assert not mark.exists()
    assert len(desk.history.log(5)) == 2
    hook.unlink()
    desk.fsck()


def test_a_fresh_repository_takes_nothing_from_a_template(
    desk: Desk, hostile: tuple[dict[str, str], Path]
) -> None:
    env, mark = hostile
    one = desk.put("/etc/a", b"1")
    path = str(desk.stage / one.sha256)
    child = run(desk, f'commit(file("/etc/a", b"1"), Path({path!r}))', **env)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 0, errors
    assert not mark.exists()
    assert not (desk.path / "hooks").exists()
    assert len(desk.history.log(5)[0].id) == 40


def test_without_git_it_says_what_to_install(desk: Desk) -> None:
    desk.made(dns=[desk.put("/etc/a", b"1")])
    child = run(desk, "history.log(1)", PATH="/nonexistent")
    _, errors = child.communicate(timeout=30)
    assert "cannot run git: No such file or directory (install it: apt install git)" in errors


def test_killed_in_the_middle_of_a_content(desk: Desk) -> None:
    before = desk.made(dns=[desk.put("/etc/a", b"1")])
    big = b"x" * 3_000_000
    fifo = desk.stage / "fifo"
    os.mkfifo(fifo)
    child = run(desk, f'commit(file("/etc/a", b"x" * 3_000_000), Path({str(fifo)!r}))')
    with child, fifo.open("wb") as pipe:  # opens when the child reads
        pipe.write(big[:2_000_000])
        child.kill()
    assert desk.history.log(5) == [before]
    after = desk.made(dns=[desk.put("/etc/a", big)])
    assert desk.bytes_of(after, "dns", "/etc/a") == big
    assert list(desk.path.glob("fast_import_crash_*")) == []
    assert list((desk.path / "objects" / "pack").glob("tmp_*")) == []
    desk.fsck()


def test_killed_at_any_moment_it_is_whole(desk: Desk) -> None:
    """Each time after another number of revisions, so somewhere in the next."""
    desk.made(dns=[desk.put("/etc/a", b"start")])
    code = f"""
        for n in range(1000):
            text = b"%d %s" % (n, sys.argv[0].encode())
            place = Path({str(desk.stage)!r}, "next")
            place.write_bytes(text)
            print(commit(file(f"/etc/{{n}}", text), place).id, flush=True)
    """
    for rounds in range(1, 5):
        with run(desk, code) as child:
            assert child.stdout is not None
            told = [child.stdout.readline().strip() for _ in range(rounds)]
            child.kill()
            told += child.stdout.read().split()
        newest = [revision.id for revision in desk.history.log(2)]
        assert told[-1] in newest
        desk.fsck()
        desk.made(dns=[desk.put("/etc/a", b"%d" % rounds)])
    desk.fsck()


def test_stale_locks_of_a_killed_git_are_no_hindrance(desk: Desk) -> None:
    desk.made(dns=[desk.put("/etc/a", b"1")])
    for name in ("refs/heads/main.lock", "HEAD.lock", "packed-refs.lock", "fast_import_crash_7"):
        (desk.path / name).write_bytes(b"")
    (desk.path.with_name("history.new")).mkdir()
    desk.made(dns=[desk.put("/etc/a", b"2")])
    assert len(desk.history.log(5)) == 2
    assert list(desk.path.rglob("*.lock")) == []


def test_a_creation_that_was_cut_short_is_begun_again(desk: Desk) -> None:
    desk.path.mkdir(parents=True)
    half = desk.path.with_name("history.new")
    half.mkdir()
    (half / "HEAD.lock").write_bytes(b"")
    assert desk.history.log(1) == []
    desk.made(dns=[desk.put("/etc/a", b"1")])
    assert not half.exists()
    desk.fsck()


def test_writers_wait_for_one_another(desk: Desk) -> None:
    sections = {f"s{n}": [desk.put(f"/etc/{n}", b"%d" % n)] for n in range(6)}
    threads = [
        threading.Thread(target=desk.commit, kwargs={name: entries})
        for name, entries in sections.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(desk.history.log(10)) == 6
    newest = desk.history.resolve("HEAD")
    assert all(desk.history.manifest(newest, name) for name in sections)
    desk.fsck()


def empty_branch(path: Path) -> None:
    (path / "refs" / "heads" / "main").write_bytes(b"")


def no_packs(path: Path) -> None:
    for pack in (path / "objects" / "pack").iterdir():
        pack.unlink()


def no_head(path: Path) -> None:
    (path / "HEAD").unlink()


def holes(path: Path) -> None:
    for pack in (path / "objects" / "pack").glob("*.pack"):
        pack.chmod(0o600)
        text = pack.read_bytes()
        pack.write_bytes(text[:12] + b"\xff" * (len(text) - 32) + text[-20:])


def reads(desk: Desk, made: Revision) -> list[Callable[[], object]]:
    return [lambda: desk.history.manifest(made, "dns"), lambda: desk.history.show(made)]


@pytest.mark.parametrize(
    ("harm", "readable"),
    [(empty_branch, True), (no_packs, False), (no_head, False), (holes, False)],
)
def test_a_damaged_repository_is_told_and_moved_away(
    desk: Desk, harm: Callable[[Path], None], readable: bool
) -> None:
    made = desk.made(dns=[desk.put("/etc/a", b"1")])
    harm(desk.path)
    attempts = [lambda: desk.commit(dns=[desk.put("/etc/a", b"2")]), lambda: desk.history.log(5)]
    for attempt in [*attempts, *([] if readable else reads(desk, made))]:
        with pytest.raises(KernelError, match="git fails on the history in") as caught:
            attempt()
        assert f"mv {desk.path} {desk.path}.damaged" in caught.value.hint
    desk.path.rename(f"{desk.path}.damaged")
    fresh = desk.made(dns=[desk.put("/etc/a", b"2")])
    assert desk.history.log(5) == [fresh]


def test_attributes_that_others_wrote_are_told(desk: Desk) -> None:
    made = desk.made(dns=[desk.put("/etc/a", b"1")])
    stream = (
        "commit refs/heads/main\ncommitter Bob <bob@desk> 1700000000 +0100\n"
        f"data 0\nfrom {made.id}\n"
        "M 100644 inline dns/.carpool-attributes.json\ndata 2\nhi\n"
        "M 100644 inline dns/etc/a\ndata 2\nhi\n"
    )
    desk.git("fast-import", "--quiet", text=stream.encode())
    newest = desk.history.resolve("HEAD")
    with pytest.raises(KernelError, match=r"dns/.carpool-attributes.json of \w+ is not as it was"):
        desk.history.manifest(newest, "dns")
    [entry] = desk.history.manifest(made, "dns").values()
    with pytest.raises(KernelError, match="the content of /etc/a is not what was recorded"):
        desk.content_of(newest, "dns", entry)


def test_a_place_that_is_no_directory(desk: Desk) -> None:
    desk.path.parent.mkdir()
    desk.path.write_bytes(b"")
    with pytest.raises(KernelError, match=r"cannot read the history in .*: Not a directory"):
        desk.history.log(1)
    with pytest.raises(KernelError, match=r"cannot read the history in .*: Not a directory"):
        desk.commit(dns=[desk.put("/etc/a", b"1")])


def test_a_git_that_hangs_is_ended(desk: Desk) -> None:
    desk.made(dns=[desk.put("/etc/a", b"1")])
    git = Git(desk.path)
    with (
        pytest.raises(KernelError, match=r"git cat-file on the history in .* longer than 0.05 s"),
        git.talk("cat-file", "--batch-command", timeout_s=0.05) as (_, out),
    ):
        if not out.readline():  # it waits for us, we for it
            raise EOFError


def test_who_yields_is_nice(desk: Desk) -> None:
    desk.made(dns=[desk.put("/etc/a", b"1")])
    told, others = [], children()
    for yields in (False, True):
        with Git(desk.path).talk("cat-file", "--batch-command", yields=yields):
            [child] = children() - others
            told.append(os.getpriority(os.PRIO_PROCESS, child))
    assert told[1] == min(told[0] + NICE, 19)


def test_a_content_that_is_abandoned_leaves_no_git_behind(desk: Desk) -> None:
    made = desk.made(dns=[desk.put("/etc/a", os.urandom(3_000_000))])
    [entry] = desk.history.manifest(made, "dns").values()
    others = children()
    found = desk.history.contents(made, "dns", [entry])
    _entry, chunks = next(found)
    assert next(chunks)
    [child] = children() - others
    found.close()  # type: ignore[attr-defined]  # a generator
    assert children() == others
    with pytest.raises(ProcessLookupError):
        os.kill(child, signal.SIGCONT)
