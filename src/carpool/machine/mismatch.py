"""Why the digest of a known peer fails: which addresses it has that we have not, or lacks.

Room: machine. CARP signs the addresses of a VHID without sending them, so two nodes whose sets
differ refuse each other's adverts and both become master. With our own password we can try the
sets that a peer is likely to have: ours without one address, one family only, one address only
(UCarp), or none.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import islice

from carpool.model.config import Address, AddressWithMask, VhostKey, Vip
from carpool.proto.carp import Advert, Signer

SEARCH_EVERY_S = 1.0  # a search costs some hundred HMACs; a forger must not buy them at will
CANDIDATES_MAX = 600
GAP_S = 60.0  # without such adverts: what comes then is another story
SENDERS_MAX = 1000
KNOWN_MAX = 8  # explanations kept a VHID: as many as a group has nodes

_UNEXPLAINED = (
    "signs another set of addresses or uses another password: compare group.toml on both nodes"
)


Sender = tuple[VhostKey, Address]


@dataclass(frozen=True, slots=True)
class Explanation:
    authentic: bool  # our password over another set of addresses: a member of the group
    text: str  # continues a sentence that starts with the peer's name


class MismatchFinder:
    """Remembers per VHID what explained wrong digests."""

    def __init__(self) -> None:
        self._known: dict[VhostKey, list[tuple[Signer, Explanation]]] = {}
        self._searched_s: dict[VhostKey, float] = {}
        self._lasting_s: dict[Sender, tuple[float, float]] = {}  # first and last time

    def lasts_s(self, sender: Sender, now_s: float) -> float:
        """For how long this sender's adverts have been signed for another form, too."""
        first_s, last_s = self._lasting_s.get(sender, (now_s, now_s))
        if now_s - last_s > GAP_S:
            first_s = now_s
        if len(self._lasting_s) >= SENDERS_MAX:
            self._lasting_s.clear()
        self._lasting_s[sender] = first_s, now_s
        return now_s - first_s

    def forget(self) -> None:
        """Another group.toml counts: what explained adverts so far explains none any more."""
        self._known.clear()
        self._searched_s.clear()
        self._lasting_s.clear()

    def explain(self, vip: Vip, advert: Advert, now_s: float) -> Explanation:
        known = self._known.setdefault(vip.key, [])
        for signer, explanation in known:
            if signer.verify(advert):
                return explanation
        searched_s = self._searched_s.get(vip.key)
        if searched_s is None or now_s - searched_s >= SEARCH_EVERY_S:
            self._searched_s[vip.key] = now_s
            found = _search(vip, advert)
            if found is not None:
                known.insert(0, found)
                del known[KNOWN_MAX:]
                return found[1]
        return Explanation(False, _UNEXPLAINED)


def _search(vip: Vip, advert: Advert) -> tuple[Signer, Explanation] | None:
    for candidate in islice(_candidates(vip), CANDIDATES_MAX):
        signed = b"".join([packed for packed, _ in candidate])
        signer = Signer.over(vip.vhid, vip.password, signed)
        if signer.verify(advert):
            return signer, Explanation(True, _tell(vip, {address for _, address in candidate}))
    return None


def _candidates(vip: Vip) -> Iterator[list[tuple[bytes, AddressWithMask]]]:
    """The sets to try, the likelier ones first, each in the order in which it is signed.

    The bytes of each address are taken once: a VHID may have hundreds.
    """
    ours = sorted(((a.ip.packed, a) for a in vip.addresses), key=lambda o: (len(o[0]), o[0]))
    for gone in ours:
        yield [one for one in ours if one is not gone]
    if len({len(packed) for packed, _ in ours}) > 1:
        for version in (4, 6):
            yield [one for one in ours if one[1].version == version]
    if len(ours) > 2:
        for only in ours:
            yield [only]
    if len(ours) > 1:
        yield []


def _tell(vip: Vip, addresses: Container[AddressWithMask]) -> str:
    lacking = ", ".join(str(a) for a in vip.addresses if a not in addresses)
    return (
        f"has another address set for VHID {vip.vhid} on {vip.interface}: it lacks {lacking}, "
        f"which this node has; make group.toml the same on both nodes"
    )
