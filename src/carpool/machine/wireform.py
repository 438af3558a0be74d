"""What a virtual host is on the wire: of one group.toml, or of several while it changes.

Room: machine. A digest covers the password and all addresses, so two nodes of which one has the new
group.toml would refuse each other, and both be master. While a group changes (`regroup.py`), a node
therefore signs each advert once for every form that a peer may have, and takes all of them for
authentic. Refuses to know states and time.

Rule 1: a node that has not got the change yet hears what it always heard.
Rule 2: advbase is not signed, and decides who is faster. While it changes we advertise the lowest,
        wait by the highest, and take each of them for our own: a master that is a step behind us is
        no slower one.
Rule 3: who is demoted advertises the highest (as often as before): the lowest would be faster than
        a peer that has not got the change and is well. Of two that are demoted that peer may win.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from carpool.model.config import Family, Transport, Vip
from carpool.proto import carp


class Standing(NamedTuple):
    """How good a master somebody is: the lower, the better."""

    interval: int  # advbase + advskew, in 1/256 s
    demote: int

    @staticmethod
    def of(advert: carp.Advert) -> Standing:
        """Of its sender, as everybody reads it."""
        return Standing(advert.advbase_s * 256 + advert.advskew, advert.demote)


class WireForm:
    """`vip`: what is owned; None when the VIP is being removed. `older`: the forms that a peer may
    have still, the latest first; at least one of the two must be given."""

    def __init__(self, vip: Vip | None, older: Sequence[Vip] = ()) -> None:
        forms = [*older] if vip is None else [*older, vip]
        # A VIP that goes is still advertised, or a peer that has it would take it over.
        self.vip = vip if vip is not None else replace(older[0], addresses=())
        self.signers = [
            carp.Signer(one.vhid, one.password, (own.ip for own in one.addresses))
            for one in _each_digest_once(forms)
        ]
        present = {family for one in forms for family in one.families}
        self.families = tuple(family for family in Family if family in present)
        self.transports = frozenset(one.transport for one in forms)
        self._advbases_s = frozenset(one.advbase_s for one in forms)
        self.advbase_s = min(self._advbases_s)  # how often we advertise, and what if we are well
        self.slowest_s = max(self._advbases_s)  # what a living master may advertise, and Rule 3

    @property
    def unicast_only(self) -> bool:
        return self.transports == {Transport.UNICAST}

    def verify(self, advert: carp.Advert) -> bool:
        """Whether it is signed by a node that has one of these forms."""
        return any(signer.verify(advert) for signer in self.signers)

    def level(self, standing: Standing) -> Standing:
        """The same without what is owed to the change of advbase alone."""
        advbase_s, advskew = divmod(standing.interval, 256)
        if advbase_s not in self._advbases_s:
            return standing
        return standing._replace(interval=self.advbase_s * 256 + advskew)


def as_one(old: Iterable[Vip], new: Iterable[Vip]) -> bool:
    """Whether a peer could not tell these VIPs apart, so that both need not count: a digest, and
    all else, is the same in whatever order VIPs and addresses stand in the file."""
    return _unordered(old) == _unordered(new)


def _unordered(vips: Iterable[Vip]) -> frozenset[Vip]:
    return frozenset(
        replace(vip, addresses=tuple(sorted(set(vip.addresses), key=str))) for vip in vips
    )


def _each_digest_once(forms: Sequence[Vip]) -> Iterator[Vip]:
    told = set()
    for one in forms:
        signed = one.password, carp.signed_addresses(own.ip for own in one.addresses)
        if signed not in told:
            told.add(signed)
            yield one
