"""Every mistake in node.toml and group.toml: where it is said to be, and what is said about it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from carpool.api.sectiontable import KEEP_KEYS, SECTION_KEYS, SERVICE_KEYS
from carpool.api.settings import (
    GROUP_KEYS,
    NODE_KEYS,
    PROBLEMS_MAX,
    STATES_KEYS,
    VIP_KEYS,
    load,
    with_lines,
)
from carpool.api.settingsweb import WEB_KEYS
from carpool.api.settingsync import SERVICES_KEYS, SYNC_KEYS
from carpool.api.tomlfile import FILE_MAX_BYTES
from carpool.model.config import (
    Config,
    Exclusion,
    Group,
    MacMode,
    Mark,
    Node,
    Peer,
    Problem,
    Scope,
    States,
    Transport,
    Vip,
    Web,
)
from tests.unit.api.files import GROUP, NODE, Edit, load_texts, write

MISTAKES = Path(__file__).with_name("mistakes.txt")
ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "docs" / "examples"


def test_good_files_are_a_config(tmp_path: Path) -> None:
    config, problems = load_texts(tmp_path)
    assert problems == []
    peer = {
        "lan": (ip_address("10.10.1.3"),),
        "wan": (ip_address("10.10.2.3"), ip_address("fe80::3")),
        "sync": (ip_address("10.10.3.2"),),
    }
    assert config == Config(
        Node(
            name="fw1",
            interfaces={"lan": "lan0", "wan": "wan0", "sync": "sync0"},
            advskew=0,
            addresses={"sync": (ip_address("10.10.3.1"),)},
            peers=(Peer("fw2", peer),),
        ),
        Group(
            name="edge",
            vips=(
                Vip(
                    interface="lan",
                    vhid=51,
                    password=b"secret",
                    addresses=(ip_interface("10.10.1.1/24"), ip_interface("fd00:10::1/64")),
                ),
                Vip(
                    interface="wan",
                    vhid=52,
                    password=b"secret",
                    addresses=(ip_interface("10.10.2.1/24"), ip_interface("10.10.2.11/24")),
                    advbase_s=1,
                    mac=MacMode.VIRTUAL,
                    transport=Transport.MULTICAST,
                ),
            ),
            preempt=True,
            states=States("sync", 3782, Scope.ASSURED),
        ),
    )


def test_where_the_pages_are_is_read(tmp_path: Path) -> None:
    def read(table: str) -> Web | None:
        config, problems = load_texts(tmp_path, NODE, f"{GROUP}\n{table}")
        assert config is not None and not problems
        return config.group.web

    assert read("") is None
    assert read('[web]\ninterfaces = ["lan"]') == Web(("lan",), 8443, "", "")
    own = 'port = 443\ncertificate = "/etc/ssl/a.pem"\nkey = "/etc/ssl/a.key"'
    found = read(f'[web]\ninterfaces = ["lan", "sync"]\n{own}')
    assert found == Web(("lan", "sync"), 443, "/etc/ssl/a.pem", "/etc/ssl/a.key")


def test_exclusions_are_read(tmp_path: Path) -> None:
    group = (
        GROUP
        + """exclude = [
        {interface = "lan"}, {network = "10.9.0.0/16"}, {network = "fd09::/32", protocol = "gre"},
        {protocol = "udp", port = 53}, {mark = "0x1/0xff"}, {mark = "0/1"}, {mark = "16"},
    ]
    no_sync_mark = "0x80000000"
    """
    )
    config, problems = load_texts(tmp_path, NODE, group)
    assert config is not None and not problems and config.group.states is not None
    assert config.group.states.exclusions == (
        Exclusion(interface="lan"),
        Exclusion(network=ip_network("10.9.0.0/16")),
        Exclusion(network=ip_network("fd09::/32"), protocol=47),
        Exclusion(protocol=17, port=53),
        Exclusion(mark=Mark(1, 0xFF)),
        Exclusion(mark=Mark(0, 1)),
        Exclusion(mark=Mark(16, 16)),
        Exclusion(mark=Mark(0x80000000, 0x80000000)),
    )


def test_a_schedule_is_read(tmp_path: Path) -> None:
    group = GROUP + '[sync]\ninterface = "sync"\nsections = ["ntp"]\nschedule = "Mon..Fri 02:30"\n'
    for jitter, jitter_s in (("0s", 0), ("45s", 45), ("10m", 600), ("24h", 86400)):
        config, problems = load_texts(tmp_path, NODE, f'{group}schedule_jitter = "{jitter}"\n')
        assert config is not None and not problems and config.group.sync is not None
        sync = config.group.sync
        assert (sync.schedule, sync.schedule_jitter_s) == ("Mon..Fri 02:30", jitter_s)


def test_a_check_that_runs_often_has_as_little_time(tmp_path: Path) -> None:
    text = f'{GROUP}\n[checks.ping]\ninterval = "2s"\n'
    config, problems = load_texts(tmp_path, group=text)
    assert config is not None and problems == []
    assert config.group.checks.of("ping").timeout_s == 2
    assert config.group.checks.of("disk").timeout_s == 5


def test_what_is_optional_may_be_left_out(tmp_path: Path) -> None:
    node = 'name = "fw1"\ninterface.lan = "lan0"\n[peer.fw2]\n'
    group = """
        name = "edge"
        [[vip]]
        interface = "lan"
        vhid = 255
        password = "12345678901234567890"
        addresses = ["fe80::1/64"]
    """
    config, problems = load_texts(tmp_path, node, group)
    assert problems == []
    assert config is not None
    assert (config.node.advskew, config.node.addresses, config.group.states) == (0, {}, None)
    assert config.node.peers == (Peer("fw2", {}),)
    assert config.group.preempt
    assert config.group.vips[0].transport is Transport.MULTICAST


def test_the_examples_of_the_documentation_are_good() -> None:
    config, problems = load(EXAMPLES)
    assert problems == []
    assert config is not None


def documented() -> list[tuple[str, str, str]]:
    """Every file that the manual and the README show, with a partner to be loaded with."""
    shown = []
    for path in (*sorted((ROOT / "docs" / "man").glob("*.[58]")), ROOT / "README.md"):
        text = path.read_text().replace("\\(dq", '"')
        blocks = re.findall(r"^(?:\.Bd -literal.*|```toml)\n((?s:.*?))^(?:\.Ed|```)$", text, re.M)
        files = [block for block in blocks if block.startswith("name = ")]
        nodes = [file for file in files if "[interface]" in file]
        groups = [file for file in files if "[[vip]]" in file]
        if not files:
            continue
        for node in nodes or [(EXAMPLES / "node.toml").read_text()]:
            for group in groups or [(EXAMPLES / "group.toml").read_text()]:
                shown.append((path.name, node, group))
    return shown


@pytest.mark.parametrize(("document", "node", "group"), documented())
def test_what_the_documentation_shows_is_good(
    document: str, node: str, group: str, tmp_path: Path
) -> None:
    config, problems = load_texts(tmp_path, node, group)
    assert problems == [], document
    assert config is not None


def test_the_documentation_shows_each_file() -> None:
    assert [document for document, _, _ in documented()] == [
        "carpool.8",
        "carpool.8",
        "group.toml.5",
        "node.toml.5",
        "README.md",
    ]


@pytest.mark.parametrize("name", ["node.toml", "group.toml"])
def test_every_key_is_in_the_manual(name: str) -> None:
    manual = (ROOT / "docs" / "man" / f"{name}.5").read_text()
    tables = (GROUP_KEYS, VIP_KEYS, STATES_KEYS, SYNC_KEYS, WEB_KEYS)
    sections = (SECTION_KEYS, KEEP_KEYS, SERVICE_KEYS)
    keys = {"node.toml": (NODE_KEYS, SERVICES_KEYS), "group.toml": (*tables, *sections)}[name]
    said = set(re.findall(r"^\.It Ic (\S+)$", manual, re.M)) | set(
        re.findall(r"\[+(\w+)[^]\n]*\]+", manual)
    )
    for key in {key for table in keys for key in table}:
        assert key in said, f"{name}(5) says nothing about {key}"


@dataclass(frozen=True, slots=True)
class Mistake:
    """An entry of mistakes.txt: an edit of a good file, and all that is said about it."""

    title: str
    file: str
    edit: Edit
    told: list[str]

    def problems(self, directory: Path) -> tuple[Config | None, list[Problem]]:
        if self.file == "node.toml":
            return load_texts(directory, node=self.edit.of(NODE))
        return load_texts(directory, group=self.edit.of(GROUP))


def mistakes() -> list[Mistake]:
    found = []
    for entry in MISTAKES.read_text().split("\n== ")[1:]:
        title, before, after, *told = entry.strip("\n").split("\n")
        file, old = before.removeprefix("- ").split(": ", 1)
        edit = Edit(old.replace("\\n", "\n"), after[2:].replace("\\n", "\n"))
        found.append(Mistake(title, file, edit, told))
    return found


@pytest.mark.parametrize("mistake", mistakes(), ids=lambda mistake: mistake.title)
def test_a_mistake_is_told_with_its_place(mistake: Mistake, tmp_path: Path) -> None:
    config, problems = mistake.problems(tmp_path)
    told = [f"{'error' if problem.fatal else 'warning'} {problem}" for problem in problems]
    assert told == mistake.told
    assert (config is None) is any(problem.fatal for problem in problems)


# ------------------------------------------------------------------------- whole files


def test_all_mistakes_of_both_files_are_told_in_one_go(tmp_path: Path) -> None:
    node = NODE.replace("advskew = 0", 'advskew = "0"').replace('"10.10.1.3"', '"nobody"')
    group = GROUP.replace("51", "0").replace('mac = "virtual"', 'mac = "v"').replace("3782", "0")
    config, problems = load_texts(tmp_path, node, group.replace("10.10.2.11/24", "10.10.2.255/24"))
    assert config is None
    assert [(p.file, p.line, p.key) for p in problems] == [
        ("node.toml", 2, "advskew"),
        ("node.toml", 13, "peer.fw2.address.lan"),
        ("group.toml", 6, "vip[0].vhid"),
        ("group.toml", 16, "vip[1].addresses[1]"),
        ("group.toml", 19, "vip[1].mac"),
        ("group.toml", 24, "states.port"),
    ]


def test_a_broken_file_does_not_hide_the_other_nor_accuse_it(tmp_path: Path) -> None:
    _, problems = load_texts(tmp_path, "name =", GROUP.replace("51", "0"))
    assert [(p.file, p.line, p.key) for p in problems] == [
        ("node.toml", 1, "syntax"),
        ("group.toml", 6, "vip[0].vhid"),
    ]
    _, problems = load_texts(tmp_path, NODE.replace("= 0", "= 255"), "[[vip]")
    assert [(p.file, p.line, p.key) for p in problems] == [
        ("node.toml", 2, "advskew"),
        ("group.toml", 1, "syntax"),
    ]


def test_empty_files_miss_what_is_required(tmp_path: Path) -> None:
    _, problems = load_texts(tmp_path, "", "")
    assert [(p.file, p.line, p.key, p.fatal) for p in problems] == [
        ("node.toml", None, "name", True),
        ("node.toml", None, "interface", True),
        ("node.toml", None, "peer", False),
        ("group.toml", None, "name", True),
        ("group.toml", None, "vip", True),
    ]


def test_missing_files(tmp_path: Path) -> None:
    config, problems = load(tmp_path / "nowhere")
    assert config is None
    assert [(p.file, p.line, p.key, p.found) for p in problems] == [
        ("node.toml", None, "file", "no file"),
        ("group.toml", None, "file", "no file"),
    ]
    assert problems[0].expected == str(tmp_path / "nowhere" / "node.toml")


def test_something_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "node.toml").unlink()
    (tmp_path / "group.toml").unlink()
    os.mkfifo(tmp_path / "node.toml")
    (tmp_path / "group.toml").mkdir()
    _, problems = load(tmp_path)
    assert [(p.file, p.key) for p in problems] == [("node.toml", "file"), ("group.toml", "file")]
    assert problems[0].found == f"{tmp_path}/node.toml, which is no file"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "node.toml").unlink()
    (tmp_path / "node.toml").symlink_to("node.toml")
    _, problems = load(tmp_path)
    (problem,) = problems
    assert (problem.file, problem.key) == ("node.toml", "file")
    assert "cannot be read: Too many levels of symbolic links" in problem.found


def test_a_file_that_is_no_utf8(tmp_path: Path) -> None:
    _, problems = load_texts(tmp_path, NODE.replace("fw2", "f\xfc").encode("latin-1"))
    (problem,) = problems
    assert (problem.file, problem.line, problem.key) == ("node.toml", 12, "file")
    assert problem.found == "byte 0xfc, which is no UTF-8"


def test_a_byte_order_mark_and_dos_lines_do_no_harm(tmp_path: Path) -> None:
    config, problems = load_texts(tmp_path, b"\xef\xbb\xbf" + NODE.replace("\n", "\r\n").encode())
    assert config is not None
    assert problems == []
    _, problems = load_texts(tmp_path, "\ufeff" + NODE.replace("= 0", "= 255"))
    assert [(p.line, p.key) for p in problems] == [(2, "advskew")]


def test_a_file_that_is_too_long(tmp_path: Path) -> None:
    _, problems = load_texts(tmp_path, group=GROUP + "#" * FILE_MAX_BYTES)
    (problem,) = problems
    assert (problem.file, problem.key, problem.line) == ("group.toml", "file", None)
    assert problem.found == f"more than {FILE_MAX_BYTES} bytes"


@pytest.mark.parametrize(
    ("value", "found"),
    [("[" * 5000, "values nested too deeply"), ("9" * 5000, "a number of thousands of digits")],
    ids=["nested", "digits"],
)
def test_values_that_break_parsers(value: str, found: str, tmp_path: Path) -> None:
    _, problems = load_texts(tmp_path, NODE.replace("advskew = 0", f"advskew = {value}"))
    assert [(p.file, p.key, p.found) for p in problems] == [("node.toml", "syntax", found)]


def test_the_number_of_problems_is_bounded(tmp_path: Path) -> None:
    many = "".join(f"key{number} = 1\n" for number in range(PROBLEMS_MAX + 20))
    _, problems = load_texts(tmp_path, many + NODE)
    assert len(problems) == PROBLEMS_MAX + 1
    assert [p.line for p in problems[:-1]] == list(range(1, PROBLEMS_MAX + 1))
    assert problems[-1].found == "20 more problems"
    assert problems[-1].fatal


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    _, problems = load_texts(tmp_path, NODE.replace("10.10.1.3", "9" * 1000))
    assert [p.found for p in problems] == ['"' + "9" * 57 + '..."']


def test_a_warning_leaves_a_config(tmp_path: Path) -> None:
    config, problems = load_texts(tmp_path, NODE[: NODE.index("[peer")])
    assert config is not None
    assert config.node.peers == ()
    assert [(p.key, p.fatal) for p in problems] == [("peer", False)]


# ------------------------------------------------------------------------------- lines


def test_problems_found_later_get_lines_too(tmp_path: Path) -> None:
    write(tmp_path)
    later = [
        Problem("group.toml", "vip[1].addresses[1]", "x", "y"),
        Problem("node.toml", "peer.fw2.address.lan[0]", "x", "y", fatal=False),
        Problem("node.toml", "interface.wan", "x", "y"),
    ]
    assert [(p.file, p.line, p.key, p.fatal) for p in with_lines(tmp_path, later)] == [
        ("node.toml", 6, "interface.wan", True),
        ("node.toml", 13, "peer.fw2.address.lan", False),
        ("group.toml", 16, "vip[1].addresses[1]", True),
    ]


def run_python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_without_tree_sitter_the_key_has_to_do(tmp_path: Path) -> None:
    write(tmp_path, NODE.replace("= 0", "= 255"))
    code = (
        "import sys; from pathlib import Path; sys.modules['tree_sitter'] = None\n"
        "from carpool.api.settings import load; print(*load(Path(sys.argv[1]))[1])"
    )
    assert run_python(code, str(tmp_path)).startswith("node.toml: advskew: found 255, expected")


def test_good_files_are_loaded_by_the_standard_library_alone(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from carpool.api.settings import load\n"
        "assert load(Path(sys.argv[1]))[0]; print(*sorted(sys.modules))"
    )
    loaded = {name.split(".")[0] for name in run_python(code, str(write(tmp_path))).split()}
    assert "carpool" in loaded
    assert not loaded & {"tree_sitter", "tree_sitter_toml", "rich", "difflib", "socket", "asyncio"}
