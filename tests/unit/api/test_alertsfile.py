"""alerts.toml: what it says, and what is wrong with it; no mistake shows a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.api.alertsfile import load_alerts
from carpool.model.alerts import PER_HOUR, TARGETS_MAX, AlertKind, Alerts

SECRET = "tgram://123456:s3cret/4711"


def write(directory: Path, text: str, mode: int = 0o600) -> None:
    file = directory / "alerts.toml"
    file.write_text(text)
    file.chmod(mode)


def test_without_the_file_nobody_is_told(tmp_path: Path) -> None:
    assert load_alerts(tmp_path) == (Alerts(), [])


def test_targets_and_what_they_are_told(tmp_path: Path) -> None:
    write(
        tmp_path,
        f'per_hour = 3\n[to.ops]\nurl = "{SECRET}"\n'
        '[to.desk]\nurl = "json://192.0.2.7"\non = ["failover", "split-brain", "failover"]\n',
    )
    alerts, problems = load_alerts(tmp_path)
    assert problems == [] and alerts.per_hour == 3
    assert alerts.targets["ops"].on == tuple(AlertKind) and alerts.targets["ops"].url == SECRET
    assert alerts.targets["desk"].on == (AlertKind.FAILOVER, AlertKind.SPLIT_BRAIN)
    assert "s3cret" not in repr(alerts)


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("per_hour = 0", "alerts.toml:1: per_hour", "1 to 60"),
        ('per_hour = "6"', "alerts.toml:1: per_hour", "without quotes"),
        (f'url = "{SECRET}"', "alerts.toml:1: url", "[to.NAME]"),
        ("[to.ops]", "alerts.toml:1: to.ops.url", "nothing"),
        ("[to.ops]\nurl = 3", "alerts.toml:2: to.ops.url", "a whole number"),
        ('[to.ops]\nurl = "s3cret"', "alerts.toml:2: to.ops.url", "a string that is none"),
        ('[to.ops]\nurl = "json://a b:s3cret"', "alerts.toml:2: to.ops.url", "%20"),
        (f'[to]\nops = "{SECRET}"', "alerts.toml:2: to.ops", "a table with `url`"),
        (f'[to.Ops]\nurl = "{SECRET}"', "alerts.toml:1: to.Ops", "a-z"),
        (f'[to.ops]\nurl = "{SECRET}"\non = ["failovers"]', "alerts.toml:3: to.ops.on", "did you"),
        (f'[to.ops]\nurl = "{SECRET}"\non = []', "alerts.toml:3: to.ops.on", "an empty list"),
        (f'[to.ops]\nurl = "{SECRET}"\nto = "x"', "alerts.toml:3: to.ops.to", "unknown key"),
        ("[to.ops", "alerts.toml:1: syntax", "no TOML"),
    ],
)
def test_mistakes_say_where_and_no_secret(tmp_path: Path, text: str, where: str, said: str) -> None:
    write(tmp_path, text)
    alerts, problems = load_alerts(tmp_path)
    assert str(problems[0]).startswith(where) and said in str(problems[0])
    assert not any("s3cret" in str(one) or one.fatal for one in problems)
    assert alerts.per_hour == PER_HOUR


def test_one_that_is_wrong_keeps_no_other_from_being_told(tmp_path: Path) -> None:
    write(tmp_path, f'[to.a]\nurl = 3\n[to.b]\nurl = "{SECRET}"')
    alerts, problems = load_alerts(tmp_path)
    assert list(alerts.targets) == ["b"] and len(problems) == 1


def test_too_many_targets_and_a_file_that_others_may_read(tmp_path: Path) -> None:
    rows = [f'[to.t{number}]\nurl = "{SECRET}"' for number in range(TARGETS_MAX + 1)]
    write(tmp_path, "\n".join(rows), mode=0o640)
    alerts, problems = load_alerts(tmp_path)
    assert len(alerts.targets) == TARGETS_MAX
    assert ["16 at most" in str(problems[0]), "chmod 600" in str(problems[1])] == [True, True]
