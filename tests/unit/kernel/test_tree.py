"""What a section has on the disk: all that belongs to it, nothing else, and no link followed."""

from __future__ import annotations

import hashlib
import os
import resource
import socket
import tempfile
import threading
from pathlib import Path

import pytest

from carpool.errors import KernelError, PeerError
from carpool.kernel import clock
from carpool.kernel.owners import Owners
from carpool.kernel.rooted import check_path, check_target
from carpool.kernel.tree import RACY_US, Digests, beginning, contents, left_out, scan
from carpool.model.manifest import Entry, Kind
from carpool.model.section import Section
from tests.unit.kernel.trees import IN_MEMORY

NGINX = Section("nginx", ("/etc/nginx/",))


def later() -> int:
    """A clock by which all that was written just now is old."""
    return clock.wall_us() + RACY_US + 1_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/nginx/conf.d").mkdir(parents=True)
    (tmp_path / "etc/nginx/nginx.conf").write_text("events {}\n")
    (tmp_path / "etc/nginx/conf.d/a.conf").write_text("a")
    (tmp_path / "etc/nginx/modules").symlink_to("/usr/lib/nginx/modules")
    (tmp_path / "etc/hosts").write_text("::1 localhost\n")
    (tmp_path / "etc/nginx").chmod(0o755)
    (tmp_path / "etc/nginx/conf.d").chmod(0o750)
    (tmp_path / "etc/nginx/nginx.conf").chmod(0o640)
    return tmp_path


def test_everything_in_a_directory_and_the_directory_itself(root: Path) -> None:
    found = scan(NGINX, Digests(), root)
    owner, group = Owners().user(os.geteuid()), Owners().group(os.getegid())
    assert list(found) == sorted(found)
    assert found["/etc/nginx"] == Entry("/etc/nginx", Kind.DIRECTORY, 0o755, owner, group)
    assert found["/etc/nginx/nginx.conf"] == Entry(
        "/etc/nginx/nginx.conf",
        Kind.FILE,
        0o640,
        owner,
        group,
        size=10,
        sha256=hashlib.sha256(b"events {}\n").hexdigest(),
    )
    link = found["/etc/nginx/modules"]
    assert (link.kind, link.mode, link.target) == (Kind.SYMLINK, 0, "/usr/lib/nginx/modules")
    assert found.keys() == {
        "/etc/nginx",
        "/etc/nginx/conf.d",
        "/etc/nginx/conf.d/a.conf",
        "/etc/nginx/modules",
        "/etc/nginx/nginx.conf",
    }


def test_a_file_and_what_is_not_there(root: Path) -> None:
    section = Section("hosts", ("/etc/hosts", "/etc/hosts.d/", "/srv/deep/file"))
    assert list(scan(section, Digests(), root)) == ["/etc/hosts"]


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("/etc/nginx/conf.d", {"/etc/nginx/conf.d", "/etc/nginx/conf.d/a.conf"}),
        ("/etc/nginx/conf.d/", {"/etc/nginx/conf.d", "/etc/nginx/conf.d/a.conf"}),
        ("*.conf", {"/etc/nginx/nginx.conf", "/etc/nginx/conf.d/a.conf"}),
        ("/etc/nginx/[!m]*", None),
        ("/etc/nginx", None),
    ],
)
def test_what_is_left_out(root: Path, pattern: str, gone: set[str] | None) -> None:
    everything = scan(NGINX, Digests(), root).keys()
    for section in (
        Section("nginx", NGINX.paths, exclude=(pattern,)),
        Section("nginx", NGINX.paths, nosync=("/never", pattern)),
    ):
        found = scan(section, Digests(), root).keys()
        assert {path for path in everything if left_out(section)(path)} == everything - found
        if gone is not None:
            assert everything - found == gone
    assert not left_out(NGINX)("/etc/nginx")


def test_the_sections_owner_and_mode_win(root: Path) -> None:
    section = Section("nginx", NGINX.paths, owner="www-data:ssl", mode=0o640)
    found = scan(section, Digests(), root)
    assert {(one.owner, one.group) for one in found.values()} == {("www-data", "ssl")}
    assert found["/etc/nginx/conf.d/a.conf"].mode == 0o640
    assert found["/etc/nginx/conf.d"].mode == 0o750
    assert found["/etc/nginx/modules"].mode == 0
    assert scan(section, Digests(), root, as_on_disk=True) == scan(NGINX, Digests(), root)
    only_user = scan(Section("nginx", NGINX.paths, owner="bind"), Digests(), root)["/etc/nginx"]
    assert (only_user.owner, only_user.group) == ("bind", Owners().group(os.getegid()))


