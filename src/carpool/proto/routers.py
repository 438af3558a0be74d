"""Who speaks protocol 112 on a wire: CARP or VRRP, and for which virtual router; and our own probe.

Room: proto. CARP as in carp.py, VRRP as in RFC 3768 (version 2) and RFC 5798 (version 3). Refuses
to know who may.
"""

from __future__ import annotations

from carpool.proto.carp import AUTH_WORDS, LENGTH, VERSION_TYPE

CARP, VRRP, PROBE = "CARP", "VRRP", "probe"
PROBE_PROTOCOL = 253  # RFC 3692: for experiments; no router counts it as a faulty advert
PROBE_BYTES = 8
_PROBE_HEAD = b"carpool doctor "
_VRRP = (0x21, 0x31)  # version 2 and 3, type 1: advertisement
_VRRP_BYTES = 8  # of its header


def speaker(payload: bytes) -> tuple[str, int] | None:
    """What follows an IP header of protocol 112: CARP or VRRP, and the number of the virtual
    router; None for anything else."""
    if len(payload) < _VRRP_BYTES or payload[0] not in _VRRP or payload[1] == 0:
        return None
    # Both may say version 2; where CARP has the length of its digest, VRRP counts addresses.
    carp = (payload[0], payload[3], len(payload)) == (VERSION_TYPE, AUTH_WORDS, LENGTH)
    return (CARP if carp else VRRP), payload[1]


def probe(nonce: bytes) -> bytes:
    """What a doctor sends to the group of adverts, of PROBE_PROTOCOL."""
    assert len(nonce) == PROBE_BYTES
    return _PROBE_HEAD + nonce
