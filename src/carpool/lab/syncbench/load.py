"""What is synchronised: sections, their files, and one changed line in one of them.

Room: lab. The same bytes on every machine and in every run; refuses to know who carries them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TREE = Path("etc/bench")  # below a firewall's root
DIRECTORIES = 5  # of a section
_LINE = "option-{number} = value of {number} in a file that a person wrote  # and why\n"
_LINES = 3000  # that differ; longer files have them again


@dataclass(frozen=True, slots=True)
class Load:
    """`files` and `size_bytes` are those of all sections together."""

    sections: int = 40
    files: int = 2_000
    size_bytes: int = 200_000_000

    @property
    def names(self) -> list[str]:
        return [f"bench{number:02}" for number in range(self.sections)]

    def group_toml(self, text: str) -> str:
        """A group.toml that selects and defines them. The one that is changed has a check."""
        tables = [f'[section.{name}]\npaths = ["/{TREE}/{name}/"]\n' for name in self.names]
        tables[0] += f'check = ["grep", "-q", "option", "/{self._path(0)}"]\n'
        selected = ", ".join(f'"{name}"' for name in self.names)
        before, head, after = text.partition("[sync]\n")
        return f"{before}{head}sections = [{selected}]\n{after}\n" + "\n".join(tables)

    def write(self, root: Path) -> None:
        """Make all files below the root. The smallest has a few bytes, the largest twice the
        mean; each begins with a line of its own."""
        lines = "".join(_LINE.format(number=number) for number in range(_LINES)).encode()
        for number, size in enumerate(self._sizes()):
            path = root / self._path(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            own = f"# file {number} of {self.files}\n".encode()
            path.write_bytes((own + lines * (size // len(lines) + 1))[:size])

    def change(self, root: Path, number: int) -> None:
        """One more line in one file of the first section: another one for each `number`."""
        with (root / self._path(0)).open("a", encoding="utf-8") as file:
            file.write(f"option-changed = {number}\n")

    def _sizes(self) -> Iterator[int]:
        total = self.files * (self.files + 1) // 2
        for number in range(self.files, 0, -1):
            yield max(64, self.size_bytes * number // total)

    def _path(self, number: int) -> Path:
        section = self.names[number % self.sections]
        directory = number // self.sections % DIRECTORIES
        return TREE / section / f"{directory}" / f"{number}.conf"


SMALL = Load(sections=4, files=24, size_bytes=120_000)
