"""How `carpool setup` asks: on a terminal, or a file of answers.

Room: cli. Puts questions and hands on answers; what is asked and what is wrong with an answer,
`machine/setup.py` knows. Nothing is changed here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from carpool.api.answersfile import OPTIONS, AnswersFile
from carpool.cli.problems import told
from carpool.errors import CarpoolError, ConfigError, PeerError
from carpool.machine import setup
from carpool.machine.setup import Question, Situation

BACK, QUIT = ("<", "back"), ("quit", "exit")
INTRODUCTION = """\
Enter takes what stands in [ ]; `<` takes the last answer back, `?` explains, `quit` ends.
Nothing is changed before you have seen and confirmed all of it.
"""

Meet = Callable[[Mapping[str, str]], Situation]  # looks at the first node; PeerError


class Quit(CarpoolError):
    """Somebody had enough: nothing was changed."""


class Conversation:
    """On a terminal. Answers are a stack: the last can be taken back, and so on to the first."""

    def __init__(self, seen: Situation, meet: Meet) -> None:
        self.seen = seen
        self.answers: dict[str, str] = {}
        self._meet = meet

    def ask_all(self) -> None:
        """Until there is no question left. Raises Quit."""
        while True:
            question = setup.next_question(self.seen, self.answers)
            if question is None and self._has_met():
                return
            if question is not None:
                self._put(question)

    def take_back(self) -> None:
        """The last answer; what was seen of the first node goes with the code."""
        if not self.answers:
            print("this is the first question")
            return
        key, _text = self.answers.popitem()
        if key in ("address", "code"):
            self.seen = replace(self.seen, theirs=None)

    def _has_met(self) -> bool:
        """Whether all is known that questions rest on; the code may turn out to be wrong."""
        if "code" not in self.answers or self.seen.theirs is not None:
            return True
        try:
            self.seen = self._meet(self.answers)
        except PeerError as error:
            print(f"  {error}")
            self.answers.popitem()
        return False

    def _put(self, question: Question) -> None:
        proposal = "made up" if question.secret and question.proposal else question.proposal
        while True:
            text = line(f"{question.text} [{proposal}]: " if proposal else f"{question.text}: ")
            if text in BACK:
                self.take_back()
                return
            if text == "?":
                print(f"  {question.help or 'Nothing more is to be said of this.'}")
                continue
            text = text or question.proposal
            why = setup.objection(self.seen, self.answers, question, text) if text else "an answer"
            if not why:
                self.answers[question.key] = text
                return
            print(f"  {why}" if text else "  found nothing, expected an answer")


def line(prompt: str) -> str:
    """What was typed, without blanks around it. Raises Quit at the end of all, and when told to."""
    print(prompt, end="", flush=True)
    text = sys.stdin.readline()
    if not text or text.strip() in QUIT:
        print()
        raise Quit("ended before anything was confirmed", hint="nothing was changed")
    return text.strip()


def from_file(
    seen: Situation, file: AnswersFile, directory: Path, meet: Meet
) -> tuple[Situation, dict[str, str]]:
    """All questions, answered by a file or by what is proposed. ConfigError for what cannot be."""
    problems = file.problems()
    left = dict(file.answers)
    answers: dict[str, str] = {}
    while not problems:
        question = setup.next_question(seen, answers)
        if question is None:
            if "code" not in answers or seen.theirs is not None:
                break
            seen = meet(answers)
            continue
        text = left.pop(question.key, question.proposal)
        if not text:
            expected = f"an answer to: {question.text}"
            problems.append(file.wrong(question.key, "nothing", expected))
        elif why := setup.objection(seen, answers, question, text):
            found, _, expected = why.removeprefix("found ").partition(", expected ")
            problems.append(file.wrong(question.key, found, expected))
        answers[question.key] = text
    if not problems:
        if seen.paired:  # said again: these were for the first time
            left = {key: text for key, text in left.items() if key not in ("address", "code")}
        for key in left:
            if key not in OPTIONS:
                expected = "an answer to a question that is asked"
                problems.append(file.wrong(key, "one that nobody asks for", expected))
    if problems:
        for problem in problems:
            print(told(problem, directory), file=sys.stderr)
        raise ConfigError("these answers cannot be used", hint="nothing was changed")
    return seen, answers
