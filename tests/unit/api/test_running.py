"""What a failover process goes by when it starts, after whatever ended the last one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from carpool.api import running
from carpool.api.running import RunningFiles
from carpool.api.settings import judge
from carpool.errors import ConfigError, KernelError
from carpool.kernel.appliedfile import NAME, PROPOSED, SET_ASIDE, Sources
from carpool.machine.regroup import OLDER_MAX
from carpool.service.groupchange import Form, Look
from tests.unit.api.files import GROUP, NODE, write


@dataclass
class Home:
    """A node's directories."""

    config: Path
    state: Path

    @property
    def files(self) -> RunningFiles:
        """As a process has them that was just started."""
        return RunningFiles(self.config, self.state)

    def write(self, form: Form) -> None:
        (self.config / "node.toml").write_text(form.texts.node)
        (self.config / "group.toml").write_text(form.texts.group)

    def keep(self, now: Form, older: Sequence[Form] = (), before: Form | None = None) -> None:
        self.files.keep(now, older, before)

    def start(self, given: Form, *, again: bool = False) -> tuple[Form, tuple[Form, ...]]:
        started = self.files.start(given, again=again)
        return started.form, started.older

    def begin(self) -> tuple[Form | None, str]:
        begun = running.begin(self.config, self.state)
        return begun.form, begun.unusable

    def group_file(self) -> str:
        return (self.config / "group.toml").read_text()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "config").mkdir()
    return Home(tmp_path / "config", tmp_path / "state")


def form(password: str = "secret", *, advskew: int = 0) -> Form:
    group = GROUP.replace('password = "secret"', f'password = "{password}"')
    texts = Sources(NODE.replace("advskew = 0", f"advskew = {advskew}"), group)
    config = judge(texts)
    assert config is not None
    return Form(config, texts)


A, B, C = form("aaaa"), form("bbbb"), form("cccc")
FASTER = form("aaaa", advskew=50)  # of this node alone


def test_the_first_process_goes_by_the_files(home: Home) -> None:
    assert home.start(A) == (A, ())
    assert home.start(A, again=True) == (A, ())


def test_files_that_are_the_same_are_no_change(home: Home) -> None:
    home.keep(A)
    assert home.start(A) == (A, ())


def test_what_was_edited_while_none_ran_is_a_change_like_any_other(home: Home) -> None:
    home.keep(A)
    assert home.start(B) == (B, (A,))
    home.keep(B, [A])
    assert home.start(C) == (C, (B, A))


def test_what_is_of_this_node_alone_needs_no_older_form(home: Home) -> None:
    home.keep(A)
    assert home.start(FASTER) == (FASTER, ())


def test_what_stands_in_another_order_needs_none_either(home: Home) -> None:
    vips = [replace(one, addresses=one.addresses[::-1]) for one in A.config.group.vips[::-1]]
    config = replace(A.config, group=replace(A.config.group, vips=tuple(vips)))
    assert config != A.config
    home.keep(A)
    turned = Form(config, Sources(A.texts.node, A.texts.group + "#"))
    assert home.start(turned) == (turned, ())


def test_an_older_form_that_came_back_is_no_older_one(home: Home) -> None:
    home.keep(B, [A])
    assert home.start(A) == (A, (B,))


def test_who_replaces_a_process_that_died_takes_up_nothing_new(home: Home) -> None:
    home.keep(B, [A])
    home.write(C)
    assert home.start(C, again=True) == (B, (A,))


def test_restarts_do_not_gather_forms_without_end(home: Home) -> None:
    last, older = A, tuple[Form, ...]()
    for number in range(6):
        home.keep(last, older)
        last, older = home.start(form(f"password {number}"))
    assert len(older) == OLDER_MAX
    assert older == tuple(form(f"password {number}") for number in (4, 3, 2))


@pytest.mark.parametrize("again", [True, False])
def test_what_nobody_confirmed_is_put_back(home: Home, again: bool) -> None:
    home.write(B)
    home.keep(B, [A], before=A)
    assert home.start(B, again=again) == (A, (B,))
    assert home.group_file() == A.texts.group
    assert (home.config / f"group.toml{SET_ASIDE}").read_text() == B.texts.group


@pytest.mark.parametrize("again", [True, False])
def test_a_change_that_left_no_older_form_is_put_back_too(home: Home, again: bool) -> None:
    home.write(FASTER)
    home.keep(FASTER, [], before=A)
    assert home.start(FASTER, again=again) == (A, ())
    assert (home.config / "node.toml").read_text() == A.texts.node


