"""Templates, with the values of a node that has one peer or two."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carpool.errors import EXIT_CONFIG
from carpool.machine.render import RenderError, render, template_path, values
from carpool.model.config import Config, Group, Node, Peer

FW2 = Peer("fw2", {"sync": (ip_address("10.10.3.2"),)})
FW3 = Peer("fw3", {"sync": (ip_address("10.10.3.3"),)})


def config(*peers: Peer) -> Config:
    node = Node(
        "fw1",
        {"lan": "enp1s0", "sync": "enp3s0"},
        advskew=7,
        addresses={"sync": (ip_address("10.10.3.1"), ip_address("fd00:3::1"))},
        peers=peers,
        vars={"mail": "postmaster@example.org", "Weird_Key": "{{ node.name }}"},
    )
    return Config(node, Group("edge", ()))


VALUES = values(config(FW2))


def test_all_that_a_template_may_ask_for() -> None:
    assert VALUES == {
        "node.name": "fw1",
        "node.advskew": "7",
        "node.device.lan": "enp1s0",
        "node.device.sync": "enp3s0",
        "node.address.sync": "10.10.3.1",
        "node.address.sync.0": "10.10.3.1",
        "node.address.sync.1": "fd00:3::1",
        "peer.name": "fw2",
        "peer.address.sync": "10.10.3.2",
        "peer.address.sync.0": "10.10.3.2",
        "peer.fw2.address.sync": "10.10.3.2",
        "peer.fw2.address.sync.0": "10.10.3.2",
        "vars.mail": "postmaster@example.org",
        "vars.Weird_Key": "{{ node.name }}",
    }


def test_with_two_peers_each_is_called_by_its_name() -> None:
    known = values(config(FW2, FW3))
    assert known["peer.fw3.address.sync"] == "10.10.3.3"
    assert not {"peer.name", "peer.address.sync"} & known.keys()


def test_a_name_with_and_without_spaces() -> None:
    text = b"{{node.name}} {{  peer.name  }} {{ node.address.sync.1 }}!"
    assert render(text, VALUES) == b"fw1 fw2 fd00:3::1!"


def test_a_value_is_not_rendered_again() -> None:
    assert render(b"{{ vars.Weird_Key }}", VALUES) == b"{{ node.name }}"


@pytest.mark.parametrize(
    "other",
    [
        b"{{ $labels.instance }}",
        b"{{- if .Site }}",
        b"{{ .Values.x }}",
        b"{{ a | b }}",
        b"{{ node.name",
        b"{ { node.name } }",
        b"{% node.name %}",
        b"{{\nnode.name\n}}",
        b"{{}}",
        b"{{ Node.name }}",
    ],
)
def test_other_template_languages_are_left_alone(other: bytes) -> None:
    assert render(other, VALUES) == other


@given(st.binary().filter(lambda content: b"{{" not in content))
def test_all_else_stays_byte_for_byte(content: bytes) -> None:
    marked = content + b"{{ node.name }}" + content
    assert render(marked, VALUES) == content + b"fw1" + content


def test_an_unknown_name_is_told_with_its_line_and_the_closest_one() -> None:
    with pytest.raises(RenderError) as caught:
        render(b"a\n\xff {{ node.name }}\n\n{{ node.adress.sync }}\n{{ x }}\n", VALUES)
    assert caught.value.message == (
        "this node has no value for line 4: {{ node.adress.sync }}; line 5: {{ x }}"
    )
    assert caught.value.hint == 'did you mean "node.address.sync"?'
    assert caught.value.exit_code == EXIT_CONFIG


def test_an_unknown_var_says_where_to_set_it() -> None:
    with pytest.raises(RenderError) as caught:
        render(b"{{ vars.uplink_gateway }}", VALUES)
    assert caught.value.hint == "give it one under [vars] in node.toml: uplink_gateway"


def test_a_name_like_none_gets_a_list_of_its_kind() -> None:
    with pytest.raises(RenderError) as caught:
        render(b"{{ peer.q }}", VALUES)
    assert "peer.name" in caught.value.hint
    assert "vars" not in caught.value.hint


def test_many_unknown_names_make_no_endless_message() -> None:
    with pytest.raises(RenderError, match="and 95 more"):
        render(b"{{ x }}\n" * 100, VALUES)


def test_templates_lie_below_the_configuration_directory() -> None:
    path = template_path("/etc/carpool/", "/etc/unbound/unbound.conf")
    assert path == "/etc/carpool/templates/etc/unbound/unbound.conf"
