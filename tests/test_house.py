"""The tidy test: rules of the house that ruff, mypy and import-linter cannot express.

Reads the files of the checkout, committed or about to be; runs nothing of carpool except to see
what an import loads. Each rule collects all its offenders and says what to do about them.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "carpool"
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
PURE_ROOMS = ("model", "proto", "machine")

UNFINISHED = re.compile(r"\b(?:FIX" r"ME|TO" r"DO|X" r"XX)\b|^(?:<{7}|>{7}) ", re.MULTILINE)
MACHINE_PATH = re.compile(r"(?<![\w.$}>)])/(?:work|workspace|home/\w+|Users/\w+|opt/\w+)/")
PACKAGE_INDEX = re.compile(
    r"\bpyp[i]\.\w|pythonhoste[d]\.|index-ur[l]|find-link[s]|trusted-hos[t]|/simple/?\s"
)
MODULE_NAME = re.compile(r"\bcarpool(?:\.\w+)+")


def fail_on(offenders: list[str], rule: str) -> None:
    """Fail with `rule` (what is expected, and what to do) and every offender."""
    if offenders:
        pytest.fail("\n  ".join([rule, *offenders]), pytrace=False)


@cache
def files() -> tuple[Path, ...]:
    """Every file that is or is about to be committed."""
    names = subprocess.run(
        # script/test runs as root: git wants to hear that the checkout may be somebody else's.
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    return tuple(path for name in sorted(names) if name and (path := ROOT / name).is_file())


def sources() -> list[Path]:
    return [path for path in files() if path.is_relative_to(SRC) and path.suffix == ".py"]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def matches(pattern: re.Pattern[str]) -> list[str]:
    """`file:line: text` for every line of every text file that `pattern` finds something in."""
    return [
        f"{shown(path)}:{number}: {line.strip()[:100]}"
        for path in files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_every_source_file_says_what_it_is() -> None:
    silent = [shown(path) for path in sources() if not ast.get_docstring(tree(path))]
    fail_on(
        silent, "Open each file with a docstring: what it is, its room, what it refuses to know."
    )


def test_nothing_is_left_for_later() -> None:
    fail_on(matches(UNFINISHED), "Do it now, or write it down where an operator would look for it.")


def test_files_and_functions_fit_a_head() -> None:
    long_files = [
        f"{shown(path)}: {lines} lines (at most {FILE_LINES_MAX})"
        for path in sources()
        if (lines := len(path.read_text().splitlines())) > FILE_LINES_MAX
    ]
    long_functions = [
        f"{shown(path)}:{node.lineno}: {node.name} has {lines} lines (at most {FUNCTION_LINES_MAX})"
        for path in sources()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    fail_on(
        long_files + long_functions, "Too long: it holds two nouns or does two things. Split it."
    )


def test_every_pure_module_has_its_test_file() -> None:
    untested = [
        f"{shown(path)} wants {shown(test)}"
        for room in PURE_ROOMS
        for path in sources()
        if path.is_relative_to(SRC / room)
        and has_functions(path)
        and not (test := mirror_of(path)).is_file()
    ]
    fail_on(
        untested, "Same name, same place: a pure module is tested by its own file, without root."
    )


def has_functions(path: Path) -> bool:
    return any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree(path)))


def mirror_of(source: Path) -> Path:
    return ROOT / "tests" / "unit" / source.relative_to(SRC).with_name(f"test_{source.name}")


def test_no_module_is_dead() -> None:
    graph = grimp.build_graph("carpool", cache_dir=None)
    entries = set(entry_modules()) & graph.modules
    alive = entries.union(*(graph.find_upstream_modules(entry) for entry in entries))
    dead = [
        shown(path)
        for path in sources()
        if path.name != "__init__.py" and module_name(path) not in alive
    ]
    fail_on(dead, "No command or script leads here. Use it or remove it.")


def module_name(source: Path) -> str:
    return ".".join(source.relative_to(SRC.parent).with_suffix("").parts)


def entry_modules() -> Iterator[str]:
    """Where a run can start: console scripts, script/*, modules that our code names in a string."""
    yield "carpool.__main__"  # python -m carpool
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for target in project["scripts"].values():
        yield target.partition(":")[0]
    for path in files():
        if path.parent == ROOT / "script":
            yield from MODULE_NAME.findall(path.read_text())
    for path in sources():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from MODULE_NAME.findall(node.value)


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    fail_on(
        matches(MACHINE_PATH) + matches(PACKAGE_INDEX),
        "A checkout works anywhere: no path of a workplace, no address of a package index.",
    )


def test_no_test_replaces_what_it_tests() -> None:
    patched = [
        f"{shown(path)}:{node.lineno}: {name}"
        for path in files()
        if path.is_relative_to(ROOT / "tests") and path.suffix == ".py"
        for node in ast.walk(tree(path))
        for name in names_in(node)
        if isinstance(node, ast.expr | ast.stmt | ast.arg)
        and name.partition(".")[0] in {"mock", "mocker", "monkeypatch", "MonkeyPatch"}
    ]
    fail_on(patched, "The line under test is in the wrong room: give it its inputs as arguments.")


def names_in(node: ast.AST) -> list[str]:
    match node:
        case ast.Import() | ast.ImportFrom():
            return [alias.name.removeprefix("unittest.") for alias in node.names]
        case ast.arg():
            return [node.arg]
        case ast.Attribute():
            return [node.attr]
        case _:
            return []


def test_the_lock_covers_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime, everything = pins("requirements.txt"), pins("requirements-dev.txt")
    wanted = {name_of(line) for line in project["dependencies"]}
    wanted_dev = wanted | {name_of(line) for line in project["optional-dependencies"]["dev"]}
    drift = [
        *(f"requirements.txt lacks {name}" for name in sorted(wanted - runtime.keys())),
        *(f"requirements-dev.txt lacks {name}" for name in sorted(wanted_dev - everything.keys())),
        *(
            f"{name}: {version} in requirements.txt, {everything.get(name)} in requirements-dev.txt"
            for name, version in runtime.items()
            if everything.get(name) != version
        ),
    ]
    fail_on(drift, "The lock files are stale: CONTRIBUTING.md says how to write them again.")


def name_of(requirement: str) -> str:
    """The project that a line such as `rich>=13` asks for."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / lock).read_text(), re.MULTILINE))


LOAD_ALL = """
import importlib, pkgutil, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), name + "."):
        importlib.import_module(module.name)
roots = {name.partition(".")[0] for name in set(sys.modules) - before} - {"carpool"}
heavy = {"asyncio", "concurrent", "multiprocessing"}
print(*sorted(roots - sys.stdlib_module_names | roots & heavy))
"""
LEAN = ("cli.main", "daemon", "service", "kernel", "machine", "proto", "model")  # `carpool run`


def test_failover_and_states_load_the_standard_library_only() -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOAD_ALL, *(f"carpool.{name}" for name in LEAN)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    fail_on(run.stdout.split(), "These processes must start on a machine at its worst; carry less.")


def test_the_agent_loads_nothing_that_shows_things() -> None:
    found = "import sys, carpool.agent.server; print(*{'rich', 'pygments'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", found], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode == 0, run.stderr
    fail_on(run.stdout.split(), "carpool/agent/__init__.py keeps httpx from loading these.")
