"""Whether this kernel has what carpool needs: tried in a network namespace that is gone at once.

Room: kernel. Loads modules at most, as carpool itself would; refuses to judge what is missing.
"""

from __future__ import annotations

import subprocess

from carpool.kernel.checkrun import ENVIRONMENT
from carpool.model.facts import Unseen

WAIT_S = 20.0
SAID_MAX = 300  # characters
MACVLAN, EGRESS, EVENTS = "macvlan", "nftables egress hook", "nftables ct event"

# On a bridge, which every kernel has; each part says its name and why, if it fails.
_SCRIPT = f"""
try() {{ name=$1; shift; said=$("$@" 2>&1) || echo "$name: $(echo "$said" | tr '\\n' ' ')"; }}
chain() {{ echo "table $1 t {{ chain c {{ type filter hook $2 priority 0; $3 }}; }}"; }}
try bridge ip link add parent0 type bridge
try '{MACVLAN}' ip link add carp0 link parent0 type macvlan mode bridge
try '{EGRESS}' nft "$(chain netdev 'egress device "parent0"' '')"
try '{EVENTS}' nft "$(chain inet forward 'ct event set new;')"
"""


def missing() -> dict[str, str] | Unseen:
    """By feature, what the kernel said. Blocking, for some tenths of a second."""
    argv = ("unshare", "--net", "sh", "-c", _SCRIPT)
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=WAIT_S,
            check=False,
            env=ENVIRONMENT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Unseen(f"no network namespace to try it in: {error}")
    if done.returncode != 0 and not done.stdout:
        return Unseen(f"no network namespace to try it in: {done.stderr.strip()[-SAID_MAX:]}")
    lines = (line.partition(": ") for line in done.stdout.splitlines())
    return {name: said.strip()[-SAID_MAX:] for name, _, said in lines}