def test_a_second_scan_reads_nothing(root: Path) -> None:
    digests = Digests(wall_us=later)
    first = scan(NGINX, digests, root)
    path = root / "etc/nginx/conf.d/a.conf"
    assert digests.known(path.stat()) == first["/etc/nginx/conf.d/a.conf"].sha256
    digests.remember(path.stat(), "from memory", later())
    assert scan(NGINX, digests, root)["/etc/nginx/conf.d/a.conf"].sha256 == "from memory"
    times = path.stat()
    path.write_text("b")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as `cp -p` would
    assert (
        scan(NGINX, digests, root)["/etc/nginx/conf.d/a.conf"].sha256
        == hashlib.sha256(b"b").hexdigest()
    )


def test_a_file_that_changed_just_now_is_read_again(root: Path) -> None:
    path = root / "etc/nginx/conf.d/a.conf"
    os.utime(path, (0, 0))  # looks old, but the inode tells
    digests = Digests()
    scan(NGINX, digests, root)
    assert digests.known(path.stat()) is None


def test_digests_are_bounded(root: Path) -> None:
    digests = Digests(kept_max=1, wall_us=later)
    scan(NGINX, digests, root)
    paths = (root / "etc/nginx/conf.d/a.conf", root / "etc/nginx/nginx.conf")
    assert [digests.known(path.stat()) is None for path in paths].count(True) == 1


def test_a_component_that_is_a_link_is_refused(root: Path) -> None:
    (root / "srv").mkdir()
    (root / "etc/nginx").rename(root / "srv/nginx")
    (root / "etc/nginx").symlink_to("/srv/nginx")
    with pytest.raises(KernelError, match="/etc/nginx of section nginx is a symbolic link to /srv"):
        scan(NGINX, Digests(), root)
    with pytest.raises(KernelError, match="/etc/nginx is a symbolic link to /srv/nginx"):
        scan(Section("nginx", ("/etc/nginx/conf.d/",)), Digests(), root)
    as_a_link = scan(Section("nginx", ("/etc/nginx",)), Digests(), root)
    assert as_a_link["/etc/nginx"].target == "/srv/nginx"


def test_a_slash_at_the_end_must_be_right(root: Path) -> None:
    with pytest.raises(KernelError, match=r"/etc/nginx of section x is a directory .*slash"):
        scan(Section("x", ("/etc/nginx",)), Digests(), root)
    with pytest.raises(KernelError, match="/etc/hosts/ of section x is no directory"):
        scan(Section("x", ("/etc/hosts/",)), Digests(), root)
    with pytest.raises(KernelError, match="/etc/hosts is no directory"):
        scan(Section("x", ("/etc/hosts/sub/",)), Digests(), root)


