"""Churn: callers that come and go, each with TLS and HELLO; memory and files stay flat."""

import subprocess
import sys
import time

from tests.soak.gauge import MIB, Gauge, node
from tests.soak.report import Report, Scale, progress
from tests.support.program import Program

CONFIG = """
[transport]
accept_rate = 20000
"""
WORKERS = 3
WARM_UP = 300  # callers before the first look
SETTLE_S = 2.5  # the node lingers a second behind a peer that it hung up on
FLAT = 1.03


def run(scale: Scale) -> Report:
    """Run the phase."""
    report = Report("churn")
    with node(CONFIG) as (program, gauge):
        time.sleep(1)  # the canary's first flight loads what is loaded late
        gauge.metrics()
        _knock(program, min(WARM_UP, scale.knocks))
        _cycles(report, program, gauge, scale)
    return report


def _cycles(report: Report, program: Program, gauge: Gauge, scale: Scale) -> None:
    each = scale.knocks // scale.cycles
    before, cpu_s = gauge.metrics(), gauge.cpu_s()
    seen: list[tuple[int, int]] = []
    busy_s = 0.0
    for cycle in range(scale.cycles):
        if busy_s > scale.knock_s and cycle > 2:
            report.figures["fewer_because"] = f"they took over {scale.knock_s:.0f} s"
            break
        busy_s += _knock(program, each)
        time.sleep(SETTLE_S if scale.knocks > 5000 else 1.2)
        seen.append((gauge.rss_bytes(), _quiet_fds(gauge)))
        rss, fds = seen[-1]
        progress(f"{(cycle + 1) * each} done, RSS {rss / MIB:.1f} MiB, {fds} descriptors")
    after = gauge.metrics()
    opened = after["overlay_sessions_open_total"] - before["overlay_sessions_open_total"]
    done = len(seen) * each
    report.least("connects and disconnects", opened, done)
    report.most("RSS, last to second cycle", seen[-1][0] / seen[1][0], FLAT)
    report.equal("descriptors, last cycle", seen[-1][1], seen[1][1])
    report.most("overlay_sessions_active after", after["overlay_sessions_active"], 1)
    report.equal("/readyz after", gauge.ready(), 200)
    report.figures |= {
        "per_s": round(done / busy_s),
        "node_cpu_ms_each": round(1000 * (gauge.cpu_s() - cpu_s) / (done), 2),
        "rss_mib": [round(rss / MIB, 1) for rss, _ in seen],
        "fds": [fds for _, fds in seen],
    }


def _quiet_fds(gauge: Gauge) -> int:
    """Descriptors between two flights of the canary."""
    looks = []
    for _ in range(5):
        looks.append(gauge.fds())
        time.sleep(0.1)
    return min(looks)


def _knock(program: Program, count: int) -> float:
    """Let workers come and go; return how long they took."""
    workers: list[subprocess.Popen[bytes]] = []
    began = time.monotonic()
    try:
        for number in range(WORKERS):
            share = count // WORKERS + (number < count % WORKERS)
            argv = [sys.executable, "-m", "tests.soak.knocker", program.oap]
            source = f"127.0.0.{2 + number}"
            workers.append(subprocess.Popen([*argv, source, str(share)], stdin=subprocess.PIPE))
        if any(worker.wait(600) for worker in workers):
            raise RuntimeError("a caller was turned away")
        return time.monotonic() - began
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            if worker.stdin is not None:
                worker.stdin.close()
