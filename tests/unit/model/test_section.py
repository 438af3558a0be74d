"""What a section holds, and which services are its own where these files are."""

from __future__ import annotations

import pytest

from carpool.model.section import OnChange, Section, Service


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
