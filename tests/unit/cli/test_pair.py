"""`carpool peers`, `unpair`, and what `init` and `join` refuse before they speak with anybody."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from carpool.api.identity import introduce, keys_of
from carpool.cli.main import main
from carpool.errors import EXIT_CONFIG, EXIT_FAILED, EXIT_OK, EXIT_USAGE
from carpool.kernel.keys import fingerprint
from carpool.proto.paircode import Code
from tests.unit.api.files import NODE, paired, write

CODE = str(Code(b"\1" * 10, 2))


def carpool(directory: Path, *words: str) -> int:
    return main([*words, "--config-dir", str(directory)])


def test_peers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = NODE + '[peer.fw3.address]\nsync = "10.10.3.3"\n'
    introduce({"fw1": paired(write(tmp_path, node)), "old": tmp_path / "old"})
    keys = keys_of(tmp_path, "fw1")
    prints = {name: fingerprint(keys.pinned(name)) for name in ("fw2", "old")}
    assert carpool(tmp_path, "peers") == EXIT_OK
    assert (
        capsys.readouterr().out
        == f"""\
NODE  PAIRED  SHA-256 OF ITS CERTIFICATE
fw1   itself  {fingerprint(keys.own())}
fw2   yes     {prints["fw2"]}
fw3   no      -
old   yes     {prints["old"]}
fw1 is not paired with fw3 ({tmp_path}/identity/peers/fw3.pem is missing) (`carpool init` on fw1, \
then `carpool join` on fw3, or the other way round)
old is no peer in node.toml: `carpool unpair old` forgets it
"""
    )
    assert carpool(tmp_path, "peers", "--json") == EXIT_OK
    assert json.loads(capsys.readouterr().out) == {
        "node": {"name": "fw1", "fingerprint": fingerprint(keys.own())},
        "peers": [
            {"name": "fw2", "fingerprint": prints["fw2"], "paired": True},
            {"name": "fw3", "fingerprint": None, "paired": False},
        ],
        "unknown": [{"name": "old", "fingerprint": prints["old"]}],
    }


def test_peers_of_a_node_that_has_nothing_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert carpool(write(tmp_path), "peers") == EXIT_OK
    shown = capsys.readouterr().out
    assert "fw1   itself  -\nfw2   no      -\n" in shown
    assert "fw1 has no key and certificate" in shown
    assert not (tmp_path / "identity").exists()  # looking changes nothing


def test_unpair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paired(write(tmp_path))
    assert carpool(tmp_path, "unpair", "fw2") == EXIT_OK
    assert "fw2 is trusted no more; `carpool unpair fw1` there" in capsys.readouterr().out
    assert keys_of(tmp_path, "fw1").names() == []
    assert carpool(tmp_path, "unpair", "fw2") == EXIT_OK
    assert capsys.readouterr().out == "not paired with fw2 already\n"


@pytest.mark.parametrize("name", ["fw22", "../node", "", "/etc/passwd", "\x1b[2J"])
def test_unpair_of_nobody(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paired(write(tmp_path))
    assert carpool(tmp_path, "unpair", name) == EXIT_FAILED
    shown = capsys.readouterr().err
    assert "is known here, only fw2" in shown and "\x1b" not in shown
    assert ('did you mean "fw2"?' in shown) is (name == "fw22")
    assert keys_of(tmp_path, "fw1").identity_path.exists()


def test_a_typing_mistake_is_no_guess(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    typo = ("X" if CODE[0] != "X" else "Y") + CODE[1:]
    assert carpool(tmp_path, "join", "192.0.2.1", typo) == EXIT_FAILED
    shown = capsys.readouterr().err
    assert "not the code as it was shown: its last character does not fit the others" in shown
    assert "nothing was sent" in shown
    assert not (tmp_path / "identity").exists()


def test_a_code_from_stdin_is_in_no_list_of_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    usual, sys.stdin = sys.stdin, io.StringIO("12345\n")
    try:
        assert carpool(tmp_path, "join", "192.0.2.1", "-") == EXIT_FAILED
    finally:
        sys.stdin = usual
    assert "it has 5 characters, expected 30" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("join", "fw1.example", CODE), "is no IP address (names are not looked up)"),
        (("join", "10.0.0.1", CODE, "--port", "0"), "is no number from 1 to 65535"),
        (("init", "--timeout", "1e3"), "is no number from 1 to 86400"),
    ],
)
def test_mistakes_on_the_command_line(
    words: tuple[str, ...], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        carpool(write(tmp_path), *words)
    assert ended.value.code == EXIT_USAGE
    assert why in capsys.readouterr().err


def test_files_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("init",), ("peers",), ("join", "10.0.0.1", CODE), ("unpair", "fw2")):
        assert carpool(write(tmp_path, "name ="), *words) == EXIT_CONFIG
        assert "`carpool check` tells" in capsys.readouterr().err


def test_an_identity_that_was_copied_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paired(write(tmp_path))
    write(tmp_path, NODE.replace('"fw1"', '"fw9"'))
    assert carpool(tmp_path, "init") == EXIT_CONFIG
    assert "is the identity of fw1, and this node is fw9" in capsys.readouterr().err
