"""Why a received CARP packet was refused: one member, one counter each.

Room: model. The checks run in the order of the members (as FreeBSD does).
"""

from enum import StrEnum


class Reject(StrEnum):
    """A refused advertisement; the value is the counter's name in status and metrics."""

    INTERFACE = "bad_interface"  # no VIP on the interface it came in on
    TTL = "bad_ttl"  # not 255: it crossed a router, or is forged
    LENGTH = "bad_length"  # not 36 bytes, or an authentication length that is not 7 words
    CHECKSUM = "bad_checksum"
    VERSION = "bad_version"  # not version 2, type 1: VRRP shares protocol number 112
    VHID = "bad_vhid"  # another group's, or 0
    ADVBASE = "bad_advbase"  # 0 seconds
    PEER = "unknown_peer"  # unicast only: not one of node.toml's addresses
    LOOP = "loop"  # our own packet came back
    AUTH = "bad_auth"  # wrong password, or an unknown set of addresses
    REPLAY = "replay"  # a counter that went back although its sender's only grows
