"""What somebody may do on the pages: three roles, each of which may what those below it may.

Room: web. Pure. Refuses to know accounts: tokens have a role, too.
"""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        return self.name.lower()
