"""What a virtual host is on the wire while its group changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carpool.machine.wireform import Standing, WireForm, as_one
from carpool.model.config import Family, Transport, Vip
from carpool.proto import carp
from tests.unit.machine.group import LAN, Sender, unicast, vip

OLD = vip()
OTHER = replace(OLD, password=b"another")
ALIAS = vip(extra=("10.1.0.101/24",))


def advert(of: Vip) -> carp.Advert:
    parsed = carp.parse(Sender().says(of).payload, 255)
    assert isinstance(parsed, carp.Advert)
    return parsed


def slow(of: Vip, advbase_s: int = 2) -> Vip:
    return replace(of, advbase_s=advbase_s)


def test_one_form_is_what_it_always_was() -> None:
    form = WireForm(OLD)
    assert (form.vip, len(form.signers)) == (OLD, 1)
    assert form.verify(advert(OLD))
    assert not form.verify(advert(OTHER))
    assert (form.advbase_s, form.slowest_s) == (1, 1)


@pytest.mark.parametrize("new", [OTHER, ALIAS, vip(families="46")])
def test_all_forms_are_authentic_and_nothing_else_is(new: Vip) -> None:
    form = WireForm(new, [OLD])
    assert form.vip == new
    assert form.verify(advert(OLD))
    assert form.verify(advert(new))
    assert not form.verify(advert(replace(OLD, password=b"forged")))
    assert not form.verify(advert(replace(new, addresses=new.addresses[1:])))


def test_what_a_peer_may_lack_is_signed_last() -> None:
    """It hears that it knows us before it hears what it cannot verify."""
    forms = (OTHER, ALIAS, OLD)
    signed = [
        next(one for one in forms if signer.verify(advert(one)))
        for signer in WireForm(OTHER, [ALIAS, OLD]).signers
    ]
    assert signed == [ALIAS, OLD, OTHER]


@pytest.mark.parametrize(
    "new", [OLD, slow(OLD), unicast(OLD), replace(OLD, addresses=OLD.addresses[::-1])]
)
def test_what_changes_no_digest_costs_no_second_advert(new: Vip) -> None:
    assert len(WireForm(new, [OLD]).signers) == 1


def test_families_and_transports_are_those_of_all_forms() -> None:
    form = WireForm(unicast(vip(families="6")), [OLD])
    assert form.families == (Family.IPV4, Family.IPV6)
    assert form.transports == {Transport.UNICAST, Transport.MULTICAST}
    assert not form.unicast_only
    assert WireForm(unicast(OLD)).unicast_only


def test_order_tells_no_vip_from_another_and_all_else_does() -> None:
    turned = replace(ALIAS, addresses=ALIAS.addresses[::-1])
    other = replace(OLD, vhid=99)
    assert as_one([ALIAS, other], [other, turned])
    for changed in (OLD, slow(ALIAS), replace(turned, password=b"x"), unicast(ALIAS)):
        assert not as_one([ALIAS, other], [other, changed])
    assert not as_one([ALIAS, other], [ALIAS])


def test_what_goes_has_no_addresses_and_is_authentic_as_before() -> None:
    form = WireForm(None, [ALIAS, OLD])
    assert form.vip == replace(ALIAS, addresses=())
    assert form.verify(advert(ALIAS))
    assert form.verify(advert(OLD))
    assert not form.verify(advert(form.vip))


@pytest.mark.parametrize("forms", [(slow(OLD), OLD), (OLD, slow(OLD))])
def test_advbase_is_the_lowest_to_say_and_the_highest_to_wait_for(forms: tuple[Vip, Vip]) -> None:
    new, old = forms
    form = WireForm(new, [old])
    assert (form.advbase_s, form.slowest_s) == (1, 2)


@pytest.mark.parametrize(("advbase_s", "level_s"), [(1, 1), (2, 1), (3, 3), (5, 1), (255, 255)])
def test_who_is_a_step_behind_is_no_slower(advbase_s: int, level_s: int) -> None:
    form = WireForm(OLD, [slow(OLD, 2), slow(OLD, 5)])
    heard = Standing(advbase_s * 256 + 100, 4)
    assert form.level(heard) == Standing(level_s * 256 + 100, 4)


def test_a_standing_is_read_from_the_packet() -> None:
    heard = carp.Advert(LAN.vhid, 2, 100, 4, 1, bytes(20))
    assert Standing.of(heard) == Standing(2 * 256 + 100, 4)
    assert WireForm(OLD).level(Standing.of(heard)) == Standing.of(heard)
