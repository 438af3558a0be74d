"""What a section holds, and which services are its own where these files are."""

from __future__ import annotations

import pytest

from carpool.model.section import OnChange, RolePolicy, Section, Service


@pytest.mark.parametrize(
    ("path", "held"),
    [
        ("/etc/unbound/", True),
        ("/etc/unbound", True),
        ("/etc/unbound/a/b", True),
        ("/etc/unbound.conf", False),
        ("/etc/hosts", True),
        ("/etc/hosts/x", False),
        ("/etc", False),
    ],
)
def test_what_a_section_holds(path: str, held: bool) -> None:
    assert Section("one", ("/etc/unbound/", "/etc/hosts")).holds(path) is held


def test_each_file_of_a_template_unit_is_an_instance() -> None:
    section = Section(
        "vpn",
        ("/etc/openvpn/",),
        services=(
            Service("openvpn", OnChange.NOTHING),
            Service("openvpn@", OnChange.RESTART, "/etc/openvpn/*.conf"),
            Service("openvpn-server@", OnChange.RESTART, "/etc/openvpn/server/*.conf"),
        ),
    )
    files = ("/etc/openvpn/server/a.b.conf", "/etc/openvpn/one.conf", "/etc/openvpn/one.key")
    assert section.services_of(files) == (
        Service("openvpn", OnChange.NOTHING),
        Service("openvpn@one", OnChange.RESTART),
        Service("openvpn-server@a.b", OnChange.RESTART),
    )
    assert section.services_of(()) == (Service("openvpn", OnChange.NOTHING),)


def test_a_service_is_named_once() -> None:
    services = (Service("x@a", OnChange.RESTART), Service("x@", files="/etc/x/*"))
    section = Section("x", ("/etc/x/",), services=services)
    assert section.services_of(["/etc/x/a.conf", "/etc/x/a", "/etc/x/.b"]) == (
        Service("x@a", OnChange.RESTART),
        Service("x@.b"),
    )


def test_an_instance_is_as_its_template_says() -> None:
    up, down = ("up", "%i"), ("down", "dev-%i", "%")
    each = Service("x@", files="/etc/x/*", follows="lan", on_master=up, on_backup=down)
    (one,) = Section("x", ("/etc/x/",), services=(each,)).services_of(["/etc/x/a.conf"])
    assert one == Service("x@a", follows="lan", on_master=up, on_backup=down)
    assert (one.command(True), one.command(False)) == (("up", "a"), ("down", "dev-a", "%"))


def test_a_service_is_placed_by_its_section_unless_it_says_otherwise() -> None:
    section = Section("x", (), role=RolePolicy.MASTER, follows="lan")
    alone = section.placed(Service("a"))
    assert (alone.role, alone.follows) == (RolePolicy.MASTER, "lan")
    own = section.placed(Service("a", role=RolePolicy.BOTH, follows="51@wan"))
    assert (own.role, own.follows) == (RolePolicy.BOTH, "51@wan")
    switched = section.placed(Service("a", on_master=("x",), on_backup=("y",)))
    assert (switched.role, switched.follows) == (RolePolicy.BOTH, "lan")
