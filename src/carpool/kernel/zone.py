"""The time zone of this machine, as the C library knows it: TZ, or /etc/localtime.

Room: kernel. Reads no clock. Looks at the zone anew each time: an operator may set another one.
"""

from __future__ import annotations

import time
from calendar import timegm

from carpool.model.calendar import Civil

DAY_S = 86400


def civil(wall_s: float) -> Civil:
    """What the clock on the wall says at `wall_s` seconds since 1970."""
    time.tzset()
    return Civil(*time.localtime(wall_s)[:6])


def wall_s(at: Civil) -> int | None:
    """When it says `at`, in seconds since 1970: the first time if it does so twice, as when
    summer ends; None for what it leaps over."""
    time.tzset()
    as_utc = timegm(at)
    offsets = {time.localtime(as_utc + far).tm_gmtoff for far in (-DAY_S, DAY_S)}
    moments = (as_utc - offset for offset in offsets)
    return min((one for one in moments if time.localtime(one)[:6] == at), default=None)
