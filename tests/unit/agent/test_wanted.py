"""What a section is to become while somebody changes what is there."""

from __future__ import annotations

from pathlib import Path
from shutil import rmtree

from carpool.agent.wanted import Place
from carpool.kernel.tree import Digests
from carpool.model.manifest import Manifest
from carpool.model.section import Section

SECTION = Section("web", paths=("/web/",), exclude=("/web/d/own",))


class Busy(Place):
    """Somebody removes a directory just after it was looked at."""

    def have(self, section: Section) -> Manifest:
        found = super().have(section)
        rmtree(self.root / "web/gone")
        (self.root / "web/gone").touch()
        return found


def test_a_directory_that_went_meanwhile_needs_not_stay(tmp_path: Path) -> None:
    for name in ("web/gone", "web/d"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "web/d/own").touch()
    place = Busy(tmp_path, tmp_path / "config", {}, Digests())
    plan = place.plan(SECTION, {}, place.stage(tmp_path / "stage"))
    assert sorted(plan.want) == ["/web", "/web/d"]  # what is excluded lies there
    assert [change.path for change in plan.changes] == ["/web/gone"]
