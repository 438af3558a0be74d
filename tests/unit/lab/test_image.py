"""What machines are made from: who waits for whom while it is made."""

from __future__ import annotations

import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import carpool
from carpool.lab import image

CHECKOUT = Path(carpool.__file__).parents[2]


def test_a_package_is_given_while_an_image_is_made(tmp_path: Path) -> None:
    content = image._content(CHECKOUT / source for source in image.SOURCES)
    package = tmp_path / f"package-{content}" / "carpool_1_all.deb"
    package.parent.mkdir()
    package.touch()
    with ThreadPoolExecutor(1) as pool, (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of who makes an image
        asked = pool.submit(image.package_of_checkout, print, tmp_path)
        try:
            assert asked.result(timeout=20) == package
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)


def test_only_packages_that_were_not_asked_for_lately_are_forgotten(tmp_path: Path) -> None:
    content = image._content(CHECKOUT / source for source in image.SOURCES)
    for name in (content, "b", "c", "d", "e", "f"):
        (tmp_path / f"package-{name}").mkdir()
        (tmp_path / f"package-{name}" / "carpool_1_all.deb").touch()
    asked = image.package_of_checkout(print, tmp_path)
    kept = list(tmp_path.glob("package-*"))
    assert asked.exists() and len(kept) == image.KEPT
