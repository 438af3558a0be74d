"""What apt says: as Debian 12 and 13 say it, recorded, and as nobody should."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.machine.packages import (
    PACKAGES_MAX,
    Package,
    Pending,
    advice,
    failure,
    kept_files,
    newer_kernel,
    pending,
)

RECORDED = Path(__file__).parents[2] / "golden/apt"
BOTH = pytest.mark.parametrize("release", ["12", "13"])


def said(release: str, what: str) -> str:
    return (RECORDED / f"debian{release}-{what}.txt").read_text()


def test_debian_12_would_upgrade_these() -> None:
    found = pending(said("12", "upgrade"))
    assert (len(found.packages), found.left) == (25, ("tar",))
    assert found.packages[0] == Package(
        "bash", "5.2.15-2+b13~0", "5.2.15-2+b13", ("Debian:12.15/oldstable",)
    )
    by_name = {one.name: one for one in found.packages}
    assert by_name["libgcrypt20"].origins == (
        "Debian:12.15/oldstable",
        "Debian-Security:12/oldstable-security",
    )
    assert by_name["libgcrypt20"].is_security and by_name["perl"].is_security
    assert not by_name["nftables"].is_security and not by_name["passwd"].is_security


def test_debian_13_would_upgrade_these() -> None:
    found = pending(said("13", "upgrade"))
    assert [one.name for one in found.packages if one.is_security] == ["libexpat1"]
    assert (len(found.packages), found.left) == (8, ("tar",))


def test_what_comes_anew_and_what_ubuntu_says() -> None:
    text = (
        "Not upgrading:\n  one two\nSummary:\n"
        "Inst linux-image-6.1.0-40-amd64 (6.1.153-1 Debian-Security:12/stable-security [amd64])\n"
        "Inst curl [7.1] (7.2 Ubuntu:22.04/jammy-security [amd64]) [libcurl4:amd64 ]\n"
        "Inst trial [1] (2 [all])\nInst odd\nRemv gone [1]\n"
    )
    found = pending(text)
    assert found.left == ("one", "two")
    assert found.packages == (
        Package(
            "linux-image-6.1.0-40-amd64",
            "",
            "6.1.153-1",
            ("Debian-Security:12/stable-security",),
        ),
        Package("curl", "7.1", "7.2", ("Ubuntu:22.04/jammy-security",)),
        Package("trial", "1", "2", ()),
    )
    assert found.packages[1].is_security and not found.packages[2].is_security
    assert pending("") == Pending()
    assert len(pending("Inst a (1 x [all])\n" * (PACKAGES_MAX + 9)).packages) == PACKAGES_MAX


@BOTH
def test_a_file_that_was_changed_here_is_kept(release: str) -> None:
    assert kept_files(said(release, "keep")) == ["/etc/trial.conf"]
    assert kept_files(said(release, "upgrade")) == []


@BOTH
def test_a_lock_is_told_with_who_holds_it(release: str) -> None:
    told = failure(said(release, "lock"))
    assert "held by process" in told and "(perl)" in told and len(told.splitlines()) == 2
    assert "another apt is at work" in advice(told)


@BOTH
def test_a_mirror_that_does_not_answer_is_told(release: str) -> None:
    told = failure(said(release, "fetch"))
    assert "Failed to fetch http://127.0.0.1:9/" in told
    assert "does it reach its mirror?" in advice(told)


def test_other_failures() -> None:
    cut = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to ..."
    assert failure(f"Reading\n{cut}\n") == cut and "mends that" in advice(cut)
    assert "make room" in advice("E: You don't have enough free space in /var/cache/apt/archives/.")
    assert failure("some\n\nlast words\n") == "last words" and failure("") == ""
    assert "term.log" in advice("last words")
    many = "\n".join(f"E: {n}" for n in range(99))
    assert len(failure(many).splitlines()) == 8


@pytest.mark.parametrize(
    ("running", "installed", "newer"),
    [
        ("6.1.0-35-amd64", ["6.1.0-35-amd64", "6.1.0-9-amd64"], ""),
        ("6.1.0-9-amd64", ["6.1.0-35-amd64", "6.1.0-9-amd64"], "6.1.0-35-amd64"),
        ("6.1.0-9-amd64", ["6.12.0-1-cloud-amd64", "6.1.0-9-amd64"], ""),
        ("6.12.43+deb13-amd64", ["6.12.48+deb13-amd64"], "6.12.48+deb13-amd64"),
        ("6.8.0-own", [], ""),
        ("6.8.0-own", ["6.1.0-35-amd64"], ""),
    ],
)
def test_a_kernel_that_a_boot_would_start(running: str, installed: list[str], newer: str) -> None:
    assert newer_kernel(running, installed) == newer
