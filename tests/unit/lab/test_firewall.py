"""The lab's configuration files are ones that carpool accepts without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from carpool.api.settings import load
from carpool.errors import CarpoolError, UnreachableError
from carpool.lab.bare import BareFirewall
from carpool.lab.topology import FIREWALLS, Network, check_name
from carpool.model.config import Family


@pytest.mark.parametrize("name", FIREWALLS)
def test_the_written_configuration_is_accepted(name: str, tmp_path: Path) -> None:
    firewall = BareFirewall(name, Network("try"), tmp_path)
    firewall.prepare()
    config, problems = load(firewall.config_dir)
    assert problems == []
    assert config is not None
    assert config.node.name == name
    assert [(vip.vhid, vip.families) for vip in config.group.vips] == [
        (51, tuple(Family)),
        (52, tuple(Family)),
    ]
    assert config.group.states is not None
    assert config.node.interfaces[config.group.states.interface] == "sync0"


def test_asking_a_node_that_does_not_run_names_its_log(tmp_path: Path) -> None:
    firewall = BareFirewall("fw1", Network("try"), tmp_path)
    with pytest.raises(UnreachableError) as caught:
        firewall.ask("failover", "status")
    assert "fw1: the failover process does not answer" in str(caught.value)
    assert str(tmp_path / "failover.log") in caught.value.hint


@pytest.mark.parametrize("name", ["", "-x", "a/b", "Ü", "a" * 33, "a b"])
def test_a_name_that_could_be_a_path_or_an_option_is_refused(name: str) -> None:
    with pytest.raises(CarpoolError, match="lab name"):
        check_name(name)
