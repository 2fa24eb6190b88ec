"""What one idle TLS connection costs the node in memory: RSS of its process, before and after.

The connections have finished HELLO. They are opened in a few cycles: the first shows the
cost, the later ones whether it is given back or used again.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from overlay_edge.client import connect

CONNECTIONS = 200
CYCLES = 3
WARM_UP = 4  # connections that make the node load what it loads late
SETTLE_S = 0.5
AIM_KIB = 40
ARGV = [
    "--oap-addr",
    "127.0.0.1:0",
    "--admin-addr",
    "127.0.0.1:0",
    "--profile",
    "generic",
    "--log-level",
    "info",
]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--json", action="store_true")
    args, _ = parser.parse_known_args()
    process = subprocess.Popen(
        [sys.executable, "-m", "overlay_edge", *ARGV],
        stdout=subprocess.DEVNULL,  # a node that promises amnesia prints to no file on a disk
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        start = start_line(process)
        before, cycles = asyncio.run(measure(process, start, args.connections))
    finally:
        process.terminate()
        process.communicate()
    each = [(rss - before) / args.connections for rss in cycles]
    if args.json:
        fields = {"bench": "idle_connections", "connections": args.connections}
        rounded = [round(kib, 1) for kib in each]
        print(json.dumps(fields | {"kib_each": rounded[0], "cycles": rounded, "rss_kib": before}))
        return
    print(f"{args.connections} idle TLS connections")
    print(f"  RSS before            {before / 1024:7.1f} MiB")
    print(f"  each                  {each[0]:7.1f} KiB   (aim: {AIM_KIB} KiB)")
    again = ", ".join(f"{kib:.1f}" for kib in each[1:])
    print(f"  closed, opened again  {again} KiB")


async def measure(
    process: "subprocess.Popen[str]", start: dict[str, Any], connections: int
) -> tuple[int, list[int]]:
    """RSS in KiB before, and with all connections open in each cycle."""
    await held(process, start, WARM_UP)
    before = await held(process, start, 1)
    return before, [await held(process, start, connections) for _ in range(CYCLES)]


async def held(process: "subprocess.Popen[str]", start: dict[str, Any], connections: int) -> int:
    """RSS with this many connections open."""
    async with AsyncExitStack() as stack:
        for _ in range(connections):
            client = connect(start["oap_addr"], pin=start["fingerprint"])
            await stack.enter_async_context(client)
        await asyncio.sleep(SETTLE_S)
        return rss_kib(process.pid)


def start_line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait until it says that it started; its later lines fill the pipe and are dropped."""
    assert process.stderr is not None
    for text in process.stderr:
        line: dict[str, Any] = json.loads(text)
        if line["event"] == "start":
            return line
    raise SystemExit("error: the node did not start")


def rss_kib(pid: int) -> int:
    """Memory of a process that is in RAM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


if __name__ == "__main__":
    main()
