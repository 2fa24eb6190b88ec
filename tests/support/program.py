"""The real `overlay-edge` as a process of its own, on loopback, on any free ports."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

from tests.support.workstation import FLAGS

COMMAND = (sys.executable, "-m", "overlay_edge")
ANY_PORTS = ("--oap-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0")


@dataclass(frozen=True)
class Program:
    """A node that said it started."""

    process: "subprocess.Popen[str]"
    oap: str
    admin: str
    pin: str


@contextmanager
def program(argv: Sequence[str] = (), command: Sequence[str] = COMMAND) -> Iterator[Program]:
    """Start it, wait for its start line, and end it."""
    process = subprocess.Popen(
        [*command, *ANY_PORTS, *FLAGS, *argv],
        stdout=subprocess.DEVNULL,  # not to whatever file the tests write to
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        start = _start_line(process.stderr)
        drain = Thread(target=process.stderr.read)  # a full pipe would hold the node up
        drain.start()
        yield Program(process, start["oap_addr"], start["admin_addr"], start["fingerprint"])
        process.terminate()
        process.wait(10)
        drain.join()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def _start_line(lines: Iterator[str]) -> dict[str, Any]:
    seen = []
    for text in lines:
        seen.append(text)
        line: dict[str, Any] = json.loads(text)
        if line["event"] == "start":
            return line
    raise AssertionError(f"the node did not start: {seen}")
