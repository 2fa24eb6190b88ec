"""Talks to QEMU's control socket: one JSON object a line."""

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any

from qemu.errors import QemuError

TIMEOUT_S = 10.0  # answers come at once unless QEMU hangs
MAX_EVENTS = 64  # kept while nobody waits for them; a guest makes a handful


class Qmp:
    """A connection to the control socket, ready for commands."""

    def __init__(self, path: Path) -> None:
        self._events: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._lines.readline()  # the greeting
        self.call("qmp_capabilities")

    def __enter__(self) -> "Qmp":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._lines.close()
        self._socket.close()

    def call(self, command: str, **arguments: object) -> Any:
        """Send a command and return its answer; events that come in between are kept."""
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        for line in self._lines:
            answer = json.loads(line)
            if "error" in answer:
                raise QemuError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self._events = [*self._events, answer][-MAX_EVENTS:]
        raise QemuError(f"{command}: QEMU closed its control socket")

    def wait_event(self, name: str, *, limit_s: float = TIMEOUT_S) -> dict[str, Any]:
        """An event of that name, kept or to come; QEMU must not be silent beyond the limit."""
        for event in self._events:
            if event["event"] == name:
                self._events.remove(event)
                return event
        self._socket.settimeout(limit_s)
        for line in self._lines:
            message: dict[str, Any] = json.loads(line)
            if message.get("event") == name:
                return message
        raise QemuError(f"{name}: QEMU closed its control socket")

    def all_counters(self) -> dict[str, dict[str, int]]:
        """The same of every drive, by its id."""
        rows = self.call("query-blockstats")
        return {row.get("device") or row.get("qdev", ""): dict(row["stats"]) for row in rows}

    def disk_counters(self, device: str = "medium") -> dict[str, int]:
        """How often and where the guest read from and wrote to a drive since its start."""
        for row in self.call("query-blockstats"):
            if row.get("device") == device or "/disk/" in row.get("qdev", ""):
                return dict(row["stats"])
        raise QemuError(f"{device}: QEMU has no such drive")
