"""Completion in real shells: every verb and option, and names where one is taken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from carpool.cli import names
from carpool.cli.completion import SHELLS
from carpool.cli.main import VERBS
from carpool.lab.lab import LABS_DIR

NODE = """name = "fw1"
[peer.fw2.address]
lan = "10.10.1.3"
[peer.fw3.address]
lan = "10.10.1.4"
"""
GROUP = """name = "test"
[[vip]]
interface = "lan"
vhid = 51
addresses = ["10.10.1.1/24"]
[sync]
sections = ["nginx", "own", "$(touch ran)"]
[section.own]
services = [{ name = "own-daemon" }]
"""
BASH = """source "$0"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_carpool
printf '%s\\n' "${COMPREPLY[@]}"
"""
# What zsh offers it tells in a menu alone; so `compadd`, by which it would, prints in its place.
ZSH = """words=("$@") CURRENT=$# PREFIX=${@[-1]}
_describe() { local -a all=("${(@P)2}"); (( $#all )) && print -l -- "${(@)all%%:*}" }
_files() { print -l -- *(N) }
source "$0"
"""
FISH = "source $argv[1]; complete --do-complete \"$(string join ' ' -- $argv[2..-1])\""

Offered = Callable[..., set[str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A node as it is set up, and `carpool` as a command."""
    config = tmp_path / "etc"
    for name in ("hooks.d/mail", "checks.d/uplink", "checks.d/dns", "identity/peers/fw9.pem"):
        (config / name).parent.mkdir(parents=True, exist_ok=True)
        (config / name).touch()
    (config / "node.toml").write_text(NODE)
    (config / "group.toml").write_text(GROUP)
    command = tmp_path / "bin" / "carpool"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m carpool "$@"\n')
    command.chmod(0o755)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a-file").touch()
    return config


@pytest.fixture(params=SHELLS)
def offered(request: pytest.FixtureRequest, config: Path) -> Offered:
    """What a shell offers for the last of these words, of those that it fits."""
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    script = config.parent / f"completion.{shell}"
    script.write_text(SHELLS[shell]())

    def ask(*words: str, config_dir: Path = config) -> set[str]:
        begin = {
            "bash": ["bash", "--norc", "-c", BASH, script],
            "zsh": ["zsh", "-f", "-c", ZSH, script],
            "fish": ["fish", "--no-config", "-c", FISH, script],
        }
        path = f"{config.parent / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            [*map(str, begin[shell]), "carpool", *words],
            env={**os.environ, "PATH": path, "CARPOOL_CONFIG_DIR": str(config_dir)},
            cwd=config.parent / "here",
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
        assert done.stderr == ""
        found = {line.split("\t")[0] for line in done.stdout.splitlines()}
        return {one for one in found if one.startswith(words[-1])} - {""}

    return ask


def test_verbs_their_verbs_and_their_options(offered: Offered) -> None:
    assert set(VERBS) <= offered("")
    assert offered("swi") == {"switchover"}
    assert {"on", "off"} <= offered("maintenance", "")
    assert offered("--run-dir", "/x", "states", "ver") == {"verify"}
    assert offered("states", "verify", "--tim") == {"--timeout"}
    assert "--dry-run" in offered("sync", "nftables", "--")
    assert "ipv6" in offered("states", "list", "--family", "")


ASKED = (
    (("sync", ""), {"carpool", "nginx", "own"}),
    (("sync", "--reason", "why", "nginx", "o"), {"own"}),
    (("sync", "--peer", ""), {"fw2", "fw3"}),
    (("pull", "fw"), {"fw2", "fw3"}),
    (("pull", "fw2", "nginx", "ow"), {"own"}),
    (("unpair", "fw"), {"fw9"}),
    (("services", "restart", "own"), {"own-daemon"}),
    (("checks", "run", ""), {"uplink", "dns"}),
    (("hooks", "run", "m"), {"mail"}),
    (("hooks", "run", "--vip", "51"), {"51@lan"}),
    (("help", "group"), {"group.toml"}),
    (("doctor", "multic"), {"multicast"}),
)


def test_names_where_an_argument_takes_one(offered: Offered, config: Path) -> None:
    for words, wanted in ASKED:
        found = {one for one in offered(*words) if not one.startswith("-")}
        assert found - {"a-file"} == wanted, words
    assert not (config.parent / "here" / "ran").exists()


def test_nothing_is_said_where_no_configuration_is(offered: Offered, tmp_path: Path) -> None:
    for words in (("sync", "x"), ("services", "restart", "x"), ("checks", "run", "x")):
        assert offered(*words, config_dir=tmp_path / "none") == set()
    assert offered("sync", "--config-dir", "/nowhere", "ng") == set()


@pytest.mark.parametrize("text", ["\0", "peer = 1\nvip = [1]\nsync = 2", "vip = 1\nsync = []\n"])
def test_broken_files_are_for_others_to_tell(
    text: str, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (config / "node.toml").write_text(text)
    (config / "group.toml").write_text(text)
    for kind in names.KINDS:
        assert names.main([kind, "--config-dir", str(config)]) == 0
    assert capfd.readouterr().err == ""


def test_it_is_quick_as_it_loads_little(config: Path) -> None:
    heavy = {"asyncio", "cryptography", "rich", "httpx", "carpool.api.settings", "carpool.lab"}
    code = "import sys; from carpool.cli.main import main; main(sys.argv[1:]); print(*sys.modules)"
    for kind in ("sections", "peers", "vips", "checks", "labs"):
        argv = [sys.executable, "-c", code, "__names", kind, "--config-dir", str(config)]
        told = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout
        assert heavy & {*told.split()} == set(), kind


def test_labs_are_where_the_lab_has_them() -> None:
    assert names.ROOT / names.LABS == LABS_DIR
    assert names.kind_of("lab", "name") == "labs"


def test_every_kind_is_of_an_argument_that_there_is() -> None:
    assert {*names.OF_ARGUMENT.values()} == {*names.KINDS}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_reads_it(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    argv = [shell, "--no-execute"] if shell == "fish" else [shell, "-n"]
    done = subprocess.run(
        argv, input=SHELLS[shell](), capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
