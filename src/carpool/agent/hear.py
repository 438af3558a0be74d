"""`python -m carpool.agent.hear`: listen on wires for the agent, whose own unit may not.

Room: agent. A child outside of its sandbox: what to listen on comes on stdin, what was heard goes
to stdout, each as one JSON document.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import carpool
from carpool.agent.scriptrun import Call, Ran, Runner
from carpool.errors import CarpoolError, KernelError
from carpool.kernel import hearing
from carpool.model.facts import Heard
from carpool.proto.routers import PROBE

UNIT = "carpool-hear"
TOLD_MAX = 100  # of what was heard, probes first: a runner keeps 16 KiB
MORE_S = 4.0  # until the child has started, and ended


async def hear(runner: Runner, devices: dict[str, str], seconds: float, nonce: bytes) -> object:
    """What was heard, as the child told it. Raises KernelError."""
    asked = {"devices": devices, "seconds": seconds, "nonce": nonce.hex()}
    here = Path(carpool.__file__).parents[1]
    argv = (sys.executable, "-P", "-m", "carpool.agent.hear")
    environment = {"PYTHONPATH": str(here)}
    call = Call(UNIT, argv, environment, json.dumps(asked).encode(), seconds + MORE_S)
    return _heard(await runner.run(call))


def _heard(ran: Ran) -> object:
    try:
        told = json.loads(ran.output) if ran.ok else {}
    except ValueError:
        told = {}
    if "error" in told:
        raise KernelError(told["error"], hint=told["hint"])
    if "heard" not in told:
        raise KernelError(f"listening on the wires failed: {ran.said}")
    return told["heard"]


def as_json(one: Heard) -> dict[str, object]:
    """What a peer is told of it."""
    return {
        "interface": one.interface,
        "source": str(one.source),
        "mac": one.mac,
        "kind": one.kind,
        "vhid": one.vhid,
    }


def main() -> int:
    asked = json.load(sys.stdin)
    told: dict[str, object]
    try:
        nonce = bytes.fromhex(asked["nonce"])
        found = hearing.listen(asked["devices"], asked["seconds"], nonce)
    except CarpoolError as error:
        told = {"error": error.message, "hint": error.hint}
    else:
        found.sort(key=lambda one: one.kind != PROBE)
        told = {"heard": [as_json(one) for one in found[:TOLD_MAX]]}
    sys.stdout.write(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
