from __future__ import annotations

from dataclasses import replace

from carpool.api.settings import judge
from carpool.kernel.appliedfile import Sources
from carpool.machine.filetext import group_toml, node_toml
from carpool.model.config import Encryption, MacMode, Scope, States, Web
from carpool.model.section import Sync
from tests.unit.model.configs import GROUP, LAN, NODE, WAN


def test_what_is_written_is_read_as_the_same() -> None:
    odd = replace(LAN, password='a"b\\c ü'.encode(), mac=MacMode.INTERFACE)
    states = States("sync", port=4000, scope=Scope.ALL, encryption=Encryption.NONE)
    slow = replace(WAN, advbase_s=3)
    sync = Sync("sync", port=4002, sections=("nftables", "dnsmasq"))
    group = replace(GROUP, vips=(odd, slow), states=states, sync=sync, preempt=False)
    group = replace(group, web=Web(("lan", "wan"), 443, "/etc/ssl/a.pem", "/etc/ssl/a.key"))
    config = judge(Sources(node_toml(NODE), group_toml(group)))
    assert config is not None
    assert (config.node, config.group) == (NODE, group)
