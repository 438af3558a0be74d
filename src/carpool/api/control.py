"""Ask a process of this node: one request over its control socket, one answer, within a time.

Room: api. Knows the protocol (ARCHITECTURE.md, "Files and sockets"): one line of JSON each way;
refuses to know what the commands mean. The servers' side is `kernel/unixserver.py`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path

from carpool.errors import CarpoolError, NotRunningError, UnreachableError
from carpool.kernel.clock import monotonic_s
from carpool.kernel.lines import OUT_MAX_BYTES, parse_object

FAILOVER, STATES = "failover", "states"  # the processes; their sockets are NAME.sock in --run-dir
AGENT_EVENTS = "agent.events"  # in --run-dir: those of the agent; of hooks, for instance
STATES_EVENTS = "states.events"  # and those of states: what it had when the role changed
ANSWER_MAX_BYTES = OUT_MAX_BYTES + 1  # what a server may queue for us, and the newline

STATUS_WAIT_S = 3.0

Answer = dict[str, object]


def socket_of(run_dir: Path, process: str) -> Path:
    return run_dir / f"{process}.sock"


def request(path: Path, command: Mapping[str, object], timeout_s: float) -> Answer:
    """The answer to `{"command": ..., ...}` from the process that listens on `path`.

    Raises NotRunningError when nobody listens there, UnreachableError when there is no answer
    within `timeout_s` seconds, all told, or it is not of the protocol; CarpoolError with the
    process's own words when it refuses.
    """
    until_s = monotonic_s() + timeout_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        try:
            line = _exchange(stream, path, json.dumps(command).encode() + b"\n", until_s)
        except TimeoutError:
            raise _unreachable(
                path,
                f"no answer within {timeout_s:g} s",
                "it may be busy or stopped: look at its log, then restart it",
            ) from None
        except OSError as error:  # also: a path of more than 107 bytes
            told = _unreachable(path, error.strerror or str(error), _hint(path, error))
            if isinstance(error, FileNotFoundError | ConnectionRefusedError):
                told = NotRunningError(told.message, hint=told.hint)
            raise told from error
    answer = parse_object(line)
    if answer is None or not isinstance(answer.get("ok"), bool):
        shown = line[:80].decode(errors="backslashreplace")
        raise _unreachable(path, f"it answered {shown!r}", "does something else listen there?")
    if not answer["ok"]:
        raise CarpoolError(str(answer.get("error")), hint=str(answer.get("hint") or ""))
    return answer


def status(run_dir: Path, process: str) -> Answer | CarpoolError:
    """What a process tells about itself, or why it does not: either is worth showing."""
    try:
        return request(socket_of(run_dir, process), {"command": "status"}, STATUS_WAIT_S)
    except CarpoolError as error:
        return error


def as_json(answer: Answer | CarpoolError | None) -> Answer | None:
    """The same for programs."""
    if isinstance(answer, CarpoolError):
        return {"error": answer.message, "hint": answer.hint}
    return answer


def _exchange(stream: socket.socket, path: Path, line: bytes, until_s: float) -> bytes:
    """Send a line and read one, without its newline; TimeoutError at `until_s`."""
    _allow(stream, until_s)
    stream.connect(str(path))
    stream.sendall(line)
    answer = bytearray()
    while len(answer) <= ANSWER_MAX_BYTES:
        _allow(stream, until_s)
        data = stream.recv(65536)
        if not data:
            raise _unreachable(path, "it hung up without an answer", "look at its log")
        answer += data
        if b"\n" in data:
            return bytes(answer[: answer.index(b"\n")])
    raise _unreachable(path, f"an answer of more than {ANSWER_MAX_BYTES} bytes", "look at its log")


def _allow(stream: socket.socket, until_s: float) -> None:
    """Let the next operation take what is left of the time."""
    left_s = until_s - monotonic_s()
    if left_s <= 0:
        raise TimeoutError
    stream.settimeout(left_s)


def _hint(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "run as root"
    return f"is it running? start it with `carpool run {path.stem}`"


def _unreachable(path: Path, why: str, hint: str) -> UnreachableError:
    text = f"the {path.stem} process does not answer on {path}: {why}"
    return UnreachableError(text, hint=hint)
