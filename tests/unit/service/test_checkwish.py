"""What is read from a request about checks."""

from __future__ import annotations

import pytest

from carpool.machine.effects import FailingCheck, SetChecks
from carpool.service.checkwish import FAILING_MAX, checks_of

ROW = {"name": "disk", "weight": 240, "text": "/var is full"}


def test_a_good_one() -> None:
    wish = checks_of({"failing": [ROW, {"name": "ping", "weight": 1}], "lease_s": 20})
    failing = FailingCheck("disk", 240, "/var is full"), FailingCheck("ping", 1, "")
    assert wish == SetChecks(failing, 20.0)


def test_text_is_cut() -> None:
    wish = checks_of({"failing": [{**ROW, "text": "x" * 1000}], "lease_s": 20})
    assert isinstance(wish, SetChecks)
    assert len(wish.failing[0].text) == 200


@pytest.mark.parametrize(
    "request_",
    [
        {"failing": [ROW]},
        {"failing": [ROW], "lease_s": 0},
        {"failing": [ROW], "lease_s": float("nan")},
        {"failing": [ROW], "lease_s": 301},
        {"failing": [ROW], "lease_s": "20"},
        {"lease_s": 20},
        {"failing": {"disk": 240}, "lease_s": 20},
        {"failing": [ROW] * (FAILING_MAX + 1), "lease_s": 20},
        {"failing": ["disk"], "lease_s": 20},
        {"failing": [{**ROW, "name": "a b"}], "lease_s": 20},
        {"failing": [{**ROW, "weight": 0}], "lease_s": 20},
        {"failing": [{**ROW, "weight": 241}], "lease_s": 20},
        {"failing": [{**ROW, "weight": True}], "lease_s": 20},
        {"failing": [{**ROW, "weight": 1.5}], "lease_s": 20},
    ],
)
def test_others_are_refused_in_words(request_: dict[str, object]) -> None:
    assert isinstance(checks_of(request_), str)
