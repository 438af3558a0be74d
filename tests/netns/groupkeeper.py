"""In place of failover: goes by group.toml when it is told to, and puts it back if nobody confirms
that. It says that it is MASTER of a VIP; what happens on the wire is tested with the real one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socketserver
import threading
from pathlib import Path
from typing import Any


class GroupKeeper:
    """Of a node with `file`; listens at `socket`."""

    def __init__(self, socket: Path, file: Path) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._now = self._before = file.read_bytes()
        self._older = False
        self._timer: threading.Timer | None = None
        self._watching: list[Any] = []
        keeper = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    for line in self.rfile:
                        keeper.heard(json.loads(line), self.wfile)

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        socket.parent.mkdir(parents=True, exist_ok=True)
        socket.unlink(missing_ok=True)
        self._server = Server(str(socket), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def waits(self) -> bool:
        return self._timer is not None

    def close(self) -> None:
        with self._lock:
            self._stop_timer()
        self._server.shutdown()
        self._server.server_close()

    def heard(self, request: dict[str, Any], answers: Any) -> None:
        with self._lock:
            answer = self._answer(request, answers)
            _tell(answers, answer)

    def _answer(self, request: dict[str, Any], answers: Any) -> dict[str, object]:
        command = request["command"]
        if command == "watch":
            self._watching.append(answers)
            return {"master": True, "masters": ["51@lan"], "role": "MASTER", "vips": {}}
        if command == "status":
            return self._status()
        if command == "reload" and not request.get("dry_run"):
            self._take_up(request.get("confirm_within_s"))
        if command in ("confirm", "take_back", "settle"):
            if self.waits == (command == "settle"):
                return {"ok": False, "error": f"{command}: waits: {self.waits}", "hint": ""}
            self._decide(command)
        told = {"changes": ["it changes"], "waits": self.waits}
        return {"ok": True, "proposed": bool(request.get("proposed")), **told}

    def _status(self) -> dict[str, object]:
        vhost = {"vhid": 51, "interface": "lan", "state": "MASTER"}
        change = {"confirm_left_s": 9.0 if self.waits else None, "with_peers": self.waits}
        told = {"ok": True, "vhosts": [vhost], "change": change if self._older else None}
        return {**told, "group_digest": hashlib.sha256(self._now).hexdigest()}

    def _take_up(self, within_s: float | None) -> None:
        self._before, self._now = self._now, self._file.read_bytes()
        self._older = self._older or self._before != self._now
        if within_s is not None and self._before != self._now:
            self._timer = threading.Timer(within_s, self._time_is_up)
            self._timer.daemon = True
            self._timer.start()

    def _decide(self, command: str) -> None:
        self._stop_timer()
        if command == "take_back":
            self._now = self._before
            self._file.write_bytes(self._now)
        self._older = command != "settle"

    def _time_is_up(self) -> None:
        with self._lock:
            self._decide("take_back")
            for answers in self._watching:
                _tell(answers, {"master": True, "masters": ["51@lan"], "reload": True})

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _tell(answers: Any, answer: dict[str, object]) -> None:
    with contextlib.suppress(OSError, ValueError):
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
