"""What an operator may do with the mastership of a node.

Room: model. Names only.
"""

from __future__ import annotations

from enum import StrEnum

REASON_MAX = 200  # letters, of one for maintenance


class Deed(StrEnum):
    MAINTENANCE_ON = "maintenance-on"
    MAINTENANCE_OFF = "maintenance-off"
    SWITCHOVER = "switchover"
    DISABLE = "disable"
    ENABLE = "enable"
