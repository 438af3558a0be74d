"""Which messages are sent: one for a failover, one when something begins and when it ends."""

from __future__ import annotations

from dataclasses import replace

from carpool.machine.alerts import FOLD_S, OVER_S, WHOLE_S, Judge, View, Vip
from carpool.machine.verdict import Kind, Level, Reason, Verdict
from carpool.model.alerts import AlertKind, Message

PER_HOUR = 6
MAINTENANCE = Reason(Kind.WORSE, "fw1 is in maintenance mode (new disk)", "`carpool maintenance")
SILENT = Reason(Kind.ALONE, "fw1 does not answer", "is it up?")
NO_STREAM = Reason(Kind.LOSSY, "no stream of states between fw1 and fw2", "timeout")
DISK = Reason(Kind.ODD, "fw2: 15 KiB are free in /var", "Make room")


def view(*reasons: Reason, tells: bool = True) -> View:
    return View(Verdict(Level.BAD if reasons else Level.GOOD, "It stands so.", reasons), tells)


class Group:
    """fw2 of the group `edge`, with two VIPs; time goes by as it is told."""

    def __init__(self, state: str = "BACKUP", told: list[tuple[str, str]] | None = None) -> None:
        self.judge = Judge("fw2", "edge", told or ())
        self.now_s = 100.0
        self.become(state, state)

    def become(self, *states: str, reason: str = "no advertisement for 3.1 s") -> None:
        heard = {
            f"{number}@lan": Vip(state, reason, "fw1 (10.1.0.2)" if state == "BACKUP" else "")
            for number, state in enumerate(states, 51)
        }
        self.judge.hear(heard, "2026-11-23T03:00:00Z", self.now_s)

    def failover(self, seen: View | None = None) -> list[Message]:
        if not self.judge.is_whole(self.now_s):
            return []
        return self.judge.failover(seen or view(SILENT), PER_HOUR, self.now_s)

    def look(self, *reasons: Reason, tells: bool = True, for_s: float = 0.0) -> list[Message]:
        """Every five seconds for so long."""
        found = self.judge.look(view(*reasons, tells=tells), PER_HOUR, self.now_s)
        end_s = self.now_s + for_s
        while self.now_s < end_s:
            self.now_s += 5.0
            found += self.judge.look(view(*reasons, tells=tells), PER_HOUR, self.now_s)
        return found


def titles(messages: list[Message]) -> list[str]:
    return [one.title for one in messages]


# ---------------------------------------------------------------------------------- failover


def test_one_message_for_all_vips_with_who_whom_why_and_how_it_stands() -> None:
    group = Group()
    group.become("MASTER", "BACKUP")
    assert group.failover() == []
    group.now_s += 0.2
    group.become("MASTER", "MASTER")
    (message,) = group.failover()
    assert message.kind is AlertKind.FAILOVER
    assert message.title == "[edge] fw2 became MASTER"
    for line in (
        "fw2 is MASTER of all 2 VIPs since 2026-11-23T03:00:00Z.",
        "Before: fw1.",
        "Why: no advertisement for 3.1 s. For up to that long nobody served them.",
        "It stands so.",
        "- fw1 does not answer (is it up?)",
        "Told by fw2.",
    ):
        assert line in message.body.splitlines()
    group.become("MASTER", "MASTER")
    assert group.failover() == []


def test_a_failover_that_does_not_become_whole_is_told_in_the_end() -> None:
    group = Group()
    group.become("MASTER", "BACKUP")
    group.now_s += WHOLE_S
    (message,) = group.failover()
    assert "MASTER of 1 of 2 VIPs" in message.body and "52@lan is BACKUP" in message.body


def test_the_old_master_tells_nothing_and_neither_does_one_that_came_and_went() -> None:
    group = Group("MASTER")
    group.become("BACKUP", "BACKUP")
    assert group.failover() == []
    group.become("MASTER", "BACKUP")
    group.become("BACKUP", "BACKUP")
    group.now_s += WHOLE_S
    assert group.failover() == []


def test_what_an_agent_finds_when_it_begins_is_no_failover() -> None:
    group = Group("MASTER")
    assert group.failover() == []
    group.judge.hear({}, "", group.now_s)  # failover was restarted meanwhile
    group.become("MASTER", "MASTER")
    assert group.failover() == []


def test_what_follows_from_a_failover_is_no_message_but_its_end_is() -> None:
    group = Group()
    group.become("MASTER", "MASTER")
    assert len(group.failover(view())) == 1
    assert group.look(SILENT, NO_STREAM, for_s=600) == []
    found = group.look(for_s=OVER_S + 5)
    assert titles(found) == [
        "[edge] over: a failure may not be survived",
        "[edge] over: connections are not replicated",
    ]
    assert "- over: fw1 does not answer" in found[0].body


