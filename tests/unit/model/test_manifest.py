"""Manifests and their fingerprints."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.model.manifest import Change, Deed, Entry, Kind, digest, manifest

ONE = Entry("/a", Kind.FILE, 0o644, "root", "root", 1, "0" * 64)
LINK = Entry("/b", Kind.SYMLINK, target="a")


def test_a_manifest_is_in_the_order_of_paths() -> None:
    assert list(manifest([LINK, ONE])) == ["/a", "/b"]


def test_the_order_makes_no_difference_to_the_digest() -> None:
    assert digest({"/b": LINK, "/a": ONE}) == digest(manifest([ONE, LINK]))
    assert digest({}) != digest(manifest([ONE]))


@pytest.mark.parametrize(
    "news",
    [
        {"path": "/c"},
        {"kind": Kind.DIRECTORY},
        {"mode": 0o600},
        {"owner": "www-data"},
        {"group": "adm"},
        {"size": 2},
        {"sha256": "1" * 64},
        {"target": "x"},
    ],
)
def test_whatever_differs_makes_another_digest(news: dict[str, object]) -> None:
    assert digest(manifest([replace(ONE, **news)])) != digest(manifest([ONE]))  # type: ignore[arg-type]


def test_what_becomes_of_a_path() -> None:
    assert Change("/b", LINK, replace(LINK, target="c")).deed is Deed.CHANGED
    assert Change("/a", ONE, replace(ONE, owner="www-data")).deed is Deed.ATTRIBUTES
    assert Change("/a", ONE, replace(ONE, size=2, sha256="1" * 64)).deed is Deed.CHANGED
    assert Change("/a", None, ONE).deed is Deed.ADDED
    assert Change("/a", ONE, None).deed is Deed.REMOVED
