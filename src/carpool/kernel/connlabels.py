"""The file that names the bits of connection labels on this node.

Room: kernel. Reads text; refuses to know its grammar (`proto/ctlabels.py`) and what labels are for.
"""

from __future__ import annotations

from pathlib import Path

# Where nft, as distributions build it, and iptables look.
FILES = (Path("/etc/connlabel.conf"), Path("/etc/xtables/connlabel.conf"))
FILE_MAX_BYTES = 64 * 1024  # 128 names


def read() -> str:
    """The first of the files that is there; empty when none is, or can be read."""
    for path in FILES:
        try:
            with path.open("rb") as file:
                return file.read(FILE_MAX_BYTES).decode(errors="replace")
        except OSError:
            continue
    return ""
