from __future__ import annotations

from pathlib import Path

from carpool.api.answersfile import AnswersFile

GOOD = """role = "first"
peer_address = ["10.10.3.2", "fd00::2"]
preempt = true
advskew = 50
[networks]
lan = "eth0"
wan = "eth1"
[vip]
lan = ["10.10.1.1/24", "fd00:10::1/64"]
[vhid]
lan = 51
"""


def read(directory: Path, text: str) -> AnswersFile:
    path = directory / "answers.toml"
    path.write_text(text)
    return AnswersFile(path)


def test_answers_are_those_that_one_would_type(tmp_path: Path) -> None:
    file = read(tmp_path, GOOD)
    assert file.problems() == []
    assert file.answers == {
        "role": "first",
        "peer_address": "10.10.3.2 fd00::2",
        "preempt": "yes",
        "advskew": "50",
        "networks": "lan=eth0 wan=eth1",
        "vip.lan": "10.10.1.1/24 fd00:10::1/64",
        "vhid.lan": "51",
    }


def test_what_cannot_be_used_is_told_with_its_line(tmp_path: Path) -> None:
    file = read(tmp_path, 'rolle = "first"\npreempt = "yes"\nvip = 1\n[vhid]\nlan = true\n')
    told = [(one.line, one.key, one.found) for one in file.problems()]
    assert told == [
        (1, "rolle", "an unknown key"),
        (2, "preempt", 'the string "yes"'),
        (3, "vip", "a whole number, 1"),
        (5, "vhid.lan", "true"),
    ]
    assert 'did you mean "role"?' in str(file.problems()[0])
    (broken,) = read(tmp_path, "= 1\n").problems()
    assert broken.found.startswith("no TOML")


def test_an_answer_is_refused_where_it_stands(tmp_path: Path) -> None:
    problem = read(tmp_path, GOOD).wrong("vip.lan", "that", "this")
    assert (problem.line, problem.key) == (9, "vip.lan")