def test_within_another_change_what_was_last_is_put_back_and_not_what_peers_have(
    home: Home,
) -> None:
    last = form("bbbb", advskew=50)
    home.write(last)
    home.keep(last, [A], before=B)
    assert home.start(last, again=True) == (B, (A,))
    assert home.group_file() == B.texts.group


def test_a_disk_that_refuses_keeps_no_firewall_from_its_addresses(
    home: Home, capfd: pytest.CaptureFixture[str]
) -> None:
    (home.config / "group.toml").mkdir()
    (home.config / "node.toml").write_text(A.texts.node)
    home.keep(B, [A], before=A)
    assert home.start(B, again=True) == (A, (B,))
    assert "group.toml aside: Is a directory" in capfd.readouterr().err


def test_what_cannot_be_read_is_as_if_it_had_never_been(home: Home) -> None:
    home.keep(B, [A], before=A)
    (home.state / NAME).write_text("{")
    assert home.start(C, again=True) == (C, ())


def test_a_form_that_this_version_cannot_read_does_not_count(home: Home) -> None:
    odd = Form(A.config, Sources(A.texts.node, "not TOML"))
    home.keep(odd, [B])
    assert home.start(C) == (C, (B,))
    assert home.start(C, again=True) == (C, (B,))


def test_reading_tells_all_problems_and_the_texts_that_were_read(
    tmp_path: Path, home: Home
) -> None:
    write(home.config)
    found, problems = home.files.read()
    assert found is not None
    assert found.texts == Sources(NODE, GROUP)
    assert {problem.fatal for problem in problems} <= {False}  # its devices are not here
    (home.config / "group.toml").write_text("name = ")
    found, problems = home.files.read()
    assert found is None
    assert any(problem.fatal for problem in problems)


BROKEN = ["", "name = ", "name = 3", "\0\0\0\0"]  # cut off, half written, wrong, never written


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("name", ["node.toml", "group.toml"])
def test_a_broken_file_does_not_take_what_counted_last(home: Home, name: str, text: str) -> None:
    home.write(A)
    home.keep(A)
    assert home.begin() == (A, "")
    (home.config / name).write_text(text)
    found, why = home.begin()
    assert found == A
    assert why.startswith(name)


def test_a_file_that_is_gone_or_cannot_be_read_is_broken_too(home: Home) -> None:
    home.write(A)
    home.keep(A)
    (home.config / "group.toml").unlink()
    assert home.begin()[0] == A
    (home.config / "group.toml").mkdir()
    assert home.begin()[0] == A


def test_who_removed_both_files_wants_no_carpool_here(home: Home) -> None:
    home.keep(A)
    assert home.begin()[0] is None


def test_without_anything_that_counted_there_is_nothing_to_go_by(home: Home) -> None:
    home.write(A)
    (home.config / "group.toml").write_text("")
    assert home.begin()[0] is None
    home.keep(A)
    (home.state / NAME).write_text("{")
    assert home.begin()[0] is None


def test_what_nobody_confirmed_does_not_count_for_a_broken_file_either(home: Home) -> None:
    home.write(B)
    home.keep(B, [A], before=A)
    (home.config / "group.toml").write_text("")
    found, _why = home.begin()
    assert found == A
    assert home.start(A) == (A, (B,))
    assert home.group_file() == A.texts.group


def test_looking_tells_when_it_is_mended(home: Home) -> None:
    home.write(A)
    files = home.files
    assert files.look() == Look("", A.texts)
    (home.config / "group.toml").write_text("name = 3")
    assert files.look().error.startswith("group.toml: vip: found nothing")
    assert "and 1 more" in files.look().error
    home.write(B)
    assert files.look() == Look("", B.texts)


def test_who_needs_a_configuration_is_told_what_is_wrong(home: Home) -> None:
    write(home.config)
    assert running.read(home.config).group.name == "edge"
    (home.config / "group.toml").write_text("name = 3")
    with pytest.raises(ConfigError, match="name"):
        running.read(home.config)


def test_a_proposal_is_judged_in_place_of_the_file_and_changes_nothing(home: Home) -> None:
    home.write(form())
    home.state.mkdir()
    (home.state / PROPOSED).write_text(form("another").texts.group)
    found, _problems = home.files.read(proposed=True)
    assert found is not None and found.texts == form("another").texts
    kept, _problems = home.files.read()
    assert kept is not None and kept.texts == form().texts
    (home.state / PROPOSED).write_text("no toml")
    found, problems = home.files.read(proposed=True)
    assert found is None and problems[0].fatal
    (home.state / PROPOSED).unlink()
    with pytest.raises(KernelError, match=PROPOSED):
        home.files.read(proposed=True)
