"""Attributes of a file system that keep root itself from writing: chattr(1) sets them.

Room: kernel. Reads only; what a file system does not tell is not said.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

# Linux include/uapi/linux/fs.h: _IOR('f', 1, long), and what it answers.
FS_IOC_GETFLAGS = 0x80006601 | struct.calcsize("l") << 16
FS_IMMUTABLE_FL, FS_APPEND_FL = 0x10, 0x20
_NAMES = {FS_IMMUTABLE_FL: ("immutable", "i"), FS_APPEND_FL: ("append-only", "a")}
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def hindrance(path: str, root: Path = Path("/")) -> tuple[str, str]:
    """Why `path` below `root` cannot be written or replaced, and the command that mends it; both
    are empty when no attribute of it or of its directory is the reason."""
    for one in (path, os.path.dirname(path)):
        flags = _flags(root / one.lstrip("/"))
        for flag, (name, letter) in _NAMES.items():
            if flags & flag:
                return f"{one} is {name} (chattr +{letter})", f"chattr -{letter} {one}"
    return "", ""


def _flags(path: Path) -> int:
    try:
        descriptor = os.open(path, _LOOK)
    except OSError:
        return 0
    try:
        answer = fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, bytes(struct.calcsize("l")))
        return int(struct.unpack("I", answer[:4])[0])  # an int, whatever its name says
    except OSError:
        return 0
    finally:
        os.close(descriptor)
