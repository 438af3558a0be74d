"""What rich would replace by default stays as it is: addresses, fingerprints, names of tables."""

from __future__ import annotations

import pytest
from rich.table import Table

from carpool.api.terminal import terminal

SENTENCE = "fe80::ab:1 2001:db8:cd:bed:: A1:AB:0E [web] [bold] :warning:"


def test_what_is_printed_comes_out_letter_by_letter(capsys: pytest.CaptureFixture[str]) -> None:
    terminal().print(SENTENCE, soft_wrap=True)
    assert capsys.readouterr().out == f"{SENTENCE}\n"


def test_cells_of_tables_too(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table.grid()
    table.add_row(SENTENCE)
    terminal(stderr=True).print(table)
    assert capsys.readouterr().err.split("\n")[0].rstrip() == SENTENCE