def test_what_has_nothing_to_do_with_it_is_told() -> None:
    group = Group()
    group.become("MASTER", "MASTER")
    group.failover(view())
    assert titles(group.look(DISK, for_s=30)) == ["[edge] trouble"]
    group.now_s += FOLD_S
    late = group.look(DISK, SILENT, for_s=30)
    assert titles(late) == ["[edge] a failure may not be survived"]


def test_what_a_switchover_shows_for_a_moment_is_nothing_that_ends() -> None:
    group = Group()
    group.become("MASTER", "MASTER")
    assert "no stream" in group.failover(view(NO_STREAM))[0].body
    assert group.look(NO_STREAM, for_s=5) == []
    assert group.look(for_s=60) == []


def test_failovers_that_go_on_and_on_fall_silent() -> None:
    group = Group()
    found: list[Message] = []
    for _ in range(20):
        group.now_s += 60
        group.become("MASTER", "MASTER")
        found += group.failover()
        group.become("BACKUP", "BACKUP")
    assert len(found) == PER_HOUR
    assert "message 6 about this within an hour" in found[-1].body
    group.now_s += 3600
    group.become("MASTER", "MASTER")
    assert "14 messages about this were kept back" in group.failover()[0].body


# ------------------------------------------------------------------------------------- group


def test_one_message_when_it_begins_and_one_when_it_ends() -> None:
    group = Group()
    assert group.look(SILENT, for_s=15) == []  # it may be over by itself
    (begun,) = group.look(SILENT, for_s=600)
    assert begun.kind is AlertKind.STANDBY and "fw1 does not answer" in begun.body
    (ended,) = group.look(for_s=600)
    assert ended.kind is AlertKind.STANDBY and ended.title.startswith("[edge] over: ")


def test_numbers_that_change_are_the_same_thing() -> None:
    group = Group()
    assert len(group.look(DISK, for_s=60)) == 1
    less = replace(DISK, text="fw2: 12 KiB are free in /var")
    assert group.look(less, for_s=60) == []


def test_what_flaps_is_told_some_times_an_hour() -> None:
    group = Group()
    found: list[Message] = []
    for _ in range(10):
        found += group.look(SILENT, for_s=30)
        found += group.look(for_s=30)
    assert len(found) == PER_HOUR
    assert "nothing more is sent" in found[-1].body
    begun = group.look(SILENT, for_s=3600)  # how it stands comes when it may again
    assert len(begun) == 1 and "kept back" in begun[0].body


def test_who_does_not_tell_follows_in_silence_and_repeats_nothing() -> None:
    group = Group()
    assert group.look(SILENT, for_s=60, tells=False) == []
    assert group.look(SILENT, for_s=60) == []
    assert len(group.look(for_s=60)) == 1


def test_maintenance_is_no_message_and_is_said_in_others() -> None:
    group = Group()
    seen = replace(view(MAINTENANCE), maintenance={"fw1": "new disk"})
    for _ in range(20):
        group.now_s += 5
        assert group.judge.look(seen, PER_HOUR, group.now_s) == []
    quiet = replace(view(SILENT), silent=frozenset(["fw1"]))  # it is restarted
    found: list[Message] = []
    for _ in range(10):
        group.now_s += 5
        found += group.judge.look(quiet, PER_HOUR, group.now_s)
    (message,) = found
    assert "fw1 is in maintenance mode: new disk." in message.body


def test_a_split_brain_and_a_failed_sync_have_kinds_of_their_own() -> None:
    group = Group()
    torn = Reason(Kind.TORN, "fw1 and fw2 are MASTER of 51@lan at the same time")
    (message,) = group.look(torn, for_s=10)
    assert (message.kind, message.level) == (AlertKind.SPLIT_BRAIN, "failure")
    failed = replace(view(), sync_failed="scheduled sync failed: fw1 refuses")
    (message,) = group.judge.look(failed, PER_HOUR, group.now_s)
    assert message.kind is AlertKind.SYNC and "fw1 refuses" in message.body


def test_the_next_agent_repeats_nothing_and_tells_the_end() -> None:
    group = Group()
    group.look(SILENT, for_s=60)
    memory = group.judge.memory()
    assert memory == [("standby", "fw1 does not answer")]
    after = Group(told=[*memory, ("no kind", "x")])
    assert after.look(SILENT, for_s=60) == []
    assert len(after.look(for_s=60)) == 1
    gone = Group(told=memory)  # it ended while no agent was there
    assert len(gone.look(for_s=60)) == 1
