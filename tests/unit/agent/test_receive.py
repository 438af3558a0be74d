"""What a peer's entries must be, whatever it sends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.agent.receive import judged
from carpool.errors import CarpoolError, PeerError
from carpool.model.manifest import Entry, Kind
from carpool.model.section import Section

SECTION = Section(
    "web", ("/etc/web/", "/etc/web.conf"), exclude=("*.bak",), nosync=("/etc/web/own",)
)
FILE = Entry("/etc/web/a", Kind.FILE, 0o644, "root", "root", 3, "0" * 64)


def test_what_belongs_there_is_taken_and_what_is_this_nodes_alone_is_not() -> None:
    own = [
        replace(FILE, path=path) for path in ("/etc/web/a.bak", "/etc/web/own", "/etc/web/own/x")
    ]
    assert judged(SECTION, [FILE, *own]) == {"/etc/web/a": FILE}


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/etc/webx",
        "/etc/web.confx",
        "/etc/web/../passwd",
        "/etc/web/./a",
        "/etc//web/a",
        "etc/web/a",
        "/etc/web/a\0b",
        "/etc/web/a\nb",
        "",
        "/",
        "/etc/web/" + "x" * 256,
        "/etc/web/" + "x/" * 200 + "x",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(CarpoolError):
        judged(SECTION, [replace(FILE, path=path)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": -1},
        {"size": 2**50},
        {"mode": 0o10000},
        {"sha256": ""},
        {"sha256": "0" * 63},
        {"sha256": "../" + "0" * 61},
    ],
)
def test_values_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(PeerError):
        judged(SECTION, [replace(FILE, **wrong)])  # type: ignore[arg-type]


def test_a_path_twice_or_below_a_file_is_refused() -> None:
    with pytest.raises(PeerError, match="twice"):
        judged(SECTION, [FILE, FILE])
    link = Entry("/etc/web/l", Kind.SYMLINK, target="/etc")
    for above in (FILE, link):
        with pytest.raises(PeerError, match="no directory"):
            judged(SECTION, [above, replace(FILE, path=f"{above.path}/b")])
