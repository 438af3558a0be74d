"""This kernel's table, as it is compared with a peer's: walked over, looked at, put right.

Room: service. Refuses to know peers, and who is right (`machine/walk.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from errno import ENOENT

from carpool.kernel.conntrack import Dump, Injector
from carpool.machine import walk
from carpool.proto import ctexpect, ctgate, ctprobe
from carpool.proto import ctmessage as ct
from carpool.proto import statestream as ss
from carpool.proto.ctpatch import Patcher, is_delete
from carpool.proto.statecheck import Verdict


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry that a peer has and we have not just so."""

    place: int  # in the question
    verdict: Verdict
    theirs: bytes  # the create request
    ours: bytes | None  # our kernel's message about what is here instead


class Table:
    """`drain` sends all events that wait: what it has not told yet, a peer cannot have."""

    def __init__(
        self, injector: Injector, rules: Callable[[], ct.Rules], drain: Callable[[], object]
    ) -> None:
        self.drain = drain
        self._injector = injector
        self._rules = rules
        self._gate = ctgate.Gate()
        self._prober = ctprobe.Prober()

    def pieces(self, *, every: bool) -> Iterator[tuple[int, list[bytes]]]:
        """The whole table by pieces of some 150 entries: how many, and the create requests for
        those that travel. `every`: also what is not worth keeping. Raises KernelError."""
        rules = self._rules()
        patcher = Patcher(replace(rules, every=every or rules.every))
        dump = Dump()
        try:
            while True:
                self.drain()
                piece = dump.read()
                if piece is None:
                    return
                yield len(piece), list(filter(None, patcher.requests(piece)))
        finally:
            dump.close()

    def look(self, creates: Sequence[bytes]) -> dict[bytes, int]:
        """Those that are here just so and matter, each with the seconds that it has left."""
        found: dict[bytes, int] = {}
        for create, answer in self._ask(creates):
            if answer is None or not self._prober.same(create, answer):
                continue
            entry = ct.parse(answer)
            if isinstance(entry, ct.Entry) and walk.matters(entry):
                found[create] = entry.timeout_s
        return found

    def compare(self, payload: bytes) -> list[Difference] | str:
        """Which of a peer's entries are not here just so; or why this is not for a peer to ask."""
        count = self._gate.check(payload)
        if isinstance(count, str):
            return count
        creates = list(ctgate.requests(payload))
        if any(is_delete(request) or ctexpect.concerns(request) for request in creates):
            return "a deletion or an expectation among the entries to be compared"
        results = [
            Difference(place, Verdict.DIFFERENT if answer else Verdict.MISSING, create, answer)
            for place, (create, answer) in enumerate(self._ask(creates))
            if answer is None or not self._prober.same(create, answer)
        ]
        self.drain()  # an end that the answer has seen, the peer must hear first
        return results

    def remove(self, creates: Sequence[bytes], counters: Counter[str]) -> None:
        """Entries of ours that have no original. Raises KernelError."""
        entries = (ct.parse_create(create) for create in creates)
        deletes = [ct.delete_request(entry) for entry in entries if isinstance(entry, ct.Entry)]
        for payload, _count in ss.payloads(deletes):
            for failure in self._injector.inject(payload):
                if failure.errno != ENOENT:
                    counters[f"error_{failure.name}"] += 1

    def _ask(self, creates: Sequence[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
        """Each with the entry of this kernel that has its original tuple."""
        for part in ss.batches(creates):
            asked = [self._prober.get(create) for create in part]
            yield from zip(part, self._injector.ask(asked), strict=True)
