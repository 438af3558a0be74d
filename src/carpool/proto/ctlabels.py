"""Connection labels: 128 bits whose numbers each node names in a file of its own, mapped by name.

Room: proto. The file's text and the LABELS frame to names, a peer's requests to requests with our
numbers; refuses to know where the file is (`kernel/connlabels.py`).

    LABELS  for each label: bit (1), length (1), name in UTF-8
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping

from carpool.proto import ctgate, netlink
from carpool.proto import ctmessage as ct

BITS = 128  # XT_CONNLABEL_MAXBIT + 1
NAME_MAX_BYTES = 64
_WORDS = struct.Struct("=QQ")  # struct nf_conn_labels: bits are numbered from the first word's low
_HEADER = netlink.ATTR.pack(netlink.ATTR_LEN + _WORDS.size, ct.Cta.LABELS)

Names = Mapping[int, str]  # by bit


def bits(value: bytes) -> Iterator[int]:
    """The numbers of the bits that are set in 16 bytes of labels."""
    low, high = _WORDS.unpack(value)
    number = low | high << 64
    return (bit for bit in range(BITS) if number >> bit & 1)


def value_of(numbers: Iterator[int]) -> bytes:
    """The 16 bytes in which these bits are set."""
    number = sum(1 << bit for bit in set(numbers))
    return _WORDS.pack(number & 2**64 - 1, number >> 64)


def parse_file(text: str) -> Names:
    """connlabel.conf: a number and a name on each line, comments from # on. What is none of it is
    passed over, as others do; of a number or a name that is there twice the first counts."""
    names: dict[int, str] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) != 2 or not words[0].isascii() or not words[0].isdigit():
            continue
        bit, name = int(words[0][:4]), words[1]
        short = len(name.encode()) <= NAME_MAX_BYTES
        if bit < BITS and bit not in names and short and name not in names.values():
            names[bit] = name
    return names


def build(names: Names) -> bytes:
    """The payload of a LABELS frame."""
    texts = ((bit, name.encode()) for bit, name in names.items())
    return b"".join(bytes((bit, len(text))) + text for bit, text in texts)


def parse(payload: bytes) -> Names | str:
    """The names of a peer; or what is wrong with its frame."""
    names: dict[int, str] = {}
    at = 0
    while at < len(payload):
        end = at + 2 + payload[at + 1] if at + 1 < len(payload) else at
        if not at < end <= len(payload):
            return "LABELS that end within a name"
        bit, text = payload[at], payload[at + 2 : end]
        if bit >= BITS or bit in names or not 0 < len(text) <= NAME_MAX_BYTES:
            return f"LABELS with the number {bit} and a name of {len(text)} bytes"
        names[bit] = text.decode(errors="replace")
        at = end
    return names


class Translator:
    """From a peer's numbers to ours. What has no name there, or whose name is not here, is lost:
    counted in `lost` by the name, or the number."""

    def __init__(self, theirs: Names, ours: Names) -> None:
        self.lost: Counter[str] = Counter()
        by_name = {name: bit for bit, name in ours.items()}
        self._theirs = theirs
        self._map = {bit: by_name[name] for bit, name in theirs.items() if name in by_name}

    def payload(self, payload: bytes) -> bytes:
        """Requests that have passed the gate, with our labels."""
        if _HEADER not in payload:  # nearly always
            return payload
        return b"".join(
            self._request(request) if _HEADER in request else request
            for request in ctgate.requests(payload)
        )

    def _request(self, request: bytes) -> bytes:
        found = ct.fields(request)
        if found is None or "labels" not in found:
            return request
        at, length = found["labels"]
        mine: list[int] = []
        for bit in bits(request[at : at + length]):
            if bit in self._map:
                mine.append(self._map[bit])
            else:
                self.lost[self._theirs.get(bit, f"number {bit}")] += 1
        return request[:at] + value_of(iter(mine)) + request[at + length :]
