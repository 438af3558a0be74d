"""What the lab's firewalls are configured with besides carpool: nftables rules and sysctls.

Room: lab. Text only. Written as a careful user would write them who has never heard of carpool:
rules name the parent devices, and none of them mentions CARP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from carpool.model.config import STATES_PORT, WEB_PORT
from carpool.model.section import AGENT_PORT

if TYPE_CHECKING:
    from carpool.lab.topology import Segment

# tcp_loose=0: a packet in the middle of a TCP stream makes no new entry, so that a connection whose
# state was not replicated really dies.
FIREWALL_SYSCTLS: Final = {
    "net.ipv4.ip_forward": 1,
    "net.ipv6.conf.all.forwarding": 1,
    "net.netfilter.nf_conntrack_tcp_loose": 0,
}


def bare_rules(lan: Segment, wan: Segment) -> str:
    """What a single firewall has before it becomes one of a pair: it hides its clients behind its
    own address, answers pings, and lets nobody in."""
    return f"""
table inet filter {{
  chain input {{
    type filter hook input priority filter; policy drop;
    ct state invalid counter drop
    ct state established,related accept
    iifname "lo" accept
    meta l4proto {{ icmp, ipv6-icmp }} accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state invalid counter drop
    ct state established,related accept
    iifname "{lan.device}" oifname "{wan.device}" accept
  }}
}}
table ip nat {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {lan.ipv4(0).network} oifname "{wan.device}" masquerade
  }}
}}
"""


def firewall_rules(lan: Segment, wan: Segment, sync: Segment, *, web: bool = False) -> str:
    """An nftables ruleset for `nft -f -`: stateful, everything dropped that is not named. On the
    sync link states, pairing and agents are let in; `web`: and to the pages from the LAN."""
    pages = f'iifname "{lan.device}" tcp dport {WEB_PORT} accept\n    ' if web else ""
    return f"""
table inet filter {{
  chain input {{
    type filter hook input priority filter; policy drop;
    ct state invalid counter drop
    ct state established,related accept
    iifname "lo" accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept
    iifname "{lan.device}" meta l4proto {{ icmp, ipv6-icmp }} accept
    iifname "{sync.device}" tcp dport {STATES_PORT}-{AGENT_PORT} accept
    {pages}counter
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state invalid counter drop
    ct state established,related accept
    iifname "{lan.device}" oifname "{wan.device}" ct state new accept
    counter
  }}
}}
table ip nat {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {lan.ipv4(0).network} oifname "{wan.device}" snat to {wan.vip()[0].ip}
  }}
}}
"""
