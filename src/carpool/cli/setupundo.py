"""What `carpool setup` wrote into the operator's rules, taken out of them again at a purge.

Room: cli. Only lines that setup wrote, as it wrote them; packaging/debian/postrm does the same.
"""

from __future__ import annotations

import re
from pathlib import Path

OURS = "# carpool setup: the other node may come in"
RULES_FILE = "etc/nftables.conf"
_LINES = re.compile(
    rf'\n?^{OURS}\n|^insert rule .* comment "carpool: nodes on [^"\n]*"\n', re.MULTILINE
)


def is_touched(path: Path) -> bool:
    """OSError and UnicodeDecodeError as of reading."""
    return path.is_file() and OURS in path.read_text(encoding="utf-8")


def undo(path: Path) -> None:
    """The file as it would be without setup. OSError as of writing."""
    fresh = path.with_name(f".{path.name}.carpool")
    fresh.write_text(_LINES.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
    fresh.chmod(path.stat().st_mode & 0o7777)
    fresh.replace(path)


def backups(path: Path) -> list[Path]:
    """What setup kept of it."""
    return sorted(path.parent.glob(f"{path.name}.before-setup-[0-9]*"))
