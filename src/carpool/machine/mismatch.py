"""Why the digest of a known peer fails: which addresses it has that we have not, or lacks.

Room: machine. CARP signs the addresses of a VHID without sending them, so two nodes whose sets
differ refuse each other's adverts and both become master. With our own password we can try the
sets that a peer is likely to have: ours without one address, one family only, one address only
(UCarp), or none.
"""

from __future__ import annotations

from dataclasses import dataclass

from carpool.model.config import AddressWithMask, VhostKey, Vip
from carpool.proto.carp import Advert, Signer

SEARCH_EVERY_S = 1.0  # a search costs some hundred HMACs; a forger must not buy them at will
CANDIDATES_MAX = 600

_UNEXPLAINED = (
    "signs another set of addresses or uses another password: compare group.toml on both nodes"
)


@dataclass(frozen=True, slots=True)
class Explanation:
    authentic: bool  # our password over another set of addresses: a member of the group
    text: str  # continues a sentence that starts with the peer's name


class MismatchFinder:
    """Remembers per VHID what explained the last wrong digest."""

    def __init__(self) -> None:
        self._known: dict[VhostKey, tuple[Signer, Explanation]] = {}
        self._searched_s: dict[VhostKey, float] = {}

    def explain(self, vip: Vip, advert: Advert, now_s: float) -> Explanation:
        known = self._known.get(vip.key)
        if known is not None and known[0].verify(advert):
            return known[1]
        searched_s = self._searched_s.get(vip.key)
        if searched_s is None or now_s - searched_s >= SEARCH_EVERY_S:
            self._searched_s[vip.key] = now_s
            for addresses in _candidates(vip):
                signer = Signer(vip.vhid, vip.password, (a.ip for a in addresses))
                if signer.verify(advert):
                    explanation = Explanation(True, _tell(vip, addresses))
                    self._known[vip.key] = (signer, explanation)
                    return explanation
        return Explanation(False, _UNEXPLAINED)


def _candidates(vip: Vip) -> list[tuple[AddressWithMask, ...]]:
    all_ = vip.addresses
    sets = [tuple(a for a in all_ if a is not gone) for gone in all_]
    sets += [tuple(a for a in all_ if a.version == version) for version in (4, 6)]
    sets += [(only,) for only in all_]
    sets.append(())
    return [s for s in dict.fromkeys(sets) if set(s) != set(all_)][:CANDIDATES_MAX]


def _tell(vip: Vip, addresses: tuple[AddressWithMask, ...]) -> str:
    lacking = ", ".join(str(a) for a in vip.addresses if a not in addresses)
    return (
        f"has another address set for VHID {vip.vhid} on {vip.interface}: it lacks {lacking}, "
        f"which this node has; make group.toml the same on both nodes"
    )
