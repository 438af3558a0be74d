"""The demo's picture fits a terminal of 80x24 whatever happens, and says what happens."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from carpool.lab.meter import Figures, lan_bytes
from carpool.lab.screen import Picture, cell, draw, rate


def status(role: str) -> dict[str, Any]:
    vhost = {"state": role, "addresses": ["10.10.1.1/24"]}
    return {
        "role": role,
        "demotion": [
            {"reason": "a reason that is much too long to be shown in half of a terminal"}
        ],
        "vhosts": [
            {"vhid": 51, "interface": "lan", **vhost},
            {"vhid": 52, "interface": "wan", **vhost},
        ],
    }


def drawn(picture: Picture) -> list[str]:
    console = Console(file=io.StringIO(), width=80, height=24, color_system=None)
    console.print(draw(picture))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("fancy", [True, False])
@pytest.mark.parametrize(
    "fw1",
    [
        Figures(powered=False),
        Figures(powered=True),
        Figures(powered=True, status=status("MASTER"), states=1234567, bytes_per_s=1e9),
    ],
    ids=["no power", "silent", "running"],
)
def test_it_fits_80_columns_and_24_lines(fw1: Figures, fancy: bool) -> None:
    picture = Picture(
        headline="h" * 200,
        nodes={"fw1": fw1, "fw2": Figures(powered=True, status=status("BACKUP"))},
        streams={"open": 400, "alive": 399, "dead": 1, "bytes": 10**12},
        strip=[{"sent": 100, "answered": 100}] * 500,
        story=["s" * 200] * 50,
        fancy=fancy,
    )
    lines = drawn(picture)
    assert len(lines) <= 23  # and the cursor below it
    assert max(len(line) for line in lines) <= 80
    assert fancy or all(line.isascii() or "…" in line for line in lines)


def test_it_shows_roles_addresses_and_the_dead() -> None:
    text = "\n".join(
        drawn(
            Picture(
                nodes={
                    "fw1": Figures(powered=False),
                    "fw2": Figures(powered=True, status=status("MASTER"), states=312),
                },
                streams={"open": 400, "alive": 200},
            )
        )
    )
    assert "NO POWER" in text
    assert "51@lan" in text and "MASTER 10.10.1.1" in text
    assert "312" in text
    assert "200 of 400 alive" in text


@pytest.mark.parametrize(
    ("sent", "answered", "glyph"), [(100, 100, "#"), (100, 99, "+"), (100, 0, "."), (0, 0, "#")]
)
def test_a_cell_tells_all_some_and_none_apart(sent: int, answered: int, glyph: str) -> None:
    assert cell(sent, answered, fancy=False)[0] == glyph


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 bit/s"),
        (100, "800 bit/s"),
        (12_500, "100 kbit/s"),
        (2.5e6, "20.0 Mbit/s"),
        (2.5e9, "20.0 Gbit/s"),
    ],
)
def test_rates_stay_short(octets: float, text: str) -> None:
    assert rate(octets) == text


def test_throughput_is_both_directions_of_the_lan_interface() -> None:
    lines = [
        "Inter-|   Receive                                                |  Transmit",
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets",
        "    lo:       9       1    0    0    0     0          0         0        9       1    0",
        "  lan0:    1000       8    0    0    0     0          0         0      234       3    0",
    ]
    assert lan_bytes(lines) == 1234
    assert lan_bytes(lines[:3]) is None
