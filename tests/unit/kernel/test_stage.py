"""Contents that have arrived: only whole ones are had, whatever the sender or the power does."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from carpool.errors import PeerError
from carpool.kernel.stage import Stage

TEXT = b"events {}\n"
DIGEST = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state" / "stage"


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_content_is_had_by_its_digest(directory: Path) -> None:
    stage = Stage(directory)
    assert stage.have() == frozenset()
    assert not directory.exists()
    stage.put(DIGEST, [TEXT[:3], b"", TEXT[3:]], len(TEXT))
    assert stage.have() == frozenset({DIGEST})
    assert DIGEST in stage and "0" * 64 not in stage
    assert stage.path(DIGEST).read_bytes() == TEXT
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(stage.path(DIGEST).stat().st_mode) == 0o600
    stage.put(DIGEST, [TEXT], len(TEXT))
    assert stage.have() == frozenset({DIGEST})


def test_a_wrong_content_leaves_nothing(directory: Path) -> None:
    stage = Stage(directory)
    with pytest.raises(PeerError, match=f"content {DIGEST[:16]}... arrived as"):
        stage.put(DIGEST, [TEXT[:-1], b"!"], len(TEXT))
    with pytest.raises(PeerError, match="longer than 9 bytes"):
        stage.put(DIGEST, [TEXT], len(TEXT) - 1)
    assert (stage.have(), names(directory)) == (frozenset(), set())


def test_too_much_is_refused_before_the_end(directory: Path) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(1000)

    with pytest.raises(PeerError, match="longer than 5000 bytes"):
        Stage(directory).put(DIGEST, endless(), 5000)
    assert taken == 6


def test_a_sender_that_goes_away_leaves_nothing(directory: Path) -> None:
    stage = Stage(directory)
    with pytest.raises(ConnectionResetError), stage.incoming(DIGEST, 100) as write:
        write(TEXT[:4])
        raise ConnectionResetError
    assert (stage.have(), names(directory)) == (frozenset(), set())


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_what_is_no_digest_names_no_file(directory: Path, name: str) -> None:
    stage = Stage(directory)
    with pytest.raises(PeerError, match="is no SHA-256 digest"):
        stage.path(name)
    with pytest.raises(PeerError, match="is no SHA-256 digest"):
        stage.put(name, [TEXT], 100)
    assert not directory.exists()


def test_what_an_earlier_process_left_is_had_if_it_is_whole(directory: Path) -> None:
    Stage(directory).put(DIGEST, [TEXT], len(TEXT))
    (directory / ("0" * 64)).write_bytes(TEXT)
    (directory / "arriving-0123").write_bytes(TEXT)
    stage = Stage(directory)
    assert stage.have() == frozenset({DIGEST})
    assert names(directory) == {DIGEST}


def test_removed(directory: Path) -> None:
    stage = Stage(directory)
    stage.remove()
    stage.put(DIGEST, [TEXT], len(TEXT))
    stage.remove()
    assert not directory.exists()
    assert stage.have() == frozenset()
    stage.put(DIGEST, [TEXT], len(TEXT))
    assert stage.have() == {DIGEST}
