"""Hoard: what a peer that says much and reads nothing makes the node hold, at its worst."""

import asyncio

from overlay_edge.config.budget import CONTROL_BYTES, FRAME_BYTES, READ_BYTES, TLS_BYTES
from overlay_edge.proto.frame import encode
from overlay_edge.proto.message import control_frame
from tests.soak.caller import Caller
from tests.soak.gauge import Gauge, node
from tests.soak.report import Report, Scale
from tests.support.program import Program

CONFIG = """
[transport]
accept_rate = 20000

[timeouts]
write = "60s"
"""
PEERS = 100
PINGS = 24_000  # a megabyte: more than every buffer on the way
SETTLE_S = 3.0


def run(scale: Scale) -> Report:
    """Run the phase."""
    report = Report("hoard")
    with node(CONFIG) as (program, gauge):
        asyncio.run(_measure(report, program, gauge))
    return report


async def _measure(report: Report, program: Program, gauge: Gauge) -> None:
    pings = b"".join(encode(control_frame({"ping": number})) for number in range(PINGS))
    await asyncio.sleep(1)  # the canary's first flight loads what is loaded late
    gauge.metrics()
    before = gauge.rss_bytes()
    callers = []
    try:
        for _ in range(PEERS):
            callers.append(await Caller.greeted(program.oap, buffer_bytes=4096))
            callers[-1].writer.transport.pause_reading()  # type: ignore[attr-defined]
            callers[-1].writer.write(pings)
        await asyncio.sleep(SETTLE_S)
        each = (gauge.rss_bytes() - before) / PEERS
        active = gauge.metrics()["overlay_sessions_active"]
    finally:
        for caller in callers:
            caller.close()
    allowed = TLS_BYTES + FRAME_BYTES + READ_BYTES + CONTROL_BYTES
    report.least("peers that are held", active, PEERS)
    report.most("held for each", each / 1024, allowed / 1024, "KiB")
    report.equal("/readyz beside them", gauge.ready(), 200)
