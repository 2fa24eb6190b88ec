"""Downstream: the storage behind an edge is killed while objects are fetched through it.

Whoever fetches is refused in time and never gets a wrong byte, whoever does not notices
nothing, and when the storage is back, so are the objects.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

from overlay_edge.client import Client, connect
from overlay_edge.errors import EdgeError, Refused
from tests.soak.gauge import Gauge, node
from tests.soak.report import Report, Scale, progress
from tests.soak.storage import addresses, content
from tests.support.program import Program

CONFIG = """
[transport]
accept_rate = 20000

[downstream]
storage = "http://127.0.0.1:{port}"
timeout = "1s"
deadline = "3s"
cooldown = "500ms"
probe = "1s"
cache = 0.0001
"""
DEADLINE_S = 3.0
SLACK_S = 1.0
FETCHING, OTHERS = 12, 6
BACK_S = 15.0  # probes of an open breaker are half a second to 16 times that apart
PAUSE_S = 0.02
QUIET_S = 1.0


class Storage:
    """The process, which can be killed and started again."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it on the port it had."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.storage", str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """End it without a farewell: SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Seen:
    """What those who fetch and those who do not were told, by part of the run."""

    def __init__(self) -> None:
        self.part = "with"
        self.is_over = False
        self.fetched: dict[str, Counter[str]] = defaultdict(Counter)
        self.echoes: dict[str, list[float]] = defaultdict(list)
        self.wrong: list[str] = []
        self.slowest_s = 0.0


@contextmanager
def _storage() -> Iterator[Storage]:
    storage = Storage()
    try:
        storage.start()
        yield storage
    finally:
        storage.kill()


def run(scale: Scale) -> Report:
    """Run the phase."""
    report = Report("downstream")
    addresses()
    with _storage() as storage, node(CONFIG.format(port=storage.port)) as (program, gauge):
        asyncio.run(_measure(report, program, gauge, storage, scale))
    return report


async def _measure(
    report: Report, program: Program, gauge: Gauge, storage: Storage, scale: Scale
) -> None:
    seen = Seen()
    part_s = max(1.0, min(5.0, scale.window_s / 2))
    ready: dict[str, int] = {}
    took_s = BACK_S
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connect(program.oap, pin=program.pin))
            for _ in range(FETCHING + OTHERS)
        ]
        async with asyncio.TaskGroup() as tasks:
            for number, client in enumerate(clients):
                work = _fetch if number < FETCHING else _echo
                tasks.create_task(work(client, seen, random.Random(number)))  # noqa: S311
            for part in ("with", "without", "back"):
                if part == "without":
                    await asyncio.to_thread(storage.kill)
                elif part == "back":
                    await asyncio.to_thread(storage.start)
                    took_s = await _recovered(seen)
                seen.part = part
                await asyncio.sleep(part_s)
                ready[part] = await asyncio.to_thread(gauge.ready)
                progress(f"{part}: {dict(seen.fetched[part])}, /readyz {ready[part]}")
            seen.is_over = True
        stayed = sum(client.link.session is not None for client in clients)
    await asyncio.sleep(QUIET_S)
    report.equal("wrong bytes, lost links, other ends", seen.wrong[:3], [])
    report.most("longest wait for an answer", seen.slowest_s, DEADLINE_S + SLACK_S, "s")
    report.least("objects fetched before the kill", seen.fetched["with"]["ok"], 1)
    refused = seen.fetched["without"].total() - seen.fetched["without"]["ok"]
    report.least("refused while it is dead", refused, 1)
    report.judge(
        "fetched again after it is back",
        f"{took_s:.1f} s" if took_s < BACK_S else "never",
        f"within {BACK_S:g} s",
        took_s < BACK_S and seen.fetched["back"]["ok"] > 0,
    )
    report.equal("sessions that stay", stayed, FETCHING + OTHERS)
    report.equal("/readyz; the storage is not required", set(ready.values()), {200})
    metrics = gauge.metrics()
    report.most("requests open afterwards", metrics['overlay_inflight_frames{state="open"}'], 1)
    report.figures |= {
        "fetched": {part: dict(counts) for part, counts in seen.fetched.items()},
        "echo_p95_ms": {
            part: round(1000 * sorted(all_s)[int(0.95 * len(all_s))], 1)
            for part, all_s in seen.echoes.items()
        },
    }


async def _recovered(seen: Seen) -> float:
    """Seconds until somebody has fetched something again."""
    began = time.monotonic()
    seen.part = "returning"
    while not seen.fetched["returning"]["ok"] and time.monotonic() - began < BACK_S:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def _fetch(client: Client, seen: Seen, rng: random.Random) -> None:
    while not seen.is_over:
        number = rng.randrange(len(addresses()))
        parts: list[bytes] = []
        part, began = seen.part, time.monotonic()
        try:
            await client.get(addresses()[number], parts.append)
            if b"".join(parts) != content(number):
                seen.wrong.append(f"object {number}: other bytes")
            outcome = "ok"
        except Refused as refused:
            outcome = refused.token
        except EdgeError as error:
            outcome = type(error).__name__
            seen.wrong.append(repr(error))
        if part == seen.part:  # or it was asked in one part and answered in another
            seen.fetched[part][outcome] += 1
        seen.slowest_s = max(seen.slowest_s, time.monotonic() - began)
        await asyncio.sleep(PAUSE_S)


async def _echo(client: Client, seen: Seen, rng: random.Random) -> None:
    while not seen.is_over:
        part, began = seen.part, time.monotonic()
        try:
            payload = rng.randbytes(256)
            if await client.echo(payload) != payload:
                seen.wrong.append("echo: other bytes")
        except EdgeError as error:
            seen.wrong.append(f"echo: {error!r}")
            return
        seen.echoes[part].append(time.monotonic() - began)
        await asyncio.sleep(PAUSE_S)
