"""How values are written on the pages."""

from __future__ import annotations

from carpool.web.words import coded


def test_commands_in_backticks_are_code() -> None:
    assert coded("say `carpool enable` there") == "say <code>carpool enable</code> there"


def test_all_of_it_is_escaped() -> None:
    assert coded("<b> `<i>` &") == "&lt;b&gt; <code>&lt;i&gt;</code> &amp;"


def test_a_backtick_without_its_other_one_is_only_that() -> None:
    assert coded("a ` <b>") == "a ` &lt;b&gt;"