def test_what_cannot_be_sent_is_named(root: Path) -> None:
    os.mkfifo(root / "etc/nginx/pipe")
    with pytest.raises(KernelError, match="/etc/nginx/pipe is a pipe") as caught:
        scan(NGINX, Digests(), root)
    assert 'exclude = ["/etc/nginx/pipe"]' in caught.value.hint
    excluded = Section("nginx", NGINX.paths, exclude=("/etc/nginx/pipe",))
    assert "/etc/nginx/pipe" not in scan(excluded, Digests(), root)
    here = os.open(root / "etc/nginx", os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{here}/sock")
    os.close(here)
    with pytest.raises(KernelError, match="/etc/nginx/sock is a socket"):
        scan(excluded, Digests(), root)


def test_a_name_that_nobody_can_read(root: Path) -> None:
    path = os.fsencode(root / "etc/nginx") + b"/\xff"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    with pytest.raises(KernelError, match="is not UTF-8") as caught:
        scan(NGINX, Digests(), root)
    assert caught.value.hint == "rename or exclude it"


def test_what_a_transaction_left_beside_is_no_configuration(root: Path) -> None:
    before = scan(NGINX, Digests(), root)
    (root / "etc/nginx/.carpool-0123-4").write_text("new")
    assert scan(NGINX, Digests(), root) == before


def test_a_file_that_is_always_written_to(root: Path) -> None:
    path = root / "etc/nginx/big"
    with path.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    done = threading.Event()

    def write() -> None:
        with path.open("r+b", buffering=0) as file:
            while not done.is_set():
                os.pwrite(file.fileno(), os.urandom(8), 0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(KernelError, match="/etc/nginx/big changed while being read, 3 times"):
            scan(NGINX, Digests(), root)
    finally:
        done.set()
        writer.join()


def test_contents_are_what_was_looked_at(root: Path) -> None:
    entry = scan(NGINX, Digests(), root)["/etc/nginx/nginx.conf"]
    assert b"".join(contents(entry, root)) == b"events {}\n"
    path = root / "etc/nginx/nginx.conf"
    for other in ("events {!\n", "events {} # more\n", "short"):
        path.write_text(other)
        with pytest.raises(KernelError, match=r"nginx\.conf changed after it was looked at"):
            list(contents(entry, root))
    path.unlink()
    path.symlink_to("/etc/hosts")
    for read in (lambda: list(contents(entry, root)), lambda: beginning(entry, 99, root)):
        with pytest.raises(KernelError, match="changed after"):
            read()
    path.unlink()
    with pytest.raises(KernelError, match="changed after"):
        list(contents(entry, root))


def test_the_beginning_of_a_file_has_a_length(root: Path) -> None:
    entry = scan(NGINX, Digests(), root)["/etc/nginx/nginx.conf"]
    assert beginning(entry, 99, root) == b"events {}\n"
    assert beginning(entry, 6, root) == b"events"
    (root / "etc/nginx/nginx.conf").write_text("events {} # more\n")
    assert beginning(entry, 99, root) == b"events {} ", "as long as it was"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "etc/passwd",
        "/etc/../root",
        "/etc/./x",
        "/etc//x",
        "/etc/x/",
        "/etc/\0",
        "/etc/a\nb",
        "/etc/\x1b[2J",
        "/etc/\udcff",
        "/" + "x" * 256,
        "/" + "/".join(["x" * 200] * 30),
        "/x" * 200,
        "/etc/.carpool-1-2",
    ],
)
def test_a_path_that_nobody_may_name(path: str) -> None:
    with pytest.raises(PeerError, match="the path"):
        check_path(path)


def test_paths_that_anybody_may_name() -> None:
    for path in ("/etc/hosts", "/etc/ssl/certs/Főtanúsítvány.pem", "/etc/..x", "/a b/" + "x" * 255):
        check_path(path)
    check_target("/etc/x", "../../anywhere")
    for target in ("", "a\0b", "\x1b", "x" * 4096):
        with pytest.raises(PeerError, match="/etc/x leads to"):
            check_target("/etc/x", target)


def test_owners() -> None:
    owners = Owners()
    assert (owners.user(0), owners.group(0)) == ("root", "root")
    assert (owners.uid("root", "/x"), owners.gid("root", "/x")) == (0, 0)
    assert owners.user(4_000_000_001) == "#4000000001"
    assert owners.uid("#4000000001", "/x") == 4_000_000_001
    for name in (
        "",
        "nobody-has-this",
        "#",
        "#-1",
        "#4294967295",
        "#99999999999",
        "a\0b",
        "\udcff",
    ):
        with pytest.raises(KernelError, match=r"/etc/x belongs to the user .* does not have"):
            owners.uid(name, "/etc/x")
        with pytest.raises(KernelError, match=r"/etc/x belongs to the group .* does not have"):
            owners.gid(name, "/etc/x")


def test_a_section_of_100000_files() -> None:
    count, of_one_inode = 100_000, 50_000  # as making 100,000 files takes seconds; ext4: 65,000
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as directory:
        wide = Path(directory) / "etc/wide"
        wide.mkdir(parents=True)
        here = os.open(wide, os.O_RDONLY)
        for number in range(count):
            first = number - number % of_one_inode
            if number == first:
                os.mknod(f"{number}", dir_fd=here)
            else:
                os.link(f"{first}", f"{number}", src_dir_fd=here, dst_dir_fd=here)
        os.close(here)
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = scan(Section("wide", ("/etc/wide/",)), Digests(wall_us=later), Path(directory))
        assert len(found) == count + 1
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 150 * 1024


def test_too_many_files_are_told(root: Path) -> None:
    assert len(scan(NGINX, Digests(), root, entries_max=5)) == 5
    with pytest.raises(KernelError, match="section nginx has more than 4 files"):
        scan(NGINX, Digests(), root, entries_max=4)
