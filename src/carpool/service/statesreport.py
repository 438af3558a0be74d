"""What the states process tells on its control socket about peers, and what was found with them.

Room: service. Values to JSON; refuses to know how they came about. Entries are given as the hex of
netlink messages: how a person reads them is the business of `cli/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from carpool.kernel.unixserver import Client
from carpool.model.status import Trouble
from carpool.proto.statecheck import Found, Mode
from carpool.service.statescompare import Comparison, Look
from carpool.service.stateslink import Link

PEER_AFTER_S = 20.0  # that a peer may take to boot, or to be restarted
LOOKS = {"verify": Mode.LOOK, "resync": Mode.RESYNC}  # commands


def compare(
    client: Client,
    request: Mapping[str, object],
    comparisons: Mapping[str, Comparison],
    now_s: float,
) -> None:
    """The commands of LOOKS: with one peer or with all; the answer comes when all are done."""
    wanted = request.get("peer")
    if wanted not in (None, *comparisons):
        hint = f"the peers are {', '.join(comparisons)}"
        client.refuse(f"no peer {str(wanted)[:40]!r}", hint)
        return
    mode = LOOKS[str(request["command"])]
    looks = Looks(client, [name for name in comparisons if wanted in (None, name)])
    for name in list(looks.waiting):
        reason = comparisons[name].look(mode, partial(looks.ended, name), now_s)
        if reason is not None:
            looks.failed(name, reason)


class Looks:
    """A client who waits until all peers have been compared with."""

    def __init__(self, client: Client, names: Sequence[str]) -> None:
        self.waiting = set(names)
        self._client = client
        self._results: list[dict[str, object]] = []

    def ended(self, name: str, look: Look) -> None:
        """One is done, well or not."""
        self._add(name, _result(look))

    def failed(self, name: str, reason: str) -> None:
        """One could not even begin."""
        self._add(name, {"error": reason})

    def _add(self, name: str, result: dict[str, object]) -> None:
        self.waiting.discard(name)
        self._results.append({"peer": name, **result})
        if not self.waiting:
            self._client.answer({"results": self._results})


def _result(look: Look) -> dict[str, object]:
    ours, theirs = look.ours or Found(), look.theirs or Found()
    return {
        "error": look.error,
        "took_s": look.took_s,
        "entries_here": ours.entries,
        "entries_there": theirs.entries,
        "counts": {
            "missing_there": ours.missing,
            "extra_there": look.counts["missing"],
            "different": look.counts["different"],
        },
        "mended": _counts(ours + theirs) if look.mode is not Mode.LOOK else None,
        "missing_there": [create.hex() for create in look.missing],
        "extra_there": [create.hex() for create in look.extra],
        "different": [
            {"here": message.hex(), "there": create.hex()} for message, create in look.different
        ],
    }


def troubles_of(links: Sequence[Link]) -> list[Trouble]:
    """Peers that get nothing, and give nothing."""
    return [
        Trouble(
            f"peer {link.name}",
            f"no stream of states with {link.name} ({link.target})"
            f"{'' if link.was_up else ' since it began'}: {link.last_error or 'none yet'}",
            "A failover now would lose connections; it connects again by itself when it can",
            PEER_AFTER_S,
        )
        for link in links
        if not link.up
    ]


def peer_status(link: Link, comparison: Comparison, now_s: float) -> dict[str, object]:
    """One peer in the answer to `status`."""
    table, drift = comparison.their_table, comparison.drift
    ago_s = None if drift.at_s is None else now_s - drift.at_s
    return {
        "name": link.name,
        "address": str(link.target),
        "connected": link.up,
        "since_s": now_s - link.since_s,
        "master": table.master if table else None,
        "entries": table.entries if table else None,
        "entries_max": table.entries_max if table else None,
        "sent": link.sent,
        "received": link.received,
        "injected": link.injected,
        "errors": link.errors,
        "bulk": str(link.bulk),
        "bytes_sent": link.sent_bytes,
        "bytes_received": link.received_bytes,
        **link.meter.status(now_s),
        "drift": None if ago_s is None else {**_counts(drift.last), "ago_s": ago_s},
        "drift_total": _counts(drift.total),
        "queued_bytes": link.queued_bytes,
        "last_error": link.last_error,
    }


def _counts(found: Found) -> dict[str, int]:
    return {"missing": found.missing, "different": found.different, "extra": found.extra}
