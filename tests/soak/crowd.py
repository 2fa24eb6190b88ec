"""Crowd: a thousand sessions on the Pi 4 profile, all served, all staying, within the budget."""

import asyncio
import time
from contextlib import AsyncExitStack

from overlay_edge.client import Client, connect
from overlay_edge.errors import EdgeError
from tests.soak.gauge import MIB, Gauge, budget_bytes, node
from tests.soak.report import Report, Scale, progress
from tests.support.program import Program

PROFILE = "pi4"
AT_ONCE = 8  # callers in the backlog: the node lets 10 to 40 a second in
STAY_S = 2.0
TIMEOUT_S = 20.0


def run(scale: Scale) -> Report:
    """Run the phase."""
    report = Report("crowd")
    with node(profile=PROFILE) as (program, gauge):
        asyncio.run(_fill(report, program, gauge, scale.sessions))
    return report


async def _fill(report: Report, program: Program, gauge: Gauge, sessions: int) -> None:
    before = gauge.rss_bytes()
    began = time.monotonic()
    gate = asyncio.Semaphore(AT_ONCE)
    clients: list[Client] = []
    failures: list[str] = []
    async with AsyncExitStack() as stack:

        async def come() -> None:
            async with gate:
                try:
                    made = connect(program.oap, pin=program.pin, timeout_s=TIMEOUT_S)
                    clients.append(await stack.enter_async_context(made))
                    if len(clients) % 200 == 0:
                        progress(f"{len(clients)} sessions, {time.monotonic() - began:.0f} s")
                except EdgeError as error:
                    failures.append(f"connect: {error}")

        async def echo(client: Client, number: int) -> None:
            async with gate:
                payload = b"%06d" % number * 32
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        if await client.echo(payload) != payload:
                            failures.append("echo: other bytes")
                except (EdgeError, TimeoutError) as error:
                    failures.append(f"echo: {error!r}")

        await asyncio.gather(*(come() for _ in range(sessions)))
        took_s = time.monotonic() - began
        ready = [await asyncio.to_thread(gauge.ready)]
        for _ in range(2):
            await asyncio.gather(*(echo(client, n) for n, client in enumerate(clients)))
            ready.append(await asyncio.to_thread(gauge.ready))
            await asyncio.sleep(STAY_S)
        metrics = await asyncio.to_thread(gauge.metrics)
        stayed = sum(client.link.session is not None for client in clients)
        rss = gauge.rss_bytes()
        report.equal("sessions opened", len(clients), sessions)
        report.equal("sessions that stay", stayed, sessions)
        active = metrics["overlay_sessions_active"]
        report.least("overlay_sessions_active", active, sessions)
        report.equal("failed connects and echoes", len(failures), 0)
        report.equal("/readyz when full", sorted(set(ready)), [200])
        held = rss + metrics["overlay_store_bytes"]
        report.most("memory with all open", held / MIB, budget_bytes(PROFILE) / MIB, "MiB")
        report.figures |= {
            "connect_s": round(took_s, 1),
            "kib_each": round((rss - before) / 1024 / sessions, 1),
            "rss_before_mib": round(before / MIB, 1),
            "failures": failures[:5],
        }
