from __future__ import annotations

from dataclasses import replace

from carpool.api.settings import judge
from carpool.kernel.appliedfile import Sources
from carpool.machine.filetext import group_toml, node_toml
from carpool.model.config import MacMode
from carpool.model.section import Sync
from tests.unit.model.configs import GROUP, LAN, NODE, WAN


def test_what_is_written_is_read_as_the_same() -> None:
    odd = replace(LAN, password='a"b\\c ü'.encode(), mac=MacMode.INTERFACE)
    group = replace(GROUP, vips=(odd, WAN), sync=Sync("sync"), preempt=False)
    config = judge(Sources(node_toml(NODE), group_toml(group)))
    assert config is not None
    assert (config.node, config.group) == (NODE, group)
