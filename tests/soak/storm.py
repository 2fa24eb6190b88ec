"""Storm: a node is killed, and all who were there come back at once; few handshakes are wasted.

The node lets callers in slowly after a start; a caller waits in its backlog, and one that fails
waits longer each time and never in step with the others, as nodes of the mesh do.
"""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from overlay_edge.client import connect
from overlay_edge.dialling import Dialling
from overlay_edge.errors import EdgeError
from tests.soak.gauge import Gauge
from tests.soak.report import Report, Scale, progress
from tests.support.program import Program, program

CALLERS_PER_SESSION = 0.5  # of the crowd's: 500 at full scale
TIMEOUT_S = 10.0
BACK_S = 60.0
WASTED = 0.05


def run(scale: Scale) -> Report:
    """Run the phase."""
    report = Report("storm")
    callers = max(12, int(scale.sessions * CALLERS_PER_SESSION))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    argv = ("--oap-addr", f"127.0.0.1:{port}")
    asyncio.run(_storm(report, argv, callers))
    return report


async def _storm(report: Report, argv: tuple[str, str], count: int) -> None:
    callers = [_Caller(argv[1]) for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        with program(argv) as first:
            tasks = [group.create_task(caller.run()) for caller in callers]
            await _until(lambda: all(caller.is_here for caller in callers))
            progress(f"{count} sessions")
            await asyncio.to_thread(_kill, first)
            await _until(lambda: not any(caller.is_here for caller in callers))
        failed_before = sum(caller.failed for caller in callers)
        began = time.monotonic()
        async with _started(argv) as second:
            await _until(lambda: all(caller.is_here for caller in callers))
            took_s = time.monotonic() - began
            metrics = await asyncio.to_thread(Gauge(second).metrics)
            ready = await asyncio.to_thread(Gauge(second).ready)
            for task in tasks:
                task.cancel()
        opened = metrics["overlay_sessions_open_total"]
        wasted = metrics["overlay_handshake_attempts_total"] - opened
        report.least("sessions back", sum(caller.is_here for caller in callers), count)
        report.most("handshakes wasted", wasted / opened, WASTED)
        report.most("all are back after", took_s, BACK_S, "s")
        report.equal("/readyz with all back", ready, 200)
        failed = sum(caller.failed for caller in callers) - failed_before
        report.figures |= {"callers": count, "wasted": wasted, "attempts_failed": failed}


@asynccontextmanager
async def _started(argv: tuple[str, str]) -> AsyncIterator[Program]:
    """The node again; meanwhile its callers knock in vain."""
    made = program(argv)
    running = await asyncio.to_thread(made.__enter__)
    try:
        yield running
    finally:
        made.__exit__(None, None, None)


class _Caller:
    """Somebody who wants to be connected at all times."""

    def __init__(self, address: str) -> None:
        self.is_here = False
        self.failed = 0
        self._address = address
        self._dialling = Dialling(random.random)

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                async with connect(self._address, timeout_s=TIMEOUT_S) as client:
                    self.is_here = True
                    await client.wait_closed()
            except EdgeError:
                self.failed += 1
            self.is_here = False
            lived_s = time.monotonic() - began
            self._dialling.failed(self._address, lived_s=lived_s, now=time.monotonic())
            await asyncio.sleep(self._dialling.wait_s(self._address, now=time.monotonic()))


async def _until(holds: object) -> None:
    assert callable(holds)
    async with asyncio.timeout(2 * BACK_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _kill(node: Program) -> None:
    node.process.kill()
    node.process.wait()
