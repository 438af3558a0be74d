"""Names of scripts, and what holds for one of them."""

from __future__ import annotations

import pytest

from carpool.model.scripts import NAME_MAX, Hook, Hooks, Kind, is_script_name


@pytest.mark.parametrize("name", ["10-cloud", "a", "A_b", "x" * NAME_MAX])
def test_good_names(name: str) -> None:
    assert is_script_name(name)


@pytest.mark.parametrize("name", ["", "a.sh", "a~", "a b", "a/b", "ä", "a\n", "x" * (NAME_MAX + 1)])
def test_other_names(name: str) -> None:
    assert not is_script_name(name)


def test_a_hook_goes_by_its_own_table_or_by_that_of_all() -> None:
    own = Hook(events=(Kind.VIP,))
    hooks = Hooks(Hook(timeout_s=5), {"cloud": own})
    assert hooks.of("cloud") is own
    assert hooks.of("other").timeout_s == 5
