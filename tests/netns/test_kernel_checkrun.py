"""Checks see the new files in place, and leave no trace: the real mounts of this machine."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from carpool.errors import KernelError
from carpool.kernel.checkrun import OUTPUT_MAX_BYTES, CheckResult, Staged, run_check
from carpool.model.manifest import Change, Entry, Kind
from tests.netns.lab import wait_until

NAME = f"carpool-test-{os.getpid()}"
NEW = f"/etc/{NAME}"


@pytest.fixture(autouse=True)
def untouched(tmp_path: Path) -> Iterator[None]:
    """After each test nothing is mounted here that was not before, and /etc has no new file."""
    yield
    told = str(tmp_path).replace(" ", "\\040")
    assert told not in Path("/proc/self/mountinfo").read_text()
    assert not [path for path in Path("/etc").iterdir() if NAME in path.name]


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "scratch: a, b"
    made.mkdir()
    yield made
    assert os.listdir(made) == []


def stage(tmp_path: Path, path: str, text: str, mode: int = 0o644) -> Staged:
    source = tmp_path / hashlib.sha256(path.encode()).hexdigest()
    source.write_text(text)
    new = Entry(path, Kind.FILE, mode, "root", "root", len(text), "0" * 64)
    return Change(path, None, new), source


def shell(script: str, staged: list[Staged], scratch: Path, **how: object) -> CheckResult:
    return run_check(["sh", "-c", script], staged, scratch=scratch, **how)  # type: ignore[arg-type]


def test_new_and_changed_files_are_where_they_belong(tmp_path: Path, scratch: Path) -> None:
    entry = Entry(f"{NEW}/d", Kind.DIRECTORY, 0o750, "root", "root")
    link = Entry(f"{NEW}/link", Kind.SYMLINK, 0, "root", "root", target="d/file")
    staged: list[Staged] = [
        stage(tmp_path, "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        (Change(f"{NEW}/d", None, entry), None),
        stage(tmp_path, f"{NEW}/d/file", "hello\n", 0o4711),
        (Change(f"{NEW}/link", None, link), None),
    ]
    done = shell(
        f"cat /etc/passwd {NEW}/link; stat -c %a {NEW}/d {NEW}/d/file; ls /etc/hostname",
        staged,
        scratch,
    )
    assert done.output == ("root:x:0:0:root:/root:/bin/sh\nhello\n750\n4711\n/etc/hostname\n")
    assert (done.ok, done.exit_status, done.timed_out) == (True, 0, False)


def test_a_user_who_comes_with_the_change_has_his_files(tmp_path: Path, scratch: Path) -> None:
    def owned(name: str) -> Staged:
        change, source = stage(tmp_path, f"{NEW}/{name}", "x")
        assert change.new is not None
        return Change(change.path, None, replace(change.new, owner="comes-along")), source

    passwd = stage(tmp_path, "/etc/passwd", "comes-along:x:4711:0::/:/bin/sh\n")
    done = shell(
        f"stat -c %u {NEW}/before {NEW}/after", [owned("before"), passwd, owned("after")], scratch
    )
    assert done.output.split() == ["0", "4711"]


def test_a_path_whose_first_directory_is_not_there_yet(tmp_path: Path, scratch: Path) -> None:
    staged = [stage(tmp_path, f"/{NAME}/deep/file", "x")]
    assert shell(f"cat /{NAME}/deep/file", staged, scratch).output == "x"
    assert not Path(f"/{NAME}").exists()


def test_removed_files_and_attributes(tmp_path: Path, scratch: Path) -> None:
    live = tmp_path / "live"
    live.mkdir()
    for name in ("gone", "stays", "opened"):
        (live / name).write_text(name)
    there = {name: Entry(f"{live}/{name}", Kind.FILE, 0o644) for name in ("gone", "opened")}
    private = Entry(f"{live}/opened", Kind.FILE, 0o600, "#12345", "nobody-of-this-name")
    staged: list[Staged] = [
        (Change(f"{live}/gone", there["gone"], None), None),
        (Change(f"{live}/never", there["gone"], None), None),
        (Change(f"{live}/opened", there["opened"], private), None),
    ]
    done = shell(f"ls {live}; stat -c '%a %u %g' {live}/opened; cat {live}/opened", staged, scratch)
    assert done.output == "opened\nstays\n600 12345 0\nopened"
    assert (live / "gone").read_text() == "gone"
    assert (live / "opened").stat().st_uid == 0


def test_what_a_check_writes_is_gone_with_it(tmp_path: Path, scratch: Path) -> None:
    places = [
        tmp_path,
        Path("/etc"),
        Path("/run"),
        Path("/var/log"),
        Path("/tmp"),
        Path("/dev/shm"),
    ]
    files = " ".join(f"{place}/{NAME}" for place in places)
    done = shell(f"for f in {files}; do echo x >$f && cat $f; done", [], scratch)
    assert done.output == "x\n" * len(places)
    assert not [place for place in places if (place / NAME).exists()]


def test_settings_of_the_kernel_are_for_reading(scratch: Path) -> None:
    setting = Path("/proc/sys/kernel/panic")
    value = setting.read_text()
    done = shell(f"cat {setting}; echo 77 >{setting}", [], scratch)
    assert not done.ok
    assert done.output.startswith(value)
    assert "Read-only" in done.output
    assert setting.read_text() == value


def test_a_check_that_fails_speaks_for_itself(scratch: Path) -> None:
    done = shell("echo out; echo err >&2; exit 3", [], scratch)
    assert (done.ok, done.exit_status, done.output) == (False, 3, "out\nerr\n")
    assert shell("kill -SEGV $$", [], scratch).exit_status == -signal.SIGSEGV


def test_its_surroundings_are_clean(scratch: Path) -> None:
    done = shell("cat; env | sort; pwd; ls /proc/self/fd | wc -l; cat /proc/1/comm", [], scratch)
    lines = done.output.splitlines()
    assert {"HOME=/root", "LC_ALL=C.UTF-8", "PWD=/"} <= set(lines)
    assert [line.partition("=")[0] for line in lines[:-3] if line[0] != "_"] == [
        *("HOME", "LC_ALL"),
        *(["OLDPWD"] if "OLDPWD=" in lines else []),
        *("PATH", "PWD"),
    ]
    assert lines[-3:-1] == ["/", "4"]  # standard ones, and that of ls itself
    assert lines[-1].startswith("python")  # processes of the machine are not seen


def test_a_command_that_is_not_there(scratch: Path) -> None:
    done = run_check(["no-such-program", "-t"], [], scratch=scratch)
    assert (done.ok, done.exit_status) == (False, 127)
    assert done.output == "cannot run no-such-program: No such file or directory\n"


def test_of_a_long_output_the_end_is_kept(scratch: Path) -> None:
    done = shell("seq 1 100000; echo the end", [], scratch)
    assert len(done.output) <= OUTPUT_MAX_BYTES
    lines = done.output.splitlines()
    assert lines[-1] == "the end"
    assert int(lines[0]) == 100_001 - (len(lines) - 1)  # whole lines only


def test_at_the_limit_all_that_it_started_ends(scratch: Path) -> None:
    script = f"echo begun; (exec -a {NAME} setsid sleep 1000) & exec sleep 1000"
    said = ""
    for limit_s in (0.7, 5.0, 25.0):  # until it is enough for this machine to begin
        done = run_check(["bash", "-c", script], [], scratch=scratch, timeout_s=limit_s)
        assert done.timed_out
        assert not done.ok
        if said := done.output:
            break
    assert said == "begun\n"
    wait_until(lambda: not processes(NAME), 5, "the sleeper of the check ends")


def test_a_daemon_that_a_check_leaves_behind_ends_with_it(scratch: Path) -> None:
    script = f"(exec -a {NAME} setsid sleep 1000) & exit 0"
    done = run_check(["bash", "-c", script], [], scratch=scratch, timeout_s=20)
    assert done.ok
    wait_until(lambda: not processes(NAME), 5, "the daemon of the check ends")


def test_killed_from_outside_it_is_no_verdict(scratch: Path) -> None:
    failed: list[BaseException] = []

    def check() -> None:
        try:
            run_check(["bash", "-c", f"exec -a {NAME} sleep 1000"], [], scratch=scratch)
        except KernelError as error:
            failed.append(error)

    thread = threading.Thread(target=check)
    thread.start()
    wait_until(lambda: bool(processes(NAME)), 10, "the check runs")
    helper = parent(parent(processes(NAME)[0]))
    os.kill(helper, signal.SIGKILL)
    thread.join(10)
    assert "somebody killed the check" in str(failed[0])
    wait_until(lambda: not processes(NAME), 5, "the check ends with its helper")


def test_with_a_root_of_its_own(tmp_path: Path, scratch: Path) -> None:
    """As in the lab: below `root` lies what a node has otherwise than the machine."""
    root = tmp_path / "fw1"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "hostname").write_text("fw1\n")
    (root / "etc" / "conf").write_text("old")
    (root / NAME).mkdir()
    (root / NAME / "file").write_text("!\n")
    staged = [stage(tmp_path, "/etc/conf", "new\n")]
    script = f"cat /etc/hostname /etc/conf /{NAME}/file; test -e /etc/passwd"
    done = run_check(["sh", "-c", script], staged, scratch=scratch, root=root)
    assert done.output == "fw1\nnew\n!\n"
    assert done.ok
    assert (root / "etc" / "conf").read_text() == "old"


def test_a_root_within_what_it_covers(tmp_path: Path, scratch: Path) -> None:
    """Layers must not lie in each other: /DIR/.../fw1/DIR over /DIR."""
    root = tmp_path / "fw1"
    top = Path(*tmp_path.parts[:2])
    inner = root / top.relative_to("/")
    (inner / "of-fw1").mkdir(parents=True)
    (inner / "of-fw1" / "file").write_text("seen\n")
    done = run_check(["cat", f"{top}/of-fw1/file"], [], scratch=scratch, root=root)
    assert done.output == "seen\n"


def test_a_content_that_is_not_there_is_no_verdict(tmp_path: Path, scratch: Path) -> None:
    change, source = stage(tmp_path, "/etc/hosts", "x")
    assert source is not None
    source.unlink()
    with pytest.raises(KernelError, match="No such file or directory") as caught:
        run_check(["true"], [(change, source)], scratch=scratch)
    assert str(source) in caught.value.message
    assert "`true`" in caught.value.message


@pytest.mark.parametrize(("letter", "name"), [("i", "immutable"), ("a", "append-only")])
@pytest.mark.parametrize("at", ["/etc/web/conf", "/etc/web"])
def test_what_nobody_may_write_is_named_with_the_reason(
    tmp_path: Path, scratch: Path, letter: str, name: str, at: str
) -> None:
    root = tmp_path / "fw1"
    (root / "etc/web").mkdir(parents=True)
    (root / "etc/web/conf").write_text("old\n")
    held = str(root / at.lstrip("/"))
    subprocess.run(["chattr", f"+{letter}", held], check=True)
    try:
        with pytest.raises(KernelError) as caught:
            run_check(["true"], [stage(tmp_path, "/etc/web/conf", "n")], scratch=scratch, root=root)
    finally:
        subprocess.run(["chattr", f"-{letter}", held], check=True)
    assert caught.value.message == (
        f"cannot write /etc/web/conf: {at} is {name} (chattr +{letter}); nothing was changed"
    )
    assert f"`chattr -{letter} {at}` allows it" in caught.value.hint
    assert "overlayfs" not in caught.value.hint
    assert run_check(
        ["true"], [stage(tmp_path, "/etc/web/conf", "n")], scratch=scratch, root=root
    ).ok


def test_a_real_check_of_a_real_file(tmp_path: Path, scratch: Path) -> None:
    path = f"{NEW}/rules.nft"
    good = [stage(tmp_path, path, "table inet carpool_test { chain c {\naccept\n}\n}\n")]
    assert run_check(["nft", "-c", "-f", path], good, scratch=scratch).ok
    bad = [stage(tmp_path, path, "table inet carpool_test { chain c {\nacept\n}\n}\n")]
    done = run_check(["nft", "-c", "-f", path], bad, scratch=scratch)
    assert not done.ok
    assert f"{path}:2:" in done.output
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, check=True, text=True)
    assert "carpool_test" not in listed.stdout


def processes(name: str) -> list[int]:
    """Whose first argument is `name`."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if line.read_bytes().split(b"\0")[0] == name.encode():
                found.append(int(line.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
